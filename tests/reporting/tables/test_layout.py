"""Numbers and cells of tables."""

import numpy as np
import pandas as pd

from wbcstudy.reporting.tables.layout import (
    NOTHING,
    Layout,
    highest_values,
    interval_text,
    number_cell,
    number_text,
    whole_numbers,
)


def test_the_undefined_is_a_dash():
    assert number_text(0.94123) == "0.9412" and number_text(0.94123, 2) == "0.94"
    assert number_text(None) == number_text(np.nan) == interval_text(np.nan, np.nan, np.nan) == NOTHING
    assert interval_text(0.94123, 0.93, 0.951) == "0.9412 [0.930, 0.951]"


def test_numbers_that_are_printed_alike_are_equally_bold():
    table = pd.DataFrame({"region": ["cell"] * 3, "dice": [0.90001, 0.90004, 0.8]})
    highest = highest_values(table, ["dice"])["cell"]
    assert [number_cell(row, "dice", highest).best for _, row in table.iterrows()] == [True, True, False]
    # A single row is not the best of anything.
    assert highest_values(table.head(1), ["dice"], ["cell", "nucleus"]) == {"cell": {}, "nucleus": {}}


def test_whole_numbers_stay_whole_in_files():
    assert whole_numbers(pd.Series([13.0, np.nan])).to_csv(index=False, header=False) == '13\n""\n'
    assert whole_numbers(pd.Series([13.5])).tolist() == [13.5]


def test_a_table_has_its_number_in_file_name_and_caption():
    layout = Layout(6, "Cost", [], [])
    assert (layout.stem, layout.caption) == ("table6", "Table 6. Cost")
