"""Ratios of pixel counts, each between 0 and 1, and NaN where it is undefined (0/0).

All take the same four counts, as numbers, arrays or columns of a frame, so that one can stand in for another. Given
the counts of one case they score that case; given sums over cases they are the pooled (micro) average of the paper.
Equation numbers are those of the paper; Table 2 of it names the others.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from wbcstudy.errors import StudyError
from wbcstudy.labels import LABELS, NUM_LABELS, REGIONS

COUNTS = ("tp", "fp", "fn", "tn")


def precision(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike):
    """Share of the predicted pixels that are right: TP / (TP + FP), eq. (3). NaN where nothing was predicted."""
    return _ratio(_f(tp), _f(tp) + _f(fp))


def sensitivity(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike):
    """Share of the expert's pixels that were found: TP / (TP + FN). NaN where the expert marked none."""
    return _ratio(_f(tp), _f(tp) + _f(fn))


def specificity(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike):
    """Share of the pixels outside that were left alone: TN / (TN + FP). NaN where the expert marked all."""
    return _ratio(_f(tn), _f(tn) + _f(fp))


def accuracy(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike):
    """Share of all pixels that are right: (TP + TN) / all. High for small regions whatever is predicted."""
    return _ratio(_f(tp) + _f(tn), _f(tp) + _f(fp) + _f(fn) + _f(tn))


def dice(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike):
    """Overlap, the F-score of eq. (4): 2 TP / (2 TP + FP + FN). NaN where neither marked a pixel, 0 where one did."""
    return _ratio(2 * _f(tp), 2 * _f(tp) + _f(fp) + _f(fn))


def iou(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike):
    """Intersection over union: TP / (TP + FP + FN) = dice / (2 - dice). NaN where dice is."""
    return _ratio(_f(tp), _f(tp) + _f(fp) + _f(fn))


RATIOS: Mapping[str, Callable] = MappingProxyType(
    {function.__name__: function for function in (precision, sensitivity, specificity, accuracy, dice, iou)}
)


def add_ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy of a frame of counts with one float column per ratio after its own columns.

    Args:
        frame: with the columns tp, fp, fn, tn; ratios that are there already are computed anew. May be empty.
    """
    kept = frame.drop(columns=[name for name in RATIOS if name in frame])
    counts = [kept[name].to_numpy(dtype=float) for name in COUNTS]
    return kept.assign(**{name: ratio(*counts) for name, ratio in RATIOS.items()})


def _f(count: ArrayLike) -> np.ndarray:
    # Doubles hold every pixel count below 2 ** 53; sums of small integer types would wrap.
    return np.asarray(count, dtype=float)


def _ratio(part: np.ndarray, whole: np.ndarray):
    undefined = np.full(np.broadcast(part, whole).shape, np.nan)
    return np.divide(part, whole, out=undefined, where=whole != 0)[()]


class Counts(NamedTuple):
    """Pixels of one mask, sorted by what reference and prediction say about one region.

    Args:
        tp: in the region in both.
        fp: in the region in the prediction only.
        fn: in the region in the reference only.
        tn: in the region in neither.
    """

    tp: int
    fp: int
    fn: int
    tn: int


def count_regions(reference: np.ndarray, prediction: np.ndarray) -> dict[str, Counts]:
    """Count the pixels of every region of one case.

    Args:
        reference: the expert's mask, integer labels 0..2, (H, W).
        prediction: the model's mask, integer labels 0..2, of the same shape.

    Returns:
        Region -> its counts, in the order of `REGIONS`; each adds up to H * W. An empty mask (H or W of 0) gives zeros.

    Raises:
        StudyError: the shapes differ, a mask is not (H, W), is not integer, or holds a number that is no label.
    """
    reference, prediction = _checked(reference, "reference"), _checked(prediction, "prediction")
    if reference.shape != prediction.shape:
        raise StudyError(
            f"The reference is {_size(reference)}, the prediction {_size(prediction)}.",
            expected="two masks of one size",
            fix="Resize the prediction to the reference by nearest neighbour, or predict at the reference's size.",
        )
    # One pass over the pixels: the label pairs as a 3 x 3 table, rows reference, columns prediction.
    pairs = reference.astype(np.intp).ravel() * NUM_LABELS + prediction.astype(np.intp).ravel()
    table = np.bincount(pairs, minlength=NUM_LABELS**2).reshape(NUM_LABELS, NUM_LABELS)
    counts = {}
    for region, labels in REGIONS.items():
        inside = np.isin(np.arange(NUM_LABELS), labels)
        counts[region] = Counts(
            tp=int(table[np.ix_(inside, inside)].sum()),
            fp=int(table[np.ix_(~inside, inside)].sum()),
            fn=int(table[np.ix_(inside, ~inside)].sum()),
            tn=int(table[np.ix_(~inside, ~inside)].sum()),
        )
    return counts


def _checked(mask: np.ndarray, what: str) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or not np.issubdtype(mask.dtype, np.integer):
        raise StudyError(
            f"The {what} is {mask.dtype} of shape {mask.shape}.",
            expected="integer labels of shape (H, W)",
            fix="Take the most probable label of each pixel first: probabilities.argmax(axis=-1).",
        )
    # A mask still in its file's values (0, 128, 255) would otherwise count as background and score 0.
    if mask.size and (mask.min() < 0 or mask.max() >= NUM_LABELS):
        found = ", ".join(str(value) for value in np.unique(mask)[:8])
        raise StudyError(
            f"The {what} holds the values {found}.",
            expected=", ".join(f"{label} ({name})" for name, label in LABELS.items()),
            fix="Read masks through their dataset.yaml, which says which value is which label.",
        )
    return mask


def _size(mask: np.ndarray) -> str:
    return f"{mask.shape[0]} x {mask.shape[1]} px"
