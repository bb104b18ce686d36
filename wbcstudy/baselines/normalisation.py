"""Colour normalisations: take a stain's and a lamp's share out of an image before its colours are compared.

Of the eight that the superpixel study compares (reference 12), only the comprehensive grey-world is named in what could
be read of it; the other seven are the usual ones of that literature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from wbcstudy.errors import StudyError

_THIRD = np.float32(1 / 3)


def normalise(image: np.ndarray, name: str) -> np.ndarray:
    """Normalise an image's colours.

    Args:
        image: uint8 (H, W, 3) RGB, or float of the same shape, 0 or more (a uint8 image is divided by 255). At least
            one pixel.
        name: a key of `NORMALISATIONS`.

    Returns:
        float32 (H, W, 3), 0-1. Where a channel has nothing to normalise by (all black, or all one value), it stays
        finite: see each function.

    Raises:
        StudyError: unknown name, or not an RGB image.
    """
    if name not in NORMALISATIONS:
        raise StudyError(
            f"Unknown colour normalisation {name!r}.",
            expected=", ".join(NORMALISATIONS),
            fix="Use one of these names.",
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise StudyError(
            f"An array of shape {image.shape} cannot be normalised as an image.",
            expected="an RGB image, (height, width, 3), of at least one pixel",
            fix="Convert the image to RGB first.",
        )
    values = image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image.astype(np.float32)
    return np.clip(NORMALISATIONS[name](values), 0, 1).astype(np.float32)


def _divide(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    # A black channel or pixel has no colour to scale: it stays black.
    return np.divide(values, by, out=np.zeros_like(values), where=by > 0)


def none(values: np.ndarray) -> np.ndarray:
    """The image as it is."""
    return values


def grey_world(values: np.ndarray) -> np.ndarray:
    """Scale each channel to mean 1/3, as if the scene were grey on average (Buchsbaum 1980).

    Values beyond three times the mean are cut off at 1; a bright-field image has none.
    """
    return _THIRD * _divide(values, values.mean((0, 1), keepdims=True))


def white_patch(values: np.ndarray) -> np.ndarray:
    """Scale each channel by its 99th percentile, as if the brightest spot were white (Land 1977)."""
    return _divide(values, np.percentile(values, 99, axis=(0, 1), keepdims=True).astype(np.float32))


def shades_of_grey(values: np.ndarray) -> np.ndarray:
    """Scale each channel to a Minkowski 6-norm of 1/2, between grey-world and white patch (Finlayson, Trezzi 2004)."""
    norm = np.mean(values.astype(np.float64) ** 6, axis=(0, 1), keepdims=True) ** (1 / 6)
    return np.float32(0.5) * _divide(values, norm.astype(np.float32))


def chromaticity(values: np.ndarray) -> np.ndarray:
    """Scale each pixel to r + g + b = 1, which takes shading out; a black pixel becomes grey, 1/3 each."""
    total = values.sum(2, keepdims=True)
    return np.divide(values, total, out=np.full_like(values, _THIRD), where=total > 0)


def comprehensive(values: np.ndarray, *, tolerance: float = 1e-4, max_rounds: int = 50) -> np.ndarray:
    """Comprehensive grey-world: pixels to sum 1, channels to mean 1/3, and again until nothing changes.

    Finlayson, Schiele, Crowley: Comprehensive colour image normalization, ECCV 1998. The result depends neither on the
    lamp's colour (a factor per channel) nor on shading (a factor per pixel), so differences of brightness are lost.

    Args:
        values: float32 (H, W, 3), 0 or more.
        tolerance: largest change of a value in a round at which the rounds end.
        max_rounds: rounds at most; natural images need about five.
    """
    for _ in range(max_rounds):
        before = values
        values = grey_world(chromaticity(values))
        if np.abs(values - before).max() <= tolerance:
            break
    return values


def affine(values: np.ndarray) -> np.ndarray:
    """Bring each channel to mean 1/2 and standard deviation 1/6; a channel of one value becomes 1/2."""
    deviation = values.std((0, 1), keepdims=True)
    centred = values - values.mean((0, 1), keepdims=True)
    flat = deviation < 1e-6  # rounding alone, which must not be blown up into contrast
    return np.float32(0.5) + np.where(flat, 0, centred / np.where(flat, 1, deviation)) / np.float32(6)


def equalisation(values: np.ndarray) -> np.ndarray:
    """Replace each value by its rank in its channel, 0-1: ranks outlast lamp and camera (Finlayson et al. 2005)."""
    from scipy.stats import rankdata

    flat = values.reshape(-1, 3)
    return ((rankdata(flat, axis=0) - 0.5) / len(flat)).astype(np.float32).reshape(values.shape)


def stretch(values: np.ndarray) -> np.ndarray:
    """Stretch each channel from its 1st to its 99th percentile over 0-1; a channel of one value becomes 0."""
    low, high = np.percentile(values, (1, 99), axis=(0, 1), keepdims=True).astype(np.float32)
    return _divide(values - low, np.broadcast_to(high - low, (1, 1, 3)))


NORMALISATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            none,
            grey_world,
            white_patch,
            shades_of_grey,
            chromaticity,
            comprehensive,
            affine,
            equalisation,
            stretch,
        )
    }
)
