"""Tables 4 and 5, and the figures of the comparison."""

import numpy as np
import pytest

from tests.helpers.made_scores import FOUR_METHODS, make_ranks, noisy_dice, scores_from_array, scores_from_dice
from wbcstudy.reporting.figures.canvas import write_figure
from wbcstudy.reporting.figures.significance import fig_differences, fig_ranks
from wbcstudy.reporting.tables.ranks import layout_ranks
from wbcstudy.scoring.comparison import compare_methods
from wbcstudy.scoring.ranks import friedman_nemenyi


def texts_of(figure):
    axis = figure.axes[0]
    return [text.get_text() for text in axis.texts] + [axis.get_title()]


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
    assert "Friedman p < 0.001\n40 images" in texts_of(figure)[-1]
    assert any("critical difference" in text for text in texts_of(figure))
    assert all(path.stat().st_size > 0 for path in write_figure(figure, tmp_path, "ranks"))
    two = friedman_nemenyi(scores_from_array(noisy_dice(20, [0, 0]), FOUR_METHODS[:2]), "nucleus")
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
    equal = compare_methods(scores_from_array(noisy_dice(20, [0, 0]), FOUR_METHODS[:2]), "nucleus")
    (only_map,) = fig_differences(equal.pairs, "a", equal.order).axes
    assert np.isnan(np.ma.filled(only_map.images[0].get_array(), np.nan)).all(), "and no scale of colours"


def test_without_a_significant_difference_many_methods_have_no_empty_map():
    methods = [f"method{number}__dice" for number in range(13)]
    equal = compare_methods(scores_from_array(noisy_dice(20, [0] * 13), methods), "nucleus")
    assert not (equal.pairs["p_adjusted"] < 0.05).any() and fig_differences(equal.pairs, "a", equal.order).axes == []


def test_methods_that_are_no_networks_keep_their_names():
    scores = {"otsu $": {f"c{i}": 0.5 + i / 100 for i in range(8)}, "other": {f"c{i}": 0.9 for i in range(8)}}
    frame = scores_from_dice(scores)
    assert layout_ranks(make_ranks(frame)).rows[1][1][0].text == "otsu $"
    labels = fig_ranks({"n": friedman_nemenyi(frame, "nucleus")}).axes[0].get_yticklabels()
    assert r"otsu \$" in [label.get_text() for label in labels]
