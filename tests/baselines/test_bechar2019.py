"""[12] Superpixels of a normalised image."""

import numpy as np
import pytest
from sklearn.base import clone

from tests.helpers.quick_methods import make_training
from wbcstudy.baselines.bechar2019 import SuperpixelForest
from wbcstudy.errors import StudyError


@pytest.fixture(scope="module")
def training():
    return make_training(8)


def test_background_superpixels_and_images_are_limited(training):
    method = SuperpixelForest(trees=2, max_images=2, background_per_image=10).fit(*training, np.random.default_rng(0))
    assert method.forest_.n_features_in_ == 12  # three channels, four statistics
    assert (
        clone(method)
        .set_params(spaces=("rgb", "lab"), statistics="mean")
        .fit(*training, np.random.default_rng(0))
        .forest_.n_features_in_
        == 6
    )


@pytest.mark.parametrize(
    ("method", "word"),
    [
        (SuperpixelForest(normalisation="gray"), "gray"),
        (SuperpixelForest(spaces=("cmyk",)), "cmyk"),
        (SuperpixelForest(statistics="median"), "median"),
    ],
    ids=str,
)
def test_errors_name_the_invalid_parameter(training, method, word):
    with pytest.raises(StudyError, match=word):
        method.fit(*training, np.random.default_rng(0))
