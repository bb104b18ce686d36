import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.metrics import confusion_matrix

from wbcstudy.errors import StudyError
from wbcstudy.labels import REGIONS, region_mask
from wbcstudy.scoring.metrics import Counts, count_regions

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=6)


def masks(shape):
    return arrays(np.uint8, shape, elements=st.integers(0, 2))


PAIRS = SHAPES.flatmap(lambda shape: st.tuples(masks(shape), masks(shape)))


# 0 plasma, 1 cytoplasm, 2 nucleus: one nucleus pixel called cytoplasm, one plasma pixel called cytoplasm.
REFERENCE = np.array([[0, 0, 1], [0, 2, 2], [0, 1, 2]], np.uint8)
PREDICTION = np.array([[0, 1, 1], [0, 2, 1], [0, 1, 2]], np.uint8)


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("nucleus", Counts(tp=2, fp=0, fn=1, tn=6)),
        ("cytoplasm", Counts(tp=2, fp=2, fn=0, tn=5)),
        # A nucleus taken for cytoplasm is still a right cell pixel.
        ("cell", Counts(tp=5, fp=1, fn=0, tn=3)),
    ],
)
def test_three_by_three_masks_by_hand(region, expected):
    assert count_regions(REFERENCE, PREDICTION)[region] == expected


@given(PAIRS)
def test_counts_agree_with_scikit_learn(pair):
    reference, prediction = pair
    for region in REGIONS:
        table = confusion_matrix(
            region_mask(reference, region).ravel(), region_mask(prediction, region).ravel(), labels=[False, True]
        )
        (tn, fp), (fn, tp) = table
        assert count_regions(reference, prediction)[region] == (tp, fp, fn, tn)


@given(PAIRS)
def test_counts_add_up_to_the_pixels_and_swap_with_the_masks(pair):
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
    ("reference", "prediction", "says"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), "2 x 3 px"),
        (np.zeros((2, 3), np.uint8), np.zeros((2, 3, 3), np.float32), "float32"),
        (np.array([[0, 128, 255]], np.uint8), np.array([[0, 1, 2]], np.uint8), "reference holds the values 0, 128"),
        (np.array([[0, 1]], np.int64), np.array([[0, -1]], np.int64), "prediction holds the values -1"),
    ],
)
def test_masks_that_cannot_be_compared_are_refused(reference, prediction, says):
    with pytest.raises(StudyError, match=says):
        count_regions(reference, prediction)
