"""Arrangement of a table: rows and columns of plain text.

A layout is independent of the file format; `render` writes it as HTML and LaTeX and escapes the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from wbcstudy.scoring.intervals import MIN_UNITS
from wbcstudy.wording import interval_brackets

NOTHING = "\N{EN DASH}"
INTERVAL_TITLE = "[95 % interval]"
METRIC_TITLES = {
    "precision": "Precision",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy": "Accuracy",
    "dice": "Dice",
    "iou": "IoU",
    "dice_mean": f"Mean Dice {INTERVAL_TITLE}",
}
# Score -> columns with the ends of its interval.
_ENDS = {"dice_mean": ("dice_ci_low", "dice_ci_high"), "dice": ("pooled_ci_low", "pooled_ci_high")}


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Args:
        text: plain text.
        best: whether it is bold.
        paper: the paper's number, shown below it.
        muted: whether it is in italics.
        repeated: whether the row above has the same text. LaTeX leaves it out; in HTML it is grey, since rows can be
            sorted.
    """

    text: str
    best: bool = False
    paper: str = ""
    muted: bool = False
    repeated: bool = False


@dataclass(frozen=True)
class Layout:
    """A table ready to be printed.

    Args:
        number: number of the table, also in its file name.
        title: caption without the number.
        heads: (spanner or "", label) per column.
        rows: (group or "", cells) per row; rows of a group are consecutive.
        text_columns: number of columns on the left that hold text.
        notes: sentences below the table.
    """

    number: int
    title: str
    heads: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    text_columns: int = 1
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def stem(self) -> str:
        """File name and anchor: table1."""
        return f"table{self.number}"

    @property
    def caption(self) -> str:
        """The title with its number."""
        return f"Table {self.number}. {self.title}"


def number_text(value: float | None, digits: int = 4) -> str:
    """Format a number; a dash where it is undefined."""
    return NOTHING if pd.isna(value) else f"{value:.{digits}f}"


def interval_text(value: float, low: float, high: float, digits: int = 4, interval_digits: int = 3) -> str:
    """Format a number with its interval: "0.9412 [0.930, 0.951]"; a dash where it is undefined."""
    return f"{number_text(value, digits)} {interval_brackets(low, high, interval_digits)}".rstrip()


def number_cell(row: pd.Series, metric: str, highest: dict[str, float], quoted: str = "") -> Cell:
    """Return a score with four digits, bold where it is the highest of its column, and with its interval."""
    value = row.get(metric)
    text = number_text(value)
    ends = [row.get(name, np.nan) for name in _ENDS.get(metric, ())]
    if ends and text != NOTHING:
        text = interval_text(value, *ends)
    # Numbers that are printed alike are equal.
    return Cell(text, best=number_text(value) == f"{highest.get(metric, -1):.4f}", paper=quoted)


def highest_values(
    table: pd.DataFrame, metrics: Sequence[str], regions: Iterable[str] = ()
) -> dict[str, dict[str, float]]:
    """Return region -> metric -> highest value; none for a single row."""
    highest: dict[str, dict[str, float]] = {region: {} for region in regions}
    for region, group in table.groupby("region", sort=False):
        values = group[list(metrics)].max().dropna() if len(group) > 1 else pd.Series(dtype=float)
        highest[region] = values.to_dict()
    return highest


def interval_notes(table: pd.DataFrame, value: str, low: str) -> list[str]:
    """Return a note if a value of a table has no interval because of too few images.

    Args:
        table: tidy frame.
        value: column of the value.
        low: column of the lower end.
    """
    if not (table[value].notna() & table[low].isna()).any():
        return []
    return [f"No interval: too few images for one (fewer than {MIN_UNITS}, or fewer slides or patients, where known)."]


def whole_numbers(column: pd.Series) -> pd.Series:
    """Convert to integers if all are whole, so that a CSV file has 13 and not 13.0."""
    numbers = column.astype(float)
    return numbers.astype("Int64") if (numbers.dropna() % 1 == 0).all() else numbers
