"""Colour normalisations: reduce the influence of stain and lamp before colours are compared.

The superpixel study (reference 12) compares eight normalisations. Only the comprehensive grey-world is named in the
part that was available; the other seven are common in its literature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.stats import rankdata

from wbcstudy.registry import unknown_name

_THIRD = np.float32(1 / 3)


def normalise(image: np.ndarray, name: str) -> np.ndarray:
    """Normalise the colours of an image.

    Args:
        image: uint8 (H, W, 3) RGB, or float of the same shape, 0 or more (a uint8 image is divided by 255). At least
            one pixel.
        name: a key of `NORMALISATIONS`.

    Returns:
        float32 (H, W, 3), 0-1; finite also for black and constant channels.

    Raises:
        StudyError: unknown name.
    """
    if name not in NORMALISATIONS:
        raise unknown_name(name, NORMALISATIONS, "colour normalisation")
    values = image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image.astype(np.float32)
    return np.clip(NORMALISATIONS[name](values), 0, 1).astype(np.float32)


def _divide(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    # A black channel or pixel has no colour to scale: it stays black.
    return np.divide(values, by, out=np.zeros_like(values), where=by > 0)


def _grey_world(values: np.ndarray) -> np.ndarray:
    """Scale each channel to mean 1/3, as if the scene were grey on average (Buchsbaum 1980).

    Values above three times the mean are clipped to 1; bright-field images have none.
    """
    return _THIRD * _divide(values, values.mean((0, 1), keepdims=True))


def _white_patch(values: np.ndarray) -> np.ndarray:
    """Scale each channel by its 99th percentile, as if the brightest spot were white (Land 1977)."""
    return _divide(values, np.percentile(values, 99, axis=(0, 1), keepdims=True).astype(np.float32))


def _shades_of_grey(values: np.ndarray) -> np.ndarray:
    """Scale each channel to a Minkowski 6-norm of 1/2, between grey-world and white patch (Finlayson, Trezzi 2004)."""
    norm = np.mean(values.astype(np.float64) ** 6, axis=(0, 1), keepdims=True) ** (1 / 6)
    return np.float32(0.5) * _divide(values, norm.astype(np.float32))


def _chromaticity(values: np.ndarray) -> np.ndarray:
    """Scale each pixel to r + g + b = 1, which removes shading; a black pixel becomes grey, 1/3 each."""
    total = values.sum(2, keepdims=True)
    return np.divide(values, total, out=np.full_like(values, _THIRD), where=total > 0)


def _comprehensive(values: np.ndarray, *, tolerance: float = 1e-4, max_rounds: int = 50) -> np.ndarray:
    """Comprehensive grey-world: scale pixels to sum 1 and channels to mean 1/3, repeatedly until nothing changes.

    Finlayson, Schiele, Crowley: Comprehensive colour image normalization, ECCV 1998. The result depends neither on the
    lamp's colour (a factor per channel) nor on shading (a factor per pixel); differences of brightness are lost.
    "Nothing" is a change of at most `tolerance`; natural images need about five rounds.
    """
    for _ in range(max_rounds):
        before = values
        values = _grey_world(_chromaticity(values))
        if np.abs(values - before).max() <= tolerance:
            break
    return values


def _affine(values: np.ndarray) -> np.ndarray:
    """Shift and scale each channel to mean 1/2 and standard deviation 1/6; a constant channel becomes 1/2."""
    deviation = values.std((0, 1), keepdims=True)
    centred = values - values.mean((0, 1), keepdims=True)
    flat = deviation < 1e-6  # rounding, which must not be amplified
    return np.float32(0.5) + np.where(flat, 0, centred / np.where(flat, 1, deviation)) / np.float32(6)


def _equalisation(values: np.ndarray) -> np.ndarray:
    """Replace each value by its rank in its channel, 0-1, which is independent of the lamp (Finlayson et al. 2005)."""
    flat = values.reshape(-1, 3)
    return ((rankdata(flat, axis=0) - 0.5) / len(flat)).astype(np.float32).reshape(values.shape)


def _stretch(values: np.ndarray) -> np.ndarray:
    """Stretch each channel from its 1st to its 99th percentile over 0-1; a constant channel becomes 0."""
    low, high = np.percentile(values, (1, 99), axis=(0, 1), keepdims=True).astype(np.float32)
    return _divide(values - low, np.broadcast_to(high - low, (1, 1, 3)))


NORMALISATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda values: values,
    "grey_world": _grey_world,
    "white_patch": _white_patch,
    "shades_of_grey": _shades_of_grey,
    "chromaticity": _chromaticity,
    "comprehensive": _comprehensive,
    "affine": _affine,
    "equalisation": _equalisation,
    "stretch": _stretch,
}
