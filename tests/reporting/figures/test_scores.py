"""Figures of scores."""

import io

import numpy as np
import pandas as pd
from PIL import Image

from tests.helpers.fake_study import make_results
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.figures.colours import PARETO_FRONT
from wbcstudy.reporting.figures.scores import fig_cost_quality, fig_reliability, fig_scores
from wbcstudy.scoring.calibration import reliability

METHODS = ("resnet18__dice", "mobilenet__dice", "vgg16__dice", "vgg19__dice")


def _count_points(figure):
    counts = [len(collection.get_offsets()) for collection in figure.axes[0].collections]
    return [count for count in counts if count]


def test_scores_have_a_point_per_image(tmp_path):
    config = StudyConfig(name="s", encoders=("resnet18", "unet"))
    scores = make_results(tmp_path, config, empty=["unet__dice__fold0__seed0"], cases=5).scores
    figure = fig_scores(scores)
    assert _count_points(figure) == [15], "of the fourth run, no ratio is defined"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["U-Net", "ResNet-18"]
    twice = fig_scores(pd.concat([scores, scores.assign(seed=1, dice=scores["dice"] / 2)]))
    assert _count_points(twice) == [15]
    assert fig_scores(scores).png == figure.png
    assert fig_scores(scores.head(0)).texts and fig_scores(pd.DataFrame()).texts


def test_the_positions_of_points_are_those_of_the_drawing(tmp_path):
    scores = make_results(tmp_path, StudyConfig(name="s", encoders=("resnet18", "unet"), losses=("dice",))).scores
    figure = fig_scores(scores)
    points = figure.locate_points()
    assert len(points) == 2 * 2 * 8 and set(points["method"]) == {"resnet18__dice", "unet__dice"}
    # A higher Dice is further to the right, and a point's pixel has the colour of its loss, not that of the paper.
    dice = scores.assign(method=scores["encoder"] + "__dice").set_index(["method", "region", "case_id"])["dice"]
    for _, rows in points.groupby("region"):
        order = rows.sort_values("x").set_index(["method", "region", "case_id"]).index
        assert (np.diff(dice[order]) >= -1e-3).all()
    with Image.open(io.BytesIO(figure.png)) as image:
        pixels = np.asarray(image).astype(int)
    rows, columns = (points[["y", "x"]].to_numpy() * pixels.shape[:2]).astype(int).T
    assert (pixels[rows, columns, 0] - pixels[rows, columns, 2] > 60).mean() > 0.9, "orange"


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
    # The colour is the one that the caption names.
    colour, name = PARETO_FRONT
    assert axis.lines[0].get_color() == colour and len({colour[1:3], colour[3:5], colour[5:7]}) == 1 and "grey" in name
