import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.arrays_in_memory import shares_of
from wbcstudy.config import RunConfig
from wbcstudy.nets.batches import make_batches

STILL = {"rotation_degrees": 0, "zoom": 0, "brightness": 0}


def numbered(count):
    """Image i is the constant i, and its mask the constant i mod 3: a flip changes neither. The mask is in shares."""
    images = np.empty((count, 32, 32, 3), np.uint8)
    images[:] = np.arange(count)[:, None, None, None]
    return images, shares_of(images[..., 0] % 3)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 40), copies=st.integers(1, 4), batch_size=st.integers(1, 16), epoch=st.integers(1, 9))
def test_each_image_comes_once_per_copy_in_batches_of_nearly_one_size(count, copies, batch_size, epoch):
    config = RunConfig(image_size=32, augmented_copies=copies, batch_size=batch_size, **STILL)
    batches = make_batches(*numbered(count), config, epoch)
    sizes, numbers = [], []
    for images, shares in batches.as_numpy_iterator():
        sizes.append(len(images))
        numbers.extend(images[:, 0, 0, 0].astype(int))
        np.testing.assert_array_equal(shares, np.eye(3)[images[..., 0].astype(int) % 3])
    assert len(batches) == len(sizes)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    np.testing.assert_array_equal(np.bincount(numbers, minlength=count), copies)
    # One pass ends before the next begins.
    assert sorted(numbers[:count]) == list(range(count))


def test_an_epoch_does_not_depend_on_what_was_run_before():
    images, shares = numbered(12)
    config = RunConfig(image_size=32, seed=5)

    def run(epoch):
        return [batch for pair in make_batches(images, shares, config, epoch).as_numpy_iterator() for batch in pair]

    third = run(3)
    run(1)
    again = run(3)
    for before, after in zip(third, again, strict=True):
        np.testing.assert_array_equal(before, after)
    assert not np.array_equal(third[0], run(4)[0])


def test_autotuning_is_off():
    assert make_batches(*numbered(2), RunConfig(image_size=32), epoch=1).options().autotune.enabled is False
