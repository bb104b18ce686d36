import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.made_scores import scores_from_dice
from wbcstudy.scoring.breakdown import pareto_front, scores_by_cell_type, worst_cases

TYPES = {"a": "monocyte", "b": "basophil", "c": "monocyte", "d": None}


def test_scores_by_cell_type():
    frame = scores_from_dice(
        {
            ("unet", "dice", 0, 0): {"a": 0.5, "b": None, "c": 0.7, "d": 0.9},
            ("vgg16", "dice", 0, 0): {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4},
        },
        cell_types=TYPES,
    )
    table = scores_by_cell_type(frame, "nucleus")
    assert table["method"].tolist() == ["unet__dice"] * 3 + ["vgg16__dice"] * 3
    assert table["cell_type"].iloc[:2].tolist() == ["basophil", "monocyte"] and table["cell_type"].isna().sum() == 2
    assert table["n"].tolist() == [0, 2, 1, 1, 2, 1]
    np.testing.assert_allclose(table["mean"], [np.nan, 0.6, 0.9, 0.2, 0.2, 0.4], atol=1e-6)
    assert table["ci_low"].isna().all() and scores_by_cell_type(frame, "cytoplasm").empty


def test_types_with_enough_cases_or_groups_have_an_interval():
    values = {f"c{i}": 0.8 + i / 100 for i in range(12)}
    frame = scores_from_dice({"r": values | {"d": 0.5}}, cell_types=dict.fromkeys(values, "monocyte"))
    monocytes, unknown = scores_by_cell_type(frame, "nucleus").itertuples()
    assert 0.8 < monocytes.ci_low < monocytes.mean < monocytes.ci_high and unknown.n == 1
    slides = scores_by_cell_type(frame, "nucleus", groups=dict.fromkeys(values, "slide"))
    assert slides["ci_low"].isna().all() and slides["mean"][0] == pytest.approx(monocytes.mean)


def test_worst_cases_by_the_mean_of_nucleus_and_cytoplasm():
    nucleus = {"a": 0.9, "b": 0.5, "c": None, "d": 0.7, "e": None}
    cytoplasm = {"a": 0.1, "b": 0.7, "c": 0.2, "d": 0.5, "e": None}
    parts = [
        scores_from_dice({"r": scores}, region, TYPES)
        for region, scores in (("nucleus", nucleus), ("cytoplasm", cytoplasm), ("cell", dict.fromkeys("abcde", 0.01)))
    ]
    worst = worst_cases(pd.concat(parts), n=4)
    assert list(worst) == ["case_id", "cell_type", "mean", "nucleus", "cytoplasm"]
    # c: its cytoplasm alone; a: 0.5; b and d tie; e is undefined altogether.
    assert worst["case_id"].tolist() == ["c", "a", "b", "d"]
    assert worst["cell_type"].tolist()[:3] == ["monocyte", "monocyte", "basophil"]
    np.testing.assert_allclose(worst["mean"], [0.2, 0.5, 0.6, 0.6], atol=1e-6)
    assert len(worst_cases(pd.concat(parts), n=2)) == 2
    assert worst_cases(pd.concat(parts).iloc[:0]).empty


def test_pareto_front_by_hand():
    seconds = [1, 2, 3, 4, 2, np.nan, 1]
    dices = [0.5, 0.7, 0.6, 0.9, 0.7, 1.0, 0.4]
    assert pareto_front(seconds, dices).tolist() == [True, True, False, True, True, False, False]
    assert pareto_front([], []).shape == (0,)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=15))
def test_every_method_is_on_the_front_or_dominated_by_one_that_is(points):
    cost, quality = np.array(points, dtype=float).T
    front = pareto_front(cost, quality)
    assert front.any()
    for index in np.flatnonzero(~front):
        as_good = (cost[front] <= cost[index]) & (quality[front] >= quality[index])
        assert (as_good & ((cost[front] < cost[index]) | (quality[front] > quality[index]))).any()
    # On the front, paying more always buys more.
    order = np.lexsort((quality[front], cost[front]))
    assert (np.diff(quality[front][order])[np.diff(cost[front][order]) > 0] > 0).all()
