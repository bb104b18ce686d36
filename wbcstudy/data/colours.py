"""Measure the colours of images, to find out whether a new image looks like the training images of a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Mean and standard deviation are exact enough from this many pixels.
_MOST_PIXELS = 1_000_000
# Lab units: training images of one slide hardly differ, and new images of the same slide differ a little more.
_LEAST_SPREAD = 0.5


def measure_colours(image: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation of L, a and b (CIE Lab, D65) of an image.

    Args:
        image: uint8 (H, W, 3), RGB; of a large image, every n-th pixel is measured.

    Returns:
        float64 (2, 3).
    """
    from skimage.color import rgb2lab

    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / _MOST_PIXELS)))
    lab = rgb2lab(image[::step, ::step])
    return np.stack([lab.mean(axis=(0, 1)), lab.std(axis=(0, 1))])


def summarise_colours(measured: Sequence[np.ndarray]) -> dict[str, list[list[float]]]:
    """Summarise the colours of the training images for `run.json`.

    Args:
        measured: `measure_colours` of each image, at least one.

    Returns:
        `mean` and `spread` (standard deviation) over the images, each as two lists of three numbers.
    """
    values = np.array(measured)
    return {"mean": values.mean(axis=0).round(3).tolist(), "spread": values.std(axis=0).round(3).tolist()}


def colour_distance(measured: np.ndarray, training: dict[str, list[list[float]]]) -> float:
    """Return how far an image's colours are from the training images.

    Args:
        measured: `measure_colours` of the image.
        training: `summarise_colours` of the training images.

    Returns:
        The root mean square of the six differences in units of the spread: about 1 for a training image.
    """
    spread = np.maximum(np.array(training["spread"]), _LEAST_SPREAD)
    return float(np.sqrt(np.mean(((measured - np.array(training["mean"])) / spread) ** 2)))
