"""Cells told apart, and the scores of it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wbcstudy.data.synthetic import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.regions import BACKGROUND, CYTOPLASM, NUCLEUS
from wbcstudy.scoring.instances import (
    INSTANCE_SCORES,
    InstanceCounts,
    connected_cells,
    count_instances,
    count_parts,
    match_instances,
    score_instances,
    split_cells,
    sum_counts,
)

MAPS = arrays(np.int32, (5, 6), elements=st.sampled_from([0, 1, 2, 8]), fill=st.nothing())


def disc(shape, y, x, radius):
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def smear(*cells, shape=(80, 160)):
    """A mask of discs (y, x, radius), each with a nucleus of half the radius."""
    mask = np.zeros(shape, np.uint8)
    for cell in cells:
        mask[disc(shape, *cell)] = CYTOPLASM
    for y, x, radius in cells:
        mask[disc(shape, y, x, radius / 2)] = NUCLEUS
    return mask


# ------------------------------------------------------------------------------------------------------------- scores


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


# ---------------------------------------------------------------------------------------------------------- splitting


def test_touching_cells_are_told_apart_and_connected_components_join_them():
    mask = smear((40, 40, 25), (40, 86, 24), (30, 130, 22))
    cells = split_cells(mask)
    assert cells.dtype == np.int32 and cells.shape == mask.shape
    assert [cells[30, 130], cells[40, 40], cells[40, 86]] == [1, 2, 3]  # in reading order of their first pixels
    np.testing.assert_array_equal(cells > 0, mask > 0)
    assert connected_cells(mask).max() == 1


def test_lobes_of_one_nucleus_stay_in_one_cell():
    mask = smear((40, 60, 30))
    mask[mask > 0] = CYTOPLASM
    for y, x in ((28, 45), (40, 76), (54, 48)):
        mask[disc(mask.shape, y, x, 8)] = NUCLEUS
    assert split_cells(mask).max() == 1


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_answer_does_not_depend_on_scale(scale):
    mask = smear((40, 40, 25), (40, 86, 24), (30, 130, 22))
    large = mask.repeat(scale, axis=0).repeat(scale, axis=1)
    counts = count_instances(split_cells(mask).repeat(scale, axis=0).repeat(scale, axis=1), split_cells(large))
    assert counts.fp == counts.fn == 0


def test_the_answer_turns_with_the_image():
    mask = smear((40, 40, 25), (40, 86, 24), (30, 130, 22))
    for turned in (np.rot90(mask), mask[::-1], mask[:, ::-1]):
        assert split_cells(turned).max() == 3


def test_a_ragged_edge_and_holes_do_not_cut_a_cell():
    rng = np.random.default_rng(0)
    mask = smear((40, 60, 30))
    edge = disc(mask.shape, 40, 60, 31) & ~disc(mask.shape, 40, 60, 28)
    mask[edge & (rng.random(mask.shape) < 0.5)] = BACKGROUND
    mask[disc(mask.shape, 30, 50, 3)] = BACKGROUND
    cells = split_cells(mask)
    assert cells.max() == 1
    assert (cells[mask == BACKGROUND] == 0).all()


def test_a_cell_at_the_border_is_not_cut():
    assert split_cells(smear((0, 60, 30))).max() == 1
    assert split_cells(smear((0, 0, 30))).max() == 1


def test_what_has_no_nucleus_joins_a_neighbour_or_is_left_out():
    mask = smear((40, 40, 25), (40, 86, 24))
    mask[disc(mask.shape, 40, 86, 12)] = CYTOPLASM  # the second nucleus is gone
    assert split_cells(mask).max() == 1
    assert split_cells(mask, need_nucleus=False).max() == 1
    alone = smear((40, 40, 25))
    alone[disc(mask.shape, 40, 120, 20)] = CYTOPLASM
    assert split_cells(alone).max() == 1
    assert split_cells(alone, need_nucleus=False).max() == 2


def test_masks_without_nuclei_are_split_all_the_same():
    mask = np.where(smear((40, 40, 25), (40, 86, 24)) > 0, CYTOPLASM, BACKGROUND)
    assert split_cells(mask).max() == 0
    assert split_cells(mask, need_nucleus=False).max() == 2


def test_specks_are_left_out():
    mask = smear((40, 40, 25), (40, 120, 25), (75, 80, 4))
    mask[2::6, 2::6] = np.maximum(mask[2::6, 2::6], NUCLEUS)
    assert split_cells(mask).max() == 2
    assert split_cells(mask, min_cell_px=30).max() == 3
    assert split_cells(mask, min_cell_px=0).max() > 30


def test_learnt_distances_replace_those_to_the_edge():
    # A bar, in which nothing but the learnt distance says that there are two cells.
    mask = np.zeros((20, 60), np.uint8)
    mask[4:16, 4:56] = CYTOPLASM
    mask[9:11, 10:50] = NUCLEUS
    assert split_cells(mask).max() == 1
    learnt = np.where(mask > 0, 0.2 + np.abs(np.arange(60) - 30.5)[None, :].clip(0, 13) / 15, 0)
    cells = split_cells(mask, distances=learnt)
    assert cells.max() == 2 and cells[10, 10] != cells[10, 50]


def test_synthetic_fields_with_touching_cells():
    counts, plain = [], []
    for seed in range(3):
        field = make_smear(seed, 384, 512, white_cells=(6, 9), touching=0.9)
        counts.append(count_instances(field.instances, split_cells(field.mask)))
        plain.append(count_instances(field.instances, connected_cells(field.mask)))
    assert score_instances(sum_counts(counts))["pq"] > 0.95
    assert score_instances(sum_counts(plain))["pq"] < 0.5


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (5, 5)])
def test_images_without_cells(shape):
    assert split_cells(np.zeros(shape, np.uint8)).shape == shape
    assert split_cells(np.zeros(shape, np.uint8)).max(initial=0) == 0


def test_a_single_pixel_is_a_cell():
    assert split_cells(np.full((1, 1), NUCLEUS)).tolist() == [[1]]


def test_an_image_that_is_all_cell():
    assert (split_cells(np.full((6, 7), NUCLEUS)) == 1).all()


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (12, 15), elements=st.integers(0, 2)))
def test_any_mask_gives_numbered_cells_within_it(mask):
    cells = split_cells(mask, min_cell_px=0, need_nucleus=False)
    np.testing.assert_array_equal(cells > 0, mask > 0)
    assert set(np.unique(cells)) - {0} == set(range(1, cells.max() + 1))
    for cell in range(1, cells.max() + 1):
        assert count_parts(cells == cell, waist=0) == 1, "a cell is one piece"


def test_parts_of_a_shape():
    two = disc((60, 90), 30, 25, 18) | disc((60, 90), 30, 62, 18)
    assert count_parts(two, waist=0.6) == 2
    assert count_parts(two, waist=0) == 1
    assert count_parts(disc((60, 90), 30, 25, 18), waist=0.6) == 1
    assert count_parts(np.zeros((5, 5), bool), waist=0.6) == 0
    two[0, 0] = True
    assert (count_parts(two, waist=0.6), count_parts(two, waist=0.6, min_share=0.05)) == (3, 2)


# -------------------------------------------------------------------------------------------------------- bad arguments

MASK = smear((40, 40, 25))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: split_cells(MASK * 1.0), "float64"),
        (lambda: split_cells(MASK[None]), "shape"),
        (lambda: split_cells(MASK * 100), "200"),
        (lambda: split_cells(MASK, distances=np.zeros((3, 3))), "Distances"),
        (lambda: split_cells(MASK, distances=-np.ones(MASK.shape)), "Distances"),
        (lambda: split_cells(MASK, distances=np.full(MASK.shape, np.nan)), "Distances"),
        (lambda: split_cells(MASK, waist=1.2), "waist"),
        (lambda: split_cells(MASK, min_cell_px=-1), "min_cell_px"),
        (lambda: split_cells(MASK, min_cell_px=float("nan")), "min_cell_px"),
        (lambda: count_instances(MASK, MASK[1:]), "shape"),
        (lambda: count_instances(MASK, MASK * 0.5), "float64"),
        (lambda: match_instances(MASK, MASK, threshold=0.4), "0.4"),
    ],
)
def test_bad_arguments_are_named(call, named):
    with pytest.raises(StudyError) as error:
        call()
    assert named in str(error.value)
