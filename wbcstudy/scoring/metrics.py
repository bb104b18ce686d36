"""Pixel counts and their ratios. A ratio is between 0 and 1, and NaN if undefined (0/0).

All ratios take the same four counts, as numbers, arrays or columns of a frame, and are interchangeable. The counts of
one case give the score of that case; sums over cases give the pooled (micro) average of the paper. Equation numbers
refer to the paper; its Table 2 defines the other ratios.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, IGNORED, LABELS, NUM_LABELS, REGIONS

COUNTS = ("tp", "fp", "fn", "tn")


def precision(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike):
    """Share of the predicted pixels that are correct: TP / (TP + FP), eq. (3). NaN if nothing was predicted."""
    return _ratio(_float(tp), _float(tp) + _float(fp))


def sensitivity(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike):
    """Share of the reference's pixels that were predicted: TP / (TP + FN). NaN if the reference is empty."""
    return _ratio(_float(tp), _float(tp) + _float(fn))


def specificity(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike):
    """Share of the pixels outside the reference that were not predicted: TN / (TN + FP). NaN if there are none."""
    return _ratio(_float(tn), _float(tn) + _float(fp))


def accuracy(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike):
    """Share of all pixels that are correct: (TP + TN) / all. Always high for small regions."""
    return _ratio(_float(tp) + _float(tn), _float(tp) + _float(fp) + _float(fn) + _float(tn))


def dice(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike):
    """Dice coefficient, the F-score of eq. (4): 2 TP / (2 TP + FP + FN). NaN if both masks are empty, 0 if one is."""
    return _ratio(2 * _float(tp), 2 * _float(tp) + _float(fp) + _float(fn))


def iou(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike):
    """Intersection over union: TP / (TP + FP + FN) = dice / (2 - dice). NaN if both masks are empty."""
    return _ratio(_float(tp), _float(tp) + _float(fp) + _float(fn))


RATIOS: Mapping[str, Callable] = {
    function.__name__: function for function in (precision, sensitivity, specificity, accuracy, dice, iou)
}


def add_ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """Copy a frame of counts and append one float column per ratio.

    Args:
        frame: with the columns tp, fp, fn, tn; existing ratios are computed again. May be empty.
    """
    kept = frame.drop(columns=[name for name in RATIOS if name in frame])
    counts = [kept[name].to_numpy(dtype=float) for name in COUNTS]
    return kept.assign(**{name: ratio(*counts) for name, ratio in RATIOS.items()})


def _float(count: ArrayLike) -> np.ndarray:
    # float64 holds every pixel count below 2 ** 53 exactly; sums of small integer types would overflow.
    return np.asarray(count, dtype=float)


def _ratio(numerator: np.ndarray, denominator: np.ndarray):
    result = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=result, where=denominator != 0)[()]


class Counts(NamedTuple):
    """Pixel counts of one region of one case.

    Args:
        tp: pixels in the region in both masks.
        fp: pixels in the region in the prediction only.
        fn: pixels in the region in the reference only.
        tn: pixels in the region in neither mask.
    """

    tp: int
    fp: int
    fn: int
    tn: int


def count_regions(reference: np.ndarray, prediction: np.ndarray) -> dict[str, Counts]:
    """Count the pixels of every region of one case.

    Args:
        reference: the expert's mask, integer labels 0..2, (H, W); pixels with `IGNORED` do not count.
        prediction: the model's mask, integer labels 0..2, of the same shape.

    Returns:
        Region -> its counts, in the order of `REGIONS`; they add up to the pixels that count. An empty
        mask (H or W of 0) gives zeros.

    Raises:
        StudyError: the shapes differ, or a mask is not (H, W), is not integer, or has a value that is no label.
    """
    reference = np.asarray(reference)
    ignored = reference == IGNORED
    reference = _check_mask(np.where(ignored, BACKGROUND, reference) if ignored.any() else reference, "reference")
    prediction = _check_mask(prediction, "prediction")
    if reference.shape != prediction.shape:
        raise StudyError(
            f"The reference is {_size(reference)}, the prediction {_size(prediction)}.",
            expected="two masks of the same size",
            fix="Resize the prediction to the reference by nearest neighbour, or predict at the reference's size.",
        )
    # Confusion matrix of the labels in one pass: rows are the reference, columns the prediction.
    pairs = reference.astype(np.intp).ravel() * NUM_LABELS + prediction.astype(np.intp).ravel()
    if ignored.any():
        pairs = pairs[~ignored.ravel()]
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


def _check_mask(mask: np.ndarray, role: str) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or not np.issubdtype(mask.dtype, np.integer):
        raise StudyError(
            f"The {role} is {mask.dtype} of shape {mask.shape}.",
            expected="integer labels of shape (H, W)",
            fix="Take the most probable label of each pixel first: probabilities.argmax(axis=-1).",
        )
    # Grey levels of a file (0, 128, 255) would otherwise count as background and score 0.
    if mask.size and (mask.min() < 0 or mask.max() >= NUM_LABELS):
        values = ", ".join(str(value) for value in np.unique(mask)[:8])
        raise StudyError(
            f"The {role} has the values {values}.",
            expected=", ".join(f"{label} ({name})" for name, label in LABELS.items()),
            fix="Read masks with wbcstudy.data.arrays.read_cases, which turns grey levels into labels.",
        )
    return mask


def _size(mask: np.ndarray) -> str:
    return f"{mask.shape[0]} x {mask.shape[1]} px"
