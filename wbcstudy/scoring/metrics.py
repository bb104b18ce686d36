"""Ratios of pixel counts, each between 0 and 1, and NaN where it is undefined (0/0).

All take the same four counts, as numbers, arrays or columns of a frame, so that one can stand in for another. Given
the counts of one case they score that case; given sums over cases they are the pooled (micro) average of the paper.
Equation numbers are those of the paper; Table 2 of it names the others.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

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
