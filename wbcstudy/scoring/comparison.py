"""Compare methods on the same cases: the leader, the significant differences, and what differences are detectable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.scoring.case_tables import Groups, add_methods, case_table, group_names
from wbcstudy.scoring.evaluation import pool_scores
from wbcstudy.scoring.intervals import mean_interval, subtract_intervals
from wbcstudy.scoring.statistics import ALPHA, method_scores, paired_differences, pool_seeds


class Position(NamedTuple):
    """How the other methods compare with one.

    Args:
        better: methods that are significantly better.
        worse: methods that are significantly worse.
        undecided: methods without a significant difference.
        equivalent: methods of any of these kinds whose difference is within the margin.
    """

    better: tuple[str, ...]
    worse: tuple[str, ...]
    undecided: tuple[str, ...]
    equivalent: tuple[str, ...] = ()

    @property
    def others(self) -> int:
        """Number of other methods."""
        return len(self.better) + len(self.worse) + len(self.undecided)


@dataclass(frozen=True)
class Comparison:
    """Result of the paired comparisons of one region.

    Args:
        region: region that was compared.
        order: methods by mean over the cases that all of them scored, best first.
        leader: the method that the fewest others beat; of several, the one with the highest mean. None without methods.
        beaten: methods that the leader is significantly better than, in order.
        undecided: methods without a significant difference from the leader, in order.
        all_undecided: whether the undecided do not differ significantly among themselves either.
        cases: number of images that all methods scored.
        units: number of independent groups among them; equal to `cases` without groups.
        fewest_seeds: lowest number of seeds of a method.
        most_seeds: highest number of seeds of a method.
        sd_seeds: seed-to-seed standard deviation of a method's mean over the images, pooled over the methods; NaN if no
            method has several seeds.
        margin: largest difference that does not matter.
        family: number of comparisons (of all regions together) that share the error rate of 5 %.
        pairs: rows of `paired_differences` of this region.
    """

    region: str
    order: tuple[str, ...]
    leader: str | None
    beaten: tuple[str, ...]
    undecided: tuple[str, ...]
    all_undecided: bool
    cases: int
    units: int
    fewest_seeds: int
    most_seeds: int
    sd_seeds: float
    margin: float
    family: int
    pairs: pd.DataFrame = field(repr=False)

    @property
    def tested(self) -> bool:
        """Whether there were enough cases to test any pair."""
        return bool(self.pairs["p_adjusted"].notna().any())

    @property
    def trainings_fixed(self) -> bool:
        """Whether every method has one seed, so that the result is about these trained networks only."""
        return self.most_seeds <= 1

    def detectable_from(self, method: str, others: Iterable[str]) -> tuple[float, float]:
        """Return the smallest difference that is significant in four of five studies: lowest and highest over others.

        Infinite for pairs that were not tested; NaN without others.
        """
        values = [self.difference(method, other)["detectable"] for other in others if other != method]
        return min(values, default=np.nan), max(values, default=np.nan)

    def difference(self, method: str, other: str) -> dict:
        """Return the row of a pair as method minus other: difference, ci_low, ci_high, p_adjusted and more."""
        for row in self.pairs.to_dict("records"):
            if (row["method_a"], row["method_b"]) == (method, other):
                return row
            if (row["method_a"], row["method_b"]) == (other, method):
                # 0 - x, since -x would turn 0 into -0.
                turned = {"method_a": method, "method_b": other, "difference": 0 - row["difference"]}
                return row | turned | {"ci_low": 0 - row["ci_high"], "ci_high": 0 - row["ci_low"]}
        raise KeyError((method, other))

    def position(self, method: str) -> Position:
        """Return how the others compare with a method."""
        return find_position(self.pairs, method)


def compare_methods(frame: pd.DataFrame, region: str, **options) -> Comparison:
    """Compare all methods in one region; the options are those of `compare_regions`."""
    return compare_regions(frame, (region,), **options)[region]


def compare_regions(
    frame: pd.DataFrame,
    regions: Sequence[str],
    column: str = "dice",
    groups: Groups | None = None,
    planned: Iterable[tuple[str, str]] | None = None,
    margin: float = 0.01,
) -> dict[str, Comparison]:
    """Find the leading method of each region and those without a significant difference from it.

    All pairs of all regions are one family with an error rate of 5 %; see `statistics.paired_differences` for the tests
    and their assumptions. The leader was chosen by the same scores, so its own score is slightly too high; the tests
    are unaffected, since they cover all pairs.

    Args:
        frame: rows as `score_masks` makes them, of the runs to compare, on one dataset.
        regions: regions to compare.
        column: a ratio where higher is better.
        groups: case id -> group, where cases are not independent.
        planned: pairs to test, chosen before the scores were seen; all pairs if None.
        margin: largest difference that does not matter, for equivalence.

    Raises:
        StudyError: as `paired_differences`.
    """
    pairs = paired_differences(frame, regions, column, groups, planned, margin)
    family = int(pairs["p"].notna().sum())
    return {
        region: _compare_region(frame, region, part.reset_index(drop=True), column, groups, margin, family)
        for region, part in ((region, pairs[pairs["region"] == region]) for region in regions)
    }


def _compare_region(
    frame: pd.DataFrame,
    region: str,
    pairs: pd.DataFrame,
    column: str,
    groups: Groups | None,
    margin: float,
    family: int,
) -> Comparison:
    methods = method_scores(frame, region, column, groups)
    names = list(methods)
    complete = pd.DataFrame({name: pd.Series(part.means, part.cases) for name, part in methods.items()}).dropna()
    means = complete.mean().reindex(names)
    order = tuple(means.sort_values(ascending=False, kind="stable").index)
    wins = {_winner_first(row) for row in pairs.itertuples() if row.p_adjusted < ALPHA}
    losses = {method: sum(loser == method for _, loser in wins) for method in order}
    # min takes the first of several: the one with the highest mean.
    leader = min(order, key=losses.get) if order else None
    others = [method for method in order if method != leader]
    undecided = tuple(method for method in others if not {(leader, method), (method, leader)} & wins)
    together = {leader, *undecided}
    seeds = [part.seeds for part in methods.values()]
    return Comparison(
        region=region,
        order=order,
        leader=leader,
        beaten=tuple(method for method in others if (leader, method) in wins),
        undecided=undecided,
        all_undecided=not any(a in together and b in together for a, b in wins),
        cases=len(complete),
        units=len(set(group_names(complete.index, groups))),
        fewest_seeds=min(seeds, default=0),
        most_seeds=max(seeds, default=0),
        sd_seeds=float(np.sqrt(pool_seeds(methods.values())[0])),
        margin=margin,
        family=family,
        pairs=pairs,
    )


def find_position(pairs: pd.DataFrame, method: str) -> Position:
    """Return how the others compare with a method, from rows of `paired_differences`."""
    better, worse, undecided, equivalent = [], [], [], []
    for row in pairs.itertuples():
        if method in (row.method_a, row.method_b):
            other = row.method_b if row.method_a == method else row.method_a
            (undecided if not row.p_adjusted < ALPHA else worse if row.better == method else better).append(other)
            if row.equivalent:
                equivalent.append(other)
    return Position(tuple(better), tuple(worse), tuple(undecided), tuple(equivalent))


def _winner_first(row) -> tuple[str, str]:
    return (row.method_a, row.method_b) if row.better == row.method_a else (row.method_b, row.method_a)


TRANSFER_COLUMNS = (
    *("region", "method", "networks", "own_n", "own_mean", "own_ci_low", "own_ci_high"),
    *("n", "dice", "dice_mean", "ci_low", "ci_high", "drop", "drop_ci_low", "drop_ci_high"),
)


def compare_transfer(
    own: pd.DataFrame,
    other: pd.DataFrame,
    regions: Sequence[str] = ("nucleus", "cytoplasm"),
    groups: Groups | None = None,
    other_groups: Groups | None = None,
) -> pd.DataFrame:
    """Compare the scores of each method on the study's test images with those on another dataset.

    On its own dataset each case is scored by the one fold that tests it. On the other dataset every network (all folds
    and seeds) scores every case, and a case's scores are averaged first. Intervals are over cases (or groups) with the
    networks fixed; both sets of cases are independent for the interval of the drop. A drop may come from the stain,
    the camera, the magnification, the types of cells or the expert.

    Args:
        own: rows as `score_masks` makes them, of the runs' own test cases.
        other: rows of the same runs on the other dataset.
        regions: regions to compare.
        groups: case id -> group of the own dataset.
        other_groups: case id -> group of the other dataset.

    Returns:
        One row per region and method that both frames have, with `TRANSFER_COLUMNS`. networks: number of networks
        scored there; own_*: mean Dice over the own test cases with interval; dice: pooled over the other dataset's
        pixels, mean over the networks; dice_mean, ci_*: mean over the other dataset's cases with interval; drop:
        own_mean minus dice_mean.
    """
    rows = []
    for region in regions if len(own) and len(other) else ():
        mine, theirs = case_table(own, region), case_table(other, region)
        part = add_methods(other[other["region"] == region])
        pooled = pool_scores(part, by=("method", "run")).groupby("method")["dice"].agg(["mean", "count"])
        for method in [name for name in mine.columns if name in theirs.columns]:
            ours, foreign = mine[method].dropna(), theirs[method].dropna()
            units, foreign_units = _units(ours, groups), _units(foreign, other_groups)
            before, after = mean_interval(ours, units), mean_interval(foreign, foreign_units)
            drop = subtract_intervals(before, after)
            row = (region, method, int(pooled.loc[method, "count"]))
            here = (before.cases, before.estimate, before.low, before.high)
            there = (after.cases, pooled.loc[method, "mean"], after.estimate, after.low, after.high)
            rows.append((*row, *here, *there, drop.estimate, drop.low, drop.high))
    return pd.DataFrame(rows, columns=list(TRANSFER_COLUMNS))


def _units(values: pd.Series, groups: Groups | None) -> np.ndarray | None:
    return None if not groups else np.array([groups.get(case) for case in values.index], dtype=object)
