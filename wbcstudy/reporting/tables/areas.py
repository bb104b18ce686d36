"""Table 11: bias and limits of agreement of areas and of the nucleus-to-cytoplasm ratio."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from wbcstudy.registry import method_title
from wbcstudy.reporting.tables.layout import NOTHING, Cell, Layout, interval_notes, number_text
from wbcstudy.scoring.agreement import RATIO, limits_of_agreement, measure_areas
from wbcstudy.scoring.case_tables import Groups
from wbcstudy.wording import capitalise, interval_brackets


def make_areas(scores: pd.DataFrame, groups: Groups | None = None) -> pd.DataFrame:
    """Compute bias and limits of agreement of each method, see `limits_of_agreement`; areas in px."""
    return limits_of_agreement(measure_areas(scores), groups)


def layout_areas(table: pd.DataFrame, pixel_size_um: float | None = None, notes: Iterable[str] = ()) -> Layout:
    """Arrange Table 11: a row per quantity, a block per method.

    Args:
        table: result of `make_areas`; may be empty.
        pixel_size_um: side of a pixel, if known; areas are then in square micrometres.
        notes: sentences to add below the table.
    """
    unit = "µm²" if pixel_size_um else "px"
    heads = [("", "Quantity"), ("", "Images"), ("", "Expert's mean"), ("", "Bias [95 % interval]")]
    heads += [("", "Limits of agreement"), ("", "Bias, %")]
    rows = []
    for row in table.itertuples():
        ratio = row.quantity == RATIO
        factor, digits = (1, 3) if ratio else (pixel_size_um**2, 1) if pixel_size_um else (1, 0)
        mean, bias, low, high, limit_low, limit_high = (
            factor * value
            for value in (row.reference, row.bias, row.bias_low, row.bias_high, row.limit_low, row.limit_high)
        )
        texts = [
            capitalise(row.quantity) + ("" if ratio else f", {unit}"),
            str(row.n),
            number_text(mean, digits),
            f"{bias:+.{digits}f} {interval_brackets(low, high, digits)}".rstrip(),
            f"{limit_low:+.{digits}f} to {limit_high:+.{digits}f}" if pd.notna(limit_low) else NOTHING,
            f"{100 * bias / mean:+.1f}" if mean else NOTHING,
        ]
        rows.append((method_title(row.method), [Cell(text) for text in texts]))
    remarks = [
        "Bias: mean of prediction minus expert; positive if the network draws too large. Limits of agreement: bias "
        "plus and minus 1.96 standard deviations of the differences; 91 to 95 % of further images are within them "
        "with 20 to 60 test images (Bland, Altman 1986). Areas are of all cells of an image. The ratio is nucleus area "
        "divided by cytoplasm area. Intervals are over images (over slides or patients, where known) and include one "
        "imagined image, as in Table 4.",
        *interval_notes(table, "bias", "bias_low"),
    ]
    return Layout(11, "Error of areas, on the test images", heads, rows, notes=[*remarks, *notes])
