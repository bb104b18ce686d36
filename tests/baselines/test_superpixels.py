"""Superpixels: their features against a slow loop, and the ceiling of what they can score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wbcstudy.baselines.superpixels import (
    STATISTICS,
    make_superpixels,
    oracle_ceiling,
    superpixel_features,
    superpixel_labels,
)
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.labels import REGIONS, region_mask


def dice(reference, prediction):
    return 2 * (reference & prediction).sum() / (reference.sum() + prediction.sum())


@given(seed=st.integers(0, 2**16), number=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_features_equal_a_slow_loop(seed, number):
    rng = np.random.default_rng(seed)
    values = rng.random((7, 9, 2)).astype(np.float32)
    patches = rng.permutation(np.r_[np.arange(number), rng.integers(number, size=63 - number)]).reshape(7, 9)
    values[patches == 0] = 0.25  # one patch of one value
    found = superpixel_features(values, patches)
    assert found.shape == (number, 8) and found.dtype == np.float32
    for patch in range(number):
        for channel in range(2):
            inside = values[patches == patch, channel].astype(np.float64)
            flat = np.ptp(inside) == 0
            wanted = [
                inside.mean(),
                inside.std(),
                0 if flat else stats.skew(inside),
                0 if flat else stats.kurtosis(inside),
            ]
            assert np.allclose(found[patch, 4 * channel : 4 * channel + 4], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("statistics", STATISTICS)
def test_every_set_of_statistics_has_its_columns(statistics):
    values = np.random.default_rng(0).random((6, 6, 3))
    found = superpixel_features(values, np.arange(36).reshape(6, 6) // 9, statistics)
    assert found.shape == (4, 3 * len(STATISTICS[statistics])) and np.isfinite(found).all()


def test_histogram_bins_are_shares():
    values = np.array([[0.0, 0.1, 0.99, 1.0]])[..., None]
    found = superpixel_features(values, np.zeros((1, 4), int), "histogram")
    assert np.allclose(found, [[0.5, 0, 0, 0, 0, 0, 0, 0.5]])


def test_unknown_statistics_list_the_known():
    with pytest.raises(StudyError, match="'median'"):
        superpixel_features(np.zeros((2, 2, 1)), np.zeros((2, 2), int), "median")


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (60, 200), (768, 1024)])
def test_superpixels_cover_the_image_and_keep_their_size(shape):
    image = make_smear(2, *shape).image if min(shape) >= 16 else np.full((*shape, 3), 9, np.uint8)
    patches = make_superpixels(image)
    assert patches.shape == shape and patches.dtype == np.int32
    assert np.array_equal(np.unique(patches), np.arange(patches.max() + 1))
    if min(shape) >= 60:
        assert 50 < patches.size / (patches.max() + 1) < 200  # about 10 px by 10 px, however large the image


def test_labels_go_by_majority_and_ties_to_the_smaller():
    mask = np.array([[2, 2, 0, 1], [2, 0, 1, 0]], np.uint8)
    patches = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    assert superpixel_labels(mask, patches).tolist() == [2, 0]


def test_ceiling_by_hand():
    # Patches with 2/2, 1/2 and 0/2 px of nucleus: taking the first two gives 2 * 3 / (4 + 3), the first alone 4 / 5.
    mask = np.array([[2, 2, 2, 0, 0, 0]], np.uint8)
    patches = np.array([[0, 0, 1, 1, 2, 2]])
    ceiling = oracle_ceiling([mask], [patches])
    assert ceiling["nucleus"] == pytest.approx(6 / 7) and ceiling["cell"] == pytest.approx(6 / 7)
    assert np.isnan(ceiling["cytoplasm"])


@given(seed=st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_no_labelling_of_superpixels_is_above_the_ceiling(seed):
    rng = np.random.default_rng(seed)
    mask, patches = rng.integers(0, 3, (5, 6)).astype(np.uint8), rng.integers(0, 4, (5, 6))
    patches.flat[:4] = np.arange(4)
    ceiling = oracle_ceiling([mask], [patches])
    for code in range(3**4):
        labels = np.array([code // 3**k % 3 for k in range(4)], np.uint8)
        for region in REGIONS:
            reference = region_mask(mask, region)
            if reference.any():
                assert dice(reference, region_mask(labels[patches], region)) <= ceiling[region] + 1e-12


def test_finer_patches_have_a_higher_ceiling():
    smear = make_smear(4, 128, 128)
    single = np.arange(128 * 128).reshape(128, 128)
    fine, coarse = (make_superpixels(smear.image, segments=number) for number in (1200, 100))
    scores = [oracle_ceiling([smear.mask], [patches])["cell"] for patches in (single, fine, coarse)]
    assert scores[0] == 1 and scores[0] > scores[1] > scores[2]


def test_ceiling_needs_one_array_a_mask():
    with pytest.raises(StudyError, match="2 masks"):
        oracle_ceiling([np.zeros((2, 2))] * 2, [np.zeros((2, 2), int)])
