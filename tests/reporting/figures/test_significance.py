"""Tables 4 and 5, and the figures of the comparison."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.made_scores import noisy_dice, scores_from_array, scores_from_dice
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.figures.canvas import write_figure
from wbcstudy.reporting.figures.significance import fig_differences, fig_ranks
from wbcstudy.reporting.results import StudyResults
from wbcstudy.reporting.tables.cell_types import layout_cell_types, make_cell_types
from wbcstudy.reporting.tables.layout import NOTHING
from wbcstudy.reporting.tables.ranks import layout_ranks
from wbcstudy.reporting.tables.render import _format_latex, format_html, write_table
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.scoring.comparison import compare_methods
from wbcstudy.scoring.ranks import friedman_nemenyi

METHODS = ("resnet18__dice", "mobilenet__dice", "vgg16__dice", "vgg19__dice")
# The first two do not differ significantly, the others are worse.
OFFSETS = (0.0, 0.0, -0.03, -0.06)


@pytest.fixture(scope="module")
def scores():
    nucleus = scores_from_array(noisy_dice(40, OFFSETS, 1), METHODS)
    types = {case: ("monocyte", "basophil", None)[int(case[1:]) % 3] for case in nucleus["case_id"]}
    both = pd.concat([nucleus, nucleus.assign(region="cytoplasm")], ignore_index=True)
    return both.assign(cell_type=both["case_id"].map(types))


def make_ranks(scores):
    """Return Table 4 of a study with these scores."""
    results = StudyResults(StudyFolder.of("s"), StudyConfig(name="s"), [], {})
    results.comparable_scores = scores
    return results.ranks


def texts_of(figure):
    axis = figure.axes[0]
    return [text.get_text() for text in axis.texts] + [axis.get_title()]


def test_the_rank_table_marks_methods_without_a_significant_difference(scores, tmp_path):
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
    assert one["leader"].all() and layout_ranks(one).rows[0][1][3].text == "leads"
    few = make_ranks(scores[scores["case_id"] < "c003"])
    assert layout_ranks(few).rows[1][1][4].text == NOTHING
    assert make_ranks(scores.head(0)).empty and layout_ranks(make_ranks(scores.head(0))).rows == []


def test_cell_types_are_rows(scores):
    table = make_cell_types(scores)
    layout = layout_cell_types(table[table["method"] == METHODS[0]])
    assert [cells[0].text for _, cells in layout.rows] == ["basophil", "monocyte", "unknown"]
    assert [cells[1].text for _, cells in layout.rows] == ["13", "14", "13"]
    assert {group for group, _ in layout.rows} == {"ResNet-18 with Dice loss"}
    assert all(len(cells) == len(layout.heads) == 4 for _, cells in layout.rows)
    assert make_cell_types(scores.assign(cell_type=None)).empty
    assert layout_cell_types(table.head(0)).rows == []


def test_ranks_are_drawn_best_first_with_a_bar_for_each_group(scores, tmp_path):
    test = friedman_nemenyi(scores, "nucleus")
    figure = fig_ranks({"nucleus": test, "cytoplasm": test})
    assert len(figure.axes) == 2
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[2:] == ["VGG-16", "VGG-19"]
    # The best is at the top.
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 3]
    assert len(bars) == len(test.groups)
    assert "Friedman p < 0.001, 40 images" in texts_of(figure)[-1]
    assert any("critical difference" in text for text in texts_of(figure))
    assert all(path.stat().st_size > 0 for path in write_figure(figure, tmp_path, "ranks"))
    two = friedman_nemenyi(scores_from_array(noisy_dice(20, [0, 0]), METHODS[:2]), "nucleus")
    assert "Wilcoxon p" in texts_of(fig_ranks({"nucleus": two}))[-1]
    assert fig_ranks({}).axes == []


def test_only_significant_differences_have_a_colour(scores):
    comparison = compare_methods(scores, "nucleus")
    figure = fig_differences(comparison.pairs, "nucleus", comparison.order)
    values = np.ma.masked_invalid(figure.axes[0].images[0].get_array())
    white = np.ma.getmaskarray(values)
    assert white[0, 1] and white[1, 0] and not white[0, 2] and not white[3, 2] and white.diagonal().all()
    # Row minus column: the best row is positive, and the other half mirrors it.
    assert values[0, 3] == pytest.approx(-values[3, 0]) and values[0, 3] > 50
    assert len(figure.axes[0].texts) == 12 and figure.axes[0].get_title().endswith("white: not significant")
    assert fig_differences(comparison.pairs, "nucleus", comparison.order[:1]).axes == []
    equal = compare_methods(scores_from_array(noisy_dice(20, [0, 0]), METHODS[:2]), "nucleus")
    shown = fig_differences(equal.pairs, "a", equal.order).axes[0].images[0].get_array()
    assert np.isnan(np.ma.filled(shown, np.nan)).all()


def test_methods_that_are_no_networks_keep_their_names():
    scores = {"otsu $": {f"c{i}": 0.5 + i / 100 for i in range(8)}, "other": {f"c{i}": 0.9 for i in range(8)}}
    frame = scores_from_dice(scores)
    assert layout_ranks(make_ranks(frame)).rows[1][1][0].text == "otsu $"
    labels = fig_ranks({"n": friedman_nemenyi(frame, "nucleus")}).axes[0].get_yticklabels()
    assert r"otsu \$" in [label.get_text() for label in labels]
