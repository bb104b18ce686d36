"""Make the batches of a training epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from wbcstudy.config import RunConfig
from wbcstudy.data.arrays import majority
from wbcstudy.labels import IGNORED, NUM_LABELS
from wbcstudy.nets.augment import Augmentation, augment, make_augmentation
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.stain import normalise_training_images

# Stream of random numbers for one (seed, epoch); `augment` uses others.
_STREAM = 0


def make_batches(
    images,
    shares,
    config: RunConfig,
    epoch: int,
    aspects: np.ndarray | None = None,
    further: Callable[..., Any] | None = None,
):
    """Make one epoch: `augmented_copies` shuffled passes over the training images, with new augmentations each time.

    Equal arguments give equal batches: epoch 7 does not depend on whether epochs 1 to 6 ran in this process. All images
    are used. Batch sizes are at most `batch_size` and differ by at most one, since a small last batch would give poor
    batch norm statistics. TensorFlow prepares batches while the network computes.

    Args:
        images: uint8 (N, h, w, 3), RGB, an array or a `DiskArray`; N > 0.
        shares: uint8 (N, h, w, 2) or (N, h, w, 3), see `Arrays.shares`, likewise.
        config: image_size, augmented_copies, batch_size, seed and the limits of the augmentation are used.
        epoch: from 1.
        aspects: height / width of the images as stored, (N,); all square if None.
        further: function of images and shares of a batch, as below, which augments them further.

    Returns:
        tf.data.Dataset of (float32 (B, S, S, 3) within 0-255, float32 (B, S, S, 3) or (B, S, S, 4), see `augment`),
        with S = image_size, of known length.
    """
    load_keras()
    import tensorflow as tf

    order = make_order(len(images), config, epoch)
    augmentation = _draw(order, images, config, epoch, aspects)
    steps = -(-len(order) // config.batch_size)
    bounds = np.arange(steps + 1) * len(order) // steps
    # The graph refers to tensors; arrays would be copied into it.
    values = [tf.constant(array) for array in augmentation.values]

    def read(start, stop):
        cases = order[start:stop]
        return images[cases], shares[cases]

    def make_batch(start, stop):
        # Read by NumPy: as tensors, images and shares would be copied.
        batch = tf.numpy_function(read, (start, stop), (tf.uint8, tf.uint8), stateful=False)
        for tensor, array in zip(batch, (images, shares), strict=True):
            tensor.set_shape((None, *array.shape[1:]))
        return augment(*batch, config.image_size, *(tensor[start:stop] for tensor in values))

    spans = tf.data.Dataset.from_tensor_slices((bounds[:-1], bounds[1:]))
    options = tf.data.Options()
    # There is nothing to tune, and the tuning thread can miss the end of an epoch, which delays the training until the
    # thread checks again.
    options.autotune.enabled = False
    batches = spans.map(make_batch, num_parallel_calls=2, deterministic=True)
    if further:
        # One batch at a time: the random generators of Keras' layers have a state.
        batches = batches.map(further)
    return batches.prefetch(2).with_options(options)


def make_order(count: int, config: RunConfig, epoch: int) -> np.ndarray:
    """Draw the order of the images in an epoch, one permutation per pass.

    Returns:
        int64 (count * augmented_copies,), indices below `count`; each occurs `augmented_copies` times.
    """
    generator = np.random.default_rng((config.seed, epoch, _STREAM))
    return np.concatenate([generator.permutation(count) for _ in range(config.augmented_copies)])


def _draw(order: np.ndarray, images, config: RunConfig, epoch: int, aspects: np.ndarray | None) -> Augmentation:
    return make_augmentation(
        len(order),
        config,
        epoch,
        images.shape[1:3],
        1.0 if aspects is None else np.broadcast_to(aspects, len(images))[order],
    )


def show_augmented(part, config: RunConfig, count: int = 6) -> tuple[np.ndarray, ...]:
    """Return the first images of the first training epoch, before and after augmentation.

    Args:
        part: the training images, from `read_training_cases`; N > 0.
        config: as for `make_batches`.
        count: maximum number of images.

    Returns:
        images uint8 (C, h, w, 3), masks uint8 (C, h, w), augmented images float32 (C, S, S, 3) and their masks, the
        label with the largest share of each pixel.
    """
    cases = make_order(len(part.images), config, epoch=1)[:count]
    augmentation = _draw(cases, part.images, config, 1, part.aspects)
    images, shares = part.images[cases], part.shares[cases]
    normalised = normalise_training_images(part.images, config)[cases]
    augmented, targets = augment(normalised, shares, config.image_size, *augmentation.values)
    masks = targets.numpy().argmax(axis=-1).astype(np.uint8)
    return images, majority(shares), augmented.numpy(), np.where(masks < NUM_LABELS, masks, np.uint8(IGNORED))
