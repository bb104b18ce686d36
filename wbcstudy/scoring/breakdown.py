"""Scores by cell type, the cases that went worst, and which methods are worth their cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from wbcstudy.errors import StudyError
from wbcstudy.scoring.intervals import bootstrap_interval
from wbcstudy.scoring.methods import Groups, case_table, group_names

# The regions whose mean says how well a case went; the cell is made of the two.
CASE_REGIONS = ("nucleus", "cytoplasm")


def scores_by_cell_type(
    frame: pd.DataFrame,
    region: str,
    column: str = "dice",
    groups: Groups | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean of a ratio over the cases of each cell type, per method, with a bootstrap interval.

    Types with few cases have wide intervals or none; the intervals are for looking, not for testing types against one
    another. Assumptions as in `bootstrap_interval`.

    Args:
        frame: rows as `score_masks` makes them.
        region: the one to look at.
        column: a ratio.
        groups: case id -> group, for a cluster bootstrap.
        confidence: coverage of each interval.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        Rows: method (in order of appearance), cell_type (sorted; missing last), n (cases with a defined value), mean,
        ci_low, ci_high. The mean is NaN for n = 0, the interval for fewer than two cases or groups.
    """
    table = case_table(frame, region, column)
    types = frame.drop_duplicates("case_id").set_index("case_id")["cell_type"].reindex(table.index)
    rows = []
    for method in table:
        for cell_type, values in table[method].groupby(types.to_numpy(dtype=object), dropna=False):
            names = None if groups is None else group_names(values.index, groups)
            found = bootstrap_interval(values, names, np.mean, confidence, resamples, seed)
            # As None and NaN differ among the pandas dtypes, a missing type is always None here.
            known = None if pd.isna(cell_type) else cell_type
            rows.append((method, known, found.cases, found.estimate, found.low, found.high))
    return pd.DataFrame(rows, columns=["method", "cell_type", "n", "mean", "ci_low", "ci_high"])


def worst_cases(
    frame: pd.DataFrame, n: int = 10, column: str = "dice", regions: Sequence[str] = CASE_REGIONS
) -> pd.DataFrame:
    """The cases with the lowest mean over regions (and over the runs in the frame), worst first.

    Args:
        frame: rows as `score_masks` makes them; choose the runs before.
        n: how many cases at most.
        column: a ratio.
        regions: whose mean is taken; an undefined region is left out of its case's mean.

    Returns:
        case_id, cell_type, mean, then one column per region (mean over the runs). Ties stand by case id; cases without
        any defined value are no worst cases and are left out.
    """
    rows = frame[frame["region"].isin(regions)]
    means = rows.groupby(["case_id", "region"])[column].mean().unstack("region")  # noqa: PD010
    means = means.reindex(columns=list(regions)).astype(float).sort_index()
    types = rows.drop_duplicates("case_id").set_index("case_id")["cell_type"]
    table = means.assign(mean=means.mean(axis=1), cell_type=types.reindex(means.index)).dropna(subset=["mean"])
    table = table.sort_values("mean", kind="stable").head(n).reset_index()
    return table[["case_id", "cell_type", "mean", *regions]].rename_axis(columns=None)


def pareto_front(cost: ArrayLike, quality: ArrayLike) -> np.ndarray:
    """Which methods no other beats on both sides: cheaper or as cheap, and better or as good, one of them strictly.

    Args:
        cost: N numbers, lower is better (seconds, parameters).
        quality: N numbers, higher is better (Dice).

    Returns:
        bool (N,). Equal points stand or fall together; a point with a NaN is never on the front nor beats another.

    Raises:
        StudyError: not as many costs as qualities.
    """
    cost, quality = np.asarray(cost, dtype=float), np.asarray(quality, dtype=float)
    if cost.shape != quality.shape or cost.ndim != 1:
        raise StudyError(
            f"Costs of shape {cost.shape}, qualities of shape {quality.shape}.",
            expected="one of each per method",
            fix="Pass two columns of one table.",
        )
    # [i, j]: j beats i. Comparisons with NaN are false.
    as_good = (cost[None, :] <= cost[:, None]) & (quality[None, :] >= quality[:, None])
    better = (cost[None, :] < cost[:, None]) | (quality[None, :] > quality[:, None])
    return ~(as_good & better).any(axis=1) & ~np.isnan(cost) & ~np.isnan(quality)
