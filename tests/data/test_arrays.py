"""Resizing invents no labels and does not shift masks; arrays on disk behave as arrays in memory."""

import os
import tempfile

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.helpers.arrays_in_memory import make_arrays, shares_of
from wbcstudy.config import RunConfig
from wbcstudy.data.arrays import (
    DiskArray,
    _resize_mask,
    label_probabilities,
    majority,
    read_cases,
    read_scored_case,
    read_training_cases,
    resize_image,
    resize_labels,
    resize_probabilities,
    resize_shares,
)
from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.errors import StudyError
from wbcstudy.nets.batches import make_batches, show_augmented
from wbcstudy.nets.stain import normalise_training_images


def test_cases_become_arrays_in_the_order_asked_for(make_folder):
    dataset = load_dataset(make_folder(facts="case_id,cell_type\n000,monocyte\n001,\n002,basophil\n003,\n"))
    arrays = read_cases(dataset, ["002", "001"], 8)
    assert (arrays.case_ids, arrays.cell_types, len(arrays)) == (("002", "001"), ("basophil", None), 2)
    assert (arrays.images.shape, arrays.images.dtype) == ((2, 8, 8, 3), np.uint8)
    assert (arrays.masks.shape, arrays.masks.dtype) == ((2, 8, 8), np.uint8)
    assert (arrays.shares.shape, arrays.shares.dtype) == ((2, 8, 8, 2), np.uint8)
    np.testing.assert_array_equal(arrays.images[1], read_cases(dataset, ["001"], 8).images[0])
    assert repr(arrays) == "Arrays of 2 cases, 8x8 px"


def test_no_cases_make_empty_arrays(make_folder):
    arrays = read_cases(load_dataset(make_folder()), [], 8)
    assert (arrays.images.shape, arrays.masks.shape) == ((0, 8, 8, 3), (0, 8, 8))


def test_an_unknown_case(make_folder):
    with pytest.raises(StudyError, match="Unknown case '9'"):
        read_cases(load_dataset(make_folder()), ["9"], 8)


def test_training_cases_keep_their_stored_size(make_folder):
    dataset = load_dataset(make_folder())
    arrays = read_training_cases(dataset, ["001", "002"], 32)
    image, mask = read_case(dataset, dataset.case("002"))
    np.testing.assert_array_equal(arrays.images[1], image)
    np.testing.assert_array_equal(arrays.masks[1], mask)
    np.testing.assert_array_equal(arrays.shares, shares_of(arrays.masks))
    np.testing.assert_allclose(arrays.aspects, 12 / 16)
    assert len(read_training_cases(dataset, [], 32)) == 0


def test_large_training_cases_are_reduced_to_twice_the_input(make_folder):
    arrays = read_training_cases(load_dataset(make_folder()), ["001"], 4)
    assert (arrays.images.shape, arrays.shares.shape) == ((1, 8, 8, 3), (1, 8, 8, 2))


def test_references_have_the_scored_size(make_folder):
    dataset = load_dataset(make_folder())
    stored = read_case(dataset, dataset.case("002"))
    native, resized = (read_cases(dataset, ["001", "002"], 8, score_px).references for score_px in (None, 8))
    assert native.shapes == [(12, 16)] * 2 and resized.shapes == [(8, 8)] * 2
    assert len(native) == len(list(native)) == 2
    np.testing.assert_array_equal(native[1], stored[1])
    np.testing.assert_array_equal(resized[1], _resize_mask(stored[1], 8, 8))
    for score_px, references in ((None, native), (8, resized)):
        image, mask = read_scored_case(dataset, "002", score_px)
        assert image.shape[:2] == mask.shape
        np.testing.assert_array_equal(mask, references[1])


sizes = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(sizes, sizes), elements=st.sampled_from([0, 1, 2])), sizes, sizes)
def test_shares_of_a_resized_mask(mask, height, width):
    shares = resize_shares(mask, height, width)
    assert (shares.shape, shares.dtype) == ((height, width, 2), np.uint8)
    assert shares.astype(int).sum(axis=-1).max() <= 255
    probabilities = label_probabilities(shares)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-6)
    assert probabilities.min() >= -1e-6
    label = majority(shares)
    largest = np.take_along_axis(probabilities, label[..., None].astype(int), axis=-1)[..., 0]
    np.testing.assert_allclose(largest, probabilities.max(axis=-1), atol=1e-6)
    np.testing.assert_array_equal(majority(resize_shares(mask, *mask.shape)), mask)
    assert set(np.unique(resize_labels(mask, (height, width)))) <= set(np.unique(mask))


def test_shares_come_back_to_the_mask():
    # A cell of 110 px in an image of 300 px, seen by a network at 128 px.
    y, x = np.mgrid[:300, :300]
    distance = np.hypot(y - 140, x - 155)
    mask = np.select([distance < 30, distance < 55], [2, 1], 0).astype(np.uint8)
    shares = label_probabilities(resize_shares(mask, 128, 128))
    wrong = {
        "shares": resize_probabilities(shares, mask.shape).argmax(axis=-1) != mask,
        "labels": resize_labels(shares.argmax(axis=-1), mask.shape) != mask,
        "nearest": _resize_mask(_resize_mask(mask, 128, 128), 300, 300) != mask,
    }
    wrong = {rule: int(pixels.sum()) for rule, pixels in wrong.items()}
    assert wrong["shares"] < wrong["labels"] / 3 and wrong["labels"] < wrong["nearest"]


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(sizes, sizes), elements=st.sampled_from([0, 1, 2])), sizes, sizes)
def test_resizing_a_mask_invents_no_label(mask, height, width):
    small = _resize_mask(mask, height, width)
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
    np.testing.assert_array_equal(_resize_mask(image[..., 0], 9, 9), image[..., 0])


def test_shrinking_averages_instead_of_picking_pixels():
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 255
    small = resize_image(np.repeat(checkers[..., None], 3, axis=2).astype(np.uint8), 8, 8)
    assert abs(small.astype(int) - 127).max() <= 4


@pytest.mark.parametrize("size", [32, 100, 200])
def test_image_and_mask_do_not_drift_apart(size):
    row, column = np.mgrid[:128, :96]
    disc = ((row - 40) ** 2 + (column - 60) ** 2 < 20**2).astype(np.uint8)
    image = resize_image(np.repeat(disc[..., None] * 255, 3, axis=2), size, size)
    mask = _resize_mask(disc, size, size)
    for axis in (0, 1):
        centre_image = np.average(np.arange(size), weights=image[..., 0].sum(axis=1 - axis))
        centre_mask = np.average(np.arange(size), weights=mask.sum(axis=1 - axis))
        assert abs(centre_image - centre_mask) < 0.15


def on_disk(array):
    copy = DiskArray(array.shape, array.dtype)
    for row, values in enumerate(array):
        copy[row] = values
    return copy


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.data())
def test_a_disk_array_is_indexed_as_any_array(count, data):
    array = np.random.default_rng(count).integers(0, 256, (count, 3, 5), dtype=np.uint8)
    copy = on_disk(array)
    row = data.draw(st.integers(-count, count - 1))
    rows = data.draw(st.lists(st.integers(-count, count - 1), max_size=12))
    part = slice(data.draw(st.integers(-12, 12)), data.draw(st.integers(-12, 12)), data.draw(st.sampled_from([1, 2])))
    np.testing.assert_array_equal(copy[row], array[row])
    np.testing.assert_array_equal(copy[np.array(rows, int)], array[np.array(rows, int)])
    np.testing.assert_array_equal(copy[part], array[part])
    np.testing.assert_array_equal(np.asarray(copy), array)
    np.testing.assert_array_equal(np.stack(list(copy)), array)
    assert (copy.shape, copy.dtype, copy.ndim, copy.nbytes) == (array.shape, array.dtype, array.ndim, array.nbytes)


def test_several_rows_are_written_at_once():
    array = DiskArray((4, 2))
    array[1:3] = np.array([[1, 2], [3, 4]], np.uint8)
    np.testing.assert_array_equal(array, [[0, 0], [1, 2], [3, 4], [0, 0]])


def test_rows_read_from_disk_are_copies():
    array = DiskArray((2, 4))
    array[0][:] = 1
    array[0:1] += 1
    np.testing.assert_array_equal(array, [[1] * 4, [0] * 4])


def test_the_memory_of_the_process_does_not_grow_with_a_disk_array():
    process, row = psutil.Process(), np.full(2**20, 7, np.uint8)
    before = process.memory_info().rss
    array = DiskArray((100, 2**20))
    for k in range(len(array)):
        array[k] = row
    assert all((array[k : k + 4] == 7).all() for k in range(0, len(array), 4))
    assert process.memory_info().rss - before < array.nbytes / 4


def test_the_file_of_a_disk_array_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    array = DiskArray((2, 4))
    assert array.filename is None and not list(tmp_path.iterdir())


def test_too_little_disk_space_is_reported(small_disk, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk.path))
    with pytest.raises(StudyError, match="No space for 2 MB of resized images"):
        DiskArray((2, 2**20))


def test_disk_space_is_reserved_where_the_system_has_no_call_for_it(monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    np.testing.assert_array_equal(DiskArray((2, 3)), np.zeros((2, 3)))


def test_cases_that_exceed_the_memory_limit_are_kept_on_disk(make_folder, monkeypatch):
    dataset = load_dataset(make_folder())
    in_memory = read_cases(dataset, ["002", "000", "001"], 32)
    monkeypatch.setenv("WBCSTUDY_CACHE_MB", "0")
    stored = read_cases(dataset, ["002", "000", "001"], 32)
    assert type(in_memory.images) is np.ndarray and isinstance(stored.images, DiskArray)
    np.testing.assert_array_equal(stored.images, in_memory.images)
    np.testing.assert_array_equal(stored.masks, in_memory.masks)
    assert repr(stored) == repr(in_memory)


@pytest.mark.parametrize("text", ["much", "-1", "nan"])
def test_a_memory_limit_that_is_no_number(make_folder, monkeypatch, text):
    monkeypatch.setenv("WBCSTUDY_CACHE_MB", text)
    with pytest.raises(StudyError, match=f"WBCSTUDY_CACHE_MB='{text}'"):
        read_cases(load_dataset(make_folder()), ["001"], 8)


def test_a_network_sees_the_same_batches_from_the_disk():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    shares = shares_of(rng.integers(0, 3, (7, 32, 32)))
    config = RunConfig(image_size=32, augmented_copies=2, batch_size=4)
    pairs = [(images, shares), (on_disk(images), on_disk(shares))]
    from_memory, from_disk = ([*make_batches(*pair, config, epoch=2).as_numpy_iterator()] for pair in pairs)
    assert len(from_memory) == len(from_disk) == 4
    for batch, other in zip(from_memory, from_disk, strict=True):
        np.testing.assert_array_equal(batch[0], other[0])
        np.testing.assert_array_equal(batch[1], other[1])


def test_stains_are_normalised_on_the_disk_too():
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    config = RunConfig(stain_normalisation="reinhard")
    changed = normalise_training_images(on_disk(images), config)
    assert isinstance(changed, DiskArray)
    np.testing.assert_array_equal(changed, normalise_training_images(images, config))


def test_stored_images_are_shown_augmented():
    part = make_arrays(DiskArray((3, 32, 32, 3)), np.zeros((3, 32, 32), np.uint8))
    assert [len(array) for array in show_augmented(part, RunConfig(), count=2)] == [2, 2, 2, 2]
