"""Compare all methods at once: ranks within each case, Friedman's test and Nemenyi's critical difference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from wbcstudy.scoring.case_tables import Groups, average_groups, case_table

# With five cases the smallest two-sided p of the signed-rank test is 2 / 2 ** 5 = 0.0625.
_MIN_CASES = 6
# Up to this number the null distribution is exact, beyond it is normal; the same limit as in scipy.stats.wilcoxon.
_EXACT_CASES = 50


@dataclass(frozen=True)
class RankTest:
    """Methods ranked within each case, and a test of whether their mean ranks differ.

    Args:
        test: "friedman", "wilcoxon" (two methods) or "none" (one method, or fewer than two cases).
        n: number of cases (or groups) that every method scored.
        mean_ranks: method -> mean rank, best first; 1 is the best, ties share their ranks.
        statistic: Iman and Davenport's F, from Friedman's chi-square corrected for ties, with k - 1 and
            (k - 1)(n - 1) degrees of freedom; NaN without Friedman's test.
        p: p value of the test; NaN if there is none.
        critical_difference: Nemenyi's critical difference of mean ranks; NaN without Friedman's test.
        groups: the largest sets of neighbours in rank without a significant difference, each best first; sets of one
            method are left out.
    """

    test: str
    n: int
    mean_ranks: pd.Series = field(repr=False)
    statistic: float = np.nan
    p: float = np.nan
    critical_difference: float = np.nan
    groups: tuple[tuple[str, ...], ...] = ()


def friedman_nemenyi(
    frame: pd.DataFrame, region: str, column: str = "dice", alpha: float = 0.05, groups: Groups | None = None
) -> RankTest:
    """Compute Friedman's test over all methods, then Nemenyi's critical difference of mean ranks.

    The tests use the order of the methods within each case only, not the size of the differences. Mean ranks, and
    therefore Nemenyi's result for two methods, depend on which other methods take part (Benavoli et al. 2016, JMLR 17,
    5); `compare_methods` uses `paired_differences` for this reason. Assumes independent cases.

    Args:
        frame: rows as `score_masks` returns them, of several runs on one dataset.
        region: a key of `REGIONS`.
        column: a ratio; higher is better.
        alpha: level of Nemenyi's test.
        groups: case id -> group; the scores of a group are averaged first, and n is the number of groups.

    Returns:
        The result. A case with a missing or undefined score is left out for all methods. Two methods are compared by
        Wilcoxon's test instead. If the overall test is not significant (p >= alpha), all methods form one group,
        regardless of the critical difference, as Demšar advises.

    Raises:
        StudyError: as `case_table`.

    Source:
        Friedman (1937), JASA 32, 675-701; Iman, Davenport (1980), Communications in Statistics A9, 571-595; Nemenyi
        (1963); all as in Demšar (2006), JMLR 7, 1-30, section 3.2.2 and table 5.
    """
    from scipy.stats import rankdata

    table = average_groups(case_table(frame, region, column), groups)
    n, k = table.shape
    ranks = rankdata(-table.to_numpy().round(12), axis=1) if n else np.full((0, k), np.nan)
    means = pd.Series(ranks.mean(axis=0) if n else np.nan, index=list(table.columns), dtype=float, name="mean_rank")
    means = means.sort_values(kind="stable")
    if k < 2 or n < 2:
        return RankTest("none", n, means)
    if k == 2:
        p = wilcoxon_p(table.iloc[:, 0] - table.iloc[:, 1])
        return RankTest("wilcoxon", n, means, p=p, groups=() if p < alpha else (tuple(means.index),))
    statistic, p = _friedman(ranks)
    distance = _critical_difference(k, n, alpha)
    similar = _similar_methods(means, distance) if p < alpha else (tuple(means.index),)
    return RankTest("friedman", n, means, statistic, p, distance, similar)


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

    values = np.asarray(differences, dtype=float)
    # Rounded, so that 0.9 - 0.8 and 0.8 - 0.7 are equal.
    values = values[~np.isnan(values)].round(12)
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


def _critical_difference(k: int, n: int, alpha: float) -> float:
    """Return Nemenyi's critical difference of the mean ranks of k methods on n cases: q sqrt(k (k + 1) / (6 n)).

    Source:
        Demšar (2006), section 3.2.2; q is the upper quantile of the studentised range with infinite degrees of
        freedom, divided by sqrt(2) (his table 5a).
    """
    from scipy.stats import studentized_range

    q = studentized_range.ppf(1 - alpha, k, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(k * (k + 1) / (6 * n)))


def _friedman(ranks: np.ndarray) -> tuple[float, float]:
    """Return Iman and Davenport's F and its p value, from ranks (n cases, k methods)."""
    from scipy.stats import f

    n, k = ranks.shape
    # SciPy's friedmanchisquare gives the same chi-square, but NaN if all ranks are tied.
    spread = ((ranks - (k + 1) / 2) ** 2).sum() / (n * (k - 1))
    if spread == 0:
        return 0.0, 1.0
    chi_square = n * ((ranks.mean(axis=0) - (k + 1) / 2) ** 2).sum() / spread
    remainder = n * (k - 1) - chi_square
    if remainder < 1e-9:
        # All cases rank the methods equally: F is infinite, and p is the chance that n - 1 cases repeat the order of
        # the first (Conover 1999, Practical Nonparametric Statistics, section 5.8).
        ties = np.unique(ranks[0], return_counts=True)[1]
        orders = math.factorial(k) / math.prod(math.factorial(count) for count in ties)
        return np.inf, orders ** -(n - 1)
    statistic = (n - 1) * chi_square / remainder
    return float(statistic), float(f.sf(statistic, k - 1, (k - 1) * (n - 1)))


def _similar_methods(means: pd.Series, distance: float) -> tuple[tuple[str, ...], ...]:
    """Return the largest sets of neighbours whose mean ranks differ by less than the distance."""
    values, names = means.to_numpy(), list(means.index)
    groups, covered = [], 0
    for start in range(len(values)):
        stop = int(np.searchsorted(values, values[start] + distance, side="left"))
        if stop > max(covered, start + 1):
            groups.append(tuple(names[start:stop]))
        covered = max(covered, stop)
    return tuple(groups)


def _rank_sum_distribution(ranks: Iterable[int]) -> np.ndarray:
    """Return the probability of each sum, from 0, if every rank is included with probability 1/2."""
    probabilities = np.ones(1)
    for rank in ranks:
        probabilities = np.pad(probabilities / 2, (0, rank)) + np.pad(probabilities / 2, (rank, 0))
    return probabilities
