"""The columns of cells.csv and their guide."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.helpers.colour_run import TWO_CELLS, paint
from wbcstudy.inference.cell_columns import CELL_COLUMNS, cells_csv, column_guide, four_digits
from wbcstudy.inference.measure_cells import measure_cells
from wbcstudy.inference.split_cells import split_cells

FORMATS = Path(__file__).parents[2] / "docs" / "reference" / "formats.md"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (12.3, "12.3"), (12345.6, "12346"), (0, "0"), (-0.00012344, "-0.0001234"), (1, "1")],
)
def test_numbers_have_four_significant_digits_and_no_exponent(value, text):
    assert four_digits(value) == text


def test_the_table_names_the_file_and_keeps_ids_text():
    cells = measure_cells(paint(TWO_CELLS), TWO_CELLS, split_cells(TWO_CELLS), pixel_um=0.5)
    text = cells_csv(cells, "007", "007.png")
    table = pd.read_csv(io.StringIO(text))
    assert tuple(table.columns) == tuple(CELL_COLUMNS)
    assert table["file"].tolist() == ["007.png"] * 2 and table["cell"].tolist() == ["007.png cell 1", "007.png cell 2"]
    # 2 sqrt(area / pi) of discs of radius 9 and 4.5 px.
    assert table["cell_diameter_px"].tolist() == pytest.approx([18] * 2, rel=0.03)
    assert table["cell_diameter_um"].tolist() == pytest.approx([9] * 2, rel=0.03)
    expected = cells["nucleus_area_px"] / cells["cell_area_px"]
    np.testing.assert_allclose(table["nucleus_share"], expected, rtol=5e-4)
    assert max(len(re.sub(r"^[-0.]*", "", field).replace(".", "")) for field in text.split("\n")[1].split(",")[4:]) <= 6
    assert cells_csv(cells, "=1+1", "=1+1.png").split("\n")[1].startswith("'=1+1.png,'=1+1,'=1+1.png cell 1,")


def test_without_a_pixel_size_micrometres_are_empty():
    cells = measure_cells(paint(TWO_CELLS), TWO_CELLS, split_cells(TWO_CELLS))
    table = pd.read_csv(io.StringIO(cells_csv(cells, "a", "a.png")))
    # No probabilities were passed either.
    empty = {name for name in CELL_COLUMNS if name.endswith(("_um", "_um2"))} | {"mean_confidence"}
    assert {name for name in CELL_COLUMNS if table[name].isna().all()} == empty


def test_guide_and_documentation_explain_every_column():
    guide, page = column_guide(), FORMATS.read_text(encoding="utf-8")
    for name, (unit, meaning) in CELL_COLUMNS.items():
        assert f"\n{name} ({unit}): " in guide
        assert f"| `{name}` | {unit} | {meaning} |" in page
