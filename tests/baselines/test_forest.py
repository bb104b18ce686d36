"""The simple baseline: a random forest on colours."""

import numpy as np
import pytest

from tests.helpers.quick_methods import dice, make_large_training
from wbcstudy.baselines.forest import ColourForest
from wbcstudy.data.synthetic.dataset import make_smear


@pytest.fixture(scope="module")
def training():
    return make_large_training()


def test_the_number_of_images_and_pixels_is_limited(training):
    method = ColourForest(spaces=("rgb",), sigmas_px=(2,), per_label=20, max_images=2, trees=3, min_leaf=1)
    method.fit(*training, np.random.default_rng(0))
    # Three channels, and the same after smoothing.
    assert method.forest_.n_features_in_ == 6
    assert all(tree.tree_.weighted_n_node_samples[0] > 0 for tree in method.forest_.estimators_)
    assert len(method.forest_.estimators_samples_[0]) == 2 * 3 * 20


def test_the_surroundings_help(training):
    field = make_smear(11, 384, 512, white_cells=(2, 3), slide=3)
    scores = []
    for sigmas in ((), (2, 4)):
        method = ColourForest(spaces=("rgb",), sigmas_px=sigmas, trees=12).fit(*training, np.random.default_rng(0))
        scores.append(dice(field.mask, method.predict(field.image), "cytoplasm"))
    assert scores[1] > 1.2 * scores[0]
