"""The colours of an image, and their distance from training images."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from wbcstudy.data.colours import colour_distance, measure_colours, summarise_colours
from wbcstudy.data.synthetic.dataset import make_smear


def test_mean_and_deviation_are_those_of_lab():
    image = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    lab = rgb2lab(image)
    np.testing.assert_allclose(measure_colours(image), [lab.mean((0, 1)), lab.std((0, 1))])
    # Of a large image, a part of the pixels is enough.
    large = np.kron(image, np.ones((70, 70, 1), np.uint8))
    np.testing.assert_allclose(measure_colours(large), measure_colours(image), atol=1.5)


def test_training_images_are_near_and_other_colours_are_far():
    images = [make_smear(seed, 96, 96).image for seed in range(12)]
    training = summarise_colours([measure_colours(image) for image in images])
    near = [colour_distance(measure_colours(image), training) for image in images]
    assert np.sqrt(np.mean(np.square(near))) == pytest.approx(1, abs=0.01)
    assert colour_distance(measure_colours(255 - images[0]), training) > 5


def test_equal_training_images_do_not_make_every_image_far():
    image = np.full((8, 8, 3), 200, np.uint8)
    training = summarise_colours([measure_colours(image)] * 3)
    assert training["spread"] == [[0, 0, 0], [0, 0, 0]]
    assert colour_distance(measure_colours(image), training) == pytest.approx(0, abs=0.01)
