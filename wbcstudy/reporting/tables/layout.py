"""How the tables are arranged: the paper's rows and columns, as cells of plain text.

A layout knows no file format; `render` writes it as HTML and LaTeX, and escapes what has to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from wbcstudy.config import RunConfig, StudyConfig
from wbcstudy.registry import ENCODERS, loss_title
from wbcstudy.reporting.tables.paper import load_paper_table
from wbcstudy.reporting.text.paper import tell_beside_paper

PAPER_NOTE = "Grey, “paper”: the number printed in the paper, for its own 87 images, which were never published."
NOTHING = "\N{EN DASH}"
METRIC_TITLES = {
    "precision": "Precision",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy": "Accuracy",
    "dice": "Dice",
    "iou": "IoU",
    "dice_mean": "Mean Dice [95 % interval]",
}


@dataclass(frozen=True)
class Cell:
    """One cell: its text, whether it is the best of its column, the paper's number, whether it is an aside."""

    text: str
    best: bool = False
    paper: str = ""
    muted: bool = False


@dataclass(frozen=True)
class Layout:
    """A table as it is to be printed.

    Args:
        number: which of the paper's tables it is.
        title: caption, without the number.
        heads: (spanner or "", label) per column.
        rows: (group or "", cells) per row; rows of a group follow one another.
        words: how many columns on the left hold words.
        notes: sentences below the table.
    """

    number: int
    title: str
    heads: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    words: int = 1
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def stem(self) -> str:
        """File name and HTML id: table1."""
        return f"table{self.number}"

    @property
    def caption(self) -> str:
        """The title with its number."""
        return f"Table {self.number}. {self.title}"


def weights_note(configs: Iterable[RunConfig | StudyConfig]) -> str:
    """What the encoders started from, in a sentence."""
    configs = list(configs)
    # The plain U-Net never has weights, so it says nothing about the others.
    starts = {
        (config.encoder_weights, config.freeze_encoder)
        for config in configs
        if not isinstance(config, RunConfig) or ENCODERS[config.encoder].backbone
    }
    words = []
    for weights, frozen in sorted(starts) or [("none", False)]:
        if weights == "none":
            words.append("trained from scratch, no ImageNet weights")
        else:
            source = "ImageNet weights" if weights == "imagenet" else f"weights from the file {weights}"
            words.append(f"encoders started from {source}, {'kept as they were' if frozen else 'and trained further'}")
    sentence = "; ".join(words)
    return sentence[0].upper() + sentence[1:] + "."


def layout_table1(table: pd.DataFrame, notes: Iterable[str] = (), ensemble: pd.DataFrame | None = None) -> Layout:
    """Table 1: a row per encoder and loss, the regions side by side, and the majority of all as a last row.

    Args:
        table: from `tables.make_table1`.
        notes: sentences to add below.
        ensemble: from `tables.make_ensemble`; None or empty for no such row.
    """
    regions = list(dict.fromkeys(table["region"]))
    metrics = ("precision", "dice", "dice_mean")
    paper = load_paper_table(1).set_index(["encoder", "loss", "region"]).sort_index()
    whole = table["whole"].astype(bool)
    best = best_values(table[whole], metrics)
    rows, previous, partly, short = [], None, [], []
    for (encoder, loss), group in table.groupby(["encoder", "loss"], sort=False):
        first, by_region = group.iloc[0], group.set_index("region")
        cells = [Cell(ENCODERS[encoder].title if encoder != previous else ""), Cell(loss_title(loss))]
        previous = encoder
        failed = first["failed"] == first["runs"]
        for region in regions:
            key = (encoder, loss, region)
            for metric in metrics:
                quoted = f"{paper.loc[key, metric]:.4f}" if metric in paper and key in paper.index else ""
                if failed:
                    cells.append(Cell("failed" if metric == "precision" else "", muted=True, paper=quoted))
                else:
                    rivals = best.get(region, {}) if whole[group.index[0]] else {}
                    cells.append(number_cell(by_region.loc[region], metric, rivals, quoted))
        quoted = f"{paper.loc[(encoder, loss), 'epochs'].iloc[0]:g}" if (encoder, loss) in paper.index else ""
        cells += [Cell(_count(first["best_epoch"])), Cell(_count(first["epochs"]), paper=quoted)]
        rows.append(("", cells))
        if 0 < first["failed"] < first["runs"]:
            partly.append(f"{ENCODERS[encoder].title}, {loss_title(loss)}: {first['failed']} of {first['runs']}")
        if not failed and not whole[group.index[0]]:
            short.append(f"{ENCODERS[encoder].title}, {loss_title(loss)}")
    voted = ensemble is not None and len(ensemble) > 0
    if voted:
        by_region = ensemble.set_index("region")
        voters, pairs = by_region["voters"].iloc[0], len(table[["encoder", "loss"]].drop_duplicates())
        of = f"all {pairs}" if voters == pairs else f"{voters} of the {pairs}"
        cells = [Cell(f"Majority of {of}"), Cell("vote per pixel", muted=True)]
        for region in regions:
            row = by_region.loc[region] if region in by_region.index else pd.Series(dtype=float)
            cells += [number_cell(row, metric, {}) for metric in metrics]
        rows.append(("", [*cells, Cell(NOTHING), Cell(NOTHING)]))
    heads = [("", "Encoder"), ("", "Loss")]
    heads += [(region.capitalize(), METRIC_TITLES[metric]) for region in regions for metric in metrics]
    heads += [("", "Best epoch"), ("", "Epochs")]
    what = ["Precision and Dice from pixels summed over all test images; the mean gives each image the same weight."]
    what += ["Bold: best of its column.", PAPER_NOTE, *_beside_paper(table)]
    if voted:
        what.append(
            "Majority: every pixel gets the label that most of the networks give it, of a tie the one of the better "
            "network on validation; it costs as much as all of them and does not compete for bold."
            + ("" if voters == pairs else " Those without masks, or without all folds and seeds, have no vote.")
        )
    if short:
        what.append(
            f"Neither bold nor compared, since no seed has all folds: {'; '.join(short)}. The folds hold different "
            "images, some of them easier."
        )
    if partly:
        what.append(f"Failed runs left out: {'; '.join(partly)}.")
    title = "Each encoder with each loss, on the test images"
    return Layout(1, title, heads, rows, words=2, notes=[*notes, *what])


def _beside_paper(table: pd.DataFrame) -> list[str]:
    """Nothing is recommended here, which a reader who was told to use another network should know."""
    told = tell_beside_paper(table)
    if told:
        told[0] += " What to use was chosen on the validation images, which need not give the same first."
    return told


def layout_table2(table: pd.DataFrame, notes: Iterable[str] = ()) -> Layout:
    """Table 2: a row per metric, and a column per region and loss, as in the paper.

    Args:
        table: from `tables.make_table2`; may be empty.
        notes: sentences to add below.
    """
    metrics = ("precision", "sensitivity", "specificity", "dice", "iou")
    paper = load_paper_table(2).set_index(["encoder", "loss", "region"])
    columns = list(
        table.sort_values("region", key=_region_rank, kind="stable")[["region", "loss"]].itertuples(index=False)
    )
    by_key = table.set_index(["region", "loss"])
    best = best_values(table, metrics)
    rows = []
    for metric in metrics if columns else ():
        cells = [Cell(METRIC_TITLES[metric])]
        for region, loss in columns:
            row = by_key.loc[(region, loss)]
            key = (row["encoder"], loss, region)
            quoted = f"{paper.loc[key, metric]:.4f}" if key in paper.index else ""
            cells.append(number_cell(row, metric, best[region], quoted))
        rows.append(("", cells))
    heads = [("", "Metric"), *((region.capitalize(), loss_title(loss)) for region, loss in columns)]
    name = ENCODERS[table["encoder"].iloc[0]].title if len(table) else "no run is complete"
    what = ["From pixels summed over all test images. Bold: best loss of its region."]
    if any(cell.paper for _, cells in rows for cell in cells):
        what.append(PAPER_NOTE)
    return Layout(2, f"Five metrics of the best encoder: {name}", heads, rows, notes=[*notes, *what])


def number_cell(row: pd.Series, metric: str, best: dict[str, float], quoted: str = "") -> Cell:
    """A score with four digits, bold where it is the column's best; the mean Dice with its interval."""
    value = row.get(metric)
    if pd.isna(value):
        return Cell(NOTHING, paper=quoted)
    text = f"{value:.4f}"
    if metric == "dice_mean" and pd.notna(row["dice_ci_low"]):
        text += f" [{row['dice_ci_low']:.3f}, {row['dice_ci_high']:.3f}]"
    # Equal as printed is equal.
    return Cell(text, best=f"{value:.4f}" == f"{best.get(metric, -1):.4f}", paper=quoted)


def best_values(
    table: pd.DataFrame, metrics: Sequence[str], regions: Iterable[str] = ()
) -> dict[str, dict[str, float]]:
    """Region -> metric -> highest value; a single row has no best."""
    best: dict[str, dict[str, float]] = {region: {} for region in regions}
    for region, group in table.groupby("region", sort=False):
        highest = group[list(metrics)].max().dropna() if len(group) > 1 else pd.Series(dtype=float)
        best[region] = highest.to_dict()
    return best


def _region_rank(regions: pd.Series) -> pd.Series:
    order = list(dict.fromkeys(regions))
    return regions.map(order.index)


def _count(value) -> str:
    return NOTHING if pd.isna(value) else f"{float(value):g}"
