"""How stable the order of methods is: ranks with bootstrap intervals, and the probability that a method is not best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wbcstudy.scoring.case_tables import Groups, group_names
from wbcstudy.scoring.intervals import MIN_UNITS
from wbcstudy.scoring.statistics import method_scores

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
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(units, np.full(units, 1 / units), size=resamples)[:, numbers].astype(float)
    weights = drawn / drawn.sum(axis=1, keepdims=True)
    means = {region: np.empty((resamples, len(methods))) for region in regions}
    for index, name in enumerate(methods):
        number = scores[regions[0]][name].shape[1]
        # The seeds of a method are the same trainings in all regions.
        share = generator.multinomial(number, np.full(number, 1 / number), size=resamples) / number
        for region in regions:
            table = scores[region][name].loc[cases].to_numpy()
            means[region][:, index] = ((weights @ table) * share).sum(axis=1)
    return RankStability(tuple(methods), means)
