"""Is the difference real? Methods compared in pairs on the same cases (all together: `ranks`).

What the tests can say, and what they cannot: they treat the cases as independent draws of images of one kind, and the
trainings as given. Cases that belong together (one slide, one patient) are passed as `groups` and count as one. A
result that is not significant shows that the cases do not tell the methods apart, never that the methods are equal;
`power.smallest_detectable_difference` says what would have been seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.scoring.methods import Groups, add_methods, average_groups, case_table

# With five cases the smallest two-sided p of the signed-rank test is 2 / 2 ** 5 = 0.0625, whatever the scores.
MIN_CASES = 6
# Up to here the null distribution is exact, beyond it is normal; the same border as scipy.stats.wilcoxon's.
EXACT_CASES = 50
# Up to here the means of all pairs are kept in memory.
MANY_CASES = 500
PAIR_COLUMNS = (
    *("method_a", "method_b", "n", "difference", "ci_low", "ci_high", "median", "better", "p", "p_holm", "note"),
)


class Shift(NamedTuple):
    """A typical difference with its interval, in the unit of the differences."""

    estimate: float
    low: float
    high: float


def hodges_lehmann(differences: Sequence[float], confidence: float = 0.95) -> Shift:
    """The typical difference (pseudomedian) and the interval that belongs to Wilcoxon's signed-rank test.

    The estimate is the median of the means of all pairs of differences, each with itself too. The interval holds
    every shift that the two-sided test would not reject, so it leaves out 0 where p < 1 - confidence (no ties).
    Assumes independent differences that are symmetric about the typical one.

    Args:
        differences: n numbers; NaN is left out.
        confidence: coverage, between 0 and 1; exact up to 50 differences, hence at least this.

    Returns:
        Estimate and ends. NaN estimate for none; NaN ends where n is too small for the confidence (below 6 for 95 %).

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
    count, cut = n * (n + 1) // 2, _signed_rank_cut(n, (1 - confidence) / 2)
    middle = ((count - 1) // 2, count // 2)
    ends = () if cut < 0 else (cut, count - 1 - cut)
    found = _pair_means(values, (*middle, *ends))
    return Shift(float(np.mean(found[:2])), *(found[2:] if ends else (np.nan, np.nan)))


def wilcoxon_p(differences: Sequence[float]) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test that differences are symmetric about 0.

    Zeros are ranked with the others and then dropped (Pratt), so that many cases without a difference speak against
    one; Wilcoxon's own way, to drop them first, would forget them. Up to 50 differences p is exact, with ties and zeros
    too (SciPy's is so up to 13 only, and slowly); beyond it is normal, with correction for ties and without one for
    continuity.

    Args:
        differences: n numbers; NaN is left out. Equal up to 1e-12 counts as tied.

    Returns:
        p; 1 where all differences are 0; NaN for fewer than 6, since no result of so few could reach 0.05.

    Source:
        Wilcoxon (1945), Biometrics Bulletin 1, 80-83; Pratt (1959), JASA 54, 655-667; exact distribution with ties:
        Streitberg, Röhmel (1986), Statistical Software Newsletter 12, 10-17. More than 50: SciPy.
    """
    from scipy.stats import rankdata, wilcoxon

    values = _told_apart(differences)
    if len(values) < MIN_CASES:
        return np.nan
    if not values.any():
        return 1.0
    if len(values) > EXACT_CASES:
        return float(wilcoxon(values, zero_method="pratt", method="asymptotic").pvalue)
    # Ties share a half rank: doubled, all are whole numbers.
    ranks = (2 * rankdata(np.abs(values))).astype(int)[values != 0]
    chances = _rank_sums(ranks)
    reached = ranks[values[values != 0] > 0].sum()
    return float(min(1, 2 * min(chances[: reached + 1].sum(), chances[reached:].sum())))


def _direction(differences: Sequence[float]) -> int:
    """1 where the ranks of the positive differences sum to more than those of the negative ones, -1 where to less."""
    from scipy.stats import rankdata

    values = _told_apart(differences)
    return int(np.sign((rankdata(np.abs(values)) * np.sign(values)).sum())) if len(values) else 0


def _told_apart(differences: Sequence[float]) -> np.ndarray:
    """Without NaN; differences that only binary tells apart, such as 0.9 - 0.8 and 0.8 - 0.7, are one."""
    values = np.asarray(differences, dtype=float)
    return values[~np.isnan(values)].round(12)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p values: rejecting those below alpha errs anywhere in the family with at most alpha.

    Args:
        p_values: of one family of tests, however dependent. NaN (not tested) is no member and stays NaN.

    Returns:
        Floats of the same length, each at least its p and at most 1.

    Source:
        Holm (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    p_values = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def paired_differences(
    frame: pd.DataFrame,
    region: str,
    column: str = "dice",
    groups: Groups | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Every pair of methods on the cases that both scored.

    Trainings of a method are averaged for each case first (folds laid end to end). Cases undefined for one of the two
    are left out of this pair. With groups, the differences of a group are averaged to one, so that n counts groups.
    Assumes as `hodges_lehmann`.

    Args:
        frame: rows as `score_masks` makes them, of several runs on one dataset.
        region: the one to compare.
        column: a ratio where higher is better.
        groups: case id -> group, where cases are not independent.
        confidence: of each interval by itself; the intervals are not adjusted for the number of pairs, p_holm is.

    Returns:
        One row per pair, methods in order of appearance: method_a, method_b, n, difference (a minus b, Hodges and
        Lehmann's typical one), ci_low, ci_high (its interval), median (of the plain differences), better (the method
        with the higher rank sum, None for equal ones: it tells the direction also where most cases do not differ and
        the typical difference is 0), p (Wilcoxon), p_holm (family: all pairs of this region), note (why p or the
        interval is NaN, else empty). No rows for one method.

    Raises:
        StudyError: as `case_table`.
    """
    table = case_table(frame, region, column)
    rows = []
    for a, b in itertools.combinations(table.columns, 2):
        differences = unit_differences(table, a, b, groups)
        shift, n = hodges_lehmann(differences, confidence), len(differences)
        median = float(np.median(differences)) if n else np.nan
        better = {1: a, -1: b}.get(_direction(differences))
        rows.append((a, b, n, *shift, median, better, wilcoxon_p(differences), np.nan, _pair_note(differences)))
    pairs = pd.DataFrame(rows, columns=list(PAIR_COLUMNS))
    return pairs.assign(p_holm=holm(pairs["p"].to_numpy(dtype=float)))


def unit_differences(table: pd.DataFrame, a: str, b: str, groups: Groups | None = None) -> np.ndarray:
    """The differences a minus b of independent units: cases that both have, or the means of their groups.

    Args:
        table: as `case_table` makes it.
        a: a method.
        b: another.
        groups: case id -> group.
    """
    return average_groups((table[a] - table[b]).to_frame("difference"), groups)["difference"].to_numpy(dtype=float)


def variance_components(
    frame: pd.DataFrame,
    region: str,
    column: str = "dice",
    groups: Groups | None = None,
) -> pd.DataFrame:
    """Seed-to-seed spread beside case-to-case spread, per method.

    A difference between two methods that is small beside `sd_seeds` may turn round with another seed; one that is small
    beside `se_cases` may turn round with other test images. Two or three seeds give a rough sd only. With several folds
    a seed stands for as many trainings, whose mean varies less than one training does.

    Args:
        frame: rows as `score_masks` makes them.
        region: the one to look at.
        column: a ratio.
        groups: case id -> group, where cases are not independent.

    Returns:
        One row per method, in order of appearance: method, n (cases defined for all its trainings), seeds, mean,
        sd_seeds (sd over seeds of the mean over cases; NaN for one seed), sd_cases (sd over cases of the mean over
        seeds; NaN for one case), se_cases (of the mean, to set beside sd_seeds: sd_cases / sqrt(n); with groups, the
        same of the groups' means). All sd with n - 1, in the unit of the ratio. Cases that one of the seeds did not
        score are left out.
    """
    rows = add_methods(frame[frame["region"] == region])
    result = []
    for method, part in rows.groupby("method", sort=False):
        means = part.groupby(["case_id", "seed"])[column].mean(skipna=False)
        table = means.unstack("seed").dropna()  # noqa: PD010  (pivot_table would average the undefined away)
        n, seeds = table.shape
        sd_seeds = table.mean().std(ddof=1) if n and seeds > 1 else np.nan
        cases = table.mean(axis=1).to_frame("mean")
        units = average_groups(cases, groups)["mean"]
        sd_cases = cases["mean"].std(ddof=1) if n > 1 else np.nan
        se_cases = units.std(ddof=1) / np.sqrt(len(units)) if len(units) > 1 else np.nan
        mean = table.to_numpy().mean() if n else np.nan
        result.append((method, n, seeds, mean, sd_seeds, sd_cases, se_cases))
    return pd.DataFrame(result, columns=["method", "n", "seeds", "mean", "sd_seeds", "sd_cases", "se_cases"])


@lru_cache(maxsize=256)
def _signed_rank_cut(n: int, tail: float) -> int:
    """The largest c with P(T+ <= c) <= tail under no difference; -1 where even P(T+ = 0) is more."""
    if n > EXACT_CASES:
        from scipy.stats import norm

        sd = np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return int(np.floor(n * (n + 1) / 4 + norm.ppf(tail) * sd))
    # (1 - 0.95) / 2 is a little more than 0.025; a tie of the two must count as reached.
    reached = np.cumsum(_rank_sums(range(1, n + 1)))
    return int(np.searchsorted(reached, tail * (1 + 1e-9), side="right")) - 1


def _pair_means(values: np.ndarray, places: Sequence[int]) -> list[float]:
    """The means of all pairs (each value with itself too) that stand at these places of their order, from 0."""
    n = len(values)
    if n <= MANY_CASES:
        first, second = np.triu_indices(n)
        means = np.sort((values[first] + values[second]) / 2)
        return [float(means[place]) for place in places]
    # Half of n squared means are too many to keep: halve the span until the number below it is right.
    ordered = np.sort(values)
    found = []
    for place in places:
        low, high = ordered[0], ordered[-1]
        while (middle := (low + high) / 2) not in (low, high):
            ranks = np.searchsorted(ordered, 2 * middle - ordered, side="right")
            # Ordered pairs count twice, except those of a value with itself.
            below = (ranks.sum() + np.searchsorted(ordered, middle, side="right")) // 2
            low, high = (low, middle) if below > place else (middle, high)
        found.append(float(high))
    return found


def _rank_sums(ranks: Iterable[int]) -> np.ndarray:
    """Probability of each sum, from 0, when every rank is in it or not with probability 1/2."""
    chances = np.ones(1)
    for rank in ranks:
        longer = np.zeros(len(chances) + rank)
        longer[: len(chances)] += chances / 2
        longer[rank:] += chances / 2
        chances = longer
    return chances


def _pair_note(differences: np.ndarray) -> str:
    if len(differences) < MIN_CASES:
        return f"{len(differences)} in common: at least {MIN_CASES} are needed before p can reach 0.05."
    return "" if differences.round(12).any() else "No case differs."
