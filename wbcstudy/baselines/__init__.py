"""Earlier methods of Table 3, one module per paper."""
