"""Figures of images and masks."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.fake_study import disc_mask, fake_image
from wbcstudy.data.overlays import draw_difference
from wbcstudy.reporting.figures.images import (
    fig_augmentation,
    fig_label_shares,
    fig_methods,
    fig_predictions,
    fig_samples,
)


def some_cases(count=3):
    generator = np.random.default_rng(0)
    masks = [disc_mask(generator, 24 + 8 * index) for index in range(count)]
    return [fake_image(mask, generator) for mask in masks], masks, [f"case_{index} $x" for index in range(count)]


def texts_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_predictions_have_a_row_per_case_and_a_head_per_column():
    images, masks, titles = some_cases(5)
    predictions = [np.zeros_like(mask) for mask in masks]
    figure = fig_predictions(images, masks, predictions, titles)
    tiles = figure.axes[0].images
    assert len(tiles) == 20
    assert texts_of(figure)[:4] == ["Image", "Expert", "Prediction", "Difference"]
    assert texts_of(figure)[4:] == [title.replace("$", r"\$") for title in titles]
    np.testing.assert_array_equal(tiles[3].get_array(), draw_difference(images[0], masks[0], predictions[0]))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["nucleus", "cytoplasm", "missed", "added", "confused"]


def test_samples_wrap_after_six():
    images, masks, titles = some_cases(2)
    figure = fig_samples(images * 4, masks * 4, titles * 4)
    assert len(figure.axes[0].images) == 16 and len(texts_of(figure)) == 8
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    assert right - left == pytest.approx(bottom - top)


def test_oblong_images_keep_their_shape():
    figure = fig_samples([np.zeros((30, 40, 3), np.uint8)], [np.zeros((30, 40), np.uint8)], ["a"])
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(4 / 3)


def test_methods_have_a_column_each():
    images, masks, titles = some_cases(2)
    figure = fig_methods(images, masks, {"Settouti 2020, forest": masks}, titles)
    assert texts_of(figure)[:3] == ["Image", "Expert", "Settouti 2020,\nforest"]
    assert fig_methods([], [], {}, []).texts


def test_augmented_floats_beyond_the_range_are_drawn():
    images, masks, _ = some_cases(2)
    outside = [image.astype(np.float32) * 1.5 - 30 for image in images]
    figure = fig_augmentation(images, masks, outside, masks)
    assert len(figure.axes[0].images) == 4 and texts_of(figure) == ["original", "augmented"]
    assert figure.axes[0].images[2].get_array().dtype == np.uint8


def test_masks_that_fill_their_image_or_are_empty():
    images, masks, titles = some_cases(2)
    full = [np.full_like(mask, 2) for mask in masks]
    assert fig_predictions(images, full, [mask * 0 for mask in masks], titles).png


@pytest.mark.parametrize(
    ("figure", "message"),
    [(fig_samples, "No images."), (fig_predictions, "No predicted masks"), (fig_augmentation, "No images.")],
)
def test_no_cases_give_a_figure_with_a_message(figure, message):
    empty = [[]] * (3 if figure is fig_samples else 4)
    assert figure(*empty).texts[0].get_text().startswith(message)


def test_label_shares_are_stacked_to_100_per_cent():
    frame = pd.DataFrame(
        {"case_id": ["a", "b"], "background": [0.9, 0.6], "cytoplasm": [0.1, 0.3], "nucleus": [0, 0.1]}
    )
    axis = fig_label_shares(frame).axes[0]
    tops = [bar.get_y() + bar.get_height() for bar in axis.patches[-2:]]
    assert tops == pytest.approx([100, 100])
    assert axis.patches[0].get_height() == pytest.approx(10)
