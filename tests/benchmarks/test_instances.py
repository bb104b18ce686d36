"""Scores of separated cells against the expert's cells."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.instances import SCORES, InstanceCounts, count_instances, score_instances, sum_counts

MAPS = arrays(np.int32, (5, 6), elements=st.sampled_from([0, 1, 2, 8]), fill=st.nothing())


def three_cells():
    """Three cells of 100 px; the last two touch."""
    cells = np.zeros((10, 60), np.int32)
    cells[:, :10], cells[:, 20:30], cells[:, 30:40] = 1, 2, 3
    return cells


def test_scores_calculated_by_hand():
    # One cell is matched exactly; one prediction covers the two others, with an IoU of 100/200, which is no match.
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


def test_a_cell_cut_in_two():
    # 100 px: 70 and 30. IoU 0.7 is a match; the other piece is a false positive.
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


def test_without_cells_scores_are_undefined():
    empty = np.zeros((4, 4), np.int32)
    assert all(np.isnan(value) for value in score_instances(count_instances(empty, empty)).values())
    false_cell = score_instances(count_instances(empty, empty + 1))
    assert (false_cell["pq"], false_cell["aji"], false_cell["ap50"]) == (0, 0, 0) and np.isnan(
        false_cell["count_error"]
    )
    missed = score_instances(count_instances(empty + 1, empty))
    assert (missed["pq"], missed["aji_plus"], missed["count_error"]) == (0, 0, -1)


@settings(max_examples=60)
@given(MAPS, MAPS)
def test_scores_agree_with_cellseg_metrics(reference, prediction):
    cellseg_metrics = pytest.importorskip("cellseg_metrics", reason="cellseg-metrics is not installed (extra: test)")
    if not reference.any() or not prediction.any():
        return
    scores = score_instances(count_instances(reference, prediction))
    expected = cellseg_metrics.panoptic_quality(reference, prediction)
    assert (scores["pq"], scores["rq"]) == pytest.approx((expected["pq"], expected["dq"]), abs=1e-6)
    assert np.nan_to_num(scores["sq"]) == pytest.approx(expected["sq"], abs=1e-6)
    # Its average precision is TP / (TP + FP), and its AJI picks by intersection, not by IoU.
    tp, fp, *_ = count_instances(reference, prediction)
    assert tp / (tp + fp) == pytest.approx(cellseg_metrics.average_precision(reference, prediction), abs=1e-6)


def pixel_sets(cells):
    return {number: set(np.flatnonzero(cells.ravel() == number)) for number in np.unique(cells) if number}


def aji_by_definition(reference, prediction):
    """Algorithm 1 of Kumar et al. (2017), line by line."""
    both = union = 0
    used = set()
    for cell in reference.values():
        best = max(prediction, key=lambda k: len(cell & prediction[k]) / len(cell | prediction[k]))
        if cell & prediction[best]:
            both, union = both + len(cell & prediction[best]), union + len(cell | prediction[best])
            used.add(best)
        else:
            union += len(cell)
    return both / (union + sum(len(cell) for k, cell in prediction.items() if k not in used))


def aji_plus_by_definition(reference, prediction):
    """Of all one-to-one pairings, those with the largest sum of IoU (Graham et al. 2019)."""
    pairings = itertools.permutations([*prediction.values()] + [set()] * len(reference), len(reference))
    results = []
    for pairing in pairings:
        pairs = list(zip(reference.values(), pairing, strict=True))
        both = sum(len(cell & other) for cell, other in pairs)
        # Two cells without overlap are no pair, but the pixels of both count.
        union = sum(len(cell | other) for cell, other in pairs)
        union += sum(len(other) for other in prediction.values() if other not in pairing)
        results.append((sum(len(cell & other) / len(cell | other) for cell, other in pairs), both / union))
    largest = max(iou for iou, _ in results)
    return {value for iou, value in results if iou > largest - 1e-9}


@settings(max_examples=60)
@given(MAPS, MAPS)
def test_aji_agrees_with_its_definition(reference, prediction):
    if not reference.any() or not prediction.any():
        return
    scores = score_instances(count_instances(reference, prediction))
    references, predictions = pixel_sets(reference), pixel_sets(prediction)
    ious = [len(a & b) / len(a | b) for a in references.values() for b in predictions.values()]
    if len(set(ious)) == len(ious):  # of equal ones, either may be taken
        assert scores["aji"] == pytest.approx(aji_by_definition(references, predictions))
    assert any(scores["aji_plus"] == pytest.approx(value) for value in aji_plus_by_definition(references, predictions))


@settings(max_examples=60)
@given(MAPS, MAPS)
def test_scores_are_within_their_ranges(reference, prediction):
    scores = score_instances(count_instances(reference, prediction))
    defined = {name: value for name, value in scores.items() if not np.isnan(value)}
    assert all(0 <= value <= 1 for name, value in defined.items() if name != "count_error")
    if "sq" in defined:
        assert scores["pq"] == pytest.approx(scores["sq"] * scores["rq"])
        assert scores["ap50"] == pytest.approx(scores["rq"] / (2 - scores["rq"]))
    if reference.any():
        same = score_instances(count_instances(reference, reference * 5))
        assert all(same[name] == (0 if name == "count_error" else 1) for name in SCORES)


def test_counts_of_images_are_added():
    counts = count_instances(three_cells(), three_cells())
    missed = count_instances(three_cells(), np.zeros((10, 60), np.int32))
    assert score_instances(sum_counts([counts, missed]))["pq"] == pytest.approx(3 / (3 + 1.5))
    assert sum_counts([]) == InstanceCounts(*[0] * 8)
