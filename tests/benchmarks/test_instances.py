"""How well cells were told apart: scores against an expert's cells."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.instances import (
    INSTANCE_SCORES,
    InstanceCounts,
    count_instances,
    match_instances,
    score_instances,
    sum_counts,
)
from wbcstudy.errors import StudyError

MAPS = arrays(np.int32, (5, 6), elements=st.sampled_from([0, 1, 2, 8]), fill=st.nothing())


def three_cells():
    """Three cells of 100 px, the last two side by side."""
    cells = np.zeros((10, 60), np.int32)
    cells[:, :10], cells[:, 20:30], cells[:, 30:40] = 1, 2, 3
    return cells


def test_scores_worked_out_by_hand():
    # One cell matched exactly; one prediction covers the two others, IoU 100/200 with each, which is no match.
    prediction = np.zeros((10, 60), np.int32)
    prediction[:, :10], prediction[:, 20:40] = 7, 4
    counts = count_instances(three_cells(), prediction)
    assert counts[:4] == (1, 1, 2, 1.0)
    assert score_instances(counts) == pytest.approx(
        {
            "ap50": 1 / (1 + 1 + 2),
            "pq": 1 / (1 + 0.5 + 1),
            "sq": 1.0,
            "rq": 1 / 2.5,
            "aji": (100 + 100 + 100) / (100 + 200 + 200),
            "aji_plus": (100 + 100) / (100 + 200 + 100),
            "count_error": -1 / 3,
        }
    )


def test_a_cell_cut_in_two_by_hand():
    # 100 px: 70 and 30. IoU .7 matches; the other piece is one too many.
    reference = np.zeros((10, 20), np.int32)
    reference[:, :10] = 1
    prediction = reference.copy()
    prediction[:, 7:10] = 2
    assert score_instances(count_instances(reference, prediction)) == pytest.approx(
        {
            "ap50": 1 / 2,
            "pq": 0.7 / 1.5,
            "sq": 0.7,
            "rq": 1 / 1.5,
            "aji": 70 / (100 + 30),
            "aji_plus": 70 / (100 + 30),
            "count_error": 1.0,
        }
    )


def test_matches_name_the_cells():
    prediction = np.zeros((10, 60), np.int32)
    prediction[:, 20:29], prediction[:, 50:] = 5, 6
    matches = match_instances(three_cells(), prediction)
    assert (matches.reference.tolist(), matches.prediction.tolist()) == ([2], [5])
    assert matches.iou == pytest.approx([0.9])
    assert (matches.missed.tolist(), matches.added.tolist()) == ([1, 3], [6])
    assert not len(match_instances(three_cells(), prediction, threshold=0.9).iou)


def test_nothing_expected_and_nothing_found_is_undefined():
    empty = np.zeros((4, 4), np.int32)
    assert all(np.isnan(value) for value in score_instances(count_instances(empty, empty)).values())
    found = score_instances(count_instances(empty, empty + 1))
    assert (found["pq"], found["aji"], found["ap50"]) == (0, 0, 0) and np.isnan(found["count_error"])
    missed = score_instances(count_instances(empty + 1, empty))
    assert (missed["pq"], missed["aji_plus"], missed["count_error"]) == (0, 0, -1)


@settings(max_examples=60)
@given(MAPS, MAPS)
def test_scores_agree_with_cellseg_metrics(reference, prediction):
    theirs = pytest.importorskip("cellseg_metrics", reason="cellseg-metrics is not installed (extra: test)")
    if not reference.any() or not prediction.any():
        return
    ours = score_instances(count_instances(reference, prediction))
    pq = theirs.panoptic_quality(reference, prediction)
    assert (ours["pq"], ours["rq"]) == pytest.approx((pq["pq"], pq["dq"]), abs=1e-6)
    assert np.nan_to_num(ours["sq"]) == pytest.approx(pq["sq"], abs=1e-6)
    # What they call average precision is TP / (TP + FP); their AJI picks by intersection, not by IoU.
    tp, fp, *_ = count_instances(reference, prediction)
    assert tp / (tp + fp) == pytest.approx(theirs.average_precision(reference, prediction), abs=1e-6)


def sets(cells):
    return {number: set(np.flatnonzero(cells.ravel() == number)) for number in np.unique(cells) if number}


def aji_in_words(reference, prediction):
    """Algorithm 1 of Kumar et al. (2017), line by line."""
    both = whole = 0
    used = set()
    for one in reference.values():
        best = max(prediction, key=lambda k: len(one & prediction[k]) / len(one | prediction[k]))
        if one & prediction[best]:
            both, whole = both + len(one & prediction[best]), whole + len(one | prediction[best])
            used.add(best)
        else:
            whole += len(one)
    return both / (whole + sum(len(other) for k, other in prediction.items() if k not in used))


def aji_plus_in_words(reference, prediction):
    """Of all one-to-one pairings, the one with the largest sum of IoU (Graham et al. 2019)."""
    pairings = itertools.permutations([*prediction.values()] + [set()] * len(reference), len(reference))
    found = []
    for pairing in pairings:
        pairs = list(zip(reference.values(), pairing, strict=True))
        both = sum(len(one & other) for one, other in pairs)
        # A pair that has nothing in common is no pair, but its pixels count all the same.
        whole = sum(len(one | other) for one, other in pairs)
        whole += sum(len(other) for other in prediction.values() if other not in pairing)
        found.append((sum(len(one & other) / len(one | other) for one, other in pairs), both / whole))
    most = max(iou for iou, _ in found)
    return {value for iou, value in found if iou > most - 1e-9}


@settings(max_examples=60)
@given(MAPS, MAPS)
def test_aji_agrees_with_its_algorithm_in_words(reference, prediction):
    if not reference.any() or not prediction.any():
        return
    ours = score_instances(count_instances(reference, prediction))
    one, other = sets(reference), sets(prediction)
    ties = [len(a & b) / len(a | b) for a in one.values() for b in other.values()]
    if len(set(ties)) == len(ties):  # of equals, either may be taken
        assert ours["aji"] == pytest.approx(aji_in_words(one, other))
    assert any(ours["aji_plus"] == pytest.approx(value) for value in aji_plus_in_words(one, other))


@settings(max_examples=60)
@given(MAPS, MAPS)
def test_scores_keep_within_their_laws(reference, prediction):
    scores = score_instances(count_instances(reference, prediction))
    defined = {name: value for name, value in scores.items() if not np.isnan(value)}
    assert all(0 <= value <= 1 for name, value in defined.items() if name != "count_error")
    if "sq" in defined:
        assert scores["pq"] == pytest.approx(scores["sq"] * scores["rq"])
        assert scores["ap50"] == pytest.approx(scores["rq"] / (2 - scores["rq"]))
    if reference.any():
        same = score_instances(count_instances(reference, reference * 5))
        assert all(same[name] == (0 if name == "count_error" else 1) for name in INSTANCE_SCORES)


def test_counts_of_images_add_up():
    one = count_instances(three_cells(), three_cells())
    none = count_instances(three_cells(), np.zeros((10, 60), np.int32))
    assert score_instances(sum_counts([one, none]))["pq"] == pytest.approx(3 / (3 + 1.5))
    assert sum_counts([]) == InstanceCounts(*[0] * 8)


CELLS = np.ones((4, 5), np.int32)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: count_instances(CELLS, CELLS[1:]), "shape"),
        (lambda: count_instances(CELLS, CELLS * 0.5), "float64"),
        (lambda: match_instances(CELLS, CELLS, threshold=0.4), "0.4"),
    ],
)
def test_bad_arguments_are_named(call, named):
    with pytest.raises(StudyError) as error:
        call()
    assert named in str(error.value)
