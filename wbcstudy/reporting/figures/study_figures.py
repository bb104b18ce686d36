"""All figures of a study's report."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from wbcstudy.data.arrays import read_scored_case
from wbcstudy.data.datasets import load_dataset
from wbcstudy.reporting.figures.areas import fig_areas
from wbcstudy.reporting.figures.canvas import StudyFigure, write_figure
from wbcstudy.reporting.figures.examples import (
    pick_drawn_runs,
    pick_examples,
    pick_method_examples,
    pick_transfer_examples,
    pick_worst,
)
from wbcstudy.reporting.figures.images import fig_methods, fig_predictions
from wbcstudy.reporting.figures.scores import fig_cost_quality, fig_reliability, fig_scores, fig_transfer
from wbcstudy.reporting.figures.significance import fig_differences, fig_ranks
from wbcstudy.reporting.figures.training import fig_learning_curves
from wbcstudy.scoring.agreement import measure_areas
from wbcstudy.scoring.case_tables import case_table

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

_CURVE_TITLES = {"all": "most probable label"}


def write_figures(results: StudyResults) -> dict[str, StudyFigure]:
    """Draw all figures and write those that show something into the study's folder.

    Returns:
        File stem -> figure. Some say only why there is nothing to show; these are not written.
    """
    # Drawing makes millions of objects that live until the end. Looking for garbage among them takes time.
    with _no_garbage_collection():
        return _write_figures(results)


def _write_figures(results: StudyResults) -> dict[str, StudyFigure]:
    figures = _make_figures(results)
    for stem, figure in figures.items():
        if figure.axes:
            write_figure(figure, results.study.figures, stem)
        elif stem.startswith("differences_"):
            # An earlier report of fewer runs may have had a difference to show.
            for suffix in ("png", "pdf", "svg"):
                (results.study.figures / f"{stem}.{suffix}").unlink(missing_ok=True)
    return figures


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _make_figures(results: StudyResults) -> dict[str, StudyFigure]:
    """Draw all figures of a study: file stem -> figure."""
    examples, (worst, titles) = pick_examples(results), pick_worst(results)
    figures = {"figure2": _draw_cases(results, examples, list(examples)), "worst": _draw_cases(results, worst, titles)}
    cases, predictions = pick_method_examples(results)
    figures["figure3"] = fig_methods(*results.read_cases(cases), predictions, cases)
    figures["learning_curves"] = fig_learning_curves({run.name: run.history for run in pick_drawn_runs(results)})
    figures["scores"] = fig_scores(results.scores)
    figures["ranks"] = fig_ranks(results.rank_tests, "groups of images" if results.grouped else "images")
    for region, comparison in results.comparisons.items():
        figures[f"differences_{region}"] = fig_differences(comparison.pairs, region, comparison.order)
    curves = results.reliability.get(results.best.method, {}) if results.best else {}
    figures["calibration"] = fig_reliability({_CURVE_TITLES.get(name, name): curve for name, curve in curves.items()})
    if results.best:
        measured = measure_areas(results.scores_of(results.best_runs))
        limits = results.areas[results.areas["method"] == results.best.method]
        figures["areas"] = fig_areas(measured, limits, results.pixel_size_um)
    figures["cost_quality"] = _draw_cost_quality(results)
    return figures | _draw_transfer(results)


def _draw_cases(results: StudyResults, predictions: dict[str, np.ndarray], titles: list[str]) -> StudyFigure:
    return fig_predictions(*results.read_cases(list(predictions)), list(predictions.values()), titles)


def _draw_cost_quality(results: StudyResults) -> StudyFigure:
    methods, quality = [], []
    if results.several:
        tables = [case_table(results.comparable_scores, region).dropna().mean() for region in results.comparisons]
        means = pd.concat(tables, axis=1).mean(axis=1, skipna=False).dropna()
        methods, quality = list(means.index), means.tolist()
    decision = results.decision
    if decision is None:
        return fig_cost_quality([], [], [], "", "")
    cost = [decision.work.get(method, np.nan) for method in methods]
    labels = ("multiply-adds per image", "mean Dice, nucleus and cytoplasm")
    return fig_cost_quality(methods, cost, quality, *labels, decision.recommended.method)


def _draw_transfer(results: StudyResults) -> dict[str, StudyFigure]:
    transfer = results.transfer
    titles = {dataset.name: transfer.title(dataset) for dataset in transfer.datasets}
    figures = {"transfer": fig_transfer(transfer.table, titles)}
    for dataset in transfer.datasets:
        masks = pick_transfer_examples(results, dataset)
        if masks and dataset not in results.missing_others:
            data = load_dataset(dataset.source)
            images, references = zip(*(read_scored_case(data, case, results.score_px) for case in masks), strict=True)
            figures[f"transfer_{dataset.name}"] = fig_predictions(images, references, list(masks.values()), list(masks))
    return figures
