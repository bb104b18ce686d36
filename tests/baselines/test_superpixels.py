"""Superpixels, and their features compared with a slow loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from tests.helpers.quick_methods import (
    SUPERPIXEL_METHODS,
    build_quick,
    dice,
    fit_again,
    fit_quick,
    make_training,
)
from wbcstudy.baselines.superpixels import (
    _STATISTICS,
    _make_superpixels,
    _superpixel_features,
    superpixel_labels,
)
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS, REGIONS


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


@pytest.fixture(scope="module")
def unseen():
    return make_training(4, first_seed=100)


@pytest.mark.parametrize("name", SUPERPIXEL_METHODS)
def test_all_methods_segment_unseen_images(unseen, name):
    images, masks = unseen
    method = fit_quick(name)
    for region in REGIONS:
        score = np.mean([dice(m, method.predict(i), region) for i, m in zip(images, masks, strict=True)])
        assert 0.5 < score < 1, region


@pytest.mark.parametrize("name", SUPERPIXEL_METHODS)
def test_a_superpixel_gets_one_label(unseen, name):
    image = unseen[0][0]
    mask, (patches, _) = fit_quick(name).predict(image), fit_quick(name)._describe(image)
    assert mask.dtype == np.uint8 and mask.shape == image.shape[:2]
    assert np.array_equal(superpixel_labels(mask, patches)[patches], mask)


@pytest.mark.parametrize("name", SUPERPIXEL_METHODS)
def test_a_field_with_several_cells(name):
    method, field = fit_quick(name), make_smear(7, 768, 1024, white_cells=(4, 6), slide=3)
    if name == "bechar2019":
        # Its normalisation depends on the mean colour of the image, which differs between fields and crops.
        fields = [make_smear(seed, 384, 512, white_cells=(2, 3), slide=3) for seed in range(3)]
        method = clone(method).fit(
            [smear.image for smear in fields], [smear.mask for smear in fields], np.random.default_rng(0)
        )
    mask = method.predict(field.image)
    assert mask.shape == (768, 1024)
    assert dice(field.mask, mask, "nucleus") > 0.7 and dice(field.mask, mask, "cell") > 0.6
    shares = [np.isin(mask[field.instances == cell.instance], (CYTOPLASM, NUCLEUS)).mean() for cell in field.cells]
    assert min(shares) > 0.4


@pytest.mark.parametrize("name", SUPERPIXEL_METHODS)
def test_the_same_seed_gives_the_same_mask(unseen, name):
    fresh = clone(fit_quick(name))
    assert fresh.get_params() == fit_quick(name).get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(unseen[0][0])
    fit_again(name, fresh)
    assert all(np.array_equal(fresh.predict(image), fit_quick(name).predict(image)) for image in unseen[0][:2])


@pytest.mark.parametrize("name", SUPERPIXEL_METHODS)
def test_images_of_several_sizes_and_without_cells(name):
    smears = [
        make_smear(1, 96, 128, slide=3),
        make_smear(2, 120, 80, slide=3),
        make_smear(3, 64, 64, white_cells=(0, 0), slide=3),
    ]
    method = build_quick(name, **({} if name == "bechar2019" else {"labelled_images": 3}))
    method.fit([smear.image for smear in smears], [smear.mask for smear in smears], np.random.default_rng(0))
    assert method.predict(np.full((40, 30, 3), 230, np.uint8)).shape == (40, 30)
    assert method.predict(smears[0].image[:1, :1]).shape == (1, 1)


@pytest.mark.parametrize("name", SUPERPIXEL_METHODS)
def test_masks_with_one_label_give_that_label(name):
    images = [make_smear(seed, 64, 64).image for seed in range(3)]
    masks = [np.zeros((64, 64), np.uint8)] * 3
    method = build_quick(name).fit(images, masks, np.random.default_rng(0))
    assert (method.predict(images[0]) == BACKGROUND).all()
