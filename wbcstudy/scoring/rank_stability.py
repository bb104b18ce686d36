"""How stable the order of methods is: ranks with bootstrap intervals, and the probability that a method is not best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wbcstudy.scoring.case_tables import Groups, group_names
from wbcstudy.scoring.intervals import MIN_UNITS
from wbcstudy.scoring.statistics import combine_variances, method_scores

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class RankStability:
    """Mean scores of all methods in bootstrap resamples.

    Args:
        methods: the methods, one per column of `means`.
        means: region -> float (resamples, methods): mean over the resampled cases and seeds.
    """

    methods: tuple[str, ...]
    means: dict[str, np.ndarray]

    def rank_intervals(self, region: str) -> pd.DataFrame:
        """Return the 95 % interval of each method's rank by its mean in a region: rank_low and rank_high; 1 is best."""
        from scipy.stats import rankdata

        tail = (1 - _CONFIDENCE) / 2
        ranks = rankdata(-self.means[region], axis=1, method="min")
        ends = np.quantile(ranks, [tail, 1 - tail], axis=0, method="nearest")
        return pd.DataFrame(ends.T.astype(int), index=list(self.methods), columns=["rank_low", "rank_high"])

    def probability_not_best(self, method: str) -> float:
        """Return the share of resamples in which another method has a higher mean over the regions."""
        scores = np.mean(list(self.means.values()), axis=0)
        own = scores[:, self.methods.index(method)]
        return float((scores.max(axis=1) > own + 1e-12).mean())


def resample_ranks(
    frame: pd.DataFrame,
    regions: Sequence[str],
    column: str = "dice",
    groups: Groups | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> RankStability | None:
    """Resample the cases, which all methods share, and the seeds of each method, with replacement.

    With one seed the trained networks are fixed. Two or three seeds vary too little in resamples, so that ranks look
    more certain than they are.

    Args:
        frame: rows as `score_masks` makes them, of several runs on one dataset.
        regions: regions to rank in.
        column: a ratio where higher is better.
        groups: case id -> group; whole groups are drawn.
        resamples: number of resamples.
        seed: seed of the resampling.

    Returns:
        None with fewer than two methods, or fewer than `MIN_UNITS` cases or groups that all methods scored in all
        regions: resamples of so few vary too little.

    Source:
        Hall, Miller (2009), Annals of Statistics 37, 3929-3959; Wiesenfarth et al. (2021), Scientific Reports 11, 2369
        (challengeR); Christodoulou et al. (2025), arXiv 2505.04720 (probability of a false claim).
    """
    scores = {}
    for region in regions:
        scores[region] = {name: part.table for name, part in method_scores(frame, region, column).items()}
    methods = [name for name in scores[regions[0]] if all(name in by_method for by_method in scores.values())]
    if len(methods) < 2:
        return None
    cases = sorted(set.intersection(*(set(by_method[name].index) for by_method in scores.values() for name in methods)))
    numbers = np.unique(group_names(cases, groups), return_inverse=True)[1] if cases else np.array([], dtype=int)
    units = len(set(numbers))
    if units < MIN_UNITS:
        return None
    means = {
        # The same generator: cases and trainings are the same in all regions.
        region: resample_means(
            [by_method[name].loc[cases].to_numpy() for name in methods],
            numbers,
            resamples,
            np.random.default_rng(seed),
        )
        for region, by_method in scores.items()
    }
    return RankStability(tuple(methods), means)


def resample_means(
    scores: Sequence[np.ndarray], units: np.ndarray, resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """Compute the mean score of each method in resamples of the cases and seeds.

    Args:
        scores: per method, float (cases, seeds).
        units: number of the independent unit of each case, 0 to the number of units - 1, int (cases,).
        resamples: number of resamples.
        generator: source of the draws.

    Returns:
        Means, float (resamples, methods).
    """
    number = units.max() + 1
    drawn = generator.multinomial(number, np.full(number, 1 / number), size=resamples)[:, units].astype(float)
    weights = drawn / drawn.sum(axis=1, keepdims=True)
    # A bootstrap has the variance (number - 1) / number^2. One unit more is imagined, as in the tests.
    variance, _ = combine_variances(1 / number, number)
    widen = np.sqrt(variance * number**2 / (number - 1))
    means = np.empty((resamples, len(scores)))
    for index, table in enumerate(scores):
        seeds = table.shape[1]
        share = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
        resampled = ((weights @ table) * share).sum(axis=1)
        cases = weights @ table.mean(axis=1)
        means[:, index] = resampled + (widen - 1) * (cases - table.mean())
    return means
