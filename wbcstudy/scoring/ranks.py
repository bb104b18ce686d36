"""All methods at once: ranked within each case, Friedman's test and Nemenyi's critical difference."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from wbcstudy.scoring.methods import Groups, average_groups, case_table
from wbcstudy.scoring.statistics import MIN_CASES, wilcoxon_p


@dataclass(frozen=True)
class RankTest:
    """Methods ranked within each case, and whether the mean ranks differ by more than chance.

    Args:
        test: "friedman", "wilcoxon" (two methods) or "none" (nothing to test; `note` says why).
        n: cases (or groups) that every method scored.
        mean_ranks: method -> mean rank, best first; 1 is the best, ties share their ranks.
        statistic: Friedman's chi-square, corrected for ties, k - 1 degrees of freedom; NaN for two methods.
        p_friedman: its p value; NaN for two methods.
        iman_davenport: the F statistic made from it, k - 1 and (k - 1)(n - 1) degrees of freedom.
        p: the p value to go by: of the F statistic, or Wilcoxon's for two methods.
        critical_difference: Nemenyi's: mean ranks further apart than this differ; NaN for two methods.
        groups: the largest sets of neighbours in rank that cannot be told apart, each best first; sets of one method
            are left out.
        note: in words, what is unusual; else empty.
    """

    test: str
    n: int
    mean_ranks: pd.Series = field(repr=False)
    statistic: float = np.nan
    p_friedman: float = np.nan
    iman_davenport: float = np.nan
    p: float = np.nan
    critical_difference: float = np.nan
    groups: tuple[tuple[str, ...], ...] = ()
    note: str = ""


def friedman_nemenyi(
    frame: pd.DataFrame,
    region: str,
    column: str = "dice",
    alpha: float = 0.05,
    groups: Groups | None = None,
) -> RankTest:
    """Friedman's test over all methods, then Nemenyi's critical difference of mean ranks.

    Looks at the order of the methods within each case only, not at how far apart they are. Mean ranks, and so what
    Nemenyi's test tells of two methods, depend on which other methods take part (Benavoli et al. 2016, JMLR 17, 5);
    therefore `verdict` goes by `paired_differences`. Assumes independent cases.

    Args:
        frame: rows as `score_masks` makes them, of several runs on one dataset.
        region: the one to compare.
        column: a ratio where higher is better.
        alpha: level of Nemenyi's test.
        groups: case id -> group; scores of a group are averaged first and n counts groups.

    Returns:
        The test. Cases that a method did not score, or where a score is undefined, are left out for all. One method or
        fewer than two cases: nothing is tested. Two methods: Wilcoxon's test instead. Where the overall test finds
        nothing (p >= alpha), all methods are one group whatever the critical difference, as Demšar advises.

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
        note = "One method: nothing to compare." if k == 1 else "Fewer than two cases that every method scored."
        return RankTest("none", n, means, note="No scores." if k == 0 else note)
    if k == 2:
        p = wilcoxon_p(table.iloc[:, 0] - table.iloc[:, 1])
        together = () if p < alpha else (tuple(means.index),)
        note = "Two methods: Wilcoxon's signed-rank test in place of Friedman's."
        if np.isnan(p):
            note += f" Fewer than {MIN_CASES} cases: not tested."
        return RankTest("wilcoxon", n, means, p=p, groups=together, note=note)
    tested = _friedman(ranks)
    distance = critical_difference(k, n, alpha)
    apart = tested["p"] < alpha
    together = _cliques(means, distance) if apart else (tuple(means.index),)
    note = "" if apart else f"Friedman's test finds no difference (p >= {alpha}), so no two methods are told apart."
    return RankTest("friedman", n, means, **tested, critical_difference=distance, groups=together, note=note)


def critical_difference(k: int, n: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference of mean ranks: q sqrt(k (k + 1) / (6 n)).

    Args:
        k: methods, at least 2.
        n: cases, at least 1.
        alpha: level over all pairs.

    Source:
        Demšar (2006), section 3.2.2; q is the upper quantile of the studentised range with infinite degrees of
        freedom, divided by sqrt(2) (his table 5a).
    """
    from scipy.stats import studentized_range

    q = studentized_range.ppf(1 - alpha, k, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(k * (k + 1) / (6 * n)))


def _friedman(ranks: np.ndarray) -> dict[str, float]:
    from scipy.stats import chi2, f

    n, k = ranks.shape
    # SciPy's friedmanchisquare gives the same statistic, but NaN where all ranks are tied, and hides the ranks.
    spread = ((ranks - (k + 1) / 2) ** 2).sum() / (n * (k - 1))
    if spread == 0:
        return {"statistic": 0.0, "p_friedman": 1.0, "iman_davenport": 0.0, "p": 1.0}
    statistic = n * ((ranks.mean(axis=0) - (k + 1) / 2) ** 2).sum() / spread
    rest = n * (k - 1) - statistic
    if rest < 1e-9:
        # Every case orders the methods alike: F is infinite, and p is the chance that n - 1 cases repeat the order of
        # the first (Conover 1999, Practical Nonparametric Statistics, section 5.8).
        ties = np.unique(ranks[0], return_counts=True)[1]
        orders = math.factorial(k) / math.prod(math.factorial(count) for count in ties)
        p, ratio = orders ** -(n - 1), np.inf
    else:
        ratio = (n - 1) * statistic / rest
        p = f.sf(ratio, k - 1, (k - 1) * (n - 1))
    return {
        "statistic": float(statistic),
        "p_friedman": float(chi2.sf(statistic, k - 1)),
        "iman_davenport": float(ratio),
        "p": float(p),
    }


def _cliques(means: pd.Series, distance: float) -> tuple[tuple[str, ...], ...]:
    """Maximal runs of neighbours whose mean ranks lie within the distance."""
    values, names = means.to_numpy(), list(means.index)
    found, reached = [], 0
    for start in range(len(values)):
        stop = int(np.searchsorted(values, values[start] + distance, side="left"))
        if stop > max(reached, start + 1):
            found.append(tuple(names[start:stop]))
        reached = max(reached, stop)
    return tuple(found)
