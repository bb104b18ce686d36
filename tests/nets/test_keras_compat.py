"""segmentation_models under Keras 3."""

import numpy as np
import pytest

from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.keras_compat import build_backbone
from wbcstudy.nets.weight_files import identify_encoder
from wbcstudy.nets.weights import load_weights
from wbcstudy.registry import ENCODERS

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
