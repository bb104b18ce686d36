"""One small mask in the pixel types of image files."""

import numpy as np
from PIL import Image

LABEL = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def grey(values=(0, 128, 255)) -> np.ndarray:
    """Return the values in the place of the labels, uint8 (2, 3)."""
    return np.array(values, np.uint8)[LABEL]


def colour() -> np.ndarray:
    """Return red, green and blue in the place of the labels, uint8 (2, 3, 3)."""
    return np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)[LABEL]


def palette() -> Image.Image:
    """Return an image of the indices 0, 1, 2 in red, green and blue."""
    image = Image.new("P", (3, 2))
    image.putdata(LABEL.ravel().tolist())
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return image


def opaque(array: np.ndarray, alpha: int = 255) -> Image.Image:
    """Return an image with an alpha channel of one value."""
    return Image.fromarray(np.dstack([array, np.full(array.shape[:2], alpha, np.uint8)]))
