"""Multiply-adds, counted by hand."""

import pytest

from wbcstudy.config import RunConfig
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.cost import count_multiply_adds, device_name, kernels_name, processor_name
from wbcstudy.nets.unet import build_unet


def test_a_small_net_counted_by_hand():
    keras = load_keras()
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
def test_the_count_grows_with_the_area_and_includes_all_layers(encoder):
    model = build_unet(RunConfig(encoder=encoder, image_size=32))
    # A model inside the model would not be counted.
    assert not any(hasattr(layer, "layers") for layer in model.layers)
    small = count_multiply_adds(model, 32)
    assert count_multiply_adds(model, 64) == 4 * small > 0


@pytest.mark.parametrize(
    ("cards", "name"), [([], f"CPU {processor_name()}"), (["A100"], "GPU A100"), (["A100", None], "GPU A100, GPU")]
)
def test_the_device_is_the_card_if_there_is_one(monkeypatch, cards, name):
    load_keras()
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: cards)
    details = tf.config.experimental
    monkeypatch.setattr(details, "get_device_details", lambda card: {"device_name": card} if card else {})
    assert device_name() == name


def test_the_kernels_are_the_cards_if_there_is_one(monkeypatch):
    load_keras()
    import tensorflow as tf
    from tensorflow.python.util import _pywrap_util_port

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    for used, name in ((True, "oneDNN"), (False, "TensorFlow")):
        monkeypatch.setattr(_pywrap_util_port, "IsMklEnabled", lambda used=used: used)
        assert kernels_name() == name
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["card"])
    for cuda, name in ((True, "cuDNN"), (False, None)):
        monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda cuda=cuda: cuda)
        assert kernels_name() == name
