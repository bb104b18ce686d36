"""The table of ranks."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.made_scores import FOUR_METHODS, make_ranks
from wbcstudy.reporting.tables.layout import NOTHING
from wbcstudy.reporting.tables.ranks import layout_ranks
from wbcstudy.reporting.tables.render import _format_latex, format_html, write_table


def test_the_rank_table_marks_methods_without_a_significant_difference(scores, tmp_path):
    table = make_ranks(scores)
    nucleus = table[table["region"] == "nucleus"]
    assert len(table) == 8 and nucleus["mean"].is_monotonic_decreasing
    assert set(nucleus.loc[nucleus["undecided"], "method"]) == set(FOUR_METHODS[:2])
    assert nucleus["leader"].sum() == 1 and np.isnan(nucleus.loc[nucleus["leader"], "behind"].item())
    last = nucleus.iloc[-1]
    assert last["behind"] == pytest.approx(0.06, abs=0.01) and last["ci_low"] < last["behind"] < last["ci_high"]
    layout = layout_ranks(table)
    bold = {cells[0].text for _, cells in layout.rows if cells[0].best}
    assert bold == {"ResNet-18", "MobileNet"}
    assert layout.rows[0][0] == "Nucleus, 40 images" and "SD over seeds" not in [head for _, head in layout.heads]
    assert all(len(cells) == len(layout.heads) for _, cells in layout.rows)
    fragment = format_html(layout)
    assert "<strong>ResNet-18</strong>" in fragment and r"\textbf{ResNet-18}" in _format_latex(layout)
    paths = write_table(table, layout, fragment, tmp_path)
    assert [path.name for path in paths] == ["table4.csv", "table4.html", "table4.tex"]


def test_the_rank_table_shows_seeds_if_there_are_several_and_dashes_for_the_unknown(scores):
    second = scores.assign(run=scores["run"].str.replace("seed0", "seed1"))
    assert "SD over seeds" in [head for _, head in layout_ranks(make_ranks(pd.concat([scores, second]))).heads]
    one = make_ranks(scores[scores["run"].str.startswith("vgg16")])
    assert one["leader"].all() and layout_ranks(one).rows[0][1][4].text == "leads"
    few = make_ranks(scores[scores["case_id"] < "c003"])
    assert layout_ranks(few).rows[1][1][5].text == NOTHING
    assert make_ranks(scores.head(0)).empty and layout_ranks(make_ranks(scores.head(0))).rows == []
