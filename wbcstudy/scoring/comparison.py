"""Compare methods on the same cases: which one leads, which differ from it, and what differences could be seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from wbcstudy.scoring.evaluation import pool_scores
from wbcstudy.scoring.intervals import bootstrap_difference, bootstrap_interval
from wbcstudy.scoring.methods import Groups, add_methods, case_table
from wbcstudy.scoring.power import smallest_detectable_difference
from wbcstudy.scoring.statistics import paired_differences, unit_differences, variance_components

ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """What the paired tests say of the methods, as data; `reporting.text.certainty` puts it into words.

    Args:
        region: that was compared.
        order: methods by mean over the cases that all of them scored, best first.
        leader: the method to look at first: beaten by the fewest others, then the highest mean. None with no method.
        beaten: the methods that the leader is better than.
        undecided: those that cannot be told apart from it, in order.
        all_undecided: whether no two of the leader and the undecided can be told apart either.
        cases: images that all methods scored.
        units: independent groups among them; as `cases` where no groups were given.
        detectable: two methods -> the smallest difference between them that would be found in four studies of five,
            at the strictest step of Holm's procedure; infinite with too few cases.
        trainings: seeds per method, at the least.
        most_trainings: the same at the most.
        sd_seeds: the largest seed-to-seed sd of the mean (over the images of all folds) of the compared methods; NaN
            where none has several seeds.
        pairs: the rows of `paired_differences`.
    """

    region: str
    order: tuple[str, ...]
    leader: str | None
    beaten: tuple[str, ...]
    undecided: tuple[str, ...]
    all_undecided: bool
    cases: int
    units: int
    detectable: Mapping[frozenset[str], float] = field(repr=False)
    trainings: int
    most_trainings: int
    sd_seeds: float
    pairs: pd.DataFrame = field(repr=False)

    def detectable_from(self, method: str, others: Iterable[str]) -> tuple[float, float]:
        """The least and the most of `detectable` between a method and each of others; NaN without others."""
        values = [self.detectable[frozenset((method, other))] for other in others]
        return min(values, default=np.nan), max(values, default=np.nan)

    @property
    def seen(self) -> tuple[float, float]:
        """`detectable_from` the leader: over the undecided methods, or over all others if there are none."""
        return self.detectable_from(self.leader, self.undecided or self.beaten)

    def lead_over(self, method: str) -> dict[str, float]:
        """The leader beside another method: behind (leader minus method, typical), ci_low, ci_high, p_holm.

        Args:
            method: another than the leader.
        """
        row = pair_row(self.pairs, self.leader, method)
        return {"behind": row["difference"]} | {name: row[name] for name in ("ci_low", "ci_high", "p_holm")}


def compare_methods(
    frame: pd.DataFrame,
    region: str,
    column: str = "dice",
    alpha: float = 0.05,
    groups: Groups | None = None,
) -> Comparison:
    """Find the leading method and those that cannot be told apart from it.

    Goes by Wilcoxon's test of every pair with Holm's correction, at `alpha` over all pairs of the region, and by the
    rank sums of the test. Assumptions as in `statistics.paired_differences`. The leader was chosen by the
    same scores, so its own score is a little too high; the tests are not touched by that, since they cover all pairs.

    Args:
        frame: rows as `score_masks` makes them, of the runs to compare, on one dataset.
        region: the one to compare.
        column: a ratio where higher is better.
        alpha: level over all pairs.
        groups: case id -> group, where cases are not independent.

    Returns:
        See `Comparison`.

    Raises:
        StudyError: as `paired_differences`.
    """
    table = case_table(frame, region, column)
    complete = table.dropna()
    pairs = paired_differences(frame, region, column, groups)
    means = complete.mean().reindex(table.columns)
    order = tuple(means.sort_values(ascending=False, kind="stable").index)
    wins = {_winner_first(row) for row in pairs.itertuples() if row.p_holm < alpha}
    losses = {method: sum(loser == method for _, loser in wins) for method in order}
    # min takes the first of equals: the one with the highest mean.
    leader = min(order, key=losses.get) if order else None
    others = [method for method in order if method != leader]
    beaten = tuple(method for method in others if (leader, method) in wins)
    undecided = tuple(method for method in others if not {(leader, method), (method, leader)} & wins)
    together = {leader, *undecided}
    units = len(unit_differences(complete, leader, leader, groups)) if order else 0
    seeds = add_methods(frame[frame["region"] == region]).groupby("method")["seed"].nunique()
    detectable = {
        frozenset((row.method_a, row.method_b)): smallest_detectable_difference(
            unit_differences(table, row.method_a, row.method_b, groups), alpha=alpha / len(pairs)
        )
        for row in pairs.itertuples()
    }
    spread = variance_components(frame, region, column, groups)["sd_seeds"]
    return Comparison(
        region=region,
        order=order,
        leader=leader,
        beaten=beaten,
        undecided=undecided,
        all_undecided=not any(a in together and b in together for a, b in wins),
        cases=len(complete),
        units=units,
        detectable=detectable,
        trainings=int(seeds.min()) if len(seeds) else 0,
        most_trainings=int(seeds.max()) if len(seeds) else 0,
        sd_seeds=float(spread.max()) if spread.notna().any() else np.nan,
        pairs=pairs,
    )


def _winner_first(row) -> tuple[str, str]:
    return (row.method_a, row.method_b) if row.better == row.method_a else (row.method_b, row.method_a)


def pair_row(pairs: pd.DataFrame, leader: str, other: str) -> dict:
    """The row of a pair, as leader minus other."""
    for row in pairs.to_dict("records"):
        if (row["method_a"], row["method_b"]) == (leader, other):
            return row | {"other": other}
        if (row["method_a"], row["method_b"]) == (other, leader):
            # 0 - x, since -x would make -0.000 of nothing.
            ends = {"ci_low": 0 - row["ci_high"], "ci_high": 0 - row["ci_low"]}
            return row | ends | {"difference": 0 - row["difference"], "other": other}
    raise KeyError((leader, other))


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
    """Every method on its own test images and on the images of another dataset.

    On its own dataset each case is scored by the one fold that tests it; on the other every network (all folds and
    seeds) scores every case, and a case's scores are averaged first. The intervals are over cases (groups where given)
    and hold the networks fixed; that of the drop draws both sets of cases, independently. A drop is that of the whole
    set-up: stain, camera, magnification, the kinds of cells and the expert's habits.

    Args:
        own: rows as `score_masks` makes them, of the runs' own test cases.
        other: the same of these runs on the other dataset.
        regions: to compare, each by itself.
        groups: case id -> group of the own dataset.
        other_groups: the same of the other one.

    Returns:
        One row per region and method that both frames have: `TRANSFER_COLUMNS`. networks: how many were scored there;
        own_*: mean Dice over its own test cases with interval; dice: pooled over the other's pixels, mean over the
        networks; dice_mean, ci_*: mean over the other's cases with interval; drop: own_mean minus dice_mean.
    """
    rows = []
    for region in regions if len(own) and len(other) else ():
        mine, theirs = case_table(own, region), case_table(other, region)
        part = add_methods(other[other["region"] == region])
        pooled = pool_scores(part, by=("method", "run")).groupby("method")["dice"].agg(["mean", "count"])
        for method in [name for name in mine.columns if name in theirs.columns]:
            ours, foreign = mine[method].dropna(), theirs[method].dropna()
            units, foreign_units = _units(ours, groups), _units(foreign, other_groups)
            before, after = bootstrap_interval(ours, units), bootstrap_interval(foreign, foreign_units)
            drop = bootstrap_difference(ours, foreign, units, foreign_units)
            about = (region, method, int(pooled.loc[method, "count"]))
            here = (before.cases, before.estimate, before.low, before.high)
            there = (after.cases, pooled.loc[method, "mean"], after.estimate, after.low, after.high)
            rows.append((*about, *here, *there, drop.estimate, drop.low, drop.high))
    return pd.DataFrame(rows, columns=list(TRANSFER_COLUMNS))


def _units(values: pd.Series, groups: Groups | None) -> np.ndarray | None:
    return None if not groups else np.array([groups.get(case) for case in values.index], dtype=object)
