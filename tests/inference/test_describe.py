"""Images that look alike have near descriptors."""

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.colour_run import COLOURS, paint, round_cells, write_colour_run
from wbcstudy.inference.describe import describe_image
from wbcstudy.inference.image import predict_with
from wbcstudy.inference.network import load_network


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return load_network(write_colour_run(tmp_path_factory.mktemp("outputs")))


@pytest.fixture(scope="module")
def network(plain):
    """With an encoder that halves the image twice."""
    from wbcstudy.nets.backend import load_keras

    keras = load_keras()
    image = plain.model.input
    deep = keras.layers.AveragePooling2D(4)(image)
    features = keras.layers.Concatenate()([image, keras.layers.UpSampling2D(4)(deep)])
    features = keras.layers.Conv2D(3, 1, kernel_initializer="zeros")(features)
    model = keras.Model(image, keras.layers.Add()([plain.model.output, features]))
    return replace(plain, model=model)


def describe(network, mask, colours=COLOURS):
    image = colours[mask]
    tiling, prediction = predict_with(image, network, "tiles", 1.0, None, "none")
    return describe_image(image, network, tiling, "none", prediction.probabilities)


def test_the_halves_are_the_mean_activations_of_the_image_and_of_its_cells(network):
    cells = round_cells(64, 64, [(32, 32)], 20)
    descriptor = describe(network, cells)
    image, of_cells = descriptor[:3], descriptor[3:]
    assert np.linalg.norm(image) == pytest.approx(1) == pytest.approx(np.linalg.norm(of_cells))
    mean = paint(cells).mean(axis=(0, 1))
    assert image == pytest.approx(mean / np.linalg.norm(mean), abs=0.01)
    within = paint(cells)[cells > 0].mean(axis=0)
    assert of_cells == pytest.approx(within / np.linalg.norm(within), abs=0.02)


def test_an_image_without_cells_has_no_half_of_cells(network):
    descriptor = describe(network, np.zeros((64, 64), np.uint8))
    assert np.linalg.norm(descriptor[3:]) < 1e-3 or descriptor[3:] == pytest.approx(descriptor[:3], abs=1e-3)


def test_an_image_in_tiles_is_described_as_a_whole(network):
    one = describe(network, round_cells(64, 64, [(32, 32)], 14))
    four = describe(network, np.tile(round_cells(64, 64, [(32, 32)], 14), (12, 12)))
    assert np.linalg.norm(one - four) < 0.02
    assert np.linalg.norm(one - describe(network, round_cells(64, 64, [(32, 32)], 30))) > 0.05


def test_colours_describe_an_image_to_a_network_without_encoder(plain):
    cells = round_cells(64, 64, [(32, 32)], 20)
    assert plain.encode is None
    assert describe(plain, cells).shape == (6,)
    darker = (COLOURS * 0.9).astype(np.uint8)
    assert np.linalg.norm(describe(plain, cells) - describe(plain, cells, darker)) > 1
