"""Predictions, and the mean over flips and turns."""

import numpy as np
import pytest

from tests.helpers.arrays_in_memory import make_arrays
from wbcstudy.nets.backend import ONEDNN, load_keras, set_seed
from wbcstudy.nets.prediction import predict_masks, predict_probabilities


@pytest.fixture(scope="module")
def network():
    """One that favours no direction of the eight by itself."""
    keras = load_keras()
    set_seed(3)
    image = keras.Input((None, None, 3), dtype="float32")
    features = keras.layers.Conv2D(4, 5, padding="same", activation="relu")(image / 255)
    return keras.Model(image, keras.layers.Conv2D(3, 3, padding="same", activation="softmax")(features))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), dtype=np.uint8)


def positions(stack):
    for k in range(4):
        yield np.rot90(stack, k, axes=(1, 2))
        yield np.rot90(stack[:, :, ::-1], k, axes=(1, 2))


def test_rotating_an_image_only_rotates_its_prediction(network, images):
    whole = predict_probabilities(network, images, flips=True)
    assert whole.shape == (3, 32, 64, 3) and whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(axis=-1), 1, atol=1e-5)
    for turned, expected in list(zip(positions(images), positions(whole), strict=True))[1:4]:
        np.testing.assert_allclose(predict_probabilities(network, turned, flips=True), expected, atol=1e-5)
    alone = predict_probabilities(network, images)
    assert np.abs(alone - whole).max() > 1e-3


def test_a_constant_image_gets_the_mean_over_its_rotated_predictions(network):
    image = np.full((1, 32, 32, 3), 90, np.uint8)
    alone, whole = predict_probabilities(network, image), predict_probabilities(network, image, flips=True)
    np.testing.assert_allclose(whole, np.mean(list(positions(alone)), axis=0), atol=1e-6)


def make_cases(images, references=None):
    return make_arrays(images, np.zeros(images.shape[:3], np.uint8), references)


def test_masks_are_made_from_the_mean(network, images):
    masks = predict_masks(network, make_cases(images), flips=True)
    np.testing.assert_array_equal(masks, predict_probabilities(network, images, flips=True).argmax(axis=-1))
    assert predict_masks(network, make_cases(images[:0]), flips=True) == []


def test_probabilities_of_each_case_are_passed_on_with_its_reference():
    keras = load_keras()
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Softmax()(image))
    images = np.random.default_rng(0).uniform(0, 5, (70, 4, 4, 3)).astype(np.float32)
    references = [np.full((4, 4), index, np.uint8) for index in range(70)]
    seen = []
    masks = predict_masks(
        model, make_cases(images, references), 8, lambda mask, probabilities: seen.append((mask[0, 0], probabilities))
    )
    assert [number for number, _ in seen] == list(range(70))
    np.testing.assert_allclose([probabilities for _, probabilities in seen], predict_probabilities(model, images))
    np.testing.assert_array_equal(masks, predict_probabilities(model, images).argmax(-1))


def test_masks_have_the_size_of_their_references(network, images):
    shapes = [(32, 64), (90, 150), (20, 31)]
    references = [np.zeros(shape, np.uint8) for shape in shapes]
    seen = []
    masks = predict_masks(network, make_cases(images, references), on_case=lambda _, values: seen.append(values))
    assert [mask.shape for mask in masks] == shapes
    for mask, values in zip(masks, seen, strict=True):
        np.testing.assert_allclose(values.sum(axis=-1), 1, atol=1e-5)
        np.testing.assert_array_equal(mask, values.argmax(axis=-1))


def test_predictions_are_masks_of_labels_and_none_for_no_image(network, images):
    probabilities, masks = predict_probabilities(network, images, 2), predict_masks(network, make_cases(images), 2)
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (3, 32, 64, 3))
    assert masks[0].dtype == np.uint8
    np.testing.assert_array_equal(masks, probabilities.argmax(-1))
    assert predict_probabilities(network, images[:0]).shape == (0, 32, 64, 3)


@pytest.mark.parametrize("onednn", ["0", "1"])
def test_a_last_batch_of_one_image_is_predicted_like_the_others(network, images, monkeypatch, onednn):
    monkeypatch.setenv(ONEDNN, onednn)
    together = predict_probabilities(network, images, batch_size=3)
    one_left = predict_probabilities(network, images, batch_size=2)
    assert one_left.shape == together.shape
    np.testing.assert_allclose(one_left, together, atol=1e-5)
