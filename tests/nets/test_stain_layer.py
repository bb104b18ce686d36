"""Stain normalisation as a part of the saved network."""

from types import SimpleNamespace

import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.model_file import load_model
from wbcstudy.nets.prediction import predict_probabilities
from wbcstudy.nets.stain import LAYER, STAIN_METHODS, find_target, normalise_training, register_stain
from wbcstudy.nets.training import train
from wbcstudy.runs.folders import RunFolder


def small_network(method):
    keras = load_keras()
    image = keras.Input((None, None, 3), dtype="float32")
    seen = register_stain()(method, name=LAYER)(image)
    return keras.Model(image, keras.layers.Conv2D(3, 1, activation="softmax")(seen))


def some_images(count, seed, tint=(1.0, 0.8, 0.9)):
    draw = np.random.default_rng(seed)
    return (draw.integers(20, 230, (count, 32, 32, 3)) * tint).astype(np.uint8)


@pytest.mark.parametrize("method", list(STAIN_METHODS))
def test_a_saved_network_takes_images_as_they_come(method, tmp_path):
    images, foreign = some_images(6, 0), some_images(2, 1, (0.7, 1.0, 0.4))
    part = SimpleNamespace(images=images, masks=np.zeros((6, 32, 32), np.uint8))
    config = RunConfig(stain_normalisation=method, image_size=32, epochs=1, augmented_copies=1, batch_size=3)
    model = small_network(method)
    train(model, part, part, config, RunFolder(tmp_path), report=lambda line: None)
    again = load_model(tmp_path / "model.keras")
    target = find_target(images, method)
    np.testing.assert_array_equal(again.get_layer(LAYER).target.numpy(), target)
    expected = predict_probabilities(model, foreign)
    np.testing.assert_array_equal(predict_probabilities(again, foreign), expected)
    # The head alone on images that were normalised outside gives the same.
    normal = STAIN_METHODS[method].apply(foreign.astype(np.float32), target)
    np.testing.assert_allclose(model.layers[-1](normal), expected, atol=1e-4)


def test_in_training_images_come_normalised_already():
    images = some_images(2, 0)
    layer = register_stain()("reinhard")
    np.testing.assert_array_equal(layer(images.astype(np.float32), training=True), images)
    seen = normalise_training(images, RunConfig(stain_normalisation="reinhard"))
    layer.target.assign(find_target(images, "reinhard"))
    np.testing.assert_allclose(layer(images.astype(np.float32)), seen, atol=0.51)
