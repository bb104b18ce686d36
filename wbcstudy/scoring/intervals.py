"""Intervals over cases: how much a score would vary with other test images of the same kind.

The trained networks are fixed. docs/how_we_compare.md has the formulas and the measured coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.errors import StudyError

# With fewer units no interval was found that contains the true mean in 90 % of samples of real Dice.
MIN_UNITS = 10
_CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A score with its 95 % interval, in the unit of the values.

    Args:
        estimate: mean over all cases, or ratio of sums over all cases; NaN without cases.
        low: lower end; NaN with fewer than `MIN_UNITS` units, which are too few for an interval.
        high: upper end.
        cases: number of cases with a defined value.
        units: number of independent units: groups if given, otherwise cases.
    """

    estimate: float
    low: float
    high: float
    cases: int
    units: int


def mean_interval(values: Sequence[float], groups: Sequence | None = None) -> Interval:
    """Compute the 95 % interval of the mean of a ratio over cases.

    Args:
        values: one per case, 0 to 1, where bad cases are rare and low; NaN (undefined) is left out.
        groups: one per case, as in `ratio_interval`.

    Returns:
        As `ratio_interval`.

    Raises:
        StudyError: the number of groups differs from the number of values.
    """
    values = np.asarray(values, dtype=float)
    return ratio_interval(values, np.where(np.isnan(values), np.nan, 1.0), groups)


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], groups: Sequence | None = None
) -> Interval:
    """Compute the 95 % interval of a ratio of sums over cases, such as the pooled Dice.

    The Dice of images has a long lower tail: most small samples have no case of it, and their usual intervals, whether
    from the t distribution or the bootstrap, are too high and too narrow. The upper end is that of the t interval. The
    lower end is that of the t interval after adding one imagined case, which is as far below the worst case as the
    worst case is below the median. Imagined cases improve intervals of proportions in the same way (Agresti, Coull
    1998). Assumes independent cases or groups.

    Args:
        numerators: one per case, such as 2 tp.
        denominators: one per case, such as 2 tp + fp + fn. Cases with NaN or a denominator of 0 are left out.
        groups: one per case: the slide, patient or laboratory, whose cases are one unit. A case with None or NaN is a
            group by itself.

    Returns:
        The interval, within 0 to 1; NaN ends with fewer than `MIN_UNITS` units, a NaN estimate without cases.

    Raises:
        StudyError: the number of groups differs from the number of values.

    Source:
        Variance of a ratio of sums: Cochran (1977), Sampling Techniques, section 6.4. Imagined cases: Agresti, Coull
        (1998), The American Statistician 52, 119-126.
    """
    from scipy.stats import t

    sums = np.stack([np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)], axis=1)
    defined = ~np.isnan(sums).any(axis=1) & (sums[:, 1] > 0)
    cases = int(defined.sum())
    if not cases:
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    units = sums[defined]
    if groups is not None:
        units = pd.DataFrame(units).groupby(_group_names(groups, len(sums))[defined]).sum().to_numpy()
    estimate = float(units[:, 0].sum() / units[:, 1].sum())
    if len(units) < MIN_UNITS:
        return Interval(estimate, np.nan, np.nan, cases, len(units))
    ratios, size = units[:, 0] / units[:, 1], units[:, 1].mean()
    imagined = max(0.0, 2 * ratios.min() - np.median(ratios))
    more, more_error = _ratio_with_error(np.vstack([units, [imagined * size, size]]))
    quantile = t.isf((1 - _CONFIDENCE) / 2, len(units) - 1)
    low, high = more - quantile * more_error, estimate + quantile * _ratio_with_error(units)[1]
    return Interval(estimate, max(0.0, min(low, estimate)), min(1.0, high), cases, len(units))


def subtract_intervals(first: Interval, second: Interval) -> Interval:
    """Compute the 95 % interval of the difference of two means over unrelated cases, from their intervals.

    For the same cases scored twice this interval is far too wide: see `statistics.paired_differences`.

    Returns:
        First minus second; `cases` and `units` are those of the smaller set. NaN ends if either has none.

    Source:
        Zou, Donner (2008), Statistics in Medicine 27, 1693-1702 (variance recovered from the ends of each interval).
    """
    estimate = first.estimate - second.estimate
    low = estimate - np.hypot(first.estimate - first.low, second.high - second.estimate)
    high = estimate + np.hypot(first.high - first.estimate, second.estimate - second.low)
    cases, units = min(first.cases, second.cases), min(first.units, second.units)
    return Interval(estimate, float(low), float(high), cases, units)


def _ratio_with_error(units: np.ndarray) -> tuple[float, float]:
    """Return the ratio of the sums of two columns, and its standard error over the rows."""
    numerator, denominator = units.sum(axis=0)
    ratio, number = numerator / denominator, len(units)
    residuals = units[:, 0] - ratio * units[:, 1]
    return float(ratio), float(np.sqrt((residuals**2).sum() * number / (number - 1)) / denominator)


def _group_names(groups: Sequence, cases: int) -> np.ndarray:
    """Return one name per case; cases without a group are numbered, so that no two share a name."""
    if len(groups) != cases:
        raise StudyError(
            f"{cases} values but {len(groups)} groups.", expected="one group per value", fix="Pass both per case."
        )
    return np.array([f"case {i}" if pd.isna(name) else f"group {name}" for i, name in enumerate(groups)], dtype=str)
