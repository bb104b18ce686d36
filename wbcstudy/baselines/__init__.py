"""The earlier methods of Table 3."""
