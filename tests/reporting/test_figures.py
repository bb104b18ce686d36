import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from tests.helpers.fake_study import disc_mask, fake_history, fake_image, make_study
from wbcstudy.config import StudyConfig
from wbcstudy.data.overlays import draw_difference
from wbcstudy.reporting.figures.canvas import write_figure
from wbcstudy.reporting.figures.images import (
    fig_augmentation,
    fig_label_shares,
    fig_predictions,
    fig_samples,
)
from wbcstudy.reporting.figures.scores import fig_scores
from wbcstudy.reporting.figures.training import fig_history, fig_learning_curves
from wbcstudy.scoring.selection import read_scores


def some_cases(count=3):
    generator = np.random.default_rng(0)
    masks = [disc_mask(generator, 24 + 8 * index) for index in range(count)]
    return [fake_image(mask, generator) for mask in masks], masks, [f"case_{index} $x" for index in range(count)]


def pixels_of(axis):
    return axis.images[-1].get_array()


def test_expert_and_prediction_are_drawn_by_the_same_rule():
    (image, *_), (mask, *_), _ = some_cases(1)
    figure = fig_predictions([image], [mask], [mask], ["a"])
    _, expert, prediction, difference = (pixels_of(axis) for axis in figure.axes)
    np.testing.assert_array_equal(expert, prediction)
    assert (expert != image).any()
    np.testing.assert_array_equal(difference, draw_difference(image, mask, mask))


def test_predictions_have_a_row_per_case_and_a_head_per_column():
    images, masks, titles = some_cases(5)
    figure = fig_predictions(images, masks, [np.zeros_like(mask) for mask in masks], titles)
    assert len(figure.axes) == 20
    assert [axis.get_title() for axis in figure.axes[:4]] == ["Image", "Expert", "Prediction", "Difference"]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["nucleus", "cytoplasm", "missed", "added", "confused"]


def test_samples_wrap_after_six():
    images, masks, titles = some_cases(2)
    assert len(fig_samples(images * 4, masks * 4, titles * 4).axes) == 24
    assert len(fig_samples(images, masks, titles).axes) == 4


def test_augmented_floats_beyond_the_range_are_shown():
    images, masks, _ = some_cases(2)
    wild = [image.astype(np.float32) * 1.5 - 30 for image in images]
    figure = fig_augmentation(images, masks, wild, masks)
    assert len(figure.axes) == 4
    assert figure.axes[2].images[0].get_array().dtype == np.uint8


def test_a_mask_that_fills_its_image_or_is_empty_is_no_problem():
    images, masks, titles = some_cases(2)
    full = [np.full_like(mask, 2) for mask in masks]
    assert fig_predictions(images, full, [mask * 0 for mask in masks], titles).png


@pytest.mark.parametrize(
    ("figure", "words"),
    [(fig_samples, "No images."), (fig_predictions, "No predicted masks"), (fig_augmentation, "No images.")],
)
def test_no_cases_give_a_figure_that_says_so(figure, words):
    empty = [[]] * (3 if figure is fig_samples else 4)
    assert figure(*empty).texts[0].get_text().startswith(words)


def test_history_marks_the_best_epoch_and_both_regions():
    history = fake_history(np.random.default_rng(0), 12)
    figure = fig_history(history, 9, "resnet18__dice")
    left, right = figure.axes
    assert [line.get_label() for line in left.get_lines()] == ["training", "validation", "best epoch 9"]
    assert [line.get_label() for line in right.get_lines()][:2] == ["nucleus", "cytoplasm"]
    assert list(left.get_lines()[2].get_xdata()) == [9, 9]
    # A run of one epoch, an undefined loss and no Dice is a figure too.
    bare = pd.DataFrame({"epoch": [1], "loss": [0.5], "val_loss": [np.nan]})
    assert fig_history(bare, None, "x").png


def test_learning_curves_have_a_panel_per_run():
    generator = np.random.default_rng(0)
    names = [f"resnet18__{loss}__fold0__seed{seed}" for loss in ("dice", "cross_entropy") for seed in (0, 1, 10)]
    figure = fig_learning_curves({name: fake_history(generator, 5) for name in names}, {names[0]: 4})
    titles = [axis.get_title() for axis in figure.axes if axis.axison]
    assert len(titles) == 6
    assert titles[0].startswith("ResNet-18, Dice loss\nbest epoch 4, Dice ")
    assert titles[2].startswith("ResNet-18, Dice loss, seed 10\n")
    assert fig_learning_curves({}).texts


def test_scores_have_a_point_per_image(tmp_path):
    config = StudyConfig(name="s", encoders=("resnet18", "unet"))
    scores = read_scores(make_study(tmp_path, config, empty=["unet__dice__fold0__seed0"], cases=5))
    figure = fig_scores(scores)
    points = [len(line.get_xdata()) for line in figure.axes[0].get_lines() if line.get_marker() == "."]
    assert points == [5, 5, 5]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["U-Net", "ResNet-18"]
    twice = fig_scores(pd.concat([scores, scores.assign(seed=1, dice=scores["dice"] / 2)]))
    again = [len(line.get_xdata()) for line in twice.axes[0].get_lines() if line.get_marker() == "."]
    assert again == points
    assert fig_scores(scores.head(0)).texts and fig_scores(pd.DataFrame()).texts


def test_label_shares_are_stacked_to_100_per_cent():
    frame = pd.DataFrame(
        {"case_id": ["a", "b"], "background": [0.9, 0.6], "cytoplasm": [0.1, 0.3], "nucleus": [0, 0.1]}
    )
    axis = fig_label_shares(frame).axes[0]
    tops = [bar.get_y() + bar.get_height() for bar in axis.patches[-2:]]
    assert tops == pytest.approx([100, 100])
    assert axis.patches[0].get_height() == pytest.approx(10)


def test_files_are_the_same_bytes_and_matplotlib_is_left_as_it_was(tmp_path):
    images, masks, titles = some_cases(2)
    before = dict(mpl.rcParams)
    for folder in ("a", "b"):
        paths = write_figure(fig_samples(images, masks, titles), tmp_path / folder, "figure1")
        assert [path.name for path in paths] == ["figure1.png", "figure1.svg"]
    for kind in ("png", "svg"):
        assert (tmp_path / "a" / f"figure1.{kind}").read_bytes() == (tmp_path / "b" / f"figure1.{kind}").read_bytes()
    assert dict(mpl.rcParams) == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_figures_are_drawn_on_white(tmp_path):
    from PIL import Image

    figure = fig_history(fake_history(np.random.default_rng(0), 5), 3, "t")
    with Image.open(io.BytesIO(figure.png)) as image:
        assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
