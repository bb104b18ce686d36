"""Make the batches of a training epoch."""

from __future__ import annotations

import numpy as np

from wbcstudy.config import RunConfig
from wbcstudy.nets.augment import augment, make_augmentation
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.stain import normalise_training_images

# Stream of random numbers for one (seed, epoch); `augment` uses others.
_STREAM = 0


def make_batches(images, masks, config: RunConfig, epoch: int):
    """Make one epoch: `augmented_copies` shuffled passes over the training images, with new augmentations each time.

    Equal arguments give equal batches: epoch 7 does not depend on whether epochs 1 to 6 ran in this process. All images
    are used. Batch sizes are at most `batch_size` and differ by at most one, since a small last batch would give poor
    batch norm statistics. TensorFlow prepares batches while the network computes.

    Args:
        images: uint8 (N, S, S, 3), RGB, an array or a `DiskArray`; N > 0.
        masks: uint8 (N, S, S), labels, likewise.
        config: augmented_copies, batch_size, seed and the limits of the augmentation are used.
        epoch: from 1.

    Returns:
        tf.data.Dataset of (float32 (B, S, S, 3) within 0-255, uint8 (B, S, S)), of known length.
    """
    load_keras()
    import tensorflow as tf

    order = make_order(len(images), config, epoch)
    augmentation = make_augmentation(len(order), images.shape[1], config, epoch)
    steps = -(-len(order) // config.batch_size)
    bounds = np.arange(steps + 1) * len(order) // steps
    # The graph refers to tensors; arrays would be copied into it.
    values = [tf.constant(array) for array in augmentation.values]

    def read(start, stop):
        cases = order[start:stop]
        return images[cases], masks[cases]

    def make_batch(start, stop):
        # Read by NumPy: as tensors, images and masks would be copied.
        batch = tf.numpy_function(read, (start, stop), (tf.uint8, tf.uint8), stateful=False)
        for tensor, array in zip(batch, (images, masks), strict=True):
            tensor.set_shape((None, *array.shape[1:]))
        return augment(*batch, *(tensor[start:stop] for tensor in values))

    spans = tf.data.Dataset.from_tensor_slices((bounds[:-1], bounds[1:]))
    options = tf.data.Options()
    # There is nothing to tune, and the tuning thread can miss the end of an epoch, which delays the training until the
    # thread checks again.
    options.autotune.enabled = False
    return spans.map(make_batch, num_parallel_calls=2, deterministic=True).prefetch(2).with_options(options)


def make_order(count: int, config: RunConfig, epoch: int) -> np.ndarray:
    """Draw the order of the images in an epoch, one permutation per pass.

    Returns:
        int64 (count * augmented_copies,), indices below `count`; each occurs `augmented_copies` times.
    """
    generator = np.random.default_rng((config.seed, epoch, _STREAM))
    return np.concatenate([generator.permutation(count) for _ in range(config.augmented_copies)])


def show_augmented(part, config: RunConfig, count: int = 6) -> tuple[np.ndarray, ...]:
    """Return the first images of the first training epoch, before and after augmentation.

    Args:
        part: has `.images`, uint8 (N, S, S, 3), and `.masks`, uint8 (N, S, S); N > 0.
        config: as for `make_batches`.
        count: maximum number of images.

    Returns:
        images uint8 (C, S, S, 3), masks uint8 (C, S, S), augmented images float32 (C, S, S, 3) and their masks uint8.
    """
    cases = make_order(len(part.images), config, epoch=1)[:count]
    augmentation = make_augmentation(len(cases), part.images.shape[1], config, epoch=1)
    images, masks = part.images[cases], part.masks[cases]
    normalised = normalise_training_images(part.images, config)[cases]
    augmented = (tensor.numpy() for tensor in augment(normalised, masks, *augmentation.values))
    return images, masks, *augmented
