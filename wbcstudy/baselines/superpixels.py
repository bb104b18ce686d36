"""Shared base of the methods that classify superpixels: patches of similar colour, each with one label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from skimage.segmentation import slic

from wbcstudy.baselines.base import Method
from wbcstudy.baselines.colour import colour_components
from wbcstudy.baselines.normalisation import normalise
from wbcstudy.labels import IGNORED, NUM_LABELS
from wbcstudy.registry import unknown_name

# Statistics of the colours in one patch. Reference 12 compares first-order statistics with three other techniques that
# are not known; the other three here are common ones.
_STATISTICS: Mapping[str, tuple[str, ...]] = {
    "mean": ("mean",),
    "moments": ("mean", "std", "skew"),
    "first_order": ("mean", "std", "skew", "kurtosis"),
    "histogram": tuple(f"bin{k}" for k in range(8)),
}
_HISTOGRAM_BINS = len(_STATISTICS["histogram"])
# Below this share of the values' range, a spread is rounding, and skewness and kurtosis would be noise.
_FLAT = 1e-4


@dataclass(eq=False, repr=False, kw_only=True)
class SuperpixelMethod(Method):
    """Base of the methods that classify superpixels by their colours.

    Args:
        spaces: colour spaces, keys of `wbcstudy.baselines.colour.COMPONENTS`.
        statistics: "mean", "moments", "first_order" or "histogram".
        segments: number of superpixels per 256 x 256 px; a larger image has more in proportion, so that a patch keeps
            its size in px (600: a side of about 10 px).
        compactness: weight of distance against similarity in Lab colour in SLIC.
        sigma_px: standard deviation of the Gaussian before SLIC, in px.
    """

    spaces: Sequence[str] = ("rgb", "hsv", "lab", "ycbcr")
    statistics: str = "first_order"
    segments: int = 600
    compactness: float = 10.0
    sigma_px: float = 1.0

    # Colour normalisation before SLIC, a key of `normalisation.NORMALISATIONS`.
    normalisation: ClassVar[str] = "none"

    def _describe(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the superpixels of an image, int32 (H, W), and their features, float32 (K, F)."""
        values = normalise(image, self.normalisation)
        patches = _make_superpixels(values, self.segments, self.compactness, self.sigma_px)
        return patches, _superpixel_features(colour_components(values, self.spaces), patches, self.statistics)


def _make_superpixels(image: np.ndarray, segments: int, compactness: float, sigma_px: float) -> np.ndarray:
    """Cut an RGB image, float 0-1, into superpixels, int32 (H, W), 0..K-1, by SLIC (Achanta et al. 2012)."""
    patches = slic(
        image,
        n_segments=max(1, round(segments * image.shape[0] * image.shape[1] / 256**2)),
        compactness=compactness,
        sigma=sigma_px,
        start_label=0,
        channel_axis=2,
        max_num_iter=10,
    )
    return np.unique(patches, return_inverse=True)[1].reshape(patches.shape).astype(np.int32)


def _superpixel_features(values: np.ndarray, superpixels: np.ndarray, statistics: str) -> np.ndarray:
    """Compute statistics of each channel in each superpixel.

    Args:
        values: float (H, W, C) channels; for "histogram" in 0-1.
        superpixels: int (H, W), 0..K-1.
        statistics: a key of `_STATISTICS`. Standard deviations divide by the number of pixels; kurtosis is the excess
            over that of a Gaussian; skewness and kurtosis of a constant patch are 0. Histogram bins are shares.

    Returns:
        float32 (K, C * S): the S statistics of channel 0, of channel 1, ...

    Raises:
        StudyError: unknown statistics.
    """
    if statistics not in _STATISTICS:
        raise unknown_name(statistics, _STATISTICS, "statistics")
    names = _STATISTICS[statistics]
    patch, count = superpixels.ravel(), np.bincount(superpixels.ravel()).astype(np.float64)
    flat = values.reshape(-1, values.shape[2]).astype(np.float64)
    out = np.empty((len(count), flat.shape[1], len(names)), np.float32)
    for channel, value in enumerate(flat.T):
        if statistics == "histogram":
            bin_numbers = np.clip(value * _HISTOGRAM_BINS, 0, _HISTOGRAM_BINS - 1).astype(np.int64)
            bins = np.bincount(patch * _HISTOGRAM_BINS + bin_numbers, minlength=len(count) * _HISTOGRAM_BINS)
            out[:, channel] = bins.reshape(-1, _HISTOGRAM_BINS) / count[:, None]
            continue
        mean = np.bincount(patch, value) / count
        centred = value - mean[patch]
        second = np.bincount(patch, centred**2) / count
        constant = second <= (_FLAT * max(np.ptp(value), 1e-12)) ** 2
        scale = np.where(constant, 1, second)
        columns = {"mean": mean, "std": np.sqrt(second)}
        if "skew" in names:
            columns["skew"] = np.where(constant, 0, np.bincount(patch, centred**3) / count / scale**1.5)
        if "kurtosis" in names:
            columns["kurtosis"] = np.where(constant, 0, np.bincount(patch, centred**4) / count / scale**2 - 3)
        out[:, channel] = np.stack([columns[name] for name in names], 1)
    return out.reshape(len(count), -1)


def superpixel_labels(mask: np.ndarray, superpixels: np.ndarray) -> np.ndarray:
    """Return the most frequent label, uint8 (K,), of each superpixel, int (H, W), 0..K-1; a tie goes to the smaller.

    Ignored pixels do not count; a superpixel without others is `IGNORED`.
    """
    counts = np.stack([np.bincount(superpixels[mask == k], minlength=superpixels.max() + 1) for k in range(NUM_LABELS)])
    return np.where(counts.any(0), counts.argmax(0), IGNORED).astype(np.uint8)
