"""The comparison as tables and figures."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.made_scores import noisy_dice, scores_from_array, scores_from_dice
from wbcstudy.reporting.figures.canvas import write_figure
from wbcstudy.reporting.figures.scores import fig_cost_quality, fig_reliability
from wbcstudy.reporting.figures.significance import fig_differences, fig_ranks
from wbcstudy.reporting.tables.layout import NOTHING
from wbcstudy.reporting.tables.ranks import layout_cell_types, layout_ranks, make_cell_types, make_ranks
from wbcstudy.reporting.tables.render import format_html, format_latex, write_table
from wbcstudy.scoring.calibration import reliability
from wbcstudy.scoring.comparison import compare_methods
from wbcstudy.scoring.ranks import friedman_nemenyi

METHODS = ("resnet18__dice", "mobilenet__dice", "vgg16__dice", "vgg19__dice")
# The first two cannot be told apart, the others are worse.
OFFSETS = (0.0, 0.0, -0.03, -0.06)


@pytest.fixture(scope="module")
def scores():
    nucleus = scores_from_array(noisy_dice(40, OFFSETS, 1), METHODS)
    types = {case: ("monocyte", "basophil", None)[int(case[1:]) % 3] for case in nucleus["case_id"]}
    both = pd.concat([nucleus, nucleus.assign(region="cytoplasm")], ignore_index=True)
    return both.assign(cell_type=both["case_id"].map(types))


def words_of(figure):
    axis = figure.axes[0]
    return [text.get_text() for text in axis.texts] + [axis.get_title()]


def test_the_rank_table_marks_what_cannot_be_told_apart(scores, tmp_path):
    table = make_ranks(scores)
    nucleus = table[table["region"] == "nucleus"]
    assert len(table) == 8 and nucleus["mean"].is_monotonic_decreasing
    assert set(nucleus.loc[nucleus["undecided"], "method"]) == set(METHODS[:2])
    assert nucleus["leader"].sum() == 1 and np.isnan(nucleus.loc[nucleus["leader"], "behind"].item())
    last = nucleus.iloc[-1]
    assert last["behind"] == pytest.approx(0.06, abs=0.01) and last["ci_low"] < last["behind"] < last["ci_high"]
    layout = layout_ranks(table)
    bold = {cells[0].text for _, cells in layout.rows if cells[0].best}
    assert bold == {"ResNet-18", "MobileNet"}
    assert layout.rows[0][0] == "Nucleus, 40 images" and "Spread over seeds" not in [head for _, head in layout.heads]
    assert all(len(cells) == len(layout.heads) for _, cells in layout.rows)
    assert "<strong>ResNet-18</strong>" in format_html(layout) and r"\textbf{ResNet-18}" in format_latex(layout)
    assert [path.name for path in write_table(table, layout, tmp_path)] == ["table4.csv", "table4.html", "table4.tex"]


def test_the_rank_table_shows_seeds_where_there_are_some_and_dashes_where_nothing_is_known(scores):
    second = scores.assign(run=scores["run"].str.replace("seed0", "seed1"))
    assert "Spread over seeds" in [head for _, head in layout_ranks(make_ranks(pd.concat([scores, second]))).heads]
    one = make_ranks(scores[scores["run"].str.startswith("vgg16")])
    assert one["leader"].all() and layout_ranks(one).rows[0][1][3].text == "leads"
    few = make_ranks(scores[scores["case_id"] < "c003"])
    assert layout_ranks(few).rows[1][1][4].text == NOTHING
    assert make_ranks(scores.head(0)).empty and layout_ranks(make_ranks(scores.head(0))).rows == []


def test_cell_types_stand_below_one_another(scores):
    table = make_cell_types(scores, METHODS[:1])
    layout = layout_cell_types(table)
    assert [cells[0].text for _, cells in layout.rows] == ["basophil", "monocyte", "unknown"]
    assert [cells[1].text for _, cells in layout.rows] == ["13", "14", "13"]
    assert {group for group, _ in layout.rows} == {"ResNet-18 with Dice loss"}
    assert all(len(cells) == len(layout.heads) == 4 for _, cells in layout.rows)
    assert make_cell_types(scores.assign(cell_type=None)).empty
    assert layout_cell_types(table.head(0)).rows == []


def test_ranks_are_drawn_best_first_with_a_bar_over_each_group(scores, tmp_path):
    test = friedman_nemenyi(scores, "nucleus")
    figure = fig_ranks({"nucleus": test, "cytoplasm": test})
    assert len(figure.axes) == 2
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[2:] == ["VGG-16", "VGG-19"]
    # The best on top.
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 3]
    assert len(bars) == len(test.groups)
    assert "Friedman p < 0.001, 40 images" in words_of(figure)[-1]
    assert any("critical difference" in text for text in words_of(figure))
    assert all(path.stat().st_size > 0 for path in write_figure(figure, tmp_path, "ranks"))
    two = friedman_nemenyi(scores_from_array(noisy_dice(20, [0, 0]), METHODS[:2]), "nucleus")
    assert "Wilcoxon p" in words_of(fig_ranks({"nucleus": two}))[-1]
    assert fig_ranks({}).axes == []


def test_only_what_is_more_than_chance_is_coloured(scores):
    found = compare_methods(scores, "nucleus")
    figure = fig_differences(found.pairs, "nucleus", found.order)
    picture = np.ma.masked_invalid(figure.axes[0].images[0].get_array())
    blank = np.ma.getmaskarray(picture)
    assert blank[0, 1] and blank[1, 0] and not blank[0, 2] and not blank[3, 2] and blank.diagonal().all()
    # Row minus column: the best row is positive, and the other half mirrors it.
    assert picture[0, 3] == pytest.approx(-picture[3, 0]) and picture[0, 3] > 50
    assert len(figure.axes[0].texts) == 12
    assert fig_differences(found.pairs, "nucleus", found.order[:1]).axes == []
    undecided = compare_methods(scores_from_array(noisy_dice(20, [0, 0]), METHODS[:2]), "nucleus")
    assert np.isnan(
        np.ma.filled(fig_differences(undecided.pairs, "a", undecided.order).axes[0].images[0].get_array(), np.nan)
    ).all()


def test_a_reliability_curve_is_drawn_through_the_bins_that_hold_pixels():
    counts = np.array([[0, 0, 0], [10, 5, 4], [90, 80, 81]], dtype=float)
    figure = fig_reliability({"all $": reliability(counts), "none": reliability(np.zeros((3, 3)))})
    line = figure.axes[0].lines[1]
    np.testing.assert_allclose(line.get_xydata(), [[0.5, 0.4], [80 / 90, 0.9]])
    assert len(figure.axes[0].lines) == 2 and r"all \$ (0.020)" in line.get_label()
    assert fig_reliability({}).axes == []


def test_the_front_joins_the_methods_that_are_worth_their_cost():
    figure = fig_cost_quality(METHODS, [1, 2, 30, np.nan], [0.9, 0.8, 0.95, 1.0], "seconds per image", "Dice, nucleus")
    axis = figure.axes[0]
    assert axis.lines[0].get_xdata().tolist() == [1, 30] and axis.get_xscale() == "log"
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"ResNet-18", "MobileNet", "VGG-16"} < legend and "recommended" not in legend
    assert not axis.texts
    named = fig_cost_quality(METHODS, [1, 2, 30, 40], [0.9, 0.8, 0.95, 0.8], "a", "b", METHODS[1])
    assert [text.get_text() for text in named.axes[0].texts] == ["MobileNet"]
    assert "recommended" in {text.get_text() for text in named.legends[0].get_texts()}
    assert fig_cost_quality([], [], [], "a", "b").axes == []


def test_methods_that_are_no_runs_keep_their_names():
    frame = scores_from_dice(
        {"otsu $": {f"c{i}": 0.5 + i / 100 for i in range(8)}, "forest": {f"c{i}": 0.9 for i in range(8)}}
    )
    assert layout_ranks(make_ranks(frame)).rows[1][1][0].text == "otsu $"
    assert r"otsu \$" in [
        t.get_text() for t in fig_ranks({"n": friedman_nemenyi(frame, "nucleus")}).axes[0].get_yticklabels()
    ]
