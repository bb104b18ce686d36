"""The losses of the paper as Keras losses, computed in float32 whatever the network computes in.

All take the reference as a mask of labels, integer (B, H, W), and the prediction as probabilities, (B, H, W, 3) that
sum to 1 over the last axis. Masks rather than one-hot arrays: a twelfth of the memory, and nothing to get out of step.
The classes are made at first use, since they derive from Keras'.
"""

from __future__ import annotations

import functools
from typing import Any

from wbcstudy.nets.backend import load_keras
from wbcstudy.registry import LOSSES, pick

_PACKAGE = "wbcstudy"
# Probabilities are kept this far from 0 and 1, so that logarithms and their gradients stay finite.
EPSILON = 1e-7
# Eq. (2) adds 1 to numerator and denominator: an absent label that is not predicted costs nothing.
SMOOTH = 1.0


def build_loss(name: str):
    """A loss by its name.

    Args:
        name: a key of `registry.LOSSES`.

    Returns:
        keras.losses.Loss of (integer mask (B, H, W), probabilities (B, H, W, 3)); serialisable, so a model compiled
        with it is loaded without `custom_objects` wherever this module was imported and `register_losses` called
        (`training.load_model` does).

    Raises:
        StudyError: unknown name.
    """
    return register_losses()[pick(LOSSES, name, "loss").name]()


@functools.cache
def register_losses() -> dict[str, type]:
    """Make the loss classes known to Keras.

    Returns:
        Name in `registry.LOSSES` -> class.
    """
    keras = load_keras()
    ops = keras.ops
    register = keras.saving.register_keras_serializable

    class _MaskLoss(keras.losses.Loss):
        def __init__(self, name: str, **kwargs: Any) -> None:
            # The reduction is part of each formula; Keras gets one number per batch.
            kwargs.pop("reduction", None)
            super().__init__(name=name, reduction="none", dtype="float32")

        @classmethod
        def from_config(cls, config: dict[str, Any]):
            return cls(name=config["name"])

        def get_config(self) -> dict[str, Any]:
            return {"name": self.name}

    @register(_PACKAGE)
    class CrossEntropy(_MaskLoss):
        """Categorical cross-entropy, mean over pixels: -log of the probability given to the reference label."""

        def __init__(self, name: str = "cross_entropy", **kwargs: Any) -> None:
            super().__init__(name, **kwargs)

        def call(self, y_true, y_pred):
            # Keras finds the logits behind a softmax, and so keeps the gradient of confident mistakes.
            return ops.mean(ops.sparse_categorical_crossentropy(ops.cast(y_true, "int32"), y_pred))

    @register(_PACKAGE)
    class Dice(_MaskLoss):
        """Eq. (2): 1 - (2 sum(y p) + 1) / (sum(y) + sum(p) + 1), sums over the pixels of the batch, mean over labels.

        Its value depends on how images are put into batches; the scores of the study do not.
        """

        def __init__(self, name: str = "dice", **kwargs: Any) -> None:
            super().__init__(name, **kwargs)

        def call(self, y_true, y_pred):
            y = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype="float32")
            overlap = ops.sum(y * y_pred, axis=(0, 1, 2))
            total = ops.sum(y, axis=(0, 1, 2)) + ops.sum(y_pred, axis=(0, 1, 2))
            return 1.0 - ops.mean((2.0 * overlap + SMOOTH) / (total + SMOOTH))

    @register(_PACKAGE)
    class BinaryCrossEntropy(_MaskLoss):
        """Eq. (1) as printed: -(y log p + (1 - y) log(1 - p)) for each label, mean over labels and pixels."""

        def __init__(self, name: str = "binary_cross_entropy", **kwargs: Any) -> None:
            super().__init__(name, **kwargs)

        def call(self, y_true, y_pred):
            y = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype="float32")
            # Not Keras' own: on TensorFlow it would take the logits of the softmax for those of sigmoids.
            p = ops.clip(y_pred, EPSILON, 1.0 - EPSILON)
            return -ops.mean(y * ops.log(p) + (1.0 - y) * ops.log(1.0 - p))

    return {"cross_entropy": CrossEntropy, "dice": Dice, "binary_cross_entropy": BinaryCrossEntropy}
