import numpy as np
import pandas as pd
import pytest

from tests.helpers.made_scores import scores_from_dice
from wbcstudy.errors import StudyError
from wbcstudy.scoring.case_tables import add_methods, average_groups, case_table, group_names

DICE, ENTROPY = "resnet18__dice", "resnet18__cross_entropy"


def test_folds_are_laid_end_to_end_and_seeds_averaged_case_by_case():
    frame = scores_from_dice(
        {
            ("resnet18", "dice", 0, 0): {"a": 0.5, "b": 0.8},
            ("resnet18", "dice", 1, 0): {"c": 0.25},
            ("resnet18", "dice", 0, 1): {"a": 0.7, "b": 1.0},
            ("resnet18", "dice", 1, 1): {"c": 0.75},
            "otsu__fold0__seed0": {"a": 0.0, "b": 1.0},
            "otsu__fold1__seed0": {"c": 0.125},
        }
    )
    table = case_table(frame, "nucleus")
    assert list(table) == [DICE, "otsu"] and list(table.index) == ["a", "b", "c"]
    np.testing.assert_allclose(table.to_numpy(), [[0.6, 0], [0.9, 1], [0.5, 0.125]], atol=1e-6)
    assert case_table(frame, "cytoplasm").empty


def test_a_case_undefined_for_one_seed_is_undefined_for_the_method():
    frame = scores_from_dice(
        {("resnet18", "dice", 0, 0): {"a": None, "b": 0.5}, ("resnet18", "dice", 0, 1): {"a": 0.5, "b": 0.5}}
    )
    assert case_table(frame, "nucleus")[DICE].isna().tolist() == [True, False]


def test_a_method_without_any_defined_score_does_not_take_the_cases_from_the_others():
    frame = scores_from_dice({("unet", "dice", 0, 0): {"a": None, "b": None}, "otsu": {"a": 0.5, "b": 0.5}})
    assert list(case_table(frame, "nucleus")) == ["otsu"]


def test_the_same_scores_twice_are_refused():
    frame = scores_from_dice({("resnet18", "dice", 0, 0): {"a": 0.5}})
    with pytest.raises(StudyError, match="more than one score of case a"):
        add_methods(pd.concat([frame, frame]))


def test_groups_are_averaged_and_cases_without_one_stand_alone():
    table = pd.DataFrame({"m": [0.0, 1.0, 0.5, np.nan, 0.25]}, index=list("abcde"))
    groups = {"a": 1, "b": 1, "c": None, "d": 1}
    assert average_groups(table, groups)["m"].to_dict() == {"case c": 0.5, "case e": 0.25, "group 1": 0.5}
    assert average_groups(table, None)["m"].tolist() == [0, 1, 0.5, 0.25]
    # A case called "1" does not join the group called 1.
    assert len(set(group_names(["1", "a"], {"a": 1}))) == 2
