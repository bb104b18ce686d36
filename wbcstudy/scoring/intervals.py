"""Bootstrap intervals over cases: how much a mean would vary with other test images of the same kind.

The trained networks are fixed. `statistics.variance_components` estimates how much a mean varies with the seed of the
training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.errors import StudyError

_CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean with its 95 % interval, in the unit of the values.

    Args:
        estimate: mean over all cases; NaN without cases.
        low: lower end; NaN with fewer than two units.
        high: upper end.
        cases: number of cases with a defined value.
        units: number of independent units that were resampled: groups if given, otherwise cases.
    """

    estimate: float
    low: float
    high: float
    cases: int
    units: int


def bootstrap_interval(
    values: Sequence[float], groups: Sequence | None = None, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Compute the 95 % percentile bootstrap interval of the mean over cases, or over groups of cases.

    Assumes that the units are independent draws from the population of interest. Images of one slide are not: with
    `groups`, whole groups are drawn with all their cases (cluster bootstrap). With fewer than about 20 units the
    interval is too narrow. The percentile interval was preferred to BCa because it stays within the range of the
    mean and needs no acceleration constant, which is poorly estimated from few groups.

    Args:
        values: one per case; NaN (undefined) is left out.
        groups: one per case: the slide, patient or laboratory. A case with None or NaN is a group by itself; its
            position in the list then affects the result.
        resamples: number of bootstrap resamples.
        seed: seed of the resampling. The order of the cases does not matter, except for cases that are a group by
            themselves.

    Returns:
        The interval; NaN ends with fewer than two units, a NaN estimate without values.

    Raises:
        StudyError: the number of groups differs from the number of values.

    Source:
        Efron, Tibshirani (1993), An Introduction to the Bootstrap, chapter 13; clusters: Davison, Hinkley
        (1997), Bootstrap Methods and their Application, section 3.8 (strategy 1).
    """
    values = np.asarray(values, dtype=float)
    defined = ~np.isnan(values)
    # Sorted, so that the same cases in another order give the same resamples.
    if groups is None:
        values = np.sort(values[defined])
        units = len(values)
    else:
        names = _group_names(groups, len(values))[defined]
        order = np.lexsort((values[defined], names))
        values, names = values[defined][order], names[order]
        parts = np.split(values, np.flatnonzero(names[1:] != names[:-1]) + 1) if len(values) else []
        units = len(parts)
    if not units:
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    estimate = float(np.mean(values))
    if units < 2:
        return Interval(estimate, np.nan, np.nan, len(values), units)
    drawn = np.random.default_rng(seed).integers(units, size=(resamples, units))
    if groups is None:
        means = values[drawn].mean(axis=1)
    else:
        means = np.array([np.mean(np.concatenate([parts[unit] for unit in row])) for row in drawn])
    return Interval(estimate, *_percentiles(means), len(values), units)


def bootstrap_difference(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence | None = None,
    other_groups: Sequence | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Compute the 95 % percentile bootstrap interval of the difference of two means over unrelated cases.

    Both sets of cases are drawn independently. Assumptions as in `bootstrap_interval`. For the same cases scored twice
    this interval is far too wide: see `statistics.paired_differences`.

    Args:
        first: one value per case; NaN (undefined) is left out.
        second: one value per case of the other set, which is subtracted.
        groups: one per case of the first set, as in `bootstrap_interval`.
        other_groups: one per case of the second set.
        resamples: number of bootstrap resamples.
        seed: seed of the resampling; the order of the cases does not matter.

    Returns:
        The interval; `cases` and `units` are those of the smaller set. NaN ends if either has fewer than two units.

    Raises:
        StudyError: as `bootstrap_interval`.

    Source:
        Efron, Tibshirani (1993), section 8.3 (two samples).
    """
    generator = np.random.default_rng(seed)
    samples = ((first, groups), (second, other_groups))
    drawn = [_resampled_means(values, names, resamples, generator) for values, names in samples]
    means = [bootstrap_interval(values, names, resamples=1) for values, names in samples]
    units = min(mean.units for mean in means)
    ends = _percentiles(drawn[0] - drawn[1]) if units > 1 else (np.nan, np.nan)
    return Interval(means[0].estimate - means[1].estimate, *ends, min(mean.cases for mean in means), units)


def _resampled_means(values: Sequence[float], groups: Sequence | None, resamples: int, generator) -> np.ndarray:
    """Return the mean of each resample of whole units; NaN without values."""
    values = np.asarray(values, dtype=float)
    names = np.arange(len(values)).astype(str) if groups is None else _group_names(groups, len(values))
    defined = ~np.isnan(values)
    # Sorted within and between units, so that the same cases in another order give the same resamples.
    frame = pd.DataFrame({"unit": names[defined], "value": values[defined]}).groupby("unit")["value"]
    units = frame.agg(["sum", "count"]).sort_values(["sum", "count"])
    if units.empty:
        return np.full(resamples, np.nan)
    weights = generator.multinomial(len(units), np.full(len(units), 1 / len(units)), size=resamples)
    return (weights @ units["sum"].to_numpy()) / (weights @ units["count"].to_numpy())


def _group_names(groups: Sequence, cases: int) -> np.ndarray:
    """Return one name per case; cases without a group are numbered, so that no two share a name."""
    if len(groups) != cases:
        raise StudyError(
            f"{cases} values but {len(groups)} groups.", expected="one group per value", fix="Pass both per case."
        )
    return np.array([f"case {i}" if pd.isna(name) else f"group {name}" for i, name in enumerate(groups)], dtype=str)


def _percentiles(means: np.ndarray) -> tuple[float, float]:
    tail = (1 - _CONFIDENCE) / 2
    return tuple(np.quantile(means, [tail, 1 - tail]).tolist())
