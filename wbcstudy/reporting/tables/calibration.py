"""Table 7: how well predicted probabilities agree with the share that is correct."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from wbcstudy.registry import method_heading, method_title, varying_part
from wbcstudy.reporting.tables.layout import Cell, Layout, number_text
from wbcstudy.scoring.calibration import Reliability
from wbcstudy.scoring.selection import TABLE_REGIONS


def make_calibration(reliability: Mapping[str, Mapping[str, Reliability]]) -> pd.DataFrame:
    """Tabulate the calibration errors of each method.

    Args:
        reliability: method -> curve ("all" for the most probable label, or a region) -> reliability.

    Returns:
        One row per method and curve: method, region, n (pixels, of all its runs), ece (expected calibration error),
        largest_gap.
    """
    rows = [
        (method, region, int(curve.curve["n"].sum()), curve.ece, curve.largest_gap)
        for method, curves in reliability.items()
        for region, curve in curves.items()
    ]
    return pd.DataFrame(rows, columns=["method", "region", "n", "ece", "largest_gap"])


def layout_calibration(table: pd.DataFrame, notes: Iterable[str] = ()) -> Layout:
    """Arrange Table 7: a row per method, the regions next to each other.

    Args:
        table: result of `make_calibration`; may be empty.
        notes: sentences to add below the table.
    """
    methods = list(dict.fromkeys(table["method"]))
    part = varying_part(methods) if methods else "method"
    by_key = table.set_index(["method", "region"])[["ece", "largest_gap"]]
    rows = []
    for method in methods:
        values = by_key.reindex([(method, region) for region in TABLE_REGIONS]).to_numpy().ravel()
        rows.append(("", [Cell(method_title(method, part)), *(Cell(number_text(value, 3)) for value in values)]))
    heads = [("", method_heading(table["method"]) if part == "method" else part.capitalize())]
    heads += [(r.capitalize(), head) for r in TABLE_REGIONS for head in ("Expected error", "Largest gap")]
    remarks = [
        "Expected calibration error: difference between the predicted probability of the region and the share of "
        "pixels that the expert assigned to it, in 15 bins, weighted by pixels. It is small because most pixels are "
        "clearly background; the largest gap is that of the worst bin."
    ]
    return Layout(7, "Calibration", heads, rows, notes=[*remarks, *notes])
