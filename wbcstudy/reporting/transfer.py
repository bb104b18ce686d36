"""Scores on other datasets in words, a table and a figure; and what test-time flips change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from wbcstudy.registry import method_title
from wbcstudy.reporting.tables.layout import NOTHING, Cell, Layout
from wbcstudy.reporting.tables.render import write_table
from wbcstudy.reporting.text.facts import shorten
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run, read_predictions, read_score_file
from wbcstudy.scoring.comparison import TRANSFER_COLUMNS, compare_transfer
from wbcstudy.scoring.methods import Groups
from wbcstudy.scoring.selection import TABLE_REGIONS, Best, group_runs, pick_best, read_scores, whole_runs
from wbcstudy.scoring.statistics import paired_differences
from wbcstudy.study.other_datasets import OtherDataset, read_other_datasets

if TYPE_CHECKING:
    from wbcstudy.reporting.figures.canvas import StudyFigure

# A loss of Dice from which a reader is warned, where it is surely as large; and below which nothing is made of it.
NOTABLE = 0.05
COLUMNS = ("dataset", *TRANSFER_COLUMNS)
FLIP_COLUMNS = ("region", "method", "n", "single", "flips", "difference", "ci_low", "ci_high", "p")


@dataclass(frozen=True)
class Transfer:
    """A study's networks on other datasets.

    Args:
        others: the datasets, in the study's order.
        best: encoder and loss that were chosen on the validation images of the own dataset; None where none is.
        table: dataset (name), then `TRANSFER_COLUMNS`; without images that are also in the own dataset.
        pairs: dataset -> region -> as `paired_differences` makes it, of the methods on that dataset.
        failed: (run, dataset, error) of what could not be scored.
        missing: (run, dataset) of finished runs that are not scored there yet.
    """

    others: tuple[OtherDataset, ...] = ()
    best: Best | None = None
    table: pd.DataFrame = field(repr=False, default_factory=lambda: pd.DataFrame(columns=list(COLUMNS)))
    pairs: Mapping[str, Mapping[str, pd.DataFrame]] = field(repr=False, default_factory=dict)
    failed: tuple[tuple[str, str, str], ...] = ()
    missing: tuple[tuple[str, str], ...] = ()

    @property
    def chosen(self) -> str | None:
        """The best pair as a method: `resnet18__dice`."""
        return f"{self.best.encoder}__{self.best.loss}" if self.best else None

    def title(self, other: OtherDataset) -> str:
        """A dataset as a reader calls it: its title, or its name where two have one title."""
        twice = [one.title for one in self.others].count(other.title) > 1
        return other.name if twice else other.title


def load_transfer(study: StudyFolder, runs: Iterable[Run], groups: Groups | None = None) -> Transfer:
    """Read what the networks of a study scored on other datasets.

    Args:
        study: where.
        runs: finished and failed runs.
        groups: case id -> group, of the own dataset.
    """
    runs, others = [run for run in runs if run.complete], read_other_datasets(study)
    # A mean over some of the folds only is of other images than the rest's.
    whole = {run.name for run in whole_runs(runs)}
    own = read_scores(run for run in runs if run.name in whole)
    tables, pairs, failed, missing = [], {}, [], []
    for other in others:
        frames = []
        for run in runs:
            folder = run.folder.transfer(other.name)
            record = folder.read_record()
            if record is None:
                missing.append((run.name, other.name))
            elif record.get("status") != "complete":
                failed.append((run.name, other.name, str(record.get("error", "no reason recorded"))))
            elif run.name in whole:
                frames.append(read_score_file(folder.scores))
        scores = pd.concat(frames, ignore_index=True) if frames else own.head(0)
        if len(scores):
            scores = scores[~scores["case_id"].isin(other.shared)]
        table = compare_transfer(own, scores, TABLE_REGIONS, groups, other.groups)
        tables.append(table.assign(dataset=other.name))
        if len(scores):
            pairs[other.name] = {
                region: paired_differences(scores, region, groups=other.groups) for region in TABLE_REGIONS
            }
    table = (pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()).reindex(columns=list(COLUMNS))
    return Transfer(others, pick_best(runs), table, pairs, tuple(failed), tuple(missing))


def tell_transfer(transfer: Transfer) -> list[tuple[str, str]]:
    """(title of the dataset, what the chosen network is worth there), for a reader without statistics.

    Nothing for datasets on which the chosen network has no score.
    """
    told = []
    for other in transfer.others:
        rows = _rows(transfer, other, transfer.chosen)
        if len(rows):
            told.append((transfer.title(other), f"{_scored(rows)} {_advice(rows)}"))
    return told


def tell_transfer_in_full(transfer: Transfer) -> list[tuple[str, str]]:
    """(title of the dataset, the same with intervals, and which method does best there)."""
    told = []
    for (title, words), other in zip(tell_transfer(transfer), _scored_others(transfer), strict=True):
        rows = _rows(transfer, other, transfer.chosen)
        drops = " and ".join(
            f"{row.drop:.3f} for the {row.region}{_span(row.drop_ci_low, row.drop_ci_high)}"
            for row in rows.itertuples()
        )
        more = [f"Lost from its own test images to these {rows['n'].max()}: {drops}."]
        told.append((title, " ".join([words, *more, *_best_there(transfer, other)])))
    return told


def transfer_cautions(transfer: Transfer) -> list[str]:
    """What a reader must know before believing the table: failures, gaps, images that two datasets share."""
    said = []
    for run, dataset, error in transfer.failed:
        said.append(f"{run} could not be scored on {dataset}: {shorten(' '.join(error.split()), 300)}")
    if transfer.missing:
        names = ", ".join(dict.fromkeys(dataset for _, dataset in transfer.missing))
        said.append(f"Not all runs have been scored on {names} yet: `wbcstudy run` does it.")
    for other in transfer.others:
        if other.shared:
            said.append(
                f"{len(other.shared)} of the {other.cases} images of {transfer.title(other)} are also in the dataset "
                "that was trained on, pixel for pixel; they are left out."
            )
    return said


def layout_transfer(transfer: Transfer, number: int = 8) -> Layout:
    """The generalisation table: own test images beside each other dataset, and what is lost."""
    heads, rows = [("", "Encoder and loss"), ("Own test images", "Mean Dice [95 % interval]")], []
    shown = list(_scored_others(transfer, any_method=True))
    for other in shown:
        spanner = f"{transfer.title(other)}, {other.cases - len(other.shared)} images"
        heads += [(spanner, "Mean Dice [95 % interval]"), (spanner, "Lost [95 % interval]")]
    for (region, method), part in transfer.table.groupby(["region", "method"], sort=False):
        found, first = part.set_index("dataset"), part.iloc[0]
        best = method == transfer.chosen
        cells = [Cell(method_title(method), best=best)]
        cells.append(Cell(_with_span(first["own_mean"], first["own_ci_low"], first["own_ci_high"])))
        for other in shown:
            if other.name in found.index:
                row = found.loc[other.name]
                cells.append(Cell(_with_span(row["dice_mean"], row["ci_low"], row["ci_high"])))
                cells.append(Cell(_with_span(row["drop"], row["drop_ci_low"], row["drop_ci_high"])))
            else:
                cells += [Cell(NOTHING), Cell(NOTHING)]
        rows.append((region.capitalize(), cells))
    networks = sorted(set(transfer.table["networks"]))
    each = f"{networks[0]}" if len(networks) == 1 else f"{networks[0]} to {networks[-1]}" if networks else "0"
    notes = [
        "Bold: chosen on the validation images of the own dataset.",
        "On another dataset every network of a row (all folds and seeds) scores every image, and an image counts with "
        f"its mean; networks of a row: {each}. None has learnt from an image of it.",
        "All images are resized to one size, so a loss may come from another magnification, stain, camera, mixture of "
        "cell types or expert.",
    ]
    return Layout(number, "How good are they on other laboratories' images?", heads, rows, notes=notes)


def make_flips(runs: Iterable[Run], groups: Groups | None = None) -> pd.DataFrame:
    """What the mean over flips and turns changes, per region and method, on the same test images.

    Args:
        runs: finished and failed runs; those without `test_time_flips` are left out.
        groups: case id -> group, of cases that belong together.

    Returns:
        By region: `FLIP_COLUMNS`, n test images (or groups of them), mean Dice of single predictions and of the mean of
        eight, the typical difference (with flips minus single; Hodges and Lehmann) with its interval, and Wilcoxon's p,
        each pair by itself.
    """
    rows = []
    for (encoder, loss), group in group_runs(runs).items():
        done = [run for run in group if run.complete and run.folder.scores_of("single").exists()]
        if not done:
            continue
        with_flips = read_scores(done)
        single = pd.concat([read_score_file(run.folder.scores_of("single")) for run in done], ignore_index=True)
        names = {"flips": with_flips, "single": single}
        # Told apart by the method's name, so that the folds and seeds are laid together as everywhere.
        renamed = [
            part.assign(run=part["run"].str.replace(r"^.+?__.+?__", f"{name}__", regex=True))
            for name, part in names.items()
        ]
        both = pd.concat(renamed, ignore_index=True)
        for region in TABLE_REGIONS:
            for pair in paired_differences(both, region, groups=groups).itertuples():
                means = both[both["region"] == region].groupby(both["run"].str.partition("__")[0])["dice"].mean()
                about = (region, f"{encoder}__{loss}", pair.n, means["single"], means["flips"])
                rows.append((*about, pair.difference, pair.ci_low, pair.ci_high, pair.p))
    rows.sort(key=lambda row: TABLE_REGIONS.index(row[0]))
    return pd.DataFrame(rows, columns=list(FLIP_COLUMNS))


def layout_flips(table: pd.DataFrame, number: int = 9, units: str = "images") -> Layout:
    """Single predictions beside the mean of eight.

    Args:
        table: from `make_flips`.
        number: of the table.
        units: what its n counts, in the plural.
    """
    heads = [("", "Encoder and loss"), ("Mean Dice", "One prediction"), ("Mean Dice", "Mean of eight")]
    heads += [("", "Typical gain [95 % interval]"), ("", "p")]
    rows = []
    for row in table.itertuples():
        p = NOTHING if pd.isna(row.p) else "< 0.001" if row.p < 0.001 else f"{row.p:.3f}"
        gain = _with_span(row.difference, row.ci_low, row.ci_high, 4)
        cells = [method_title(row.method), f"{row.single:.4f}", f"{row.flips:.4f}", gain, p]
        rows.append((f"{row.region.capitalize()}, {row.n} {units}", [Cell(text) for text in cells]))
    notes = [
        "Mean of eight: the image, turned by quarters and mirrored, is predicted eight times, and the probabilities "
        "are averaged; the scores of the other tables are of these.",
        "Gain: the typical difference of one image (Hodges and Lehmann); p: Wilcoxon's signed-rank test, each row by "
        "itself.",
    ]
    return Layout(number, "What do test-time flips change?", heads, rows, notes=notes)


def make_transfer_tables(
    transfer: Transfer, runs: Iterable[Run], groups: Groups | None = None
) -> dict[str, tuple[pd.DataFrame, Layout]]:
    """Table 8 ("transfer") and 9 ("flips"), where they have rows, each as its tidy frame and its layout."""
    flips = make_flips(runs, groups)
    layout = layout_flips(flips, units="images or groups of them" if groups else "images")
    made = {"transfer": (transfer.table, layout_transfer(transfer)), "flips": (flips, layout)}
    return {name: (frame, layout) for name, (frame, layout) in made.items() if layout.rows}


def write_transfer(
    study: StudyFolder, runs: Iterable[Run], transfer: Transfer, image_size: int, groups: Groups | None = None
) -> dict[str, StudyFigure]:
    """Write the tables and figures into the study's folder, and return the figures.

    Args:
        study: where.
        runs: finished and failed runs.
        transfer: of these.
        image_size: side S of the networks' images, in px.
        groups: case id -> group, of the own dataset.
    """
    from wbcstudy.data.datasets import load_dataset
    from wbcstudy.reporting.figures.canvas import write_figure
    from wbcstudy.reporting.figures.scores import fig_transfer
    from wbcstudy.reporting.figures.study_figures import fig_cases

    runs, figures = list(runs), {}
    for frame, layout in make_transfer_tables(transfer, runs, groups).values():
        write_table(frame, layout, study.tables)
    if len(transfer.table):
        titles = {other.name: transfer.title(other) for other in transfer.others}
        figures["transfer"] = fig_transfer(transfer.table, titles)
    for other in transfer.others:
        shown = pick_elsewhere(runs, transfer.best, other)
        if shown:
            figures[f"transfer_{other.name}"] = fig_cases(load_dataset(other.source), image_size, shown)
    for stem, figure in figures.items():
        write_figure(figure, study.figures, stem)
    return figures


def pick_elsewhere(
    runs: Iterable[Run], best: Best | None, other: OtherDataset, count: int = 5
) -> dict[str, np.ndarray]:
    """Cases of another dataset drawn by seed 0, with what the chosen pair's first network predicted for them."""
    group = group_runs(run for run in runs if run.complete).get((best.encoder, best.loss), []) if best else []
    found = next((masks for run in group if (masks := read_predictions(run.folder.transfer(other.name)))), {})
    names = sorted(set(found) - set(other.shared))
    drawn = np.random.default_rng(0).choice(len(names), min(count, len(names)), replace=False)
    return {names[place]: found[names[place]] for place in sorted(drawn)}


def _rows(transfer: Transfer, other: OtherDataset, method: str | None) -> pd.DataFrame:
    table = transfer.table
    return table[(table["dataset"] == other.name) & (table["method"] == method)]


def _scored_others(transfer: Transfer, any_method: bool = False) -> list[OtherDataset]:
    """The datasets on which the chosen method has scores, or any."""
    methods = set(transfer.table["method"]) if any_method else {transfer.chosen}
    return [other for other in transfer.others if any(len(_rows(transfer, other, method)) for method in methods)]


def _scored(rows: pd.DataFrame) -> str:
    parts = [
        f"{row.dice_mean:.2f} for the {row.region} ({row.own_mean:.2f} on its own test images)"
        for row in rows.itertuples()
    ]
    return f"Mean Dice {' and '.join(parts)}."


def _advice(rows: pd.DataFrame) -> str:
    if (rows["drop_ci_low"] > NOTABLE).any():
        return (
            "It loses much there: do not use it on such images before an expert has marked some of them and a network "
            "has learnt from these too."
        )
    if (rows["drop_ci_high"] < NOTABLE).all():
        return f"It loses little there, if anything (less than {NOTABLE:g})."
    return "Whether it loses much there cannot be said for sure."


def _best_there(transfer: Transfer, other: OtherDataset) -> Sequence[str]:
    """Whether another method does better there, and whether by more than chance."""
    table = transfer.table[transfer.table["dataset"] == other.name]
    means = table.groupby("method", sort=False)["dice_mean"].mean()
    if len(means) < 2:
        return []
    leader = means.idxmax()
    if leader == transfer.chosen:
        return ["No other measured method has a higher mean there."]
    sure = [region for region, pairs in transfer.pairs[other.name].items() if _surely(pairs, leader, transfer.chosen)]
    title = method_title(leader)
    words = f"{title[:1].upper()}{title[1:]} has the highest mean there"
    if not sure:
        return [f"{words}, but not by more than chance over it."]
    return [f"{words}, and is better than it by more than chance for the {' and the '.join(sure)}."]


def _surely(pairs: pd.DataFrame, better: str, worse: str, alpha: float = 0.05) -> bool:
    for row in pairs.itertuples():
        if {row.method_a, row.method_b} == {better, worse}:
            return bool(row.p_holm < alpha and row.better == better)
    return False


def _with_span(value: float, low: float, high: float, digits: int = 3) -> str:
    return NOTHING if pd.isna(value) else f"{value:.{digits}f}{_bracket(low, high, digits)}"


def _bracket(low: float, high: float, digits: int) -> str:
    return "" if pd.isna(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"


def _span(low: float, high: float) -> str:
    return "" if pd.isna(low) else f" (95 % interval {low:.3f} to {high:.3f})"
