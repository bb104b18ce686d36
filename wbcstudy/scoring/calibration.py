"""Calibration: reliability curves and expected calibration error, from small counts.

Pixels are sorted into bins by their confidence, and each bin keeps three sums. The sums of several images or runs add
up, so they are stored with the scores, and the probabilities need not be kept.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, read_bytes
from wbcstudy.labels import IGNORED, LABELS, NUM_LABELS, REGIONS

_COLUMNS = ["n", "sum_confidence", "sum_correct"]
_BINS = 15
# Curves stored per run: "all" is the most probable label of every pixel, the others are the probability of a region.
_CURVES = ("all", "nucleus", "cytoplasm")


class Reliability(NamedTuple):
    """A reliability curve.

    Args:
        ece: expected calibration error, 0..1: the mean gap between confidence and accuracy, weighted by pixels; NaN
            without pixels.
        largest_gap: largest gap of a bin that holds pixels; NaN without pixels.
        curve: one row per bin, lowest first: low, high (borders), n, confidence (mean), correct (share), gap
            (confidence minus correct: positive means overconfident). NaN for empty bins.
    """

    ece: float
    largest_gap: float
    curve: pd.DataFrame


def _count_confidence(
    probabilities: np.ndarray, references: np.ndarray, bins: int = _BINS, region: str | None = None
) -> np.ndarray:
    """Sum confidence and correctness of pixels per bin of confidence.

    Without a region, the confidence of a pixel is the probability of its most probable label, and the pixel is correct
    if that is the reference's label. Confident background makes up most pixels of a smear, so this curve is optimistic.
    With a region, the confidence is the probability that the pixel is in the region, and the pixel counts as correct if
    the reference says so: the curve of one class.

    Args:
        probabilities: float (..., 3), probabilities of the labels, which sum to 1.
        references: integer labels (...), of the same shape without the last axis.
        bins: number B of equal bins over 0..1, each with its upper border (the first also with 0).
        region: a key of `REGIONS`, or None.

    Returns:
        float64 (B, 3): n, sum of confidence, sum of correct. Zeros without pixels.

    Raises:
        StudyError: shapes that do not match, or values that are no probabilities.

    Source:
        Guo et al. (2017), On Calibration of Modern Neural Networks, equations 2 and 3 and section 2 (15 bins in their
        experiments).
    """
    probabilities, references = np.asarray(probabilities), np.asarray(references)
    if probabilities.shape != (*references.shape, NUM_LABELS):
        raise StudyError(
            f"Probabilities of shape {probabilities.shape} for references of shape {references.shape}.",
            expected=f"the references' shape with a last axis of {NUM_LABELS} ({', '.join(LABELS)})",
            fix="Pass the model's output and the masks of the same images, at the same size.",
        )
    if probabilities.size and not (probabilities.min() >= 0 and probabilities.max() <= 1 + 1e-3):
        raise StudyError(
            f"Probabilities between {probabilities.min():.3g} and {probabilities.max():.3g}.",
            expected="numbers between 0 and 1",
            fix="Pass the output after the softmax; NaN means that training diverged.",
        )
    if region is None:
        confidence, correct = probabilities.max(axis=-1), probabilities.argmax(axis=-1) == references
    else:
        # In float64: the sum of two rounded probabilities may exceed 1.
        confidence = probabilities[..., list(REGIONS[region])].sum(axis=-1, dtype=float)
        correct = np.isin(references, REGIONS[region])
    confidence = np.minimum(confidence.astype(float).ravel(), 1)
    bin_numbers = np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)
    weights = (None, confidence, correct.ravel().astype(float))
    return np.stack([np.bincount(bin_numbers, weight, minlength=bins).astype(float) for weight in weights], axis=1)


class ConfidenceCounts:
    """Accumulate `_count_confidence` over images, for all pixels, the nucleus and the cytoplasm."""

    def __init__(self) -> None:
        self.counts = {curve: np.zeros((_BINS, len(_COLUMNS))) for curve in _CURVES}

    def add(self, reference: np.ndarray, probabilities: np.ndarray) -> None:
        """Count the probabilities, float (..., 3), of pixels with these reference labels (...); not of ignored ones."""
        counted = reference != IGNORED
        if not counted.all():
            reference, probabilities = reference[counted], probabilities[counted]
        for curve, counts in self.counts.items():
            region = None if curve == "all" else curve
            counts += _count_confidence(probabilities, reference, region=region)

    def write(self, path: Path) -> None:
        """Write a CSV with one row per curve and bin, lowest first: region ("all" or a region), bin, n and the sums."""
        parts = [
            pd.DataFrame(counts, columns=_COLUMNS).assign(region=curve, bin=range(len(counts)))
            for curve, counts in self.counts.items()
        ]
        table = pd.concat(parts, ignore_index=True)[["region", "bin", *_COLUMNS]]
        table = table.astype({"n": "int64", "sum_correct": "int64"})
        with atomic_write(path) as part:
            table.to_csv(part, index=False, lineterminator="\n")


def read_reliability(paths: Iterable[Path]) -> dict[str, Reliability]:
    """Add up the files that `ConfidenceCounts` wrote: curve ("all" or a region) -> its reliability.

    Missing files are skipped; the result is {} if all are missing. Files with another number of bins than the first
    are skipped too, since they cannot be added.
    """
    frames = [pd.read_csv(io.BytesIO(read_bytes(path))) for path in paths if path.exists()]
    frames = [frame for frame in frames if len(frame) == len(frames[0])]
    if not frames:
        return {}
    sums = pd.concat(frames).groupby(["region", "bin"], sort=False)[_COLUMNS].sum()
    return {region: reliability(part.to_numpy()) for region, part in sums.groupby(level="region", sort=False)}


def reliability(counts: np.ndarray) -> Reliability:
    """Compute the reliability curve and the expected calibration error from counts per bin.

    Args:
        counts: (B, 3) as `_count_confidence` returns them, or sums of such arrays. Bins are of equal width over 0..1,
            lowest first.

    Returns:
        See `Reliability`. The error depends on the number of bins: compare curves with the same B only.

    Source:
        Guo et al. (2017), equations 3 (error) and 5 (largest gap); Naeini et al. (2015).
    """
    n, *sums = np.asarray(counts, dtype=float).T
    filled = n > 0
    confidence, correct = (np.divide(values, n, out=np.full(len(n), np.nan), where=filled) for values in sums)
    borders = np.linspace(0, 1, len(n) + 1)
    curve = pd.DataFrame(
        {
            "low": borders[:-1],
            "high": borders[1:],
            "n": n.astype(np.int64),
            "confidence": confidence,
            "correct": correct,
            "gap": confidence - correct,
        }
    )
    gaps = curve["gap"].abs()[filled]
    if gaps.empty:
        return Reliability(np.nan, np.nan, curve)
    return Reliability(float((gaps * n[filled]).sum() / n.sum()), float(gaps.max()), curve)
