"""[9] Pixels, grown from points of interest."""

import logging

import numpy as np
import pytest

from tests.helpers.quick_methods import build_quick, make_training
from wbcstudy.baselines.settouti2020 import PixelGrowing
from wbcstudy.errors import StudyError
from wbcstudy.registry import METHODS


@pytest.fixture(scope="module")
def training():
    return make_training(4)


def test_nuclei_without_a_point_of_interest_are_counted_and_logged(training, caplog):
    with caplog.at_level(logging.INFO, "wbcstudy.baselines.pixels"):
        good = build_quick("settouti2020_tree").fit(*training, np.random.default_rng(0))
        # Nothing is 500 px deep.
        bad = build_quick("settouti2020_tree", height_px=500).fit(*training, np.random.default_rng(0))
    assert bad.missed_nuclei_ == bad.nuclei_ == good.nuclei_ >= 4
    assert good.missed_nuclei_ < good.nuclei_ / 2
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert f"no point of interest in {bad.nuclei_} of {bad.nuclei_} nuclei" in caplog.text
    assert not bad.predict(training[0][0]).any()


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


def test_both_classifiers_of_the_reference_have_a_row():
    assert METHODS["settouti2020_tree"].fixed["classifier"] == "tree"
    assert METHODS["settouti2020_forest"].fixed["classifier"] == "forest"
