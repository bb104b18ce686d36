"""The runs of a study beside one another: computed once, then told in words, tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from wbcstudy.reporting.tables.costs import (
    CURVE_TITLES,
    layout_calibration,
    layout_costs,
    list_devices,
    make_calibration,
    make_costs,
    read_curves,
)
from wbcstudy.reporting.tables.layout import Layout
from wbcstudy.reporting.tables.ranks import layout_cell_types, layout_ranks, make_cell_types, make_ranks
from wbcstudy.reporting.tables.render import write_table
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run
from wbcstudy.scoring.comparison import ALPHA, Comparison, compare_methods
from wbcstudy.scoring.methods import Groups, case_table
from wbcstudy.scoring.ranks import friedman_nemenyi
from wbcstudy.scoring.selection import TABLE_REGIONS, Best, pick_best, read_scores, whole_runs

if TYPE_CHECKING:
    from wbcstudy.reporting.figures.canvas import StudyFigure

# Cost in a table -> as an axis says it. The first that all methods have is drawn.
_COST_AXES = {
    "seconds_per_image": "seconds per image",
    "multiply_adds": "multiply-adds per image",
    "parameters": "parameters",
}


@dataclass(frozen=True)
class StudyComparison:
    """Who is better than whom in a study, by the test images.

    Args:
        best: encoder and loss that were chosen on the validation images; None where no run has scores.
        regions: region -> comparison of all methods; without regions that have no score.
        scores: of all complete runs that can be compared (`tables.whole_runs`).
        groups: case id -> group, of the cases that have one.
        costs: as `run_tables.make_costs` makes it.
        timed: whether times can be held against each other: all ran on one kind of machine, with one kind of numbers.
    """

    best: Best | None
    regions: Mapping[str, Comparison]
    scores: pd.DataFrame = field(repr=False)
    groups: Groups = field(repr=False)
    costs: pd.DataFrame = field(repr=False)
    timed: bool = True

    @property
    def chosen(self) -> str | None:
        """The best pair as a method: `resnet18__dice`."""
        return f"{self.best.encoder}__{self.best.loss}" if self.best else None

    @property
    def several(self) -> bool:
        """Whether there is anything to compare."""
        return any(len(found.order) > 1 for found in self.regions.values())


def compare_runs(runs: Iterable[Run], groups: Groups | None = None) -> StudyComparison:
    """Compare all encoders and losses of a study, per region, on the test images.

    Args:
        runs: finished and failed runs; the failed are left out, and with them what has not all folds.
        groups: case id -> slide, patient or laboratory (`Dataset.groups`); images of one group count as one.
    """
    runs = list(runs)
    scores = read_scores(whole_runs(runs))
    found = {}
    for region in TABLE_REGIONS if len(scores) else ():
        one = compare_methods(scores, region, "dice", ALPHA, groups=groups)
        if one.leader is not None:
            found[region] = one
    done = [run for run in runs if run.complete]
    places = {(run.record.get("device"), run.record.get("arithmetic") or run.config.precision) for run in done}
    costs = make_costs(runs)
    return StudyComparison(pick_best(runs), found, scores, dict(groups or {}), costs, timed=len(places) < 2)


def make_comparison_tables(runs: Iterable[Run], comparison: StudyComparison) -> dict[str, tuple[pd.DataFrame, Layout]]:
    """The tables of the comparison that have something to say, each as its tidy frame and its layout.

    Args:
        runs: finished and failed runs.
        comparison: of these.

    Returns:
        "ranks" (Table 4, for two methods or more), "cell_types" (5; all methods in the frame, the chosen one in the
        layout), "costs" (6), "calibration" (7).
    """
    runs, made = list(runs), {}
    if comparison.several:
        ranks = make_ranks(comparison.scores, alpha=ALPHA, groups=comparison.groups)
        made["ranks"] = ranks, layout_ranks(ranks, _group_note(comparison))
    if len(comparison.scores):
        types = make_cell_types(comparison.scores, groups=comparison.groups)
        made["cell_types"] = types, layout_cell_types(types[types["method"] == comparison.chosen])
    devices = list_devices(runs)
    ran = [f"Computed on {'; '.join(devices)}."] if devices else []
    ran += [] if comparison.timed else ["Encoders were not all computed alike, so their times cannot be compared."]
    made["costs"] = comparison.costs, layout_costs(comparison.costs, ran)
    calibration = make_calibration(runs)
    made["calibration"] = calibration, layout_calibration(calibration)
    return {name: (frame, layout) for name, (frame, layout) in made.items() if layout.rows}


def make_comparison_figures(runs: Iterable[Run], comparison: StudyComparison) -> dict[str, StudyFigure]:
    """The figures of the comparison that have something to show: file stem -> figure.

    Args:
        runs: finished and failed runs.
        comparison: of these.

    Returns:
        "ranks", "differences_<region>", "calibration", "cost_quality".
    """
    # The page needs the words and tables only, and matplotlib takes a second.
    from wbcstudy.reporting.figures.scores import fig_cost_quality, fig_reliability
    from wbcstudy.reporting.figures.significance import fig_differences, fig_ranks

    figures = {}
    if comparison.several:
        tests = {
            region: friedman_nemenyi(comparison.scores, region, "dice", ALPHA, groups=comparison.groups)
            for region in comparison.regions
        }
        if any(len(test.mean_ranks) > 1 and test.n > 1 for test in tests.values()):
            figures["ranks"] = fig_ranks(tests, "groups of images" if _group_note(comparison) else "images")
        for region, found in comparison.regions.items():
            figures[f"differences_{region}"] = fig_differences(found.pairs, region, found.order)
    chosen = [run for run in runs if f"{run.config.encoder}__{run.config.loss}" == comparison.chosen]
    curves = read_curves(chosen)
    if curves:
        figures["calibration"] = fig_reliability({CURVE_TITLES.get(name, name): one for name, one in curves.items()})
    if comparison.several:
        methods, cost, quality, label = _cost_quality(comparison)
        if methods:
            figures["cost_quality"] = fig_cost_quality(
                methods, cost, quality, label, "mean Dice, nucleus and cytoplasm", comparison.chosen
            )
    return figures


def write_comparison(study: StudyFolder, runs: Iterable[Run], comparison: StudyComparison) -> dict[str, StudyFigure]:
    """Write the tables and figures of the comparison into the study's folder, and return the figures.

    Args:
        study: where.
        runs: finished and failed runs.
        comparison: of these.
    """
    from wbcstudy.reporting.figures.canvas import write_figure

    runs = list(runs)
    for frame, layout in make_comparison_tables(runs, comparison).values():
        write_table(frame, layout, study.tables)
    figures = make_comparison_figures(runs, comparison)
    for stem, figure in figures.items():
        write_figure(figure, study.figures, stem)
    return figures


def _cost_quality(comparison: StudyComparison) -> tuple[list[str], list[float], list[float], str]:
    costs = comparison.costs.set_index("encoder")
    tables = [case_table(comparison.scores, region) for region in comparison.regions]
    quality = pd.concat([table.dropna().mean() for table in tables], axis=1).mean(axis=1, skipna=False).dropna()
    encoders = [method.partition("__")[0] for method in quality.index]
    for name in [name for name in _COST_AXES if comparison.timed or name != "seconds_per_image"]:
        known = costs[name].reindex(encoders).to_numpy(dtype=float)
        if len(known) and not np.isnan(known).any():
            return list(quality.index), known.tolist(), quality.tolist(), _COST_AXES[name]
    return [], [], [], ""


def _group_note(comparison: StudyComparison) -> list[str]:
    grouped = any(found.units != found.cases for found in comparison.regions.values())
    units = min((found.units for found in comparison.regions.values()), default=0)
    return [f"Images of one group (slide, patient) count as one: {units} groups."] if grouped else []
