"""Choose which runs and cases the figures show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from wbcstudy.registry import network_title
from wbcstudy.runs.results import Run
from wbcstudy.scoring.breakdown import worst_cases
from wbcstudy.scoring.selection import group_runs
from wbcstudy.study.other_datasets import OtherDataset

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

# More panels than this are too many for one figure.
_MOST_PANELS = 36


def pick_drawn_runs(results: StudyResults) -> list[Run]:
    """Return the complete runs that get a learning curve: all, or of very many the first of each encoder and loss."""
    if len(results.complete) <= _MOST_PANELS:
        return results.complete
    groups = group_runs(results.complete).values()
    return [min(group, key=lambda run: (run.config.seed, run.config.fold)) for group in groups]


def pick_examples(results: StudyResults, count: int = 5) -> dict[str, np.ndarray]:
    """Draw test cases by the study's split_seed, with the predictions of the chosen pair's first run.

    Returns:
        Case id -> predicted mask, uint8 (S, S) of labels; at most `count` cases.
    """
    best = [] if results.missing_images else results.best_runs
    masks = results.read_predictions(best[0].folder) if best else {}
    return {case: masks[case] for case in _draw(masks, count, results.config.split_seed)}


def pick_worst(results: StudyResults, count: int = 10) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the test cases with the lowest Dice of the chosen pair, the worst first.

    Returns:
        Case id -> predicted mask, uint8 (S, S) of labels, by the run with the lowest seed; and a title for each: the
        case, its cell type, and its Dice of nucleus and cytoplasm (mean over the seeds). Cases whose masks were not
        kept are left out.
    """
    if not results.best_runs or results.missing_images:
        return {}, []
    masks: dict[str, np.ndarray] = {}
    for run in sorted(results.best_runs, key=lambda run: run.config.seed):
        masks = results.read_predictions(run.folder) | masks
    worst = worst_cases(results.scores_of(results.best_runs), count)
    worst = worst[worst["case_id"].isin(list(masks))]
    titles = []
    for row in worst.itertuples():
        name = row.case_id if pd.isna(row.cell_type) else f"{row.case_id}, {row.cell_type}"
        scores = " / ".join("-" if pd.isna(value) else f"{value:.2f}" for value in (row.nucleus, row.cytoplasm))
        titles.append(f"{name}\nDice {scores}")
    return {case: masks[case] for case in worst["case_id"]}, titles


def pick_method_examples(results: StudyResults, count: int = 5) -> tuple[list[str], dict[str, list[np.ndarray]]]:
    """Draw test cases as every method segmented them.

    Returns:
        Case ids, and title -> predicted mask of each without clean-up (first seed, first fold): the earlier methods in
        the study's order, then the best U-Net. Empty if no earlier method was run.
    """
    predictions: dict[str, dict[str, np.ndarray]] = {}
    for run in () if results.missing_images else results.config.baseline_runs():
        folder = results.study.baseline(run.name)
        record = (folder.read_record() or {}) if run.fold == 0 else {}
        if record.get("status") == "complete":
            predictions[str((record.get("method") or {}).get("title", run.method))] = results.read_predictions(folder)
    if predictions and results.best_runs:
        predictions[network_title(results.best.encoder)] = results.read_predictions(results.best_runs[0].folder)
    common = set.intersection(*(set(masks) for masks in predictions.values())) if predictions else set()
    cases = _draw(common, count, results.config.split_seed)
    return cases, {title: [masks[case] for case in cases] for title, masks in predictions.items()}


def pick_transfer_examples(results: StudyResults, dataset: OtherDataset, count: int = 5) -> dict[str, np.ndarray]:
    """Draw cases of another dataset, with the predictions of the chosen pair's first network."""
    masks = next(
        (masks for run in results.best_runs if (masks := results.read_predictions(run.folder.transfer(dataset.name)))),
        {},
    )
    return {case: masks[case] for case in _draw(set(masks) - set(dataset.shared), count, 0)}


def _draw(names, count: int, seed: int) -> list[str]:
    ordered = sorted(names)
    drawn = np.random.default_rng(seed).choice(len(ordered), min(count, len(ordered)), replace=False)
    return [ordered[index] for index in sorted(drawn)]
