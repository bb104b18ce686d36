"""Resizing keeps what matters: labels stay labels, and image and mask stay on top of one another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wbcstudy.data.arrays import read_cases, resize_image, resize_mask
from wbcstudy.data.datasets import load_dataset
from wbcstudy.errors import StudyError


def test_cases_become_arrays_in_the_order_asked_for(make_folder):
    dataset = load_dataset(make_folder(facts="case_id,cell_type\n000,monocyte\n001,\n002,basophil\n003,\n"))
    arrays = read_cases(dataset, ["002", "001"], 8)
    assert (arrays.case_ids, arrays.cell_types, len(arrays)) == (("002", "001"), ("basophil", None), 2)
    assert (arrays.images.shape, arrays.images.dtype) == ((2, 8, 8, 3), np.uint8)
    assert (arrays.masks.shape, arrays.masks.dtype) == ((2, 8, 8), np.uint8)
    np.testing.assert_array_equal(arrays.images[1], read_cases(dataset, ["001"], 8).images[0])
    assert repr(arrays) == "Arrays of 2 cases, 8x8 px"


def test_no_cases_make_empty_arrays(make_folder):
    arrays = read_cases(load_dataset(make_folder()), [], 8)
    assert (arrays.images.shape, arrays.masks.shape) == ((0, 8, 8, 3), (0, 8, 8))


def test_an_unknown_case(make_folder):
    with pytest.raises(StudyError, match="Unknown case '9'"):
        read_cases(load_dataset(make_folder()), ["9"], 8)


sizes = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(sizes, sizes), elements=st.sampled_from([0, 1, 2])), sizes, sizes)
def test_resizing_a_mask_invents_no_label(mask, height, width):
    small = resize_mask(mask, height, width)
    assert (small.shape, small.dtype) == ((height, width), np.uint8)
    assert set(np.unique(small)) <= set(np.unique(mask))


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(sizes, sizes, st.just(3))), sizes, sizes)
def test_resizing_an_image_stays_within_its_range(image, height, width):
    small = resize_image(image, height, width)
    assert (small.shape, small.dtype) == ((height, width, 3), np.uint8)
    assert image.min() <= small.min() and small.max() <= image.max()


def test_the_size_it_has_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_image(image, 9, 9), image)
    np.testing.assert_array_equal(resize_mask(image[..., 0], 9, 9), image[..., 0])


def test_shrinking_averages_instead_of_picking_pixels():
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 255
    small = resize_image(np.repeat(checkers[..., None], 3, axis=2).astype(np.uint8), 8, 8)
    assert abs(small.astype(int) - 127).max() <= 4


@pytest.mark.parametrize("size", [32, 100, 200])
def test_image_and_mask_do_not_drift_apart(size):
    row, column = np.mgrid[:128, :96]
    disc = ((row - 40) ** 2 + (column - 60) ** 2 < 20**2).astype(np.uint8)
    image = resize_image(np.repeat(disc[..., None] * 255, 3, axis=2), size, size)
    mask = resize_mask(disc, size, size)
    for axis in (0, 1):
        centre_image = np.average(np.arange(size), weights=image[..., 0].sum(axis=1 - axis))
        centre_mask = np.average(np.arange(size), weights=mask.sum(axis=1 - axis))
        assert abs(centre_image - centre_mask) < 0.15
