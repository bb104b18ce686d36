"""segmentation_models under Keras 3."""

import numpy as np
import pytest

from wbcstudy import config
from wbcstudy.config import RunConfig
from wbcstudy.nets import unet
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.keras_compat import build_backbone, register_grouped_convolution
from wbcstudy.nets.model_file import load_model
from wbcstudy.nets.weight_files import identify_encoder
from wbcstudy.nets.weights import load_weights
from wbcstudy.registry import ENCODERS, Encoder

PRETRAINED = [encoder.name for encoder in ENCODERS.values() if encoder.backbone]


SIZE = 64


@pytest.fixture(scope="module", params=PRETRAINED)
def weights_file(request, tmp_path_factory, write_h5):
    """(encoder without weights, file for it in the layout of the public ones, content of the file)."""
    keras = load_keras()
    keras.backend.clear_session()
    backbone = build_backbone(ENCODERS[request.param].backbone, keras.Input((None, None, 3)))
    draw = np.random.default_rng(1)
    # The public files list layers without weights too. Positive numbers: a variance is among them.
    layers = {
        layer.name: [draw.uniform(0, 0.05, w.shape).astype(np.float32) for w in layer.weights]
        for layer in backbone.layers
    }
    return backbone, write_h5(tmp_path_factory.mktemp("weights") / f"{request.param}.h5", layers), layers


def test_weights_of_keras_2_are_loaded_layer_by_layer(weights_file):
    backbone, path, layers = weights_file
    loaded = load_weights(backbone, path)
    assert (loaded.matched_by, loaded.unused) == ("name", ())
    for layer in backbone.layers:
        for weight, expected in zip(layer.weights, layers[layer.name], strict=True):
            np.testing.assert_array_equal(weight.numpy(), expected)
    ours = [variable.numpy() for variable in backbone.variables]
    # Keras' own reader of such files, by the order of layers, as an oracle.
    backbone.load_weights(path)
    for mine, theirs in zip(ours, backbone.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs.numpy())


def test_a_file_is_recognised_by_names_and_by_size(weights_file):
    backbone, path, layers = weights_file
    assert identify_encoder([*layers, "head", "decoder_stage0a_conv"]) == path.stem
    assert identify_encoder([], backbone.count_params()) == path.stem


# Encoders that users add, the deepest of the features that the decoder joins first.
ADDED = {
    "resnet101": ("none", ["stage4_unit1_relu1", "stage3_unit1_relu1", "stage2_unit1_relu1", "relu0"]),
    "efficientnetb0": ("none", [f"block{block}a_expand_activation" for block in (6, 4, 3, 2)]),
    "densenet121": ("tf", ["pool4_conv", "pool3_conv", "pool2_conv", "conv1_relu"]),
    "inceptionv3": ("tf", ["mixed7", "mixed2", "", ""]),
    "seresnext50": ("none", ["", "", "", ""]),
}


@pytest.mark.parametrize("name", ADDED)
def test_a_row_of_the_registry_adds_an_encoder(name, monkeypatch, tmp_path):
    keras = load_keras()
    keras.backend.clear_session()
    preprocessing, skips = ADDED[name]
    rows = {**ENCODERS, name: Encoder(name, name, name, preprocessing, 1.0)}
    monkeypatch.setattr(config, "ENCODERS", rows)
    monkeypatch.setattr(unet, "ENCODERS", rows)
    model = unet.build_unet(RunConfig(encoder=name, image_size=SIZE))
    joined = [model.get_layer(f"decoder_stage{stage}_concat").input[1] for stage in range(4)]
    sources = [tensor._keras_history.operation.name for tensor in joined]
    assert [given or source for given, source in zip(skips, sources, strict=True)] == sources
    images = np.random.default_rng(0).integers(0, 256, (1, SIZE, 96, 3), np.uint8)
    output = model(images, training=False).numpy()
    assert output.shape == (1, SIZE, 96, 3)
    np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)
    # A file of it holds no code, so that it can be loaded.
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras")(images, training=False).numpy(), output)


def test_a_grouped_convolution_equals_that_of_keras_and_has_a_gradient():
    import tensorflow as tf

    keras = load_keras()
    images = tf.constant(np.random.default_rng(0).normal(size=(2, 9, 7, 8)).astype(np.float32))
    settings = {"filters": 12, "kernel_size": 3, "groups": 4, "strides": 2, "use_bias": False}
    ours, theirs = register_grouped_convolution()(**settings), keras.layers.Conv2D(**settings)
    with tf.GradientTape() as tape:
        output = ours(images)
        loss = tf.reduce_sum(output**2)
    gradient = tape.gradient(loss, ours.kernel.value)
    theirs.build(images.shape)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(output, theirs(images), atol=1e-5)
    assert gradient.shape == (3, 3, 2, 12) and (np.abs(gradient) > 0).all()
