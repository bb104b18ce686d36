"""Predict probabilities and masks, optionally as the mean over an image's eight orientations."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import numpy as np

from wbcstudy.data.arrays import Arrays, resize_probabilities
from wbcstudy.nets.backend import ONEDNN

# Number of images whose probabilities are in memory at a time, and over which the validation loss is computed: the Dice
# loss depends on this number, and early stopping should not depend on the batch size.
CHUNK = 64


def predict_probabilities(model, images: np.ndarray, batch_size: int = 8, flips: bool = False) -> np.ndarray:
    """Predict the probabilities of the labels.

    Args:
        model: a network.
        images: (N, H, W, 3), RGB 0-255; H and W multiples of 32; N may be 0.
        batch_size: images per batch; changes memory and speed only.
        flips: return the mean over the eight orientations of each image, see `average_orientations`.

    Returns:
        float32 (N, H, W, 3).
    """
    if not len(images):
        return np.empty((*images.shape[:3], model.output_shape[-1]), np.float32)

    def predict(views):
        # `model.predict` tunes its pipeline, which can cause long delays (see `make_batches`).
        starts = range(0, len(views), batch_size)
        return np.concatenate([_predict_batch(model, views[start : start + batch_size]) for start in starts])

    return average_orientations(predict, images) if flips else predict(images)


def _predict_batch(model, images: np.ndarray) -> np.ndarray:
    if len(images) > 1 or os.environ.get(ONEDNN) != "1":
        return model.predict_on_batch(images)
    # With oneDNN's kernels a batch of one takes up to seven times as long as a batch of two.
    return model.predict_on_batch(np.repeat(images, 2, axis=0))[:1]


def average_orientations(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Average predictions over the eight orientations of an image: rotated by multiples of 90 degrees, and mirrored.

    Args:
        predict: (N, H, W, 3) -> (N, H, W, labels).
        images: (N, H, W, 3).

    Returns:
        float32 (N, H, W, labels).
    """
    total = np.float32(0)
    for quarters, mirrored in itertools.product(range(4), (False, True)):
        view = np.rot90(images[:, :, ::-1] if mirrored else images, quarters, axes=(1, 2))
        predicted = np.rot90(predict(np.ascontiguousarray(view)), -quarters, axes=(1, 2))
        total = total + (predicted[:, :, ::-1] if mirrored else predicted)
    return total / np.float32(8)


def predict_masks(
    model,
    cases: Arrays,
    batch_size: int = 8,
    on_case: Callable[[np.ndarray, np.ndarray], None] | None = None,
    flips: bool = False,
) -> list[np.ndarray]:
    """Predict the most probable label of each pixel, at the size at which the cases are scored.

    The probabilities are brought to that size, not the labels: a border between two pixels of the network's output is
    then found to a fraction of such a pixel.

    Args:
        model: a network.
        cases: from `read_cases`.
        batch_size: images per batch.
        on_case: called for each case with its reference mask, uint8 (H, W), and probabilities, float32 (H, W, 3).
        flips: as in `predict_probabilities`.

    Returns:
        uint8 (H, W) of labels for each case.
    """
    masks = []
    for start in range(0, len(cases), CHUNK):
        small = predict_probabilities(model, cases.images[start : start + CHUNK], batch_size, flips)
        for index, probabilities in enumerate(small, start):
            probabilities = resize_probabilities(probabilities, cases.references.shapes[index])
            if on_case is not None:
                on_case(cases.references[index], probabilities)
            masks.append(probabilities.argmax(axis=-1).astype(np.uint8))
    return masks
