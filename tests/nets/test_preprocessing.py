"""The first layer of each network."""

import numpy as np
import pytest

from wbcstudy.nets.keras_compat import load_segmentation_models
from wbcstudy.nets.preprocessing import make_plain_layer, register_preprocessing
from wbcstudy.registry import ENCODERS

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=lambda encoder: encoder.name)
def test_images_are_converted_as_segmentation_models_does(encoder):
    layer = register_preprocessing()(encoder.preprocessing)
    expected = IMAGES
    if encoder.backbone:
        expected = load_segmentation_models().get_preprocessing(encoder.backbone)(IMAGES.copy())
    np.testing.assert_allclose(layer(IMAGES).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["tf", "caffe", "none"])
def test_a_plain_layer_of_keras_computes_the_same(kind):
    layer = register_preprocessing()(kind, name="preprocessing")
    plain = make_plain_layer(layer)
    assert type(plain).__module__.startswith("keras.") and plain.name == "preprocessing"
    np.testing.assert_allclose(plain(IMAGES).numpy(), layer(IMAGES).numpy(), atol=1e-4)
