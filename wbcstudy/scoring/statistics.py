"""Compare methods in pairs on the same cases. `ranks` compares all methods at once.

Test images (cases) and trainings (seeds) are both random: another set of images, or another seed, would give another
difference. With several seeds the standard error has both sources, and a result is about the methods. With one seed per
method the trainings are fixed, and a result is about these trained networks only. docs/how_we_compare.md has the
formulas, the assumptions and the measured error rates.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from wbcstudy.scoring.case_tables import Groups, add_methods, group_names

ALPHA = 0.05
CASES, CASES_AND_SEEDS = "cases", "cases and seeds"

# The differences of fewer units are too few for the t distribution.
FEWEST_UNITS = 6
# Distance of the imagined unit from the mean of the differences, in standard deviations. The smallest whole number with
# a mean coverage of 95 % at every n from 8 to 60, chosen with every second network of both datasets and confirmed with
# the others (docs/how_we_compare.md).
IMAGINED_DISTANCE = 6.0
PAIR_COLUMNS = (
    *("region", "method_a", "method_b", "n", "difference", "se_cases", "se", "df", "ci_low", "ci_high"),
    *("p", "p_adjusted", "detectable", "better", "equivalent", "sources"),
)


@dataclass(frozen=True)
class MethodScores:
    """The scores of one method in one region.

    Args:
        cases: names of the cases that every seed scored, str (N,), sorted.
        scores: float (N, seeds).
        units: number of the independent group of each case, int (N,); None if each case is independent.
    """

    cases: np.ndarray
    scores: np.ndarray
    units: np.ndarray | None = None

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return self.scores.shape[1]

    @property
    def table(self) -> pd.DataFrame:
        """The scores with the names of the cases as index."""
        return pd.DataFrame(self.scores, self.cases)

    @cached_property
    def means(self) -> np.ndarray:
        """Mean over the seeds of each case, float (N,)."""
        return self.scores.mean(axis=1)

    @cached_property
    def seed_variance(self) -> tuple[float, float]:
        """Variance over seeds of the mean over the cases, and the part of it due to single cases; NaN for one seed."""
        return _seed_variance(self.scores, self.units)


def method_scores(
    frame: pd.DataFrame, region: str, column: str = "dice", groups: Groups | None = None
) -> dict[str, MethodScores]:
    """Arrange the scores of every method by case and seed.

    Args:
        frame: rows as `score_masks` returns them, of several runs on one dataset.
        region: a key of `REGIONS`.
        column: a ratio.
        groups: case id -> group, if cases are not independent.

    Returns:
        Method -> its scores, in order of appearance. The folds of a seed are averaged for each case. A case that is
        undefined for any training of a method is left out for this method; a method without cases is left out.

    Raises:
        StudyError: as `add_methods`.
    """
    rows = add_methods(frame[frame["region"] == region])
    all_cases = np.unique(rows["case_id"].to_numpy(dtype=str))
    numbers = np.unique(group_names(all_cases, groups), return_inverse=True)[1]
    methods = {}
    for method, part in rows.groupby("method", sort=False):
        means = part.groupby(["case_id", "seed"])[column].mean(skipna=False).astype(float)
        scores = means.unstack("seed").sort_index().dropna()  # noqa: PD010
        if len(scores):
            cases = scores.index.to_numpy(dtype=str)
            units = numbers[np.searchsorted(all_cases, cases)] if groups else None
            methods[str(method)] = MethodScores(cases, scores.to_numpy(), units)
    return methods


def paired_differences(
    frame: pd.DataFrame,
    regions: str | Sequence[str],
    column: str = "dice",
    groups: Groups | None = None,
    planned: Iterable[tuple[str, str]] | None = None,
    margin: float = 0.01,
    same_trainings: bool = False,
) -> pd.DataFrame:
    """Compare every pair of methods by the difference of their means over the cases that both scored.

    All pairs of all regions are one family: the intervals hold together (the probability that all of them contain their
    difference is at least 95 %), and the adjusted p value of a pair is below 0.05 if its interval excludes 0
    (Bonferroni). Assumes independent cases or groups, and seeds with the same variance in every method. An image on
    which one network fails is missing from most small samples; standard errors therefore include one imagined unit.

    Args:
        frame: rows as `score_masks` returns them, of several runs on one dataset.
        regions: one or more keys of `REGIONS`.
        column: a ratio; higher is better.
        groups: case id -> group, if cases are not independent.
        planned: pairs to test, chosen before the scores were seen, in any order; all pairs if None. Pairs that are not
            planned have a difference only.
        margin: largest difference that does not matter, in the unit of the ratio.
        same_trainings: whether the methods are variants of the same trainings (with and without test-time flips), which
            share a seed's effect.

    Returns:
        One row per region and pair, methods in order of appearance. n: number of units (cases, or groups). difference:
        mean of a minus mean of b. se_cases: its usual standard error with the trainings fixed. se, df: its standard
        error with the imagined unit and the seeds, and its degrees of freedom. ci_low, ci_high: simultaneous 95 %
        interval. p: two-sided p value of this pair alone. p_adjusted: p value for the whole family. detectable:
        smallest difference that is significant in the family with a probability of 80 %, if the variance over cases is
        as large as its upper 95 % confidence limit; infinite for pairs that are not tested. better: the method with the
        higher mean, None if equal. equivalent: whether the interval is within the margin (two one-sided tests).
        sources: "cases" (the trainings are fixed) or "cases and seeds". NaN for pairs that are not planned or have
        fewer than 6 units.

    Raises:
        StudyError: as `add_methods`.

    Source:
        Variance of a crossed layout: Searle, Casella, McCulloch (1992), Variance Components, chapters 4 and 5; Gallas
        et al. (2009), Academic Radiology 16, 1462-1471 (readers and cases). Folds: Nadeau, Bengio (2003), Machine
        Learning 52, 239-281; Bouckaert, Frank (2004). Equivalence: Schuirmann (1987).
    """
    names = [regions] if isinstance(regions, str) else regions
    methods = {region: method_scores(frame, region, column, groups) for region in names}
    folds = add_methods(frame[frame["region"].isin(names)])["fold"].nunique()
    return compare_scores(methods, planned, margin, folds, same_trainings)


def compare_scores(
    regions: Mapping[str, Mapping[str, MethodScores]],
    planned: Iterable[tuple[str, str]] | None = None,
    margin: float = 0.01,
    folds: int = 1,
    same_trainings: bool = False,
) -> pd.DataFrame:
    """Compare every pair of methods, see `paired_differences`; regions are region -> method -> scores."""
    planned = None if planned is None else {frozenset(pair) for pair in planned}
    rows = []
    for region, methods in regions.items():
        seeds = pool_seeds(methods.values())
        for a, b in itertools.combinations(methods, 2):
            difference, *spread, n = _difference(methods[a], methods[b], seeds, folds, same_trainings)
            tested = n >= FEWEST_UNITS and (planned is None or frozenset((a, b)) in planned)
            better = None if difference == 0 else a if difference > 0 else b
            sources = CASES_AND_SEEDS if max(methods[a].seeds, methods[b].seeds) > 1 else CASES
            spread = spread if tested else [np.nan] * len(spread)
            rows.append((region, a, b, n, difference, *spread, better, sources))
    if not rows:
        return pd.DataFrame(columns=list(PAIR_COLUMNS))
    names = (
        "region",
        "method_a",
        "method_b",
        "n",
        "difference",
        "se_cases",
        "se",
        "se_limit",
        "df",
        "better",
        "sources",
    )
    table = dict(zip(names, zip(*rows, strict=True), strict=True))
    table |= _test_family(
        *(np.array(table[name], dtype=float) for name in ("difference", "se", "se_limit", "df")), margin
    )
    return pd.DataFrame(table, columns=list(PAIR_COLUMNS))


def variance_components(
    frame: pd.DataFrame, region: str, column: str = "dice", groups: Groups | None = None
) -> pd.DataFrame:
    """Estimate the spread between seeds and the spread between cases, per method.

    Args:
        frame: rows as `score_masks` returns them.
        region: a key of `REGIONS`.
        column: a ratio.
        groups: case id -> group, if cases are not independent.

    Returns:
        One row per method, in order of appearance: method, n (cases defined for all its trainings), seeds, mean,
        sd_seeds (sd over seeds of the mean over cases; NaN for one seed), sd_cases (sd over cases of the mean over
        seeds; NaN for one case), se_cases (standard error of the mean over cases or groups). Each has the unit of the
        ratio. With several folds a seed stands for several trainings, whose mean varies less than that of one.
    """
    rows = []
    for method, part in method_scores(frame, region, column, groups).items():
        spread = part.means.std(ddof=1) if len(part.means) > 1 else np.nan
        row = {"method": method, "n": len(part.means), "seeds": part.seeds, "mean": part.means.mean()}
        row |= {"sd_seeds": np.sqrt(part.seed_variance[0]), "sd_cases": spread}
        rows.append(row | {"se_cases": np.sqrt(_mean_variance(part.means, part.units)[0])})
    return pd.DataFrame(rows, columns=["method", "n", "seeds", "mean", "sd_seeds", "sd_cases", "se_cases"])


def pool_seeds(methods: Iterable[MethodScores]) -> tuple[float, int]:
    """Pool the variance between seeds over methods, since two or three seeds of one method say little.

    Returns:
        Variance over seeds of a method's mean over the cases, and its degrees of freedom; (NaN, 0) without seeds.
    """
    several = [part for part in methods if part.seeds > 1]
    df = sum(part.seeds - 1 for part in several)
    return (sum((part.seeds - 1) * part.seed_variance[0] for part in several) / df, df) if df else (np.nan, 0)


def combine_variances(
    cases: float, units: int, seeds: float = 0.0, seeds_df: float = 0, residual: float = 0.0
) -> tuple[float, float]:
    """Add the variances of cases and seeds, which both contain the residual.

    The variance of the cases is increased as if one unit more, `IMAGINED_DISTANCE` standard deviations from the mean,
    had been in the sample: by the factor 1 + `IMAGINED_DISTANCE`² / units.

    Args:
        cases: variance of a difference of means over cases, with the trainings fixed.
        units: number of independent cases, at least 2.
        seeds: variance of it over seeds, with the cases fixed.
        seeds_df: degrees of freedom of `seeds`; 0 for one seed.
        residual: the part that both contain.

    Returns:
        Variance, at least that of the cases, and its degrees of freedom: the smaller of the two. Satterthwaite's are
        larger, but they rest on the variances as estimated, and two or three seeds estimate theirs poorly: equal
        networks were then called different too often (`benchmarks/measure_statistics.py`).
    """
    cases *= 1 + IMAGINED_DISTANCE**2 / units
    return cases + max(0.0, seeds - residual), min(units - 1, seeds_df) if seeds_df else units - 1


def variance_limit(variance: float, df: float) -> float:
    """Return the upper 95 % confidence limit of the variance of normal values, estimated with `df` degrees of freedom.

    Source:
        Browne (1995), Statistics in Medicine 14, 1933-1940 (sample size from an estimated variance).
    """
    from scipy.special import chdtri

    return variance * df / chdtri(df, 0.95)


def detectable_factor(df: float, comparisons: int = 1, power: float = 0.8) -> float:
    """Return the smallest difference that a test detects with the given power, in standard errors.

    Args:
        df: degrees of freedom of the standard error.
        comparisons: number of comparisons of the family.
        power: probability that the difference is significant in the family.
    """
    from scipy.stats import t

    return t.isf(ALPHA / 2 / comparisons, df) + t.ppf(power, df)


def _difference(
    first: MethodScores, second: MethodScores, seeds: tuple[float, int], folds: int, same_trainings: bool
) -> tuple[float, float, float, float, float, int]:
    """Return the difference of the means, its standard errors, its degrees of freedom, and the number of units.

    The standard errors are those of the cases alone, of all sources, and of all with the upper limit of the variance.
    """
    if np.array_equal(first.cases, second.cases):
        a = b = np.arange(len(first.cases))
    else:
        _, a, b = np.intersect1d(first.cases, second.cases, assume_unique=True, return_indices=True)
    if not len(a):
        return *[np.nan] * 5, 0
    groups = None if first.units is None else first.units[a]
    # Rounded, so that 0.9 - 0.8 and 0.8 - 0.7 are equal.
    differences = (first.means[a] - second.means[b]).round(12)
    cases, units = _mean_variance(differences, groups)
    difference = float(differences.mean())
    if units < 2:
        return difference, *[np.nan] * 4, units
    if same_trainings:
        between, residual = _seed_variance(first.scores[a] - second.scores[b], groups)
        df, shares = first.seeds - 1, [1 / first.seeds]
        residual = residual / first.seeds
    else:
        (between, df), shares = seeds, [1 / first.seeds, 1 / second.seeds]
        residual = sum(part.seed_variance[1] / part.seeds for part in (first, second) if part.seeds > 1)
    sources = ()
    if df:
        # Training sets of folds overlap: the mean of their trainings varies more than that of independent ones.
        overlap = folds / (folds - 1) if folds > 1 else 0
        sources = between * sum(share + overlap for share in shares), df, residual
    total, df = combine_variances(cases, units, *sources)
    limit, _ = combine_variances(variance_limit(cases, units - 1), units, *sources)
    return difference, np.sqrt(cases), np.sqrt(total), np.sqrt(limit), df, units


def _mean_variance(values: np.ndarray, groups: np.ndarray | None) -> tuple[float, int]:
    """Return the variance of a mean over cases in independent groups, and the number of groups."""
    residuals = _sum_groups(values - values.mean(), groups)
    units = len(residuals)
    # The correction is exact for groups of one case.
    return (float((residuals**2).sum() / len(values) ** 2 * units / (units - 1)) if units > 1 else np.nan), units


def _seed_variance(scores: np.ndarray, groups: np.ndarray | None) -> tuple[float, float]:
    """Return the variance over seeds of the mean over cases, and the part of it that is due to the cases."""
    cases, seeds = scores.shape
    if seeds < 2:
        return np.nan, np.nan
    means = scores.mean(axis=0)
    sums = _sum_groups(scores - means - scores.mean(axis=1, keepdims=True) + means.mean(), groups)
    units = len(sums)
    residual = (sums**2).sum() / (seeds - 1) / cases**2 * units / (units - 1) if units > 1 else np.nan
    return float(means.var(ddof=1)), float(residual)


def _sum_groups(values: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Sum the rows of each group of cases."""
    if groups is None:
        return values
    numbers = np.unique(groups, return_inverse=True)[1]
    sums = np.zeros((numbers.max() + 1, *values.shape[1:]))
    np.add.at(sums, numbers, values)
    return sums


def _test_family(
    difference: np.ndarray, se: np.ndarray, se_limit: np.ndarray, df: np.ndarray, margin: float
) -> dict[str, np.ndarray]:
    """Return p values, simultaneous intervals and the result of the equivalence test; se is NaN for untested pairs."""
    from scipy.stats import t

    number = max(int(np.isfinite(se).sum()), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Without any spread a difference is certain, and no difference is none.
        statistic = np.where(difference == 0, 0.0, np.abs(difference) / se)
    p, half = 2 * t.sf(statistic, df), se * t.isf(ALPHA / 2 / number, df)
    low, high = difference - half, difference + half
    return {
        "ci_low": low,
        "ci_high": high,
        "p": p,
        "p_adjusted": np.minimum(1, p * number),
        "detectable": np.where(np.isnan(se), np.inf, se_limit * detectable_factor(df, number)),
        "equivalent": (low > -margin) & (high < margin),
    }
