"""Choose images to annotate first: uncertain ones that represent the others.

The two steps are those of Yang et al. (2017, "Suggestive annotation", MICCAI). First the most uncertain images become
candidates, twice as many as are wanted. Then candidates are chosen one by one such that each image, annotated or not,
has a chosen image near it (the greedy algorithm for maximum set cover; Sener and Savarese 2018 choose by the same
distances alone). Uncertainty is the entropy of the prediction (Settles 2009), of one network instead of the variance of
several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wbcstudy.labels import BACKGROUND, NUM_LABELS

# Candidates per wanted image, as in Yang et al. (16 for 8).
_CANDIDATES = 2
# A pixel that may belong to a cell: its background is less probable than this.
_SURE_BACKGROUND = 0.95
# Specks must not make an empty image uncertain: the mean is over at least this share of the image.
_LEAST_SHARE = 0.001


class Choice(NamedTuple):
    """A chosen image.

    Args:
        index: its index.
        distance: distance of its descriptor to the nearest image that is annotated or was chosen before, in units of
            the median distance between images; None for the first.
    """

    index: int
    distance: float | None


def measure_uncertainty(probabilities: np.ndarray) -> float:
    """Return the mean entropy of the pixels that may belong to a cell, from 0 (certain) to 1 (all labels equal).

    Args:
        probabilities: float32 (H, W, 3).

    Returns:
        The mean, rounded to four digits, so that it does not depend on the order of sums; 0 for an image of sure
        background only.
    """
    uncertain = probabilities[probabilities[..., BACKGROUND] < _SURE_BACKGROUND]
    entropy = -(uncertain * np.log(np.maximum(uncertain, 1e-12))).sum(axis=1) / np.log(NUM_LABELS)
    least = _LEAST_SHARE * probabilities.shape[0] * probabilities.shape[1]
    return round(float(entropy.sum(dtype=float)) / max(len(uncertain), least), 4)


def choose_images(
    uncertainties: Sequence[float], descriptors: np.ndarray, annotated: np.ndarray, count: int
) -> list[Choice]:
    """Choose images, the most helpful first.

    Args:
        uncertainties: N numbers.
        descriptors: float (N, D), from `describe.describe_image`.
        annotated: float (M, D), descriptors of images that are annotated already; M may be 0.
        count: number of images to choose, at least 1.

    Returns:
        The choices; fewer than `count` if there are not so many images.
    """
    from scipy.spatial.distance import cdist

    # Equal uncertainties keep the order of the images.
    candidates = np.argsort(-np.asarray(uncertainties, float), kind="stable")[: _CANDIDATES * count]
    everything = np.concatenate([descriptors, annotated.reshape(-1, descriptors.shape[1])]).astype(float)
    # A row per candidate. Rounded, so that equal distances are equal in any order of sums.
    distances = cdist(everything[candidates], everything)
    unit = float(np.median(distances[distances > 0])) if distances.any() else 1.0
    distances = np.round(distances / unit, 6)
    # Without an annotated image, each image is as far from one as the two most distant images.
    nearest = np.full(len(everything), distances.max())
    to_chosen = np.full(len(candidates), np.inf)
    if len(annotated):
        nearest = np.round(cdist(everything, everything[len(descriptors) :]).min(axis=1) / unit, 6)
        to_chosen = nearest[candidates]
    choices: list[Choice] = []
    rows = list(range(len(candidates)))
    while rows and len(choices) < count:
        # Of equal gains, the first is the most uncertain.
        row = max(rows, key=lambda row: round(float(np.maximum(nearest - distances[row], 0).sum()), 4))
        rows.remove(row)
        distance = float(to_chosen[row])
        choices.append(Choice(int(candidates[row]), distance if np.isfinite(distance) else None))
        nearest = np.minimum(nearest, distances[row])
        to_chosen = np.minimum(to_chosen, distances[:, candidates[row]])
    return choices
