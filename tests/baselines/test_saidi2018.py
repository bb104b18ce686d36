"""[10] Pixels selected by the ensemble margin."""

import numpy as np
import pytest

from tests.helpers.quick_methods import make_training
from wbcstudy.baselines.saidi2018 import MarginSelection


@pytest.fixture(scope="module")
def training():
    return make_training(4)


def test_the_number_of_training_pixels_is_limited(training):
    method = MarginSelection(trees=3, share=1.0, max_pixels=120, sigma_px=1.0)
    method.fit(*training, np.random.default_rng(0))
    assert method.selected_.max() < 120


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_emis_learns_from_a_share_of_the_pixels(training, share):
    method = MarginSelection(trees=10, share=share, pixels_per_label=100).fit(*training, np.random.default_rng(0))
    assert method.selected_share_ == pytest.approx(share, abs=0.01)
    assert method.selected_.size == method.classifier_.estimators_samples_[0].size
    assert 0 <= method.noise_share_ < 0.3
