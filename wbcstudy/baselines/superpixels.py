"""Superpixels: patches of like colour that are classified as one, and the score they cannot exceed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from wbcstudy.baselines.colour import colour_components
from wbcstudy.baselines.normalisation import normalise
from wbcstudy.errors import StudyError
from wbcstudy.labels import NUM_LABELS, REGIONS, region_mask

# The statistics are those of the colours in one patch; which four techniques reference 12 compared besides first-order
# statistics is not known, so the other three are the usual ones.
STATISTICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mean": ("mean",),
        "moments": ("mean", "std", "skew"),
        "first_order": ("mean", "std", "skew", "kurtosis"),
        "histogram": tuple(f"bin{k}" for k in range(8)),
    }
)
_HISTOGRAM_BINS = len(STATISTICS["histogram"])
# Below this share of the values' range, a spread is rounding, and skewness and kurtosis would be noise.
_FLAT = 1e-4


def make_superpixels(
    image: np.ndarray, *, segments: int = 600, compactness: float = 10.0, sigma_px: float = 1.0
) -> np.ndarray:
    """Cut an image into superpixels by SLIC (Achanta et al. 2012; scikit-image's).

    Args:
        image: uint8 (H, W, 3) RGB, or float 0-1.
        segments: wanted superpixels per 256 x 256 px; a larger image has more in proportion, so that a patch keeps its
            size in px (600: a side of about 10 px).
        compactness: weight of nearness against likeness in Lab colour.
        sigma_px: standard deviation of the Gaussian that smooths first, in px.

    Returns:
        int32 (H, W), numbers 0..K-1 without gaps.
    """
    from skimage.segmentation import slic

    wanted = max(1, round(segments * image.shape[0] * image.shape[1] / 256**2))
    patches = slic(
        image,
        n_segments=wanted,
        compactness=compactness,
        sigma=sigma_px,
        start_label=0,
        channel_axis=2,
        max_num_iter=10,
    )
    return np.unique(patches, return_inverse=True)[1].reshape(patches.shape).astype(np.int32)


def superpixel_features(values: np.ndarray, superpixels: np.ndarray, statistics: str = "first_order") -> np.ndarray:
    """Statistics of each channel in each superpixel, all at once by `bincount`.

    Args:
        values: float (H, W, C) channels; for "histogram" in 0-1.
        superpixels: int (H, W), 0..K-1.
        statistics: a key of `STATISTICS`. Standard deviations divide by the number of pixels; kurtosis is the excess
            over a Gaussian's; skewness and kurtosis of a patch of one value are 0. Histogram bins are shares.

    Returns:
        float32 (K, C * S): the S statistics of channel 0, of channel 1, ...

    Raises:
        StudyError: unknown statistics.
    """
    if statistics not in STATISTICS:
        raise StudyError(
            f"Unknown statistics {statistics!r}.", expected=", ".join(STATISTICS), fix="Use one of these names."
        )
    names = STATISTICS[statistics]
    at, count = superpixels.ravel(), np.bincount(superpixels.ravel()).astype(np.float64)
    flat = values.reshape(-1, values.shape[2]).astype(np.float64)
    out = np.empty((len(count), flat.shape[1], len(names)), np.float32)
    for channel, value in enumerate(flat.T):
        if statistics == "histogram":
            which = np.clip(value * _HISTOGRAM_BINS, 0, _HISTOGRAM_BINS - 1).astype(np.int64)
            bins = np.bincount(at * _HISTOGRAM_BINS + which, minlength=len(count) * _HISTOGRAM_BINS)
            out[:, channel] = bins.reshape(-1, _HISTOGRAM_BINS) / count[:, None]
            continue
        mean = np.bincount(at, value) / count
        centred = value - mean[at]
        second = np.bincount(at, centred**2) / count
        flat_patch = second <= (_FLAT * max(np.ptp(value), 1e-12)) ** 2
        scale = np.where(flat_patch, 1, second)
        columns = {"mean": mean, "std": np.sqrt(second)}
        if "skew" in names:
            columns["skew"] = np.where(flat_patch, 0, np.bincount(at, centred**3) / count / scale**1.5)
        if "kurtosis" in names:
            columns["kurtosis"] = np.where(flat_patch, 0, np.bincount(at, centred**4) / count / scale**2 - 3)
        out[:, channel] = np.stack([columns[name] for name in names], 1)
    return out.reshape(len(count), -1)


def describe(
    image: np.ndarray,
    *,
    normalisation: str,
    spaces: Sequence[str],
    statistics: str,
    segments: int,
    compactness: float,
    sigma_px: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Normalise an image, cut it into superpixels, and describe the colours of each.

    Args:
        image: uint8 (H, W, 3) RGB.
        normalisation: a key of `wbcstudy.baselines.normalisation.NORMALISATIONS`; the image is cut after it.
        spaces: colour spaces, keys of `wbcstudy.baselines.colour.COMPONENTS`.
        statistics: a key of `STATISTICS`.
        segments: as for `make_superpixels`, and so the next two.
        compactness: see there.
        sigma_px: see there.

    Returns:
        Superpixels, int32 (H, W), and their features, float32 (K, F).

    Raises:
        StudyError: an unknown name.
    """
    values = normalise(image, normalisation)
    patches = make_superpixels(values, segments=segments, compactness=compactness, sigma_px=sigma_px)
    return patches, superpixel_features(colour_components(values, spaces), patches, statistics)


def superpixel_labels(mask: np.ndarray, superpixels: np.ndarray) -> np.ndarray:
    """The label most pixels of each superpixel have.

    Args:
        mask: uint8 (H, W) of labels.
        superpixels: int (H, W), 0..K-1.

    Returns:
        uint8 (K,). A tie goes to the smaller label. `superpixel_labels(mask, s)[s]` is the mask in superpixels.
    """
    return _label_counts(mask, superpixels).argmax(1).astype(np.uint8)


def _label_counts(mask: np.ndarray, superpixels: np.ndarray) -> np.ndarray:
    number = int(superpixels.max()) + 1
    both = superpixels.ravel().astype(np.int64) * NUM_LABELS + mask.ravel()
    return np.bincount(both, minlength=number * NUM_LABELS).reshape(number, NUM_LABELS)


def oracle_ceiling(masks: Sequence[np.ndarray], superpixels: Sequence[np.ndarray]) -> dict[str, float]:
    """The highest Dice coefficient that any labelling of these superpixels can have.

    For one region of one image, the best set of superpixels consists of those with the largest share of the region,
    down to some share (Dice is a ratio of sums): the ceiling is the largest Dice over all such sets. It is a bound for
    a method that labels whole superpixels, before clean-up.

    Args:
        masks: uint8 (H, W) of labels each.
        superpixels: int (H, W) each, 0..K-1, one per mask.

    Returns:
        Region -> mean over the images that have the region, 0-1; NaN where no image has it.

    Raises:
        StudyError: not one array of superpixels a mask.
    """
    if len(masks) != len(superpixels):
        raise StudyError(
            f"{len(masks)} masks and {len(superpixels)} arrays of superpixels were passed.",
            expected="one array of superpixels for each mask",
            fix="Pass them in the same order, from the same images.",
        )
    scores: dict[str, list[float]] = {region: [] for region in REGIONS}
    for mask, patches in zip(masks, superpixels, strict=True):
        count = np.bincount(patches.ravel())
        for region in REGIONS:
            inside = np.bincount(patches.ravel(), region_mask(mask, region).ravel())
            if inside.sum() > 0:
                order = np.argsort(-inside / count, kind="stable")
                dice = 2 * np.cumsum(inside[order]) / (np.cumsum(count[order]) + inside.sum())
                scores[region].append(float(dice.max()))
    return {region: float(np.mean(values)) if values else float("nan") for region, values in scores.items()}
