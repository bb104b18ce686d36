import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from wbcstudy.errors import StudyError
from wbcstudy.labels import REGIONS, region_mask
from wbcstudy.runs.results import SCORE_COLUMNS, read_score_file
from wbcstudy.scoring.evaluation import pool_scores, score_masks, summarise, write_scores
from wbcstudy.scoring.metrics import RATIOS

TYPES = ["monocyte", None, "basophil", "monocyte", None]


def some_masks(seed=0, cases=5):
    generator = np.random.default_rng(seed)
    shapes = [(4 + index, 9 - index) for index in range(cases)]
    references = [generator.integers(3, size=shape, dtype=np.uint8) for shape in shapes]
    predictions = [np.where(generator.random(mask.shape) < 0.2, 0, mask).astype(np.uint8) for mask in references]
    return references, predictions


def some_scores(seed=0, run="r"):
    references, predictions = some_masks(seed)
    return score_masks(run, list("abcde"), TYPES, references, predictions)


def test_one_row_per_case_and_region_in_order():
    scores = some_scores()
    assert list(scores) == [*SCORE_COLUMNS, *RATIOS]
    assert list(scores["region"]) == list(REGIONS) * 5
    assert list(scores["case_id"]) == [case for case in "abcde" for _ in REGIONS]
    assert scores["cell_type"].isna().sum() == 6


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.permutations(range(5)))
def test_the_score_of_a_case_does_not_depend_on_the_other_cases(seed, order):
    references, predictions = some_masks(seed)
    together = score_masks("r", list("abcde"), TYPES, references, predictions)
    shuffled = pd.concat(
        [score_masks("r", ["abcde"[i]], [TYPES[i]], [references[i]], [predictions[i]]) for i in order]
    ).sort_values("case_id", kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(shuffled, together)
    pd.testing.assert_frame_equal(
        pool_scores(shuffled.sample(frac=1, random_state=1)).sort_values("region", ignore_index=True),
        pool_scores(together).sort_values("region", ignore_index=True),
    )


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_pooled_scores_agree_with_scikit_learn_on_all_pixels_at_once(seed):
    references, predictions = some_masks(seed)
    pooled = pool_scores(score_masks("r", list("abcde"), TYPES, references, predictions)).set_index("region")
    for region in REGIONS:
        true = np.concatenate([region_mask(mask, region).ravel() for mask in references])
        predicted = np.concatenate([region_mask(mask, region).ravel() for mask in predictions])
        assert pooled.loc[region, "dice"] == pytest.approx(f1_score(true, predicted))
        assert pooled.loc[region, ["tp", "fp", "fn", "tn"]].sum() == true.size
    f, p, s = pooled["dice"], pooled["precision"], pooled["sensitivity"]
    np.testing.assert_allclose(pooled["iou"], f / (2 - f))
    np.testing.assert_allclose(f, 2 * p * s / (p + s))


def test_pooling_weights_pixels_and_the_mean_weights_images():
    # A large image that is correct, a small one that is wrong.
    large, small = np.full((10, 10), 2, np.uint8), np.array([[2, 0]], np.uint8)
    scores = score_masks("r", ["large", "small"], [None] * 2, [large, small], [large, small * 0])
    nucleus = summarise(scores)["nucleus"]
    assert nucleus["dice"] == pytest.approx(200 / 201) and nucleus["dice_mean"] == pytest.approx(0.5)


def test_pooling_by_cell_type_keeps_the_cases_without_one():
    pooled = pool_scores(some_scores(), by=("cell_type", "region"))
    assert len(pooled) == 9
    assert pooled.loc[pooled["cell_type"].isna(), "cases"].tolist() == [2, 2, 2]


def test_undefined_scores_are_left_out_of_means_and_counted():
    nothing, nucleus = np.zeros((2, 2), np.uint8), np.full((2, 2), 2, np.uint8)
    references, predictions = [nothing, nucleus, nucleus], [nothing, nucleus, nothing]
    scores = score_masks("r", ["a", "b", "c"], [None] * 3, references, predictions)
    summary = summarise(scores)
    assert (summary["nucleus"]["n"], summary["nucleus"]["dice_mean"]) == (2, 0.5)
    assert (summary["cytoplasm"]["n"], summary["cytoplasm"]["dice_mean"]) == (0, None)


def test_summary_is_json_and_has_no_nan():
    nothing = np.zeros((2, 2), np.uint8)
    summary = summarise(score_masks("r", ["a"], [None], [nothing], [nothing]))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert list(summary) == list(REGIONS)
    assert summary["nucleus"] == {
        **{"tp": 0, "fp": 0, "fn": 0, "tn": 4},
        **{"precision": None, "sensitivity": None, "specificity": 1.0, "accuracy": 1.0, "dice": None, "iou": None},
        **{"dice_mean": None, "n": 0},
    }


def test_no_cases_give_no_rows():
    scores = score_masks("r", [], [], [], [])
    assert list(scores) == [*SCORE_COLUMNS, *RATIOS] and scores.empty
    assert pool_scores(scores).empty and summarise(scores) == {}


def test_scores_are_written_exactly_and_with_the_same_bytes(tmp_path):
    scores = some_scores().assign(case_id="NA")
    write_scores(scores, tmp_path / "run" / "scores.csv")
    write_scores(scores.copy(), tmp_path / "again.csv")
    assert (tmp_path / "run" / "scores.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()
    back = pd.read_csv(tmp_path / "again.csv", keep_default_na=False, na_values=[""], dtype={"case_id": str})
    pd.testing.assert_frame_equal(back, scores, check_dtype=False, check_exact=True)


def test_errors_name_the_case():
    mask = np.zeros((2, 2), np.uint8)
    with pytest.raises(StudyError, match="Case b: The reference is 2 x 2"):
        score_masks("r", ["a", "b"], [None] * 2, [mask, mask], [mask, mask[:1]])
    with pytest.raises(ValueError, match="shorter"):
        score_masks("r", ["a", "b"], [None] * 2, [mask, mask], [mask])


def test_names_that_a_spreadsheet_would_run_are_written_escaped_and_read_back(tmp_path):
    names = ["=cmd|' /C calc'!A0", "-rf", "'=1", "@a", "001"]
    references, predictions = some_masks()
    write_scores(score_masks("r", names, [*names[:4], None], references, predictions), tmp_path / "scores.csv")
    assert not any(line.split(",")[1][0] in "=-@" for line in (tmp_path / "scores.csv").read_text().splitlines())
    scores = read_score_file(tmp_path / "scores.csv")
    assert scores["case_id"].tolist()[::3] == names and scores["cell_type"].tolist()[0] == names[0]
