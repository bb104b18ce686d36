"""Superpixels, and their features compared with a slow loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wbcstudy.baselines.superpixels import (
    _STATISTICS,
    _make_superpixels,
    _superpixel_features,
    superpixel_labels,
)
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError


@given(seed=st.integers(0, 2**16), number=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_features_equal_a_slow_loop(seed, number):
    rng = np.random.default_rng(seed)
    values = rng.random((7, 9, 2)).astype(np.float32)
    patches = rng.permutation(np.r_[np.arange(number), rng.integers(number, size=63 - number)]).reshape(7, 9)
    values[patches == 0] = 0.25  # one constant patch
    features = _superpixel_features(values, patches, "first_order")
    assert features.shape == (number, 8) and features.dtype == np.float32
    for patch in range(number):
        for channel in range(2):
            inside = values[patches == patch, channel].astype(np.float64)
            flat = np.ptp(inside) == 0
            expected = [
                inside.mean(),
                inside.std(),
                0 if flat else stats.skew(inside),
                0 if flat else stats.kurtosis(inside),
            ]
            assert np.allclose(features[patch, 4 * channel : 4 * channel + 4], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("statistics", _STATISTICS)
def test_every_set_of_statistics_has_its_columns(statistics):
    values = np.random.default_rng(0).random((6, 6, 3))
    features = _superpixel_features(values, np.arange(36).reshape(6, 6) // 9, statistics)
    assert features.shape == (4, 3 * len(_STATISTICS[statistics])) and np.isfinite(features).all()


def test_histogram_bins_are_shares():
    values = np.array([[0.0, 0.1, 0.99, 1.0]])[..., None]
    features = _superpixel_features(values, np.zeros((1, 4), int), "histogram")
    assert np.allclose(features, [[0.5, 0, 0, 0, 0, 0, 0, 0.5]])


def test_the_error_about_unknown_statistics_lists_the_known_ones():
    with pytest.raises(StudyError, match="'median'"):
        _superpixel_features(np.zeros((2, 2, 1)), np.zeros((2, 2), int), "median")


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (60, 200), (768, 1024)])
def test_superpixels_cover_the_image_and_keep_their_size(shape):
    image = make_smear(2, *shape).image if min(shape) >= 16 else np.full((*shape, 3), 9, np.uint8)
    patches = _make_superpixels(image / 255, 600, 10.0, 1.0)
    assert patches.shape == shape and patches.dtype == np.int32
    assert np.array_equal(np.unique(patches), np.arange(patches.max() + 1))
    if min(shape) >= 60:
        assert 50 < patches.size / (patches.max() + 1) < 200  # about 10 px by 10 px, however large the image


def test_labels_are_the_majority_and_ties_go_to_the_smaller():
    mask = np.array([[2, 2, 0, 1], [2, 0, 1, 0]], np.uint8)
    patches = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    assert superpixel_labels(mask, patches).tolist() == [2, 0]
