"""All tables of a study's report, numbered in the order of the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from wbcstudy.data.datasets import DATASETS, read_case
from wbcstudy.data.duplicates import compare_masks
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write
from wbcstudy.registry import method_title
from wbcstudy.reporting.tables.areas import layout_areas
from wbcstudy.reporting.tables.boundary import boundary_notes, layout_boundary
from wbcstudy.reporting.tables.calibration import layout_calibration
from wbcstudy.reporting.tables.cell_types import layout_cell_types
from wbcstudy.reporting.tables.costs import layout_costs
from wbcstudy.reporting.tables.layout import Layout
from wbcstudy.reporting.tables.paper import layout_table1, layout_table2
from wbcstudy.reporting.tables.questions import layout_questions, make_questions
from wbcstudy.reporting.tables.ranks import layout_ranks
from wbcstudy.reporting.tables.render import write_table
from wbcstudy.reporting.tables.table3 import layout_table3
from wbcstudy.reporting.tables.transfer import layout_flips, layout_transfer
from wbcstudy.reporting.text.methods_paragraph import pretrained_sentence, scored_size, weights_sentence
from wbcstudy.reporting.text.paper_comparison import paper_sentences
from wbcstudy.wording import count, join_words

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

Table = tuple[pd.DataFrame, Layout]


def write_tables(results: StudyResults) -> list[Path]:
    """Write all tables into the study's folder, each as .csv, .html and .tex, and the vote's scores as ensemble.csv.

    Returns:
        The paths.
    """
    paths = []
    for name, (frame, layout) in results.tables.items():
        paths += write_table(frame, layout, results.table_html[name], results.study.tables)
    if len(results.ensemble):
        paths.append(results.study.tables / "ensemble.csv")
        with atomic_write(paths[-1]) as part:
            results.ensemble.to_csv(part, index=False, lineterminator="\n")
    return paths


def make_tables(results: StudyResults) -> dict[str, Table]:
    """Make all tables: name -> tidy frame and layout. Tables from 4 on are left out where they have no rows."""
    weights = [weights_sentence(run.config for run in results.runs)] if results.runs else []
    weights += pretrained_sentence(results)
    chosen = ["The encoder was chosen on the validation images, not on the test images."] if results.best else []
    tables = {
        "table1": (
            results.table1,
            layout_table1(
                results.table1, [*weights, *_paper_notes(results), *_ceiling_notes(results)], results.ensemble
            ),
        ),
        "table2": (results.table2, layout_table2(results.table2, [*chosen, *weights])),
        "table3": (results.table3, layout_table3(results.table3, weights)),
    }
    best = results.best.method if results.best else None
    cell_types, unit = results.cell_types, "group" if results.groups else "image"
    more = {
        "ranks": (results.ranks, layout_ranks(results.ranks, _group_notes(results), bool(results.planned))),
        "cell_types": (cell_types, layout_cell_types(cell_types[cell_types["method"] == best])),
        "costs": (results.costs, layout_costs(results.costs, _machine_notes(results))),
        "calibration": (results.calibration, layout_calibration(results.calibration, _calibration_notes(results))),
        "transfer": (results.transfer.table, layout_transfer(results.transfer, best)),
        "flips": (results.flips, layout_flips(results.flips, unit)),
        "boundary": (
            results.boundary,
            layout_boundary(results.boundary, results.pixel_size_um, boundary_notes(results)),
        ),
        "areas": (
            results.areas,
            layout_areas(results.areas[results.areas["method"] == best], results.pixel_size_um, _size_notes(results)),
        ),
    }
    if results.answers:
        answers = make_questions(results.answers)
        more["questions"] = (answers, layout_questions(answers, weights))
    if not results.several:
        del more["ranks"]
    tables |= {name: table for name, table in more.items() if table[1].rows}
    scored = f"The scores of this study were counted at {scored_size(results)}."
    return {
        name: (frame, layout if name == "costs" else replace(layout, notes=[scored, *layout.notes]))
        for name, (frame, layout) in tables.items()
    }


# Tables that are left out without rows: name -> number, title and when a study has it.
_OPTIONAL = {
    "ranks": (4, "Comparison", "at least two networks with scores are compared"),
    "cell_types": (5, "Scores by cell type", "cases.csv names the cell types of the images"),
    "costs": (6, "Cost of each encoder", "a run is complete"),
    "calibration": (7, "Calibration", "the runs kept their probabilities; those of early versions did not"),
    "transfer": (8, "Scores on other datasets", "the setting also_score names other datasets"),
    "flips": (9, "Effect of test-time flips", "the setting test_time_flips is true"),
    "boundary": (10, "Distances between boundaries", "the runs recorded them, or masks and images are available"),
    "areas": (11, "Error of areas", "a network is recommended and its test images were scored"),
    "questions": (12, "Planned questions", "the setting questions has planned questions"),
}


def explain_missing(results: StudyResults) -> list[str]:
    """Return a sentence for each table that the study does not have, since their numbers are then missing, too."""
    return [
        f"Table {number}, {title}: shown where {condition}."
        for name, (number, title, condition) in _OPTIONAL.items()
        if name not in results.tables
    ]


def _size_notes(results: StudyResults) -> list[str]:
    size = results.score_px
    return [f"Areas are of masks resized to {size} x {size} px."] if size else []


def _ceiling_notes(results: StudyResults) -> list[str]:
    """Return the agreement of two masks of one cell or image, above which a score says nothing."""
    row = DATASETS.get(results.dataset_record.get("name"))
    if row is not None and row.expert_dice:
        masks, pairs, agreement = "the expert's two masks of one cell", len(row.duplicates), row.expert_dice
    else:
        agreements = _compare_duplicates(results)
        if not agreements:
            return []
        masks, pairs, agreement = "two masks of the same image", len(agreements), pd.DataFrame(agreements).mean()
    values = join_words([f"{region} {value:.3f}" for region, value in agreement.items()])
    return [
        f"Ceiling: mean Dice of {masks}, {values} ({count(pairs, 'pair')} of images). Differences between scores near "
        "or above it cannot be interpreted."
    ]


def _compare_duplicates(results: StudyResults) -> list[dict[str, float]]:
    """Return the Dice per region of the two masks of each image that the dataset has twice, if they differ."""
    agreements = []
    for pair in () if results.missing_images else results.duplicates:
        if pair.kind == "pixels":
            try:
                first, second = (read_case(results.dataset, results.dataset.case(name))[1] for name in pair.case_ids)
            except StudyError:
                # Removed or changed since the duplicates were found.
                continue
            if (first != second).any():
                agreements.append(compare_masks(first, second))
    return agreements


def _paper_notes(results: StudyResults) -> list[str]:
    sentences = paper_sentences(results.table1)
    if sentences:
        # Here is no recommendation, and a reader may wonder why the answer names another pair.
        sentences[0] += " The recommended pair was chosen on the validation images and may differ."
    return sentences


def _group_notes(results: StudyResults) -> list[str]:
    units = min((comparison.units for comparison in results.comparisons.values()), default=0)
    noun = "slide or patient" if results.recorded_groups else "cell"
    return [f"Images of one {noun} count as one: {count(units, 'group')}."] if results.grouped else []


def _machine_notes(results: StudyResults) -> list[str]:
    devices = dict.fromkeys(str(run.record["device"]) for run in results.complete if run.record.get("device"))
    notes = [f"Computed on {'; '.join(devices)}."] if devices else []
    if not results.same_machine:
        notes.append("The runs used different machines or precisions, so their times cannot be compared.")
    return notes


def _calibration_notes(results: StudyResults) -> list[str]:
    pairs = ["__".join(pair) for pair, runs in results.scored_runs.items() if runs]
    missing = [method for method in pairs if method not in results.reliability]
    if not missing:
        return []
    titles = join_words([method_title(method) for method in missing])
    return [f"Left out, because their runs kept no probabilities: {len(missing)} of {len(pairs)} pairs ({titles})."]
