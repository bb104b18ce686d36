"""What a network says of images: probabilities of the labels, masks, and the mean over an image's eight positions."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import numpy as np

from wbcstudy.nets.backend import ONEDNN

# Images whose probabilities are in memory at a time, and over which the validation loss sums. Not the training's batch
# size: the Dice loss depends on the batch, and early stopping should not.
CHUNK = 64


def predict_probabilities(model, images: np.ndarray, batch_size: int = 8, flips: bool = False) -> np.ndarray:
    """Probabilities of the labels.

    Args:
        model: a network.
        images: (N, H, W, 3), RGB 0-255; H and W multiples of 32; N may be 0.
        batch_size: images at a time; changes memory and speed only.
        flips: whether to predict each image in its eight positions (turned by quarters, each also mirrored) and
            return the mean of the eight, turned back.

    Returns:
        float32 (N, H, W, 3).
    """
    if not len(images):
        return np.empty((*images.shape[:3], model.output_shape[-1]), np.float32)

    def predict(views):
        # Not `model.predict`: its pipeline tunes itself, which can stand still (see `make_batches`).
        starts = range(0, len(views), batch_size)
        return np.concatenate([_predict_batch(model, views[start : start + batch_size]) for start in starts])

    return average_positions(predict, images) if flips else predict(images)


def _predict_batch(model, images: np.ndarray) -> np.ndarray:
    if len(images) > 1 or os.environ.get(ONEDNN) != "1":
        return model.predict_on_batch(images)
    # With oneDNN's kernels a batch of one takes up to seven times as long as a batch of two.
    return model.predict_on_batch(np.repeat(images, 2, axis=0))[:1]


def average_positions(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """The mean over an image's eight positions: turned by quarters, each also mirrored.

    Args:
        predict: (N, H, W, 3) -> (N, H, W, labels).
        images: (N, H, W, 3).

    Returns:
        float32 (N, H, W, labels).
    """
    total = np.float32(0)
    for turns, mirrored in itertools.product(range(4), (False, True)):
        view = np.rot90(images[:, :, ::-1] if mirrored else images, turns, axes=(1, 2))
        back = np.rot90(predict(np.ascontiguousarray(view)), -turns, axes=(1, 2))
        total = total + (back[:, :, ::-1] if mirrored else back)
    return total / np.float32(8)


def predict_masks(
    model,
    images: np.ndarray,
    batch_size: int = 8,
    look: Callable[[slice, np.ndarray], None] | None = None,
    flips: bool = False,
) -> np.ndarray:
    """The most probable label of each pixel; arguments as `predict_probabilities`.

    Args:
        model: a network.
        images: (N, H, W, 3), RGB 0-255.
        batch_size: images at a time.
        look: called with each chunk of images (a slice of N) and its probabilities, float32 (n, H, W, 3), before they
            are forgotten.
        flips: as in `predict_probabilities`.

    Returns:
        uint8 (N, H, W), labels.
    """
    masks = np.empty(images.shape[:3], np.uint8)
    for start in range(0, len(images), CHUNK):
        chunk = slice(start, start + CHUNK)
        probabilities = predict_probabilities(model, images[chunk], batch_size, flips)
        if look is not None:
            look(chunk, probabilities)
        masks[chunk] = probabilities.argmax(axis=-1)
    return masks
