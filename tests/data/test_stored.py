"""What does not fit in memory is read from the disk, and nothing else is different."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbcstudy.config import RunConfig
from wbcstudy.data.arrays import read_cases
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.stored import StoredArray
from wbcstudy.errors import StudyError
from wbcstudy.nets.batches import make_batches, show_augmented
from wbcstudy.nets.stain import normalise_training


def stored(array):
    made = StoredArray(array.shape, array.dtype)
    for row, values in enumerate(array):
        made[row] = values
    return made


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.data())
def test_it_is_indexed_as_an_array_is(count, data):
    array = np.random.default_rng(count).integers(0, 256, (count, 3, 5), dtype=np.uint8)
    made = stored(array)
    row = data.draw(st.integers(-count, count - 1))
    rows = data.draw(st.lists(st.integers(-count, count - 1), max_size=12))
    part = slice(data.draw(st.integers(-12, 12)), data.draw(st.integers(-12, 12)), data.draw(st.sampled_from([1, 2])))
    np.testing.assert_array_equal(made[row], array[row])
    np.testing.assert_array_equal(made[rows], array[np.array(rows, int)])
    np.testing.assert_array_equal(made[part], array[part])
    np.testing.assert_array_equal(np.asarray(made), array)
    np.testing.assert_array_equal(np.stack(list(made)), array)
    assert (made.shape, made.dtype, made.ndim, made.nbytes) == (array.shape, array.dtype, array.ndim, array.nbytes)


def test_several_rows_are_written_at_once():
    made = StoredArray((4, 2))
    made[1:3] = np.array([[1, 2], [3, 4]], np.uint8)
    np.testing.assert_array_equal(made, [[0, 0], [1, 2], [3, 4], [0, 0]])


def test_rows_that_are_not_there():
    made = StoredArray((2, 4))
    with pytest.raises(IndexError, match="row 2 of 2"):
        made[2]
    with pytest.raises(ValueError, match="shape"):
        made[0] = np.zeros((2, 2))


def test_cases_past_the_budget_are_on_the_disk_and_the_same(make_folder, monkeypatch):
    dataset = load_dataset(make_folder())
    within = read_cases(dataset, ["002", "000", "001"], 32)
    monkeypatch.setenv("WBCSTUDY_CACHE_MB", "0")
    beyond = read_cases(dataset, ["002", "000", "001"], 32)
    assert isinstance(within.images, np.ndarray) and isinstance(beyond.images, StoredArray)
    np.testing.assert_array_equal(beyond.images, within.images)
    np.testing.assert_array_equal(beyond.masks, within.masks)
    assert repr(beyond) == repr(within)


@pytest.mark.parametrize("text", ["much", "-1", "nan"])
def test_a_budget_that_is_no_number(make_folder, monkeypatch, text):
    monkeypatch.setenv("WBCSTUDY_CACHE_MB", text)
    with pytest.raises(StudyError, match=f"WBCSTUDY_CACHE_MB='{text}'"):
        read_cases(load_dataset(make_folder()), ["001"], 8)


def test_a_network_sees_the_same_batches_from_the_disk():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    masks = rng.integers(0, 3, (7, 32, 32), dtype=np.uint8)
    config = RunConfig(augmented_copies=2, batch_size=4)
    pairs = [(images, masks), (stored(images), stored(masks))]
    within, beyond = ([*make_batches(*pair, config, epoch=2).as_numpy_iterator()] for pair in pairs)
    assert len(within) == len(beyond) == 4
    for one, other in zip(within, beyond, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_stains_are_normalised_on_the_disk_too():
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    config = RunConfig(stain_normalisation="reinhard")
    changed = normalise_training(stored(images), config)
    assert isinstance(changed, StoredArray)
    np.testing.assert_array_equal(changed, normalise_training(images, config))


def test_stored_images_are_shown_augmented():
    class Part:
        images, masks = StoredArray((3, 32, 32, 3)), StoredArray((3, 32, 32))

    assert [len(array) for array in show_augmented(Part, RunConfig(), count=2)] == [2, 2, 2, 2]
