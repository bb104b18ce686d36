"""Table 11: error of areas."""

import pandas as pd

from wbcstudy.reporting.tables.areas import layout_areas
from wbcstudy.scoring.agreement import RATIO


def table() -> pd.DataFrame:
    numbers = {"n": 20, "reference": 1000.0, "bias": 20.0, "bias_low": 10.0, "bias_high": 30.0}
    numbers |= {"limit_low": -80.0, "limit_high": 120.0, "method": "unet__dice"}
    ratio = {"quantity": RATIO, "reference": 0.5, "bias": -0.01, "bias_low": -0.02, "bias_high": 0.0}
    return pd.DataFrame([numbers | {"quantity": "nucleus area"}, numbers | ratio])


def test_areas_are_in_px_or_square_micrometres_and_ratios_have_no_unit():
    rows = [[cell.text for cell in cells] for _, cells in layout_areas(table()).rows]
    assert rows[0] == ["Nucleus area, px", "20", "1000", "+20 [10, 30]", "-80 to +120", "+2.0"]
    assert rows[1][:4] == ["Nucleus-to-cytoplasm ratio", "20", "0.500", "-0.010 [-0.020, 0.000]"]
    rows = [[cell.text for cell in cells] for _, cells in layout_areas(table(), 0.1).rows]
    assert rows[0][0] == "Nucleus area, µm²" and rows[0][2] == "10.0"
