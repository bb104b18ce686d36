"""Colour normalisations: what each must keep and what it must remove."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbcstudy.baselines.normalisation import NORMALISATIONS, _comprehensive, normalise
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError

# Factors per channel that leave no value above 1.
LAMPS = st.tuples(*[st.floats(0.2, 1.0)] * 3)


@pytest.fixture(scope="module")
def smear():
    return make_smear(5, 64, 96).image.astype(np.float32) / 255


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_values_stay_in_range_and_the_image_is_not_changed(name):
    image = make_smear(1, 64, 48).image
    before = image.copy()
    out = normalise(image, name)
    assert out.shape == image.shape and out.dtype == np.float32
    assert out.min() >= 0 and out.max() <= 1
    assert np.array_equal(image, before)


@pytest.mark.parametrize("name", NORMALISATIONS)
@pytest.mark.parametrize("value", [0, 117, 255])
@pytest.mark.parametrize("shape", [(1, 1, 3), (4, 5, 3)])
def test_a_flat_image_stays_flat(name, value, shape):
    out = normalise(np.full(shape, value, np.uint8), name)
    assert np.isfinite(out).all() and np.ptp(out) < 1e-6


def test_eight_normalisations_and_none():
    assert len(NORMALISATIONS) == 9
    image = make_smear(1, 32, 32).image
    assert np.array_equal(normalise(image, "none"), image.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    "name", ["grey_world", "white_patch", "shades_of_grey", "comprehensive", "affine", "equalisation", "stretch"]
)
@given(lamp=LAMPS)
@settings(max_examples=10, deadline=None)
def test_the_lamps_colour_does_not_matter(smear, name, lamp):
    under_lamp = normalise(smear * np.float32(lamp), name)
    assert np.abs(under_lamp - normalise(smear, name)).max() < 2e-3


@pytest.mark.parametrize("name", ["chromaticity", "comprehensive"])
@given(seed=st.integers(0, 2**16))
@settings(max_examples=10, deadline=None)
def test_shading_does_not_matter(smear, name, seed):
    shade = np.random.default_rng(seed).uniform(0.1, 1, (*smear.shape[:2], 1)).astype(np.float32)
    assert np.abs(normalise(smear * shade, name) - normalise(smear, name)).max() < 2e-3


def test_comprehensive_converges_to_equal_channels_and_pixels_of_sum_one(smear):
    converged = _comprehensive(smear, tolerance=1e-7)
    assert np.allclose(converged.mean((0, 1)), 1 / 3, atol=1e-5)
    assert np.allclose(converged.sum(2), 1, atol=1e-4)
    assert np.abs(_comprehensive(converged) - converged).max() < 1e-4
    # "Typically 4 or 5 iterations", says the paper of 1998.
    assert np.abs(_comprehensive(smear, tolerance=0, max_rounds=6) - converged).max() < 2e-3


def test_grey_world_by_hand():
    image = np.array([[[0.2, 0.4, 0.0], [0.6, 0.4, 0.0]]], np.float32)
    assert np.allclose(normalise(image, "grey_world"), [[[1 / 6, 1 / 3, 0], [1 / 2, 1 / 3, 0]]])


def test_affine_gives_each_channel_one_mean_and_spread(smear):
    values = NORMALISATIONS["affine"](smear)
    assert np.allclose(values.mean((0, 1)), 0.5, atol=1e-4) and np.allclose(values.std((0, 1)), 1 / 6, atol=1e-4)


def test_equalisation_keeps_order():
    channel = np.array([5, 9, 9, 200], np.uint8)
    out = normalise(np.stack([channel] * 3, -1)[None], "equalisation")
    assert np.allclose(out[0, :, 0], [0.125, 0.5, 0.5, 0.875])


def test_an_unknown_name_lists_the_known():
    with pytest.raises(StudyError) as caught:
        normalise(np.zeros((2, 2, 3), np.uint8), "gray_world")
    assert "gray_world" in str(caught.value) and "comprehensive" in str(caught.value)
