"""Does a probability of 0.9 mean nine in ten? Reliability curve and expected calibration error, from small counts.

Pixels are put into bins by their confidence; each bin keeps three sums. Counts of several images or runs add up, so
they can be stored with the scores and no probabilities have to be kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write
from wbcstudy.labels import LABELS, NUM_LABELS, REGIONS

BIN_COLUMNS = ("n", "sum_confidence", "sum_correct")
BINS = 15
# What is kept of a run: the most probable label of every pixel ("all"), and the probability of each of two regions.
KEPT_CURVES = ("all", "nucleus", "cytoplasm")


class Reliability(NamedTuple):
    """A reliability curve.

    Args:
        ece: expected calibration error, 0..1: the mean gap between confidence and share right, weighted by pixels;
            NaN without pixels.
        largest_gap: the largest gap of a bin that holds pixels; NaN without pixels.
        curve: one row per bin, lowest first: low, high (borders), n, confidence (mean), correct (share), gap
            (confidence minus correct: positive is too sure). NaN for empty bins.
    """

    ece: float
    largest_gap: float
    curve: pd.DataFrame


def count_confidence(
    probabilities: np.ndarray, references: np.ndarray, bins: int = BINS, region: str | None = None
) -> np.ndarray:
    """Sum confidence and correctness of pixels per bin of confidence.

    Without a region, a pixel's confidence is the probability of its most probable label, and it is correct where this
    is the reference's. Sure background makes most pixels of a smear, so this flatters. With a region, confidence is
    the probability that the pixel is in the region, and "correct" is whether the expert says so: the curve of one
    class.

    Args:
        probabilities: float (..., 3), probabilities of the labels, which sum to 1.
        references: integer labels (...), of the same shape without the last axis.
        bins: B equal bins over 0..1, each with its upper border (and the first with 0).
        region: a key of `REGIONS`, or None.

    Returns:
        float64 (B, 3): n, sum of confidence, sum of correct. Zeros without pixels.

    Raises:
        StudyError: shapes that do not fit, values that are no probabilities, no such region, or fewer than one bin.

    Source:
        Guo et al. (2017), On Calibration of Modern Neural Networks, equations 2 and 3 and section 2 (15 bins in their
        experiments).
    """
    probabilities, references = np.asarray(probabilities), np.asarray(references)
    if probabilities.shape != (*references.shape, NUM_LABELS) or bins < 1:
        raise StudyError(
            f"Probabilities of shape {probabilities.shape} for references of shape {references.shape}, {bins} bins.",
            expected=f"the references' shape with {NUM_LABELS} more ({', '.join(LABELS)}), and at least one bin",
            fix="Pass the model's output and the masks of the same images, at the same size.",
        )
    if region is not None and region not in REGIONS:
        raise StudyError(f"Unknown region {region!r}.", expected=", ".join(REGIONS), fix="Use one of these names.")
    if probabilities.size and not (probabilities.min() >= 0 and probabilities.max() <= 1 + 1e-3):
        raise StudyError(
            f"Probabilities between {probabilities.min():.3g} and {probabilities.max():.3g}.",
            expected="numbers between 0 and 1",
            fix="Pass the output after the softmax; NaN means that training diverged.",
        )
    if region is None:
        confidence, correct = probabilities.max(axis=-1), probabilities.argmax(axis=-1) == references
    else:
        # In doubles: a sum of two rounded probabilities may exceed 1.
        confidence = probabilities[..., list(REGIONS[region])].sum(axis=-1, dtype=float)
        correct = np.isin(references, REGIONS[region])
    confidence = np.minimum(confidence.astype(float).ravel(), 1)
    place = np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)
    weights = (None, confidence, correct.ravel().astype(float))
    return np.stack([np.bincount(place, weight, minlength=bins).astype(float) for weight in weights], axis=1)


class ConfidenceCounts:
    """`count_confidence` over images that come in chunks, for each of `KEPT_CURVES`.

    Args:
        references: the experts' masks, labels (N, H, W).
        bins: as in `count_confidence`.
    """

    def __init__(self, references: np.ndarray, bins: int = BINS) -> None:
        self.references = references
        self.counts = {curve: np.zeros((bins, len(BIN_COLUMNS))) for curve in KEPT_CURVES}

    def add(self, chunk: slice, probabilities: np.ndarray) -> None:
        """Count a chunk.

        Args:
            chunk: which of the references.
            probabilities: float (n, H, W, 3) of these.
        """
        for curve, counts in self.counts.items():
            region = None if curve == "all" else curve
            counts += count_confidence(probabilities, self.references[chunk], len(counts), region)

    def frame(self) -> pd.DataFrame:
        """One row per curve and bin, lowest first: region ("all" or a region), bin, n, sum_confidence, sum_correct."""
        parts = [
            pd.DataFrame(counts, columns=list(BIN_COLUMNS)).assign(region=curve, bin=range(len(counts)))
            for curve, counts in self.counts.items()
        ]
        table = pd.concat(parts, ignore_index=True)[["region", "bin", *BIN_COLUMNS]]
        return table.astype({"n": "int64", "sum_correct": "int64"})

    def write(self, path: Path) -> None:
        """Write the frame as CSV, in one step."""
        with atomic_write(path) as part:
            self.frame().to_csv(part, index=False, lineterminator="\n")


def read_reliability(paths: Iterable[Path]) -> dict[str, Reliability]:
    """Curve ("all" or a region) -> its reliability, over the sums in several files that `ConfidenceCounts` wrote.

    Files that are absent are left out; {} where all are. Files with different numbers of bins do not add up: those of
    another number than the first's are left out.
    """
    frames = [pd.read_csv(path) for path in paths if path.exists()]
    frames = [frame for frame in frames if len(frame) == len(frames[0])]
    if not frames:
        return {}
    sums = pd.concat(frames).groupby(["region", "bin"], sort=False)[list(BIN_COLUMNS)].sum()
    return {region: reliability(part) for region, part in sums.groupby(level="region", sort=False)}


def reliability(counts: np.ndarray | pd.DataFrame) -> Reliability:
    """The reliability curve and the expected calibration error, from per-bin counts.

    Args:
        counts: (B, 3) as `count_confidence` makes them, or sums of such arrays; or a frame with the columns n,
            sum_confidence and sum_correct. Bins are of equal width over 0..1, lowest first.

    Returns:
        See `Reliability`. The error depends on the number of bins: compare curves of the same B only.

    Raises:
        StudyError: not three columns.

    Source:
        Guo et al. (2017), equations 3 (error) and 5 (largest gap); Naeini et al. (2015).
    """
    array = np.asarray(counts[list(BIN_COLUMNS)] if isinstance(counts, pd.DataFrame) else counts, dtype=float)
    if array.ndim != 2 or array.shape[1] != len(BIN_COLUMNS):
        raise StudyError(
            f"Counts of shape {array.shape}.", expected=f"(bins, 3): {', '.join(BIN_COLUMNS)}", fix="Transpose them?"
        )
    n, held = array[:, 0], array[:, 0] > 0
    means = np.full((len(array), 2), np.nan)
    means[held] = array[held, 1:] / n[held, None]
    borders = np.linspace(0, 1, len(array) + 1)
    curve = pd.DataFrame(
        {
            "low": borders[:-1],
            "high": borders[1:],
            "n": n.astype(np.int64),
            "confidence": means[:, 0],
            "correct": means[:, 1],
            "gap": means[:, 0] - means[:, 1],
        }
    )
    gaps = curve["gap"].abs()[held]
    if gaps.empty:
        return Reliability(np.nan, np.nan, curve)
    return Reliability(float((gaps * n[held]).sum() / n.sum()), float(gaps.max()), curve)
