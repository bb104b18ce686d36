"""One way to apply a network: equal numbers everywhere, and colours changed only where that helps."""

from dataclasses import replace

import numpy as np
import pytest

import wbcstudy
from tests.helpers.colour_run import paint, round_cells, write_colour_run
from wbcstudy.data.colours import measure_colours, summarise_colours
from wbcstudy.errors import StudyError
from wbcstudy.inference.applying import Prediction, apply_network
from wbcstudy.inference.network import load_network
from wbcstudy.inference.tiling import choose_tiling

MASK = round_cells(64, 64, [(20, 22), (44, 40)])
IMAGE = paint(MASK)


def colours(image=IMAGE):
    # As if the training images differed a little.
    return summarise_colours([measure_colours(image)]) | {"spread": [[1.0] * 3] * 2}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return load_network(write_colour_run(tmp_path_factory.mktemp("outputs"), size=64, colours=colours()))


def tinted():
    """The image in the colours of another laboratory."""
    return np.clip(IMAGE.astype(float) * [0.75, 0.8, 0.6], 0, 255).astype(np.uint8)


def apply(image, network, stain="auto"):
    return apply_network(image, network, choose_tiling(image.shape[:2], network.training), stain)


def test_colours_of_the_training_images_are_left_as_they_are(network):
    prediction = apply(IMAGE, network)
    assert prediction.stain == "none" and prediction.distance < 0.1
    assert (prediction.probabilities.argmax(2) == MASK).all()


def test_foreign_colours_are_changed_if_the_network_is_then_more_confident(network):
    plain, changed = apply(tinted(), network, "none"), apply(tinted(), network, "reinhard")
    assert (plain.probabilities.argmax(2) != MASK).mean() > 0.05
    assert (changed.probabilities.argmax(2) == MASK).all() and changed.plausibility > plain.plausibility
    auto = apply(tinted(), network)
    assert auto.stain == "reinhard" and auto.distance > 2
    np.testing.assert_array_equal(auto.probabilities, changed.probabilities)
    # Without the colours of the training images, there is nothing to compare with.


def test_segment_applies_it_and_says_so(network):
    result = wbcstudy.segment(tinted(), network)
    assert result.stain == "reinhard"
    np.testing.assert_array_equal(result.probabilities, apply(tinted(), network).probabilities)
    # Colours of the cells are measured on the image as it is.
    np.testing.assert_array_equal(result.image, tinted())


def test_a_network_without_recorded_colours_is_applied_as_it_is(tmp_path):
    old = load_network(write_colour_run(tmp_path / "outputs", size=64))
    assert old.colours is None
    prediction = apply(tinted(), old)
    assert prediction.stain == "none" and prediction.distance is None


def test_a_network_that_normalises_is_not_normalised_twice(tmp_path):
    loaded = load_network(write_colour_run(tmp_path / "outputs", size=64, stain="reinhard", colours=colours()))
    config = loaded.run.config.model_copy(update={"stain_normalisation": "reinhard"})
    own = replace(loaded, run=replace(loaded.run, config=config))
    assert apply(tinted(), own).stain == "none"
    with pytest.raises(StudyError, match="normalises colours itself"):
        apply(tinted(), own, "macenko")


def test_an_unknown_stain_is_refused(network):
    with pytest.raises(StudyError, match="Unknown stain 'reinhart'"):
        apply(IMAGE, network, "reinhart")


def test_macenko_needs_the_training_images(tmp_path):
    run = write_colour_run(tmp_path / "outputs", size=64, dataset=tmp_path / "gone", colours=colours())
    with pytest.raises(StudyError, match="cannot be read"):
        apply(tinted(), load_network(run), "macenko")


def test_confidence_is_that_of_cells():
    probabilities = np.zeros((2, 2, 3), np.float32)
    probabilities[...] = [0.9, 0.1, 0]
    assert Prediction(probabilities).confidence == 0
    probabilities[0, 0] = [0.2, 0.1, 0.7]
    assert Prediction(probabilities).confidence == pytest.approx(0.7) == Prediction(probabilities).plausibility


def test_a_prediction_that_covers_the_image_is_less_plausible():
    probabilities = np.zeros((2, 2, 3), np.float32)
    probabilities[...] = [0.1, 0.9, 0]
    covering = Prediction(probabilities)
    assert covering.plausibility < covering.confidence - 0.1
