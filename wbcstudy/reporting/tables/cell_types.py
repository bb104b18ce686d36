"""Table 5: scores by cell type."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from wbcstudy.registry import method_title
from wbcstudy.reporting.tables.layout import Cell, Layout, interval_notes, interval_text
from wbcstudy.scoring.breakdown import scores_by_cell_type
from wbcstudy.scoring.case_tables import Groups
from wbcstudy.scoring.selection import TABLE_REGIONS


def make_cell_types(scores: pd.DataFrame, groups: Groups | None = None) -> pd.DataFrame:
    """Average the Dice by cell type, per region and method.

    Args:
        scores: rows as `score_masks` makes them.
        groups: case id -> group, for the intervals.

    Returns:
        region, then the columns of `scores_by_cell_type`. Empty where no case has a cell type.
    """
    if scores.empty or scores["cell_type"].isna().all():
        return pd.DataFrame(columns=["region", "method", "cell_type", "n", "mean", "ci_low", "ci_high"])
    parts = [scores_by_cell_type(scores, region, groups=groups).assign(region=region) for region in TABLE_REGIONS]
    table = pd.concat(parts, ignore_index=True)
    return table[["region", *(name for name in table if name != "region")]]


def layout_cell_types(table: pd.DataFrame, notes: Iterable[str] = ()) -> Layout:
    """Arrange Table 5: a row per type, the regions next to each other, a block per method.

    Args:
        table: result of `make_cell_types`; may be empty.
        notes: sentences to add below the table.
    """
    regions, rows = list(dict.fromkeys(table["region"])), []
    for method, part in table.groupby("method", sort=False):
        by_type = part.assign(cell_type=part["cell_type"].fillna("unknown"))
        for cell_type in dict.fromkeys(by_type["cell_type"]):
            of_type = by_type[by_type["cell_type"] == cell_type].set_index("region").reindex(regions)
            cells = [Cell(str(cell_type)), Cell(f"{of_type['n'].max():g}")]
            cells += [Cell(interval_text(row.mean, row.ci_low, row.ci_high)) for row in of_type.itertuples()]
            rows.append((method_title(method), cells))
    heads = [("", "Cell type"), ("", "Images")]
    heads += [(region.capitalize(), "Mean Dice [95 % interval]") for region in regions]
    remarks = ["Intervals are over the images of a type (over slides or patients, where known)."]
    remarks += interval_notes(table, "mean", "ci_low")
    return Layout(5, "Scores by cell type, on the test images", heads, rows, notes=[*remarks, *notes])
