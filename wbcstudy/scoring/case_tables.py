"""Make tables of scores by case and method: all trainings of one encoder with one loss are one method.

Methods are compared case by case. The folds are concatenated (each case is tested once per seed), and the seeds are
averaged for each case before the comparison. Earlier methods have folds and seeds too, and keep their name. Any other
run name counts as one training.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from wbcstudy.config import split_run_name
from wbcstudy.errors import StudyError

# Case id -> slide, patient or laboratory of the case.
Groups = Mapping[str, Hashable]


def add_methods(frame: pd.DataFrame) -> pd.DataFrame:
    """Copy a scores frame and add the columns `method`, `fold` and `seed`, read from the name of the run.

    Args:
        frame: rows as `score_masks` returns them, of any number of runs. A run whose name has no fold and seed is a
            method with fold 0 and seed 0.

    Raises:
        StudyError: two scores of one run, case and region.
    """
    frame = frame.reset_index(drop=True)
    twice = frame.duplicated(["run", "case_id", "region"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise StudyError(
            f"Run {row['run']} has more than one score of case {row['case_id']}, {row['region']}.",
            expected="one row per run, case and region",
            fix="Pass the scores of one dataset, each scores.csv once.",
        )
    parts = {run: split_run_name(run) or (run, 0, 0) for run in frame["run"].unique()}
    columns = pd.DataFrame([parts[run] for run in frame["run"]], columns=["method", "fold", "seed"])
    return frame.drop(columns=columns.columns, errors="ignore").join(columns)


def case_table(frame: pd.DataFrame, region: str, column: str = "dice") -> pd.DataFrame:
    """Make a table with one row per case and one column per method: the mean score over the method's trainings.

    Args:
        frame: rows as `score_masks` returns them, of any number of runs.
        region: a key of `REGIONS`.
        column: a ratio, or any numeric column.

    Returns:
        Floats, cases sorted by id, methods in order of appearance. NaN if the score is undefined for *any* training of
        the method (a mean over fewer trainings would not be comparable), or if the method did not score the case.
        Methods without any defined score are left out, so that the other methods keep their cases. Empty if the frame
        has no row of the region.

    Raises:
        StudyError: as `add_methods`.
    """
    rows = add_methods(frame[frame["region"] == region])
    order = list(rows["method"].unique())
    means = rows.groupby(["case_id", "method"])[column].mean(skipna=False).astype(float)
    # pivot_table would skip the undefined scores.
    return means.unstack("method").reindex(columns=order).sort_index().dropna(axis=1, how="all")  # noqa: PD010


def average_groups(table: pd.DataFrame, groups: Groups | None) -> pd.DataFrame:
    """Average the rows without NaN of each group of cases (case id -> group), so that the result's are independent.

    A case without a group, or with None or NaN, is a group by itself.
    """
    table = table.dropna()
    if groups is None or table.empty:
        return table
    return table.groupby(group_names(table.index, groups)).mean()


def group_names(case_ids: Sequence[str], groups: Groups | None) -> np.ndarray:
    """Return the group of each case, str (N,): "group <name>", or "case <id>" for a case without a group."""
    names = ((case, (groups or {}).get(case)) for case in case_ids)
    return np.array([f"case {case}" if pd.isna(name) else f"group {name}" for case, name in names], dtype=str)
