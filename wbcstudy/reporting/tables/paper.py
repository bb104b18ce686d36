"""Tables 1 and 2 of the paper: every encoder with every loss, and the best encoder in detail.

Several trainings of one encoder and loss make one row: counts are pooled over the folds (each case is tested once), and
ratios are averaged over the seeds. Failed runs are counted and left out. Folds hold different cases, so a pair that
lacks folds is shown but not compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from wbcstudy.registry import ENCODERS, loss_title
from wbcstudy.reporting.tables.layout import (
    INTERVAL_TITLE,
    METRIC_TITLES,
    NOTHING,
    Cell,
    Layout,
    highest_values,
    interval_notes,
    number_cell,
    whole_numbers,
)
from wbcstudy.scoring.case_tables import Groups
from wbcstudy.scoring.selection import TABLE_REGIONS, average_scores
from wbcstudy.wording import count

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

_SCORES = ("precision", "dice", "dice_mean", "dice_ci_low", "dice_ci_high")
_POOLED_ENDS = ("pooled_ci_low", "pooled_ci_high")
# Marks a row of Table 1.
RECOMMENDED = "(recommended)"
_PAPER_NOTE = "Grey, “paper”: the number printed in the paper, for its own 87 images, which were never published."


def load_paper_table(number: int) -> pd.DataFrame:
    """Load the numbers that the paper prints in its Table 1, 2 or 3 ("quoted"), as fractions."""
    with (files("wbcstudy.reporting") / "paper" / f"table{number}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"reference": str})


def make_table1(results: StudyResults) -> pd.DataFrame:
    """Make Table 1: every encoder and loss.

    Returns:
        One row per encoder, loss, start ('' without starts) and region in the paper's order: pooled precision and dice,
        `dice_mean` over the images (each image's mean over the seeds), 95 % intervals of both Dice, the median over
        runs of best_epoch and epochs, n (images with a defined Dice), seeds and folds (numbers of those in the scores),
        runs (all), failed, whole (whether the pair has all folds and can be compared) and recommended (see
        `decision.decide`). Scores are NaN where no run is complete. No runs give no rows.
    """
    comparable = {run.name for run in results.comparable}
    columns = ["encoder", "loss", "region", *_SCORES, "best_epoch", "epochs"]
    columns += ["n", "seeds", "folds", "runs", "failed"]
    rows, recommended = [], results.best.pair if results.best else None
    for pair, group in results.pairs.items():
        scored, averages = results.scored_runs[pair], results.averages[pair]
        shared = {
            "encoder": pair[0],
            "loss": pair[1],
            "start": "".join(pair[2:]),
            "seeds": len({run.config.seed for run in scored}),
            "folds": len({run.config.fold for run in scored}),
            "runs": len(group),
            "failed": sum(not run.complete for run in group),
            "whole": bool(scored) and all(run.name in comparable for run in scored),
            "recommended": pair == recommended,
        }
        shared |= {name: _median(run.record.get(name) for run in scored) for name in ("best_epoch", "epochs")}
        for region in TABLE_REGIONS:
            scores = averages.loc[region].to_dict() if region in averages.index else {"n": 0}
            rows.append(shared | {"region": region} | scores)
    table = pd.DataFrame(rows).reindex(columns=[*columns, "whole", "recommended", *_POOLED_ENDS, "start"])
    return table.assign(**{name: whole_numbers(table[name]) for name in ("best_epoch", "epochs", "n")})


def make_ensemble(scores: pd.DataFrame, voters: int, groups: Groups | None = None) -> pd.DataFrame:
    """Make the row of Table 1 for the majority vote.

    Args:
        scores: rows of `scoring.ensemble.score_votes`; may be empty.
        voters: number of pairs of encoder and loss that voted.
        groups: case id -> group, for the interval.

    Returns:
        One row per region: encoder ("ensemble"), loss ("vote"), region, precision, dice and dice_mean with intervals, n
        and voters. No rows without scores.
    """
    columns = ["encoder", "loss", "region", *_SCORES, "n", "voters", *_POOLED_ENDS]
    if scores.empty:
        return pd.DataFrame(columns=columns)
    averages = average_scores(scores.assign(seed=scores["run"].str.extract(r"__seed(\d+)$")[0]), groups)
    shared = {"encoder": "ensemble", "loss": "vote", "voters": voters}
    regions = [region for region in TABLE_REGIONS if region in averages.index]
    rows = [shared | {"region": region} | averages.loc[region].to_dict() for region in regions]
    table = pd.DataFrame(rows).reindex(columns=columns)
    return table.assign(n=whole_numbers(table["n"]))


def layout_table1(table: pd.DataFrame, notes: Iterable[str] = (), ensemble: pd.DataFrame | None = None) -> Layout:
    """Arrange Table 1: a row per encoder and loss, the regions next to each other, the majority vote as a last row.

    Args:
        table: result of `make_table1`.
        notes: sentences to add below the table.
        ensemble: result of `make_ensemble`; None or empty for no such row.
    """
    regions = list(dict.fromkeys(table["region"]))
    metrics = ("precision", "dice", "dice_mean")
    paper = load_paper_table(1).set_index(["encoder", "loss", "region"]).sort_index()
    highest = highest_values(table[table["whole"].astype(bool)], metrics)
    rows, previous, partly, incomparable, quotes = [], ("", ""), [], [], False
    starts = bool(table["start"].any())
    for (encoder, loss, start), group in table.groupby(["encoder", "loss", "start"], sort=False):
        first, by_region = group.iloc[0], group.set_index("region")
        mark = f" {RECOMMENDED}" if first["recommended"] else ""
        # The paper has one start only; its numbers stand in the first row of an encoder and loss.
        repeated = (encoder, loss) == previous
        cells = [Cell(ENCODERS[encoder].title, repeated=encoder == previous[0])]
        cells += (
            [Cell(loss_title(loss), repeated=repeated), Cell(start + mark)]
            if starts
            else [Cell(loss_title(loss) + mark)]
        )
        title = ", ".join(filter(None, (ENCODERS[encoder].title, start, loss_title(loss))))
        previous, failed = (encoder, loss), first["failed"] == first["runs"]
        for region in regions:
            key = (encoder, loss, region)
            known = key in paper.index and not repeated
            for metric in metrics:
                quoted = f"{paper.loc[key, metric]:.4f}" if metric in paper and known else ""
                quotes = quotes or bool(quoted)
                if failed:
                    cells.append(Cell("failed" if metric == "precision" else "", muted=True, paper=quoted))
                else:
                    rivals = highest.get(region, {}) if first["whole"] else {}
                    cells.append(number_cell(by_region.loc[region], metric, rivals, quoted))
        known = (encoder, loss) in paper.index and not repeated
        quoted = f"{paper.loc[(encoder, loss), 'epochs'].iloc[0]:g}" if known else ""
        cells += [Cell(_general(first["best_epoch"])), Cell(_general(first["epochs"]), paper=quoted)]
        rows.append(("", cells))
        if 0 < first["failed"] < first["runs"]:
            partly.append(f"{title}: {first['failed']} of {first['runs']}")
        if not failed and not first["whole"]:
            incomparable.append(title)
    remarks = ["Precision and Dice: from the pixels of all test images together."]
    remarks += ["Mean Dice: mean of the Dice per image.", "Bold: highest in its column."]
    if table["recommended"].any():
        remarks.append("Recommended: chosen on the validation images, not by these scores.")
    if table["dice_ci_low"].notna().any():
        remarks.append("Intervals: for other test images of the same kind and these trained networks.")
    remarks += interval_notes(table, "dice_mean", "dice_ci_low")
    remarks += [_PAPER_NOTE] if quotes else []
    if starts and quotes:
        remarks.append("The paper's encoders started from ImageNet weights and were frozen, except the plain U-Net.")
    if ensemble is not None and len(ensemble):
        cells, note = _ensemble_row(ensemble, regions, metrics, len(rows))
        cells[2:2] = [Cell("")] * starts
        rows.append(("", cells))
        remarks.append(note)
    if incomparable:
        remarks.append(
            f"Not compared (no bold), because no seed has all folds: {'; '.join(incomparable)}. Folds hold different "
            "images, some of them easier."
        )
    if partly:
        remarks.append(f"Failed runs, left out: {'; '.join(partly)}.")
    heads = [("", "Encoder"), ("", "Loss"), *([("", "Start")] * starts)]
    titles = METRIC_TITLES | {"dice": f"Dice {INTERVAL_TITLE}"}
    heads += [(region.capitalize(), titles[metric]) for region in regions for metric in metrics]
    heads += [("", "Best epoch"), ("", "Epochs")]
    title = f"Each encoder with each loss{' and start' * starts}, on the test images"
    return Layout(1, title, heads, rows, text_columns=2 + starts, notes=[*remarks, *notes])


def _ensemble_row(ensemble: pd.DataFrame, regions, metrics, pairs: int) -> tuple[list[Cell], str]:
    by_region = ensemble.set_index("region")
    voters = by_region["voters"].iloc[0]
    cells = [Cell(f"Majority of {f'all {pairs}' if voters == pairs else f'{voters} of the {pairs}'}")]
    cells.append(Cell("vote per pixel", muted=True))
    for region in regions:
        row = by_region.loc[region] if region in by_region.index else pd.Series(dtype=float)
        cells += [number_cell(row, metric, {}) for metric in metrics]
    note = (
        "Majority: each pixel gets the label that most networks predict; ties go to the network with the higher "
        "validation Dice. The vote costs as much as all networks together and is not compared (no bold)."
    )
    if voters < pairs:
        note += f" {count(pairs - voters, 'pair')} without predicted masks or without all folds and seeds did not vote."
    return [*cells, Cell(NOTHING), Cell(NOTHING)], note


def make_table2(results: StudyResults) -> pd.DataFrame:
    """Make Table 2: five pooled metrics of the recommended encoder (and start), a row per loss and region.

    Scores are NaN for a loss without comparable runs. No rows where none is recommended.
    """
    columns = ["encoder", "loss", "region", "precision", "sensitivity", "specificity", "dice", "iou"]
    rows, comparable = [], {run.name for run in results.comparable}
    for pair, averages in results.averages.items():
        encoder, loss, *start = pair
        if results.best and (encoder, "".join(start)) == (results.best.encoder, results.best.start):
            scored = any(run.name in comparable for run in results.scored_runs[pair])
            for region in TABLE_REGIONS:
                scores = averages.loc[region].to_dict() if scored and region in averages.index else {}
                rows.append({"encoder": encoder, "loss": loss, "region": region} | scores)
    return pd.DataFrame(rows).reindex(columns=columns)


def layout_table2(table: pd.DataFrame, notes: Iterable[str] = ()) -> Layout:
    """Arrange Table 2: a row per metric, and a column per region and loss, as in the paper.

    Args:
        table: result of `make_table2`; may be empty.
        notes: sentences to add below the table.
    """
    metrics = ("precision", "sensitivity", "specificity", "dice", "iou")
    paper = load_paper_table(2).set_index(["encoder", "loss", "region"])
    order = list(dict.fromkeys(table["region"]))
    ordered = table.sort_values("region", key=lambda regions: regions.map(order.index), kind="stable")
    columns = list(ordered[["region", "loss"]].itertuples(index=False))
    by_key = table.set_index(["region", "loss"])
    highest = highest_values(table, metrics)
    rows = []
    for metric in metrics if columns else ():
        cells = [Cell(METRIC_TITLES[metric])]
        for region, loss in columns:
            row = by_key.loc[(region, loss)]
            key = (row["encoder"], loss, region)
            quoted = f"{paper.loc[key, metric]:.4f}" if key in paper.index else ""
            cells.append(number_cell(row, metric, highest[region], quoted))
        rows.append(("", cells))
    heads = [("", "Metric"), *((region.capitalize(), loss_title(loss)) for region, loss in columns)]
    name = ENCODERS[table["encoder"].iloc[0]].title if len(table) else "no run is complete"
    remarks = ["From the pixels of all test images together.", "Bold: highest in its region."]
    if any(cell.paper for _, cells in rows for cell in cells):
        remarks.append(_PAPER_NOTE)
    return Layout(2, f"Five metrics of the recommended encoder: {name}", heads, rows, notes=[*remarks, *notes])


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else np.nan


def _general(value) -> str:
    return NOTHING if pd.isna(value) else f"{float(value):g}"
