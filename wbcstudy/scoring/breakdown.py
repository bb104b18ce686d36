"""Scores by cell type, the worst cases, and the methods that are worth their cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from wbcstudy.scoring.case_tables import Groups, case_table, group_names
from wbcstudy.scoring.intervals import mean_interval
from wbcstudy.scoring.selection import TABLE_REGIONS


def scores_by_cell_type(
    frame: pd.DataFrame, region: str, column: str = "dice", groups: Groups | None = None
) -> pd.DataFrame:
    """Average a ratio over the cases of each cell type, per method, with an interval.

    The intervals describe each type; they do not test one type against another. They are wide for types with few
    cases. Assumptions as in `mean_interval`.

    Args:
        frame: rows as `score_masks` returns them.
        region: a key of `REGIONS`.
        column: a ratio.
        groups: case id -> group, whose cases are one unit.

    Returns:
        Rows: method (in order of appearance), cell_type (sorted; missing last), n (cases with a defined value), mean,
        ci_low, ci_high. The mean is NaN for n = 0, the interval for fewer than `MIN_UNITS` cases or groups.
    """
    table = case_table(frame, region, column)
    types = frame.drop_duplicates("case_id").set_index("case_id")["cell_type"].reindex(table.index)
    rows = []
    for method in table:
        for cell_type, values in table[method].groupby(types.to_numpy(dtype=object), dropna=False):
            names = None if groups is None else group_names(values.index, groups)
            interval = mean_interval(values, names)
            # pandas uses None or NaN for a missing type, depending on the dtype; here it is always None.
            name = None if pd.isna(cell_type) else cell_type
            rows.append((method, name, interval.cases, interval.estimate, interval.low, interval.high))
    return pd.DataFrame(rows, columns=["method", "cell_type", "n", "mean", "ci_low", "ci_high"])


def worst_cases(
    frame: pd.DataFrame, n: int = 10, column: str = "dice", regions: Sequence[str] = TABLE_REGIONS
) -> pd.DataFrame:
    """Return the cases with the lowest mean over regions and runs, worst first.

    Args:
        frame: rows as `score_masks` returns them, of the runs to average.
        n: maximum number of cases.
        column: a ratio.
        regions: regions to average; an undefined region does not enter its case's mean.

    Returns:
        case_id, cell_type, mean, then one column per region (mean over the runs). Ties are sorted by case id. Cases
        without any defined value are left out.
    """
    rows = frame[frame["region"].isin(regions)]
    means = rows.groupby(["case_id", "region"])[column].mean().unstack("region")  # noqa: PD010
    means = means.reindex(columns=list(regions)).astype(float).sort_index()
    types = rows.drop_duplicates("case_id").set_index("case_id")["cell_type"]
    table = means.assign(mean=means.mean(axis=1), cell_type=types.reindex(means.index)).dropna(subset=["mean"])
    table = table.sort_values("mean", kind="stable").head(n).reset_index()
    return table[["case_id", "cell_type", "mean", *regions]].rename_axis(columns=None)


def pareto_front(cost: ArrayLike, quality: ArrayLike) -> np.ndarray:
    """Mark the methods that no other method dominates (at most the cost, at least the quality, one strictly better).

    Args:
        cost: float (N,), lower is better (seconds, parameters).
        quality: float (N,), higher is better (Dice).

    Returns:
        bool (N,). Equal points share the result. A point with a NaN is never on the front and dominates no other.
    """
    cost, quality = np.asarray(cost, dtype=float), np.asarray(quality, dtype=float)
    # [i, j]: j dominates i. Comparisons with NaN are false.
    as_good = (cost[None, :] <= cost[:, None]) & (quality[None, :] >= quality[:, None])
    better = (cost[None, :] < cost[:, None]) | (quality[None, :] > quality[:, None])
    return ~(as_good & better).any(axis=1) & ~np.isnan(cost) & ~np.isnan(quality)
