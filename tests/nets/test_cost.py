"""Multiply-adds, counted by hand."""

import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.nets.cost import count_multiply_adds
from wbcstudy.nets.prediction import predict_masks, predict_probabilities
from wbcstudy.nets.unet import build_unet


def test_a_small_net_counted_by_hand():
    keras = pytest.importorskip("keras")
    layers = keras.layers
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same")(image)  # to 4 x 4 px
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Conv2D(4, 3, groups=2, padding="same")(x)
    x = layers.Conv2DTranspose(5, 2, strides=2)(x)  # to 8 x 8 px
    x = layers.UpSampling2D(2)(x)  # to 16 x 16 px
    model = keras.Model(image, layers.Dense(3)(x))
    by_hand = 4 * 4 * (3 * 3 * 3 * 8 + 3 * 3 * 8 + 3 * 3 * 4 * 4 + 2 * 2 * 4 * 5) + 16 * 16 * 5 * 3
    assert count_multiply_adds(model, 8) == by_hand
    assert count_multiply_adds(keras.Model(image, layers.ReLU()(image)), 8) == 0


@pytest.mark.parametrize("encoder", ["unet", "mobilenet"])
def test_a_networks_count_grows_with_the_area_and_holds_all_its_layers(encoder):
    model = build_unet(RunConfig(encoder=encoder, image_size=32))
    # A model inside the model would not be counted.
    assert not any(hasattr(layer, "layers") for layer in model.layers)
    small = count_multiply_adds(model, 32)
    assert count_multiply_adds(model, 64) == 4 * small > 0


def test_probabilities_can_be_looked_at_before_they_are_forgotten():
    keras = pytest.importorskip("keras")
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Softmax()(image))
    images = np.random.default_rng(0).uniform(0, 5, (70, 4, 4, 3)).astype(np.float32)
    seen = []
    masks = predict_masks(model, images, 8, look=lambda chunk, found: seen.append((chunk, found)))
    assert [chunk for chunk, _ in seen] == [slice(0, 64), slice(64, 128)]
    np.testing.assert_allclose(np.concatenate([found for _, found in seen]), predict_probabilities(model, images))
    np.testing.assert_array_equal(masks, predict_probabilities(model, images).argmax(-1))
