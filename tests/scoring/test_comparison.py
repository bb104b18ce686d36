"""Scores on another dataset, for known differences."""

import numpy as np
import pandas as pd
import pytest

from wbcstudy.scoring.comparison import TRANSFER_COLUMNS, compare_transfer


def scores(values, method="resnet18__dice", fold=0, seed=0, prefix="c", region="nucleus"):
    """Rows of one run, with counts that give these Dice values."""
    tp = np.round(np.asarray(values) * 1000).astype(int)
    return pd.DataFrame(
        {
            "run": f"{method}__fold{fold}__seed{seed}",
            "case_id": [f"{prefix}{fold if prefix == 'c' else ''}_{i}" for i in range(len(tp))],
            "region": region,
            **{"tp": tp, "fp": 1000 - tp, "fn": 1000 - tp, "tn": 1000, "dice": tp / 1000},
        }
    )


def test_each_fold_tests_its_own_cases_and_every_network_scores_the_other_dataset():
    own = pd.concat([scores([0.9, 0.8], fold=0), scores([1.0, 0.9], fold=1)])
    other = pd.concat([scores([0.6, 0.2], fold=0, prefix="f"), scores([0.8, 0.4], fold=1, prefix="f")])
    (row,) = compare_transfer(own, other, ("nucleus",)).to_dict("records")
    assert set(row) == set(TRANSFER_COLUMNS)
    assert (row["networks"], row["own_n"], row["n"]) == (2, 4, 2)
    assert row["own_mean"] == pytest.approx(0.9) and row["dice_mean"] == pytest.approx(0.5)
    assert row["drop"] == pytest.approx(0.4) and row["dice"] == pytest.approx(0.5)
    # Four images and two are too few for an interval.
    assert np.isnan([row["own_ci_low"], row["drop_ci_low"]]).all()


def test_seeds_are_averaged_on_both_sides():
    own = pd.concat([scores([0.9, 0.7] * 5, seed=0), scores([0.7, 0.9] * 5, seed=1)])
    other = pd.concat([scores([0.3, 0.5] * 5, seed=0, prefix="f"), scores([0.5, 0.3] * 5, seed=1, prefix="f")])
    (row,) = compare_transfer(own, other, ("nucleus",)).to_dict("records")
    # Every case has the same mean, so nothing varies between cases.
    assert row["drop"] == pytest.approx(0.4) and row["drop_ci_low"] == pytest.approx(row["drop_ci_high"])


def test_methods_without_scores_on_the_other_dataset_have_no_row():
    own = pd.concat([scores([0.9, 0.8]), scores([0.9, 0.8], "vgg16__dice")])
    assert list(compare_transfer(own, scores([0.5, 0.6], prefix="f"))["method"]) == ["resnet18__dice"]
    assert compare_transfer(own, own.head(0)).empty and compare_transfer(own.head(0), own).empty


def test_cases_of_one_slide_count_once():
    own, other = scores(np.linspace(0.8, 0.95, 20)), scores(np.repeat(np.linspace(0.3, 0.6, 10), 4), prefix="f")
    slides = {case: f"slide{i // 4}" for i, case in enumerate(other["case_id"])}
    alone, grouped = (compare_transfer(own, other, ("nucleus",), other_groups=g).iloc[0] for g in (None, slides))
    assert grouped["drop"] == pytest.approx(alone["drop"])
    assert grouped["drop_ci_high"] - grouped["drop_ci_low"] > 1.5 * (alone["drop_ci_high"] - alone["drop_ci_low"])
