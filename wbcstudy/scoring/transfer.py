"""How much a network loses on another laboratory's images: its own test images beside those of another dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from wbcstudy.scoring.evaluation import pool_scores
from wbcstudy.scoring.intervals import bootstrap_difference, bootstrap_interval
from wbcstudy.scoring.methods import Groups, add_methods, case_table

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
