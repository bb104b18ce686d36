"""The batches of one training epoch."""

from __future__ import annotations

import numpy as np

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.nets.augment import augment, make_augmentation
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.stain import normalise_training_images


def make_batches(images, masks, config: RunConfig, epoch: int):
    """One epoch: `augmented_copies` shuffled passes over the training images, each image augmented anew.

    A pure function of its arguments: epoch 7 is the same whether or not epochs 1 to 6 were run in this process.
    No image is left out. Where the batch size does not divide their number, the batches are made as equal as possible
    (never larger than `batch_size`, sizes differ by at most one): a small last batch would give batch norm bad
    statistics. Batches are prepared by TensorFlow while the network computes.

    Args:
        images: uint8 (N, S, S, 3), RGB, an array or a `DiskArray`.
        masks: uint8 (N, S, S), labels, likewise.
        config: augmented_copies, batch_size, seed and the limits of the augmentation are used.
        epoch: from 1.

    Returns:
        tf.data.Dataset of (float32 (B, S, S, 3) within 0-255, uint8 (B, S, S)), of known length.

    Raises:
        StudyError: no image.
    """
    if not len(images):
        raise StudyError(
            "There is no training image.",
            expected="at least one",
            fix="Check the split: test_fraction and validation_fraction leave nothing to train on.",
        )
    load_keras()
    import tensorflow as tf

    order = make_order(len(images), config, epoch)
    plan = make_augmentation(len(order), images.shape[1], config, epoch)
    steps = -(-len(order) // config.batch_size)
    bounds = np.arange(steps + 1) * len(order) // steps
    # As tensors they are handed to the graph; as arrays they would be copied into it.
    moves = [tf.constant(values) for values in plan.values]

    def read(start, stop):
        cases = order[start:stop]
        return images[cases], masks[cases]

    def batch(start, stop):
        # Read where they are, in memory or on the disk: as tensors they would be there twice.
        some = tf.numpy_function(read, (start, stop), (tf.uint8, tf.uint8), stateful=False)
        for tensor, array in zip(some, (images, masks), strict=True):
            tensor.set_shape((None, *array.shape[1:]))
        return augment(*some, *(each[start:stop] for each in moves))

    spans = tf.data.Dataset.from_tensor_slices((bounds[:-1], bounds[1:]))
    options = tf.data.Options()
    # Nothing here is left to be tuned, and the thread that would do it can miss that an epoch has ended: the training
    # then stands still until that thread looks again.
    options.autotune.enabled = False
    return spans.map(batch, num_parallel_calls=2, deterministic=True).prefetch(2).with_options(options)


def make_order(count: int, config: RunConfig, epoch: int) -> np.ndarray:
    """The order in which an epoch visits the images: one permutation after another.

    Returns:
        int64 (count * augmented_copies,), indices below `count`; each occurs `augmented_copies` times.
    """
    generator = np.random.default_rng((config.seed, epoch, _STREAM))
    return np.concatenate([generator.permutation(count) for _ in range(config.augmented_copies)])


# Keeps these draws apart from those of the augmentation.
_STREAM = 0


def show_augmented(part, config: RunConfig, count: int = 6) -> tuple[np.ndarray, ...]:
    """The first images of the first training epoch, before and after augmentation, for a person to look at.

    Args:
        part: has `.images`, uint8 (N, S, S, 3), and `.masks`, uint8 (N, S, S); N > 0.
        config: as for `make_batches`.
        count: images at most.

    Returns:
        images uint8 (C, S, S, 3), masks uint8 (C, S, S), augmented images float32 (C, S, S, 3) and their masks uint8.
    """
    cases = make_order(len(part.images), config, epoch=1)[:count]
    plan = make_augmentation(len(cases), part.images.shape[1], config, epoch=1)
    images, masks = part.images[cases], part.masks[cases]
    seen = normalise_training_images(part.images, config)[cases]
    moved = (tensor.numpy() for tensor in augment(seen, masks, *plan.values))
    return images, masks, *moved
