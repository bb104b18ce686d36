"""The columns of cells.csv: their meanings, and how a table of cells is written."""

from __future__ import annotations

import math
import textwrap
from types import MappingProxyType

import pandas as pd

from wbcstudy.files import escape_cell

# Column -> unit and meaning, in the order of the file. Formulas: `measure_cells.measure_cells`.
CELL_COLUMNS = MappingProxyType(
    {
        "file": ("text", "image file, below the folder that was segmented"),
        "image": ("text", "name of the image's results: labels/<image>.png and so on"),
        "cell": ("text", "id of the cell, unique in the table: file and number"),
        "cell_id": ("number", "number of the cell in its image, as on the overlay and in instances/<image>.png"),
        "cell_diameter_um": ("µm", "diameter of a disc with the cell's area; empty without --pixel-um"),
        "cell_diameter_px": ("px", "the same in pixels"),
        "nucleus_diameter_um": ("µm", "diameter of a disc with the nucleus' area; empty without --pixel-um"),
        "nucleus_diameter_px": ("px", "the same in pixels"),
        "nucleus_share": ("0-1", "area of the nucleus divided by that of the cell"),
        "nucleus_to_cytoplasm_ratio": (
            "ratio",
            "N:C ratio: area of the nucleus divided by that of the cytoplasm; empty without cytoplasm",
        ),
        "nuclear_lobes": ("number", "lobes of the nucleus that are separate or joined by a thin strand"),
        "cell_area_um2": ("µm²", "area of the cell; empty without --pixel-um"),
        "nucleus_area_um2": ("µm²", "area of the nucleus; empty without --pixel-um"),
        "cytoplasm_area_um2": ("µm²", "area of the cytoplasm; empty without --pixel-um"),
        "cell_area_px": ("px", "pixels of the cell, nucleus and cytoplasm together"),
        "nucleus_area_px": ("px", "pixels of the nucleus"),
        "cytoplasm_area_px": ("px", "pixels of the cytoplasm"),
        "cell_circularity": ("0-1", "roundness of the cell's outline: 1 for a disc, less for an irregular outline"),
        "nucleus_circularity": ("0-1", "roundness of the nucleus' outline"),
        "cell_eccentricity": ("0-1", "elongation of the cell: 0 for a disc, towards 1 for a line"),
        "nucleus_eccentricity": ("0-1", "elongation of the nucleus"),
        "touches_border": ("True or False", "whether the image's border cuts the cell; its sizes are then too small"),
        "mean_confidence": ("0-1", "mean probability that the network gives to the labels it chose in the cell"),
        "x_px": ("px", "centre of the cell, from the left edge"),
        "y_px": ("px", "centre of the cell, from the top edge"),
        "left_px": ("px", "left edge of the cell's bounding box"),
        "top_px": ("px", "top edge of the cell's bounding box"),
        "width_px": ("px", "width of the cell's bounding box"),
        "height_px": ("px", "height of the cell's bounding box"),
        **{
            f"{region}_{channel}": ("0-255", f"mean {channel} of the {region}")
            for region in ("nucleus", "cytoplasm")
            for channel in ("red", "green", "blue")
        },
        **{
            f"{region}_od_{channel}": ("optical density", f"mean absorption of {channel} light by the {region}")
            for region in ("nucleus", "cytoplasm")
            for channel in ("red", "green", "blue")
        },
    }
)
# Columns that name the cell; all others are measured.
ID_COLUMNS = ("file", "image", "cell")
MEASURED_COLUMNS = tuple(name for name in CELL_COLUMNS if name not in ID_COLUMNS)


def cells_csv(cells: pd.DataFrame, image: str, file: str) -> str:
    """Write a table of cells as CSV, with the columns of `CELL_COLUMNS` and four significant digits.

    Args:
        cells: one row per cell, from `measure_cells.measure_cells`.
        image: name of the image's results.
        file: name of the image file with its suffix.
    """
    table = cells.assign(
        file=escape_cell(file),
        image=escape_cell(image),
        cell=[escape_cell(f"{file} cell {number}") for number in cells["cell_id"]],
    )
    return table[list(CELL_COLUMNS)].to_csv(index=False, lineterminator="\n", float_format=four_digits)


def four_digits(value: float) -> str:
    """Write a number with four significant digits, without an exponent; digits before the decimal point are kept."""
    if not math.isfinite(value) or value == 0:
        return "" if math.isnan(value) else f"{value:g}"
    decimals = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def column_guide() -> str:
    """Return the text of `cells_columns.txt`: one paragraph per column of cells.csv."""
    lines = [
        "cells.csv has one row per cell. Numbers have four significant digits. An empty field means: not defined.",
        "Import `file`, `image` and `cell` as text. Text that begins like a formula has an apostrophe before it.",
        "",
    ]
    for name, (unit, meaning) in CELL_COLUMNS.items():
        lines += textwrap.wrap(f"{name} ({unit}): {meaning}.", 100, subsequent_indent="    ")
    return "\n".join(lines) + "\n"
