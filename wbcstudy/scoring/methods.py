"""Runs become methods: the trainings of one encoder with one loss, over all folds and seeds, are one method.

Scores of methods are compared case by case, so the folds are laid end to end (each case is tested once per seed) and
the seeds are averaged for each case before anything is compared. Earlier methods have folds and seeds too, and keep
their name; scores under any other name count as one training.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from wbcstudy.config import split_run_name
from wbcstudy.errors import StudyError

# Case id -> the slide, patient or laboratory that the case shares with others.
Groups = Mapping[str, Hashable]


def add_methods(frame: pd.DataFrame) -> pd.DataFrame:
    """Copy a scores frame and add the columns `method`, `fold` and `seed`, read from the name of the run.

    Args:
        frame: rows as `score_masks` makes them, of any number of runs. A run whose name has no fold and seed is a
            method with fold 0 and seed 0.

    Raises:
        StudyError: one run scored one case and region twice.
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
    """One row per case, one column per method: the method's score of the case, mean over its trainings.

    Args:
        frame: rows as `score_masks` makes them, of any number of runs.
        region: the one to look at.
        column: a ratio, or any numeric column.

    Returns:
        Floats, cases sorted by id, methods in order of appearance. NaN where the score is undefined for *any* of the
        method's trainings (the mean over the others would be of other conditions), or the method did not see the case.
        A method without any defined score is left out, so that it does not take the cases from the others.
        Empty where the frame has no row of the region.

    Raises:
        StudyError: as `add_methods`, or no such column.
    """
    if column not in frame:
        numeric = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name])]
        raise StudyError(
            f"The scores have no column {column!r}.", expected=", ".join(numeric), fix="Use one of these names."
        )
    rows = add_methods(frame[frame["region"] == region])
    order = list(rows["method"].unique())
    means = rows.groupby(["case_id", "method"])[column].mean(skipna=False).astype(float)
    # pivot_table would average the undefined away.
    return means.unstack("method").reindex(columns=order).sort_index().dropna(axis=1, how="all")  # noqa: PD010


def average_groups(table: pd.DataFrame, groups: Groups | None) -> pd.DataFrame:
    """One row per group of cases, the mean of its complete rows, so that rows are independent of one another.

    Args:
        table: one row per case; rows with a NaN are left out.
        groups: case id -> group. A case without one, or with None or NaN, stands for itself. None: every case does.
    """
    table = table.dropna()
    if groups is None or table.empty:
        return table
    return table.groupby(group_names(table.index, groups)).mean()


def group_names(case_ids: Sequence[str], groups: Groups | None) -> np.ndarray:
    """The group of each case, as text; a case without one is a group of its own.

    Args:
        case_ids: N names.
        groups: case id -> group, or None.

    Returns:
        N strings; a group's name never meets that of a case alone.
    """
    found = [(groups or {}).get(case) for case in case_ids]
    return np.array(
        [f"case {case}" if pd.isna(name) else f"group {name}" for case, name in zip(case_ids, found, strict=True)],
        dtype=str,
    )
