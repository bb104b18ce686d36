import numpy as np
import pytest

from tests.helpers.quick_methods import fit_quick
from wbcstudy.baselines.benomar2021 import _decorrelation_stretch


def test_stretched_colours_have_equal_variances_and_no_correlation():
    rng = np.random.default_rng(0)
    common = rng.normal(0, 30, (4000, 1))
    colours = 128 + common + rng.normal(0, [3, 6, 9], (4000, 3))
    matrix = _decorrelation_stretch(colours)
    stretched = np.column_stack([colours, np.ones(len(colours))]) @ matrix
    covariance = np.cov(stretched, rowvar=False, bias=True)
    np.testing.assert_allclose(covariance, np.eye(3) * np.var(colours, axis=0).mean(), atol=1e-6 * covariance.max())
    np.testing.assert_allclose(stretched.mean(axis=0), colours.mean(axis=0))


@pytest.mark.parametrize("colours", [np.full((5, 3), 77), np.array([[1, 2, 3]])])
def test_a_single_colour_is_unchanged(colours):
    matrix = _decorrelation_stretch(colours)
    np.testing.assert_allclose(np.column_stack([colours, np.ones(len(colours))]) @ matrix, colours)


def test_channel_and_cut_have_the_best_dice():
    method = fit_quick("benomar2021")
    assert method.choices_[method.channel_, method.cut_] == max(method.choices_.values())
    assert len(method.choices_) == 36
