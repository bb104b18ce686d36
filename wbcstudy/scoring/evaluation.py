"""Scores of cases and of runs.

There are always two summaries. *Pooled* (`dice`): counts are summed over the images first, as in the paper, so large
cells weigh more. *Mean over images* (`dice_mean`): every image has the same weight, and the mean has an interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wbcstudy.data.arrays import Arrays
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, escape_cells
from wbcstudy.labels import REGIONS
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.results import SCORE_COLUMNS
from wbcstudy.scoring.boundary import score_boundaries
from wbcstudy.scoring.metrics import COUNTS, RATIOS, add_ratios, count_regions


def score_masks(
    run: str,
    case_ids: Sequence[str],
    cell_types: Sequence[str | None],
    references: Iterable[np.ndarray],
    predictions: Iterable[np.ndarray],
) -> pd.DataFrame:
    """Score predicted masks against the experts' masks, one case at a time.

    Args:
        run: name of the run or method that made the predictions.
        case_ids: one per case.
        cell_types: one per case; None if unknown.
        references: the experts' masks, integer labels, (H, W); cases may differ in size. Read one by one.
        predictions: the model's masks in the same order, each with the shape of its reference.

    Returns:
        One row per case and region (in the order of `REGIONS`): `SCORE_COLUMNS`, then the ratios, which are NaN if
        undefined. No rows for no cases. A row depends on its own case only, not on the order or the batch.

    Raises:
        StudyError: masks that cannot be compared; the message has the case's id.
        ValueError: the four arguments differ in length.
    """
    rows: list[dict[str, Any]] = []
    for case_id, cell_type, reference, prediction in zip(case_ids, cell_types, references, predictions, strict=True):
        try:
            counts = count_regions(reference, prediction)
        except StudyError as error:
            raise StudyError(f"Case {case_id}: {error.message}", expected=error.expected, fix=error.fix) from None
        case = {"run": run, "case_id": str(case_id), "cell_type": cell_type or None}
        case |= dict(zip(("height_px", "width_px"), reference.shape, strict=True))
        rows += [case | {"region": region} | counts[region]._asdict() for region in REGIONS]
    frame = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    text = dict.fromkeys(("run", "case_id", "cell_type", "region"), "str")
    return add_ratios(frame.astype(text | dict.fromkeys((*COUNTS, "height_px", "width_px"), "int64")))


def score_seeds(name: str, cases: Arrays, predictions: Mapping[int, Sequence[np.ndarray]]) -> pd.DataFrame:
    """Score several seeds of one method with `score_masks`, in one frame; the runs are named `<name>__seed<s>`.

    `predictions` are seed -> masks of labels, uint8 (H, W), of the test cases at the size of their references.
    """
    frames = [
        score_masks(f"{name}__seed{seed}", cases.case_ids, cases.cell_types, cases.references, masks)
        for seed, masks in predictions.items()
    ]
    return pd.concat(frames, ignore_index=True)


def score_variants(
    run: str, cases: Arrays, variants: Mapping[str, Sequence[np.ndarray]], folder: RunFolder
) -> dict[str, pd.DataFrame]:
    """Score several variants of the same predictions with `score_masks`, and write each into the run's folder.

    The boundaries of "raw" are compared with `score_boundaries` too, and written to boundary.csv.

    `variants` are "raw", "cleaned" or "central" -> masks of labels, uint8 (H, W), at the size of the references; see
    `RunFolder.scores_of`. The result is variant -> its scores.
    """
    frames = {}
    for variant, masks in variants.items():
        frames[variant] = score_masks(run, cases.case_ids, cases.cell_types, cases.references, masks)
        write_scores(frames[variant], folder.scores_of(variant))
    boundaries = score_boundaries(run, cases.case_ids, cases.references, variants["raw"])
    write_scores(boundaries, folder.boundary)
    return frames


def pool_scores(frame: pd.DataFrame, by: Sequence[str] = ("run", "region")) -> pd.DataFrame:
    """Sum the counts of each group and compute the ratios of the sums (the micro average of the paper).

    Args:
        frame: rows as `score_masks` returns them.
        by: columns that define a group; cases without a cell type form one group.

    Returns:
        One row per group, in order of first appearance: `by`, the summed counts, the ratios and `cases`, the number of
        rows summed.
    """
    by = list(by)
    groups = frame.groupby(by, sort=False, dropna=False, observed=True)
    sums = groups[list(COUNTS)].sum().astype("int64")
    return add_ratios(sums).assign(cases=groups.size()).reset_index()


def summarise(frame: pd.DataFrame) -> dict[str, dict[str, int | float | None]]:
    """Summarise the scores of one run for `run.json`.

    Args:
        frame: rows as `score_masks` returns them.

    Returns:
        Region -> tp, fp, fn, tn and the pooled ratios, `dice_mean` (over images) and `n` (images with a defined
        Dice). None if undefined, since JSON has no NaN. Regions without rows are absent.
    """
    pooled = pool_scores(frame, by=("region",)).set_index("region")
    means = frame.groupby("region", sort=False)["dice"].agg(["mean", "count"])
    return {
        region: {name: int(pooled.loc[region, name]) for name in COUNTS}
        | {name: _json_number(pooled.loc[region, name]) for name in RATIOS}
        | {"dice_mean": _json_number(means.loc[region, "mean"]), "n": int(means.loc[region, "count"])}
        for region in REGIONS
        if region in pooled.index
    }


def write_scores(frame: pd.DataFrame, path: Path) -> None:
    """Write scores.csv in one step: full precision, empty if undefined, identical bytes for identical scores.

    Text is escaped for spreadsheet programs; `read_score_file` returns it unchanged.
    """
    with atomic_write(path) as part:
        escape_cells(frame).to_csv(part, index=False, lineterminator="\n", encoding="utf-8")


def _json_number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
