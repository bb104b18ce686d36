"""Scores by cell type."""

from tests.helpers.made_scores import FOUR_METHODS
from wbcstudy.reporting.tables.cell_types import layout_cell_types, make_cell_types


def test_cell_types_are_rows(scores):
    table = make_cell_types(scores)
    layout = layout_cell_types(table[table["method"] == FOUR_METHODS[0]])
    assert [cells[0].text for _, cells in layout.rows] == ["basophil", "monocyte", "unknown"]
    assert [cells[1].text for _, cells in layout.rows] == ["13", "14", "13"]
    assert {group for group, _ in layout.rows} == {"ResNet-18 with Dice loss"}
    assert all(len(cells) == len(layout.heads) == 4 for _, cells in layout.rows)
    assert make_cell_types(scores.assign(cell_type=None)).empty
    assert layout_cell_types(table.head(0)).rows == []
