"""The methods that classify pixels, on synthetic smears."""

import logging

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from wbcstudy.baselines.colour import feature_names
from wbcstudy.baselines.ivsel import InstanceVariableSelection, _pick_components
from wbcstudy.baselines.methods import build_method
from wbcstudy.baselines.pixels import features_of
from wbcstudy.baselines.saidi2018 import MarginSelection
from wbcstudy.baselines.settouti2020 import PixelGrowing
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS
from wbcstudy.registry import METHODS

NAMES = ("settouti2020_tree", "settouti2020_forest", "saidi2018", "settouti2020_ivsel")
QUICK = {"pixels_per_label": 600, "sigma_px": 1.0}


def quick(name, **params):
    return build_method(name, **({"trees": 12} | QUICK | params))


@pytest.fixture(scope="module")
def smears():
    return [make_smear(seed, 160, 160, slide=3) for seed in range(6)]


@pytest.fixture(scope="module")
def training(smears):
    return [smear.image for smear in smears[:4]], [smear.mask for smear in smears[:4]]


@pytest.fixture(scope="module")
def fitted(training):
    return {name: quick(name).fit(*training, np.random.default_rng(0)) for name in NAMES}


def dice(reference, prediction):
    return 2 * np.sum(reference & prediction) / (reference.sum() + prediction.sum())


@pytest.mark.parametrize("name", NAMES)
def test_a_field_of_several_white_cells_is_segmented(fitted, name):
    field = make_smear(20, 768, 1024, white_cells=(4, 6), slide=3)
    prediction = fitted[name].predict(field.image)
    assert prediction.shape == (768, 1024) and prediction.dtype == np.uint8
    assert dice(field.mask == NUCLEUS, prediction == NUCLEUS) > 0.85
    assert dice(field.mask == CYTOPLASM, prediction == CYTOPLASM) > 0.75
    detected = [np.mean(prediction[field.nuclei == cell.instance] == NUCLEUS) > 0.5 for cell in field.cells]
    assert len(detected) >= 4 and np.mean(detected) > 0.7


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_mask_and_a_clone_has_the_parameters(fitted, training, smears, name):
    again = clone(fitted[name])
    assert again.get_params() == fitted[name].get_params()
    with pytest.raises(NotFittedError):
        again.predict(smears[4].image)
    again.fit(*training, np.random.default_rng(0))
    np.testing.assert_array_equal(again.predict(smears[4].image), fitted[name].predict(smears[4].image))


@pytest.mark.parametrize("name", NAMES)
def test_growing_only_removes_pixels(fitted, smears, name):
    method = clone(fitted[name]).set_params(growing=False)
    method.__dict__ |= {key: value for key, value in vars(fitted[name]).items() if key.endswith("_")}
    classes, grown = method.predict(smears[4].image), fitted[name].predict(smears[4].image)
    assert np.all((grown == classes) | (grown == BACKGROUND))
    assert 0 < np.count_nonzero(grown) < np.count_nonzero(classes)


@pytest.mark.parametrize("name", NAMES)
def test_images_without_cells_give_background_and_are_allowed_in_training(name, smears):
    method = quick(name, trees=5)
    blank = np.full((48, 64, 3), 235, np.uint8)
    nowhere = np.zeros((48, 64), np.uint8)
    # Images of two sizes, one of them without any cell.
    method.fit([smears[0].image, blank], [smears[0].mask, nowhere], np.random.default_rng(0))
    assert not method.predict(blank).any()
    with pytest.raises(StudyError, match="nucleus"):
        quick(name).fit([blank], [nowhere], np.random.default_rng(0))
    only = quick(name, trees=5).fit([blank], [np.full((48, 64), NUCLEUS, np.uint8)], np.random.default_rng(0))
    assert np.all(only.predict(blank) == NUCLEUS)


def test_nuclei_without_a_point_of_interest_are_counted_and_logged(training, caplog):
    with caplog.at_level(logging.INFO, "wbcstudy.baselines.pixels"):
        good = quick("settouti2020_tree").fit(*training, np.random.default_rng(0))
        # Nothing is 500 px deep.
        bad = quick("settouti2020_tree", height_px=500).fit(*training, np.random.default_rng(0))
    assert bad.missed_nuclei_ == bad.nuclei_ == good.nuclei_ >= 4
    assert good.missed_nuclei_ < good.nuclei_ / 2
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert f"no point of interest in {bad.nuclei_} of {bad.nuclei_} nuclei" in caplog.text
    assert not bad.predict(training[0][0]).any()


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


def test_ivsel_uses_its_selected_components_only(fitted, smears):
    method = fitted["settouti2020_ivsel"]
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


def test_errors_name_the_invalid_parameter(training):
    for params, name in (
        ({"classifier": "svm"}, "svm"),
        ({"trees": 0}, "trees"),
        ({"min_leaf": 0}, "min_leaf"),
        ({"pixels_per_label": 0}, "pixels_per_label"),
        ({"sigma_px": -1}, "sigma_px"),
        ({"spaces": ("rgb", "xyz")}, "xyz"),
    ):
        with pytest.raises(StudyError, match=name):
            PixelGrowing(**params).fit(*training, np.random.default_rng(0))
    with pytest.raises(StudyError, match="importance_share"):
        InstanceVariableSelection(importance_share=0).fit(*training, np.random.default_rng(0))


def test_rows_of_the_table():
    assert METHODS["settouti2020_tree"].fixed["classifier"] == "tree"
    for name in NAMES:
        row = METHODS[name]
        assert row.reference in ("9", "10", "11") and row.learns and row.quoted_as
        settings = int(np.prod([len(values) for values in row.search.values()]))
        assert 1 < settings <= 12
        assert set(row.search) <= set(build_method(name).get_params())
