"""Colour features, compared with scikit-image, and their names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage import color

from wbcstudy.baselines.colour import SPACES, colour_features, feature_names
from wbcstudy.errors import StudyError

IMAGE = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)


@pytest.mark.parametrize("space", [space for space in SPACES if space not in ("rgb", "nrg")])
def test_components_agree_with_scikit_image(space):
    expected = getattr(color, f"rgb2{space}")(IMAGE / 255)
    np.testing.assert_allclose(colour_features(IMAGE, (space,)), expected, rtol=2e-3, atol=2e-3)


def test_names_match_the_features():
    features = colour_features(IMAGE, SPACES, (1.5, 3))
    names = feature_names(SPACES, (1.5, 3))
    assert features.shape == (12, 17, 60) and features.dtype == np.float32 and len(set(names)) == 60
    part = {name: features[..., k] for k, name in enumerate(names)}
    np.testing.assert_allclose(part["green"], IMAGE[..., 1] / 255, rtol=1e-6)
    np.testing.assert_allclose(part["green_share"], IMAGE[..., 1] / IMAGE.sum(axis=-1), rtol=1e-4)
    np.testing.assert_allclose(part["lab_a_s3"], gaussian_filter(part["lab_a"], 3, truncate=3), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(part["blue_s1.5"], gaussian_filter(IMAGE[..., 2] / 255, 1.5, truncate=3), rtol=1e-4)


@given(st.lists(st.integers(0, 255), min_size=3, max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_flat_image_has_equal_finite_features_everywhere(colour):
    image = np.full((5, 6, 3), colour, np.uint8)
    plain, smooth = np.split(colour_features(image, sigmas_px=(2,)), 2, axis=-1)
    assert np.isfinite(plain).all()
    np.testing.assert_allclose(smooth, np.broadcast_to(plain[:1, :1], plain.shape), rtol=1e-4, atol=1e-4)


def test_a_black_pixel_has_the_shares_of_grey():
    np.testing.assert_allclose(colour_features(np.zeros((1, 1, 3), np.uint8), ("nrg",)), 1 / 3)


@pytest.mark.parametrize(
    ("spaces", "sigmas", "message"),
    [
        (("rgb", "cmyk"), (), "cmyk"),
        ((), (), "No colour space"),
        ("rgb", (), "colour space"),
        (("rgb",), (0,), "sigma 0"),
    ],
)
def test_unknown_spaces_and_sigmas_are_refused(spaces, sigmas, message):
    with pytest.raises(StudyError, match=message):
        colour_features(IMAGE, spaces, sigmas)
    with pytest.raises(StudyError, match=message):
        feature_names(spaces, sigmas)
