import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn import metrics as oracle

from wbcstudy.errors import StudyError
from wbcstudy.labels import REGIONS, region_mask
from wbcstudy.scoring.metrics import (
    RATIOS,
    Counts,
    accuracy,
    add_ratios,
    count_regions,
    dice,
    iou,
    precision,
    sensitivity,
    specificity,
)

NAN = float("nan")
COUNT = st.integers(0, 10**12)
COUNTS = st.tuples(COUNT, COUNT, COUNT, COUNT)


@pytest.mark.parametrize(
    ("case", "counts", "expected"),
    [
        #                                        precision, sensitivity, specificity, accuracy, dice, iou
        ("perfect", (4, 0, 0, 5), (1, 1, 1, 1, 1, 1)),
        ("half predicted", (2, 0, 2, 5), (1, 0.5, 1, 7 / 9, 2 / 3, 0.5)),
        ("nothing predicted", (0, 0, 4, 5), (NAN, 0, 1, 5 / 9, 0, 0)),
        ("nothing there, something predicted", (0, 4, 0, 5), (0, NAN, 5 / 9, 5 / 9, 0, 0)),
        ("nothing there, nothing predicted", (0, 0, 0, 9), (NAN, NAN, 1, 1, NAN, NAN)),
        ("the region fills the image", (9, 0, 0, 0), (1, 1, NAN, 1, 1, 1)),
        ("no pixels", (0, 0, 0, 0), (NAN,) * 6),
    ],
)
def test_ratios_by_hand(case, counts, expected):
    np.testing.assert_allclose([ratio(*counts) for ratio in RATIOS.values()], expected, err_msg=case)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_ratios_agree_with_scikit_learn(pixels):
    true, predicted = (np.array(column) for column in zip(*pixels, strict=True))
    tp, fp = np.sum(true & predicted), np.sum(~true & predicted)
    fn, tn = np.sum(true & ~predicted), np.sum(~true & ~predicted)
    counts = (tp, fp, fn, tn)
    expected = {
        precision: oracle.precision_score(true, predicted, zero_division=np.nan),
        sensitivity: oracle.recall_score(true, predicted, zero_division=np.nan),
        specificity: oracle.recall_score(~true, ~predicted, zero_division=np.nan),
        accuracy: oracle.accuracy_score(true, predicted),
        dice: oracle.f1_score(true, predicted, zero_division=np.nan),
        iou: oracle.jaccard_score(true, predicted, zero_division=0.0) if tp + fp + fn else NAN,
    }
    for ratio, value in expected.items():
        np.testing.assert_allclose(ratio(*counts), value, err_msg=ratio.__name__)


@given(COUNTS)
def test_ratios_are_between_0_and_1_or_undefined(counts):
    for ratio in RATIOS.values():
        value = ratio(*counts)
        assert np.isnan(value) or 0 <= value <= 1


@given(COUNTS)
def test_the_identities_of_table_2_hold(counts):
    f, p, s = dice(*counts), precision(*counts), sensitivity(*counts)
    np.testing.assert_allclose(iou(*counts), f / (2 - f), rtol=1e-9)
    if counts[0]:
        np.testing.assert_allclose(f, 2 * p * s / (p + s), rtol=1e-9)


def test_arrays_broadcast_and_small_integers_do_not_overflow():
    tp = np.array([200, 0], np.uint8)
    np.testing.assert_allclose(dice(tp, np.uint8(200), np.uint8(0), 0), [2 / 3, 0])


def test_add_ratios_keeps_columns_order_and_input():
    frame = pd.DataFrame({"case_id": ["b", "a"], "tp": [1, 0], "fp": [1, 0], "fn": [0, 0], "tn": [2, 4], "dice": 9.0})
    before = frame.copy()
    scored = add_ratios(frame)
    assert list(scored) == ["case_id", "tp", "fp", "fn", "tn", *RATIOS]
    np.testing.assert_allclose(scored["dice"], [2 / 3, NAN])
    pd.testing.assert_frame_equal(frame, before)
    assert list(add_ratios(frame.head(0))) == list(scored)


SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=6)


def masks(shape):
    return arrays(np.uint8, shape, elements=st.integers(0, 2))


PAIRS = SHAPES.flatmap(lambda shape: st.tuples(masks(shape), masks(shape)))


# 0 background, 1 cytoplasm, 2 nucleus: one nucleus pixel and one background pixel are predicted as cytoplasm.
REFERENCE = np.array([[0, 0, 1], [0, 2, 2], [0, 1, 2]], np.uint8)
PREDICTION = np.array([[0, 1, 1], [0, 2, 1], [0, 1, 2]], np.uint8)


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("nucleus", Counts(tp=2, fp=0, fn=1, tn=6)),
        ("cytoplasm", Counts(tp=2, fp=2, fn=0, tn=5)),
        # A nucleus pixel predicted as cytoplasm is still a correct cell pixel.
        ("cell", Counts(tp=5, fp=1, fn=0, tn=3)),
    ],
)
def test_three_by_three_masks_by_hand(region, expected):
    assert count_regions(REFERENCE, PREDICTION)[region] == expected


@given(PAIRS)
def test_counts_agree_with_scikit_learn(pair):
    reference, prediction = pair
    for region in REGIONS:
        table = oracle.confusion_matrix(
            region_mask(reference, region).ravel(), region_mask(prediction, region).ravel(), labels=[False, True]
        )
        (tn, fp), (fn, tp) = table
        assert count_regions(reference, prediction)[region] == (tp, fp, fn, tn)


@given(PAIRS)
def test_counts_add_up_to_the_pixels_and_are_swapped_with_the_masks(pair):
    reference, prediction = pair
    swapped = count_regions(prediction, reference)
    for region, counts in count_regions(reference, prediction).items():
        assert sum(counts) == reference.size
        assert swapped[region] == (counts.tp, counts.fn, counts.fp, counts.tn)
        assert all(isinstance(count, int) for count in counts)


def test_an_empty_mask_counts_nothing():
    empty = np.zeros((0, 4), np.uint8)
    assert count_regions(empty, empty)["cell"] == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("reference", "prediction", "message"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), "2 x 3 px"),
        (np.zeros((2, 3), np.uint8), np.zeros((2, 3, 3), np.float32), "float32"),
        (np.array([[0, 128, 255]], np.uint8), np.array([[0, 1, 2]], np.uint8), "reference has the values 0, 128"),
        (np.array([[0, 1]], np.int64), np.array([[0, -1]], np.int64), "prediction has the values -1"),
    ],
)
def test_masks_that_cannot_be_compared_are_refused(reference, prediction, message):
    with pytest.raises(StudyError, match=message):
        count_regions(reference, prediction)
