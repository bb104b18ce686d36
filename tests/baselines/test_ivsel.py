"""[11] Pixels and colour components selected together."""

import numpy as np
import pytest

from tests.helpers.quick_methods import fit_quick, make_training
from wbcstudy.baselines.colour import feature_names
from wbcstudy.baselines.ivsel import InstanceVariableSelection, _pick_components
from wbcstudy.baselines.pixels import features_of
from wbcstudy.errors import StudyError


@pytest.fixture(scope="module")
def training():
    return make_training(4)


def test_ivsel_uses_its_selected_components_only():
    method = fit_quick("settouti2020_ivsel")
    names = feature_names()
    assert 1 <= len(method.variables_) <= len(names)
    assert method.classifier_.n_features_in_ == len(method.variables_)
    assert set(method.importances_) == set(names)
    ranked = [method.importances_[name] for name in method.variables_]
    assert ranked == sorted(ranked, reverse=True)
    held = sum(ranked) / sum(method.importances_.values())
    assert held >= method.importance_share_ - 1e-6
    if len(ranked) > 1 and method.importance_share_ < 1:
        assert held - ranked[-1] < method.importance_share_


def test_ivsel_selects_more_components_if_few_are_not_enough(training):
    # One or two components hold half the importance; no loss of accuracy is accepted.
    params = {"trees": 10, "importance_share": 0.15, "tolerance": 0.0, "pixels_per_label": 100}
    strict = InstanceVariableSelection(**params).fit(*training, np.random.default_rng(0))
    loose = InstanceVariableSelection(**params | {"tolerance": 1.0}).fit(*training, np.random.default_rng(0))
    assert loose.importance_share_ == 0.15 and strict.importance_share_ >= 0.99
    assert len(loose.variables_) < len(strict.variables_)
    assert strict.accuracies_[1] >= strict.accuracies_[0] or strict.importance_share_ == 1.0


def test_components_are_picked_by_name():
    colours = np.random.default_rng(0).integers(0, 256, (40, 3), dtype=np.uint8)
    variables = ("luma", "green", "lab_a")
    everything = features_of(colours, ("rgb", "hsv", "lab", "luv", "ycbcr", "hed", "nrg"))
    expected = everything[:, [feature_names().index(name) for name in variables]]
    np.testing.assert_allclose(_pick_components(colours, variables), expected, rtol=1e-4, atol=1e-3)


def test_a_share_of_nothing_is_refused(training):
    with pytest.raises(StudyError, match="importance_share"):
        InstanceVariableSelection(importance_share=0).fit(*training, np.random.default_rng(0))
