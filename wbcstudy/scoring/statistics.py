"""Compare methods in pairs on the same cases. `ranks` compares all methods at once.

The tests treat the cases as independent draws of images of one kind, and the trained networks as fixed. Cases that
belong together (one slide, one patient) are passed as `groups` and count as one. A result that is not significant means
that these cases show no difference, not that the methods are equal; `power.smallest_detectable_difference` estimates
which difference they could have shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.scoring.case_tables import Groups, add_methods, average_groups, case_table

# With five cases the smallest two-sided p of the signed-rank test is 2 / 2 ** 5 = 0.0625.
_MIN_CASES = 6
# Up to this number the null distribution is exact, beyond it is normal; the same limit as in scipy.stats.wilcoxon.
_EXACT_CASES = 50
# Up to this number the means of all pairs are kept in memory.
_MANY_CASES = 500
_PAIR_COLUMNS = ["method_a", "method_b", "n", "difference", "ci_low", "ci_high", "better", "p", "p_holm"]


class Shift(NamedTuple):
    """A typical difference with its interval, in the unit of the differences."""

    estimate: float
    low: float
    high: float


def hodges_lehmann(differences: Sequence[float], confidence: float = 0.95) -> Shift:
    """Estimate the typical difference (pseudomedian), with the interval of Wilcoxon's signed-rank test.

    The estimate is the median of the means of all pairs of differences, including each difference with itself. The
    interval contains every shift that the two-sided test would not reject; it excludes 0 if p < 1 - confidence (without
    ties). Assumes independent differences, symmetric about the typical one.

    Args:
        differences: n numbers; NaN is left out.
        confidence: coverage, between 0 and 1; exact up to 50 differences, and therefore at least this.

    Returns:
        Estimate and ends. NaN estimate without differences; NaN ends if n is too small for the confidence (below 6
        for 95 %).

    Source:
        Hodges, Lehmann (1963), Annals of Mathematical Statistics 34, 598-611; Hollander, Wolfe, Chicken (2014),
        Nonparametric Statistical Methods, 3rd edition, equations 3.23 and following (estimate), 3.27 and following
        (interval).
    """
    values = np.asarray(differences, dtype=float)
    values = values[~np.isnan(values)]
    n = len(values)
    if n == 0:
        return Shift(np.nan, np.nan, np.nan)
    count, cut = n * (n + 1) // 2, _signed_rank_quantile(n, (1 - confidence) / 2)
    middle = ((count - 1) // 2, count // 2)
    ends = () if cut < 0 else (cut, count - 1 - cut)
    means = _pair_means(values, (*middle, *ends))
    return Shift(float(np.mean(means[:2])), *(means[2:] if ends else (np.nan, np.nan)))


def wilcoxon_p(differences: Sequence[float]) -> float:
    """Return the two-sided p value of Wilcoxon's signed-rank test that differences are symmetric about 0.

    Zeros are ranked with the others and then dropped (Pratt), so that cases without a difference count as evidence
    against one; Wilcoxon's original procedure ignores them. Up to 50 differences p is exact, also with ties and zeros
    (in SciPy up to 13 only, and slowly). Beyond 50 it is normal, corrected for ties but not for continuity.

    Args:
        differences: n numbers; NaN is left out. Differences that are equal up to 1e-12 count as tied.

    Returns:
        p; 1 if all differences are 0; NaN for fewer than 6, since no result of so few could reach 0.05.

    Source:
        Wilcoxon (1945), Biometrics Bulletin 1, 80-83; Pratt (1959), JASA 54, 655-667; exact distribution with ties:
        Streitberg, Röhmel (1986), Statistical Software Newsletter 12, 10-17. More than 50: SciPy.
    """
    from scipy.stats import rankdata, wilcoxon

    values = _round_differences(differences)
    if len(values) < _MIN_CASES:
        return np.nan
    if not values.any():
        return 1.0
    if len(values) > _EXACT_CASES:
        return float(wilcoxon(values, zero_method="pratt", method="asymptotic").pvalue)
    # Ties share a half rank: doubled, all ranks are integers.
    ranks = (2 * rankdata(np.abs(values))).astype(int)[values != 0]
    probabilities = _rank_sum_distribution(ranks)
    positive = ranks[values[values != 0] > 0].sum()
    return float(min(1, 2 * min(probabilities[: positive + 1].sum(), probabilities[positive:].sum())))


def paired_differences(
    frame: pd.DataFrame, region: str, column: str = "dice", groups: Groups | None = None
) -> pd.DataFrame:
    """Compare every pair of methods on the cases that both scored.

    The trainings of a method are averaged for each case first. Cases that are undefined for one of the two methods are
    left out for this pair. With groups, the differences of a group are averaged, and n is the number of groups.
    Assumptions as in `hodges_lehmann`.

    Args:
        frame: rows as `score_masks` returns them, of several runs on one dataset.
        region: a key of `REGIONS`.
        column: a ratio; higher is better.
        groups: case id -> group, if cases are not independent.

    Returns:
        One row per pair, methods in order of appearance: method_a, method_b, n, difference (a minus b,
        Hodges-Lehmann), ci_low, ci_high (its 95 % interval, not adjusted for the number of pairs), better (the method
        with the higher rank sum, None if equal; defined even if most cases are equal and the typical difference is 0),
        p (Wilcoxon; NaN for fewer than 6 cases), p_holm (Holm's correction over all pairs of this region). No rows for
        one method.

    Raises:
        StudyError: as `case_table`.
    """
    table = case_table(frame, region, column)
    rows = []
    for a, b in itertools.combinations(table.columns, 2):
        differences = unit_differences(table, a, b, groups)
        better = {1: a, -1: b}.get(_direction(differences))
        rows.append((a, b, len(differences), *hodges_lehmann(differences), better, wilcoxon_p(differences), np.nan))
    pairs = pd.DataFrame(rows, columns=_PAIR_COLUMNS)
    return pairs.assign(p_holm=_holm(pairs["p"].to_numpy(dtype=float)))


def unit_differences(table: pd.DataFrame, a: str, b: str, groups: Groups | None = None) -> np.ndarray:
    """Return the differences a minus b of two methods of a `case_table`, one per independent unit.

    The units are the cases that both methods scored, or their groups (case id -> group), whose cases are averaged.
    """
    return average_groups((table[a] - table[b]).to_frame("difference"), groups)["difference"].to_numpy(dtype=float)


def variance_components(
    frame: pd.DataFrame, region: str, column: str = "dice", groups: Groups | None = None
) -> pd.DataFrame:
    """Estimate the spread between seeds and the spread between cases, per method.

    A difference between two methods that is small compared with `sd_seeds` may be reversed with another seed; one that
    is small compared with `se_cases` may be reversed on other test images. Two or three seeds give a rough estimate
    only. With several folds a seed stands for several trainings, whose mean varies less than that of one training.

    Args:
        frame: rows as `score_masks` returns them.
        region: a key of `REGIONS`.
        column: a ratio.
        groups: case id -> group, if cases are not independent.

    Returns:
        One row per method, in order of appearance: method, n (cases defined for all its trainings), seeds, mean,
        sd_seeds (sd over seeds of the mean over cases; NaN for one seed), sd_cases (sd over cases of the mean over
        seeds; NaN for one case), se_cases (standard error of the mean: sd_cases / sqrt(n); with groups, from the means
        of the groups). Each sd divides by n - 1 and has the unit of the ratio. Cases that one of the seeds did not
        score are left out.
    """
    rows = add_methods(frame[frame["region"] == region])
    result = []
    for method, part in rows.groupby("method", sort=False):
        means = part.groupby(["case_id", "seed"])[column].mean(skipna=False)
        table = means.unstack("seed").dropna()  # noqa: PD010  (pivot_table would skip the undefined scores)
        n, seeds = table.shape
        sd_seeds = table.mean().std(ddof=1) if n and seeds > 1 else np.nan
        cases = table.mean(axis=1).to_frame("mean")
        units = average_groups(cases, groups)["mean"]
        sd_cases = cases["mean"].std(ddof=1) if n > 1 else np.nan
        se_cases = units.std(ddof=1) / np.sqrt(len(units)) if len(units) > 1 else np.nan
        mean = table.to_numpy().mean() if n else np.nan
        result.append((method, n, seeds, mean, sd_seeds, sd_cases, se_cases))
    return pd.DataFrame(result, columns=["method", "n", "seeds", "mean", "sd_seeds", "sd_cases", "se_cases"])


def _direction(differences: Sequence[float]) -> int:
    """Return 1 if the ranks of the positive differences have the larger sum, -1 if those of the negative ones have."""
    from scipy.stats import rankdata

    values = _round_differences(differences)
    return int(np.sign((rankdata(np.abs(values)) * np.sign(values)).sum())) if len(values) else 0


def _round_differences(differences: Sequence[float]) -> np.ndarray:
    """Drop NaN, and round so that 0.9 - 0.8 and 0.8 - 0.7 are equal."""
    values = np.asarray(differences, dtype=float)
    return values[~np.isnan(values)].round(12)


def _holm(p_values: np.ndarray) -> np.ndarray:
    """Return the adjusted p values of Holm (1979), Scandinavian Journal of Statistics 6, 65-70; NaN stays NaN."""
    adjusted = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


@lru_cache(maxsize=256)
def _signed_rank_quantile(n: int, tail: float) -> int:
    """Return the largest c with P(T+ <= c) <= tail if there is no difference; -1 if P(T+ = 0) is larger than tail."""
    if n > _EXACT_CASES:
        from scipy.stats import norm

        sd = np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return int(np.floor(n * (n + 1) / 4 + norm.ppf(tail) * sd))
    # (1 - 0.95) / 2 is slightly more than 0.025; the two must count as equal.
    cumulative = np.cumsum(_rank_sum_distribution(range(1, n + 1)))
    return int(np.searchsorted(cumulative, tail * (1 + 1e-9), side="right")) - 1


def _pair_means(values: np.ndarray, positions: Sequence[int]) -> list[float]:
    """Return order statistics of the means of all pairs (each value also with itself), by position from 0."""
    n = len(values)
    if n <= _MANY_CASES:
        first, second = np.triu_indices(n)
        means = np.sort((values[first] + values[second]) / 2)
        return [float(means[position]) for position in positions]
    # Half of n squared means would need too much memory: bisect until the number of means below is right.
    ordered = np.sort(values)
    means = []
    for position in positions:
        low, high = ordered[0], ordered[-1]
        while (middle := (low + high) / 2) not in (low, high):
            ranks = np.searchsorted(ordered, 2 * middle - ordered, side="right")
            # Ordered pairs count twice, except those of a value with itself.
            below = (ranks.sum() + np.searchsorted(ordered, middle, side="right")) // 2
            low, high = (low, middle) if below > position else (middle, high)
        means.append(float(high))
    return means


def _rank_sum_distribution(ranks: Iterable[int]) -> np.ndarray:
    """Return the probability of each sum, from 0, if every rank is included with probability 1/2."""
    probabilities = np.ones(1)
    for rank in ranks:
        probabilities = np.pad(probabilities / 2, (0, rank)) + np.pad(probabilities / 2, (rank, 0))
    return probabilities
