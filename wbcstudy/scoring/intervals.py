"""Bootstrap intervals over cases: how a figure would vary with other test images of the same kind.

They hold the trained networks fixed. How much another training of the same network would change the figure is another
question, which `statistics.variance_components` answers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.errors import StudyError
from wbcstudy.scoring.methods import Groups, add_methods, group_names
from wbcstudy.scoring.metrics import COUNTS, RATIOS


class Interval(NamedTuple):
    """An estimate with its interval, in the unit of the values.

    Args:
        estimate: the statistic of all cases; NaN with none.
        low: lower end; NaN where fewer than two units remain.
        high: upper end.
        cases: how many cases have a defined value.
        units: how many independent units were resampled: groups where given, otherwise cases.
    """

    estimate: float
    low: float
    high: float
    cases: int
    units: int


def bootstrap_interval(
    values: Sequence[float],
    groups: Sequence | None = None,
    statistic: Callable = np.mean,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic over cases, or over groups of cases.

    Assumes that the units are independent draws from what one wants to speak about. Images of one slide are not: with
    `groups`, whole groups are drawn with all their cases (cluster bootstrap). Fewer than about 20 units make the
    interval too narrow. The percentile interval was chosen over BCa because it stays within the range of the
    statistic, needs no acceleration constant (poorly estimated from few groups), and is the one of Table 1.

    Args:
        values: one per case; NaN (undefined) is left out.
        groups: one per case: the slide, patient or laboratory; None or NaN for a case by itself, whose place in the
            list then counts.
        statistic: of a 1-d array; called with `axis=1` on (resamples, n) where it has such an argument.
        confidence: coverage, between 0 and 1.
        resamples: bootstrap resamples.
        seed: of the resampling; the order of the cases does not matter, but for cases by themselves among groups.

    Returns:
        The interval; NaN ends with fewer than two units, a NaN estimate with no value.

    Raises:
        StudyError: not one group per value, or a confidence outside 0..1.

    Source:
        Efron, Tibshirani (1993), An Introduction to the Bootstrap, chapter 13; clusters: Davison, Hinkley
        (1997), Bootstrap Methods and their Application, section 3.8 (strategy 1).
    """
    values = np.asarray(values, dtype=float)
    _check_confidence(confidence)
    if groups is not None and len(groups) != len(values):
        raise StudyError(
            f"{len(values)} values but {len(groups)} groups.", expected="one group per value", fix="Pass both per case."
        )
    # Sorted, so that the same cases in another order draw the same resamples.
    names = None if groups is None else _labels(groups)[~np.isnan(values)]
    values = values[~np.isnan(values)]
    order = np.argsort(values, kind="stable") if names is None else np.lexsort((values, names))
    values = values[order]
    if names is None:
        units = len(values)
    else:
        units, starts = _starts(names[order])
    if not len(values):
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    estimate = float(statistic(values))
    if units < 2:
        return Interval(estimate, np.nan, np.nan, len(values), units)
    drawn = np.random.default_rng(seed).integers(units, size=(resamples, units))
    if names is None:
        results = _by_row(statistic, values[drawn])
    else:
        parts = np.split(values, starts[1:])
        results = np.array([statistic(np.concatenate([parts[unit] for unit in row])) for row in drawn])
    return Interval(estimate, *_ends(results, confidence), len(values), units)


def bootstrap_difference(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence | None = None,
    other_groups: Sequence | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean of one set of cases minus that of another, unrelated one.

    Both sets are drawn anew in each resample, independently of one another. Assumptions as in `bootstrap_interval`.
    For the same cases scored twice this is far too wide: see `statistics.paired_differences`.

    Args:
        first: one value per case; NaN (undefined) is left out.
        second: the same for the other cases.
        groups: one per case of the first set, as in `bootstrap_interval`.
        other_groups: one per case of the second.
        confidence: coverage, between 0 and 1.
        resamples: bootstrap resamples.
        seed: of the resampling; the order of the cases does not matter.

    Returns:
        The interval; `cases` and `units` are those of the smaller set. NaN ends where either has fewer than two units.

    Raises:
        StudyError: as `bootstrap_interval`.

    Source:
        Efron, Tibshirani (1993), section 8.3 (two samples).
    """
    generator = np.random.default_rng(seed)
    drawn, found = [], []
    for values, names in ((first, groups), (second, other_groups)):
        found.append(bootstrap_interval(values, names, resamples=1, confidence=confidence))
        drawn.append(_drawn_means(values, names, resamples, generator))
    ends = _ends(drawn[0] - drawn[1], confidence) if min(one.units for one in found) > 1 else (np.nan, np.nan)
    estimate = found[0].estimate - found[1].estimate
    return Interval(estimate, *ends, min(one.cases for one in found), min(one.units for one in found))


def _drawn_means(values: Sequence[float], groups: Sequence | None, resamples: int, generator) -> np.ndarray:
    """The mean of each resample of whole units; NaN for no value."""
    values = np.asarray(values, dtype=float)
    names = np.arange(len(values)).astype(str) if groups is None else _labels(groups)
    defined = ~np.isnan(values)
    # Sorted within and between units, so that the same cases in another order draw the same resamples.
    frame = pd.DataFrame({"unit": names[defined], "value": values[defined]}).groupby("unit")["value"]
    units = frame.agg(["sum", "count"]).sort_values(["sum", "count"])
    if units.empty:
        return np.full(resamples, np.nan)
    weights = generator.multinomial(len(units), np.full(len(units), 1 / len(units)), size=resamples)
    return (weights @ units["sum"].to_numpy()) / (weights @ units["count"].to_numpy())


def bootstrap_pooled(
    frame: pd.DataFrame,
    ratio: str = "dice",
    groups: Groups | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a pooled ratio: cases are drawn with their counts, which are then summed.

    Pooled figures weigh an image by its pixels, so one large cell moves them and the interval is often wider than that
    of the mean over images. Assumptions as in `bootstrap_interval`.

    Args:
        frame: rows of one region of one method: one run, or several folds and seeds of it. As in Table 1, counts are
            summed over the folds and the ratio is averaged over the seeds; a case is drawn with all its seeds.
        ratio: a name in `metrics.RATIOS`.
        groups: case id -> group; whole groups are drawn.
        confidence: coverage, between 0 and 1.
        resamples: bootstrap resamples.
        seed: of the resampling; the order of the rows does not matter.

    Returns:
        The interval. Resamples in which the ratio is undefined (0/0) are left out; ends are NaN with fewer than two
        units or where all are undefined.

    Raises:
        StudyError: rows of several regions or methods, or no such ratio.

    Source:
        As `bootstrap_interval`, with the ratio of sums as the statistic.
    """
    _check_confidence(confidence)
    if ratio not in RATIOS:
        raise StudyError(f"Unknown ratio {ratio!r}.", expected=", ".join(RATIOS), fix="Use one of these names.")
    rows = add_methods(frame)
    for column in ("region", "method"):
        found = [str(name) for name in rows[column].unique()]
        if len(found) > 1:
            raise StudyError(
                f"The scores are of more than one {column}: {', '.join(found)}.",
                expected=f"rows of one {column}, since sums over several mean nothing",
                fix=f"Select one: frame[frame[{column!r}] == {found[0]!r}], or group by it.",
            )
    if rows.empty:
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    rows = rows.assign(unit=group_names(rows["case_id"], groups))
    sums = rows.pivot_table(index="unit", columns="seed", values=list(COUNTS), aggfunc="sum", fill_value=0)
    units, seeds = len(sums), rows["seed"].nunique()
    # (units, counts * seeds): columns stand as tp of every seed, fp of every seed, ...
    counts = sums[list(COUNTS)].to_numpy(dtype=float)
    cases = rows["case_id"].nunique()
    estimate = float(_pooled(RATIOS[ratio], counts.sum(axis=0, keepdims=True), seeds)[0])
    if units < 2:
        return Interval(estimate, np.nan, np.nan, cases, units)
    weights = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=resamples)
    results = _pooled(RATIOS[ratio], weights @ counts, seeds)
    return Interval(estimate, *_ends(results, confidence), cases, units)


def _pooled(ratio: Callable, sums: np.ndarray, seeds: int) -> np.ndarray:
    tp, fp, fn, tn = sums.reshape(len(sums), len(COUNTS), seeds).transpose(1, 0, 2)
    values = ratio(tp, fp, fn, tn)
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0).sum(axis=1)
    return np.divide(total, defined.sum(axis=1), out=np.full(len(sums), np.nan), where=defined.any(axis=1))


def _labels(groups: Sequence) -> np.ndarray:
    # None stands for itself: numbered, so that no two are one.
    return group_names([str(index) for index in range(len(groups))], {str(i): name for i, name in enumerate(groups)})


def _starts(names: np.ndarray) -> tuple[int, np.ndarray]:
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]]) if len(names) else np.array([], dtype=int)
    return len(starts), starts


def _by_row(statistic: Callable, drawn: np.ndarray) -> np.ndarray:
    try:
        takes_axis = "axis" in inspect.signature(statistic).parameters
    except (TypeError, ValueError):
        takes_axis = False
    return np.asarray(statistic(drawn, axis=1) if takes_axis else [statistic(row) for row in drawn])


def _ends(results: np.ndarray, confidence: float) -> tuple[float, float]:
    results = results[~np.isnan(results)]
    if not len(results):
        return np.nan, np.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(results, [tail, 1 - tail])
    return float(low), float(high)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise StudyError(f"A confidence of {confidence}.", expected="a number between 0 and 1", fix="Use 0.95.")
