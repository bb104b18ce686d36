"""Choosing parameters on validation cases."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.helpers.constant_method import IMAGE, MASK, ConstantMethod, nucleus_mask
from wbcstudy.baselines.measure import _search_parameters, measure
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS
from wbcstudy.registry import METHODS, MethodRow


def test_the_search_scores_on_validation_cases_and_keeps_the_best(monkeypatch):
    built = []

    def build(name, **params):
        built.append(ConstantMethod(**params))
        return built[-1]

    monkeypatch.setattr("wbcstudy.baselines.measure.build_method", build)
    row = MethodRow("toy", "Toy", "", "", "", True, search={"label": (BACKGROUND, CYTOPLASM, NUCLEUS)})
    reference = np.full((8, 9), CYTOPLASM, np.uint8)
    reference[:4] = NUCLEUS  # a constant nucleus has Dice 2 * 36 / (36 + 72) for it, and 0 for the cytoplasm
    training = ([IMAGE] * 9, [nucleus_mask()] * 9)
    best, tried = _search_parameters(row, training, ([IMAGE], [reference]), np.random.default_rng(0), max_training=4)
    assert best == {"label": CYTOPLASM}  # equal to the nucleus, and first
    assert [setting["score"] for setting in tried] == pytest.approx([0, 1 / 3, 1 / 3])
    assert tried[2]["nucleus"] == pytest.approx(2 / 3) and tried[2]["cytoplasm"] == 0
    assert {method.fit_arguments_[0] for method in built} == {4}
    assert len({method.fit_arguments_[1] for method in built}) == 1, "settings differ by their random numbers"

    # No cell in reference and prediction: undefined, so any other score is better.
    empty = _search_parameters(row, training, ([IMAGE], [MASK]), np.random.default_rng(0))[1]
    assert np.isnan(empty[0]["score"]) and empty[1]["score"] == 0
    with pytest.raises(StudyError, match="without validation cases"):
        _search_parameters(row, training, ([], []), np.random.default_rng(0))


def test_nothing_to_search_runs_nothing():
    assert _search_parameters(METHODS["otsu_levels"], ([], []), ([], []), np.random.default_rng(0)) == ({}, [])


def test_a_method_is_fitted_with_at_most_its_largest_number_of_seeds(monkeypatch):
    monkeypatch.setattr("wbcstudy.baselines.measure.build_method", lambda name: ConstantMethod())
    images, masks = np.stack([IMAGE]), np.stack([nucleus_mask()])
    part = SimpleNamespace(images=images, masks=masks, references=SimpleNamespace(shapes=[(4, 6)]))

    def seeds(learns, max_seeds=None):
        row = MethodRow("toy", "Toy", "", "", "", learns, max_seeds=max_seeds)
        measured = measure(row, part, part, part, [5, 3, 4], show=str)
        assert all(mask.shape == (4, 6) for masks in measured.predictions.values() for mask in masks)
        return measured.seeds

    assert (seeds(True), seeds(True, 1), seeds(True, 2), seeds(False)) == ((5, 3, 4), (5,), (5, 3), (5,))
