"""[13] Superpixels, from a few labelled and many unlabelled images."""

import importlib.util
import sys

import numpy as np
import pytest
from sklearn.base import clone

from tests.helpers.quick_methods import SUPERPIXEL_METHODS, dice, fit_quick, make_training
from wbcstudy.baselines.bechar2018 import _LEARNERS, FewLabelsSuperpixels
from wbcstudy.errors import StudyError
from wbcstudy.labels import NUCLEUS
from wbcstudy.registry import METHODS

NAMES = SUPERPIXEL_METHODS[1:]
has_sslearn = importlib.util.find_spec("sslearn") is not None


@pytest.fixture(scope="module")
def training():
    return make_training(8)


@pytest.fixture(scope="module")
def unseen():
    return make_training(4, first_seed=100)


def test_labelled_and_unlabelled_are_whole_and_different_images():
    method = fit_quick("bechar2018_coforest")
    assert len(method.labelled_) == 3 and len(method.unlabelled_) == 4
    assert len(set(method.labelled_) | set(method.unlabelled_)) == 7
    # All four learners of one seed see the same masks.
    assert all(np.array_equal(fit_quick(name).labelled_, method.labelled_) for name in NAMES[1:])


@pytest.mark.parametrize("learner", ["coforest", "setred"])
def test_masks_of_unlabelled_images_are_not_used(training, unseen, learner):
    method = fit_quick(f"bechar2018_{learner}")
    images, masks = training
    wrong_masks = [mask if k in method.labelled_ else np.full_like(mask, NUCLEUS) for k, mask in enumerate(masks)]
    again = clone(method).fit(images, wrong_masks, np.random.default_rng(0))
    assert all(np.array_equal(again.predict(image), method.predict(image)) for image in unseen[0][:2])


def test_supervised_learners_use_labelled_images_only():
    assert len(fit_quick("bechar2018_tree").unlabelled_) == len(fit_quick("bechar2018_forest").unlabelled_) == 0


@pytest.mark.parametrize(
    ("method", "word"),
    [
        (FewLabelsSuperpixels("svm"), "svm"),
        (FewLabelsSuperpixels(labelled_images=0), "labelled_images"),
    ],
    ids=str,
)
def test_errors_name_the_invalid_parameter(training, method, word):
    with pytest.raises(StudyError, match=word):
        method.fit(*training, np.random.default_rng(0))


def test_every_learner_has_a_row():
    rows = {row.fixed.get("learner") for row in METHODS.values() if row.builder.startswith("bechar2018:")}
    assert rows == set(_LEARNERS)


def test_without_sslearn_the_error_names_the_package(training, monkeypatch):
    monkeypatch.setitem(sys.modules, "sslearn", None)
    monkeypatch.delitem(sys.modules, "sslearn.wrapper", raising=False)
    with pytest.raises(StudyError, match="sslearn"):
        FewLabelsSuperpixels("sslearn_setred", labelled_images=2).fit(*training, np.random.default_rng(0))


@pytest.mark.skipif(not has_sslearn, reason="the extra package sslearn is not installed")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("learner", ["sslearn_coforest", "sslearn_setred"])
def test_sslearns_learners_run(training, unseen, learner):
    method = FewLabelsSuperpixels(learner, labelled_images=3, unlabelled_images=4, superpixels_per_image=100, trees=3)
    mask = method.fit(*training, np.random.default_rng(0)).predict(unseen[0][0])
    assert dice(unseen[1][0], mask, "cell") > 0.5
    again = clone(method).fit(*training, np.random.default_rng(0)).predict(unseen[0][0])
    assert np.array_equal(mask, again)
