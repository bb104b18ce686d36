"""Small images with masks."""

import numpy as np

GREY = {"background": 0, "cytoplasm": 128, "nucleus": 255}


def draw_case(seed=0, height=12, width=16):
    """An image of noise and a mask (labels 0, 1, 2) that has all three labels."""
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 250, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[2:10, 2:12], mask[4:8, 5:9] = 1, 2
    return image, mask
