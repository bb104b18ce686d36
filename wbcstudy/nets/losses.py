"""The paper's losses as Keras losses, computed in float32 for any precision of the network.

Their arguments are the reference, as the shares of the labels in each pixel, (B, H, W, 3), or as a mask of labels,
integer (B, H, W), and the prediction as probabilities, (B, H, W, 3). Shares and probabilities sum to 1 over the last
axis. The formulas are those for masks: a pixel that is half nucleus and half cytoplasm counts as half a pixel of each.
The classes are made at first use, since they derive from Keras' classes.

If the dataset ignores mask values, the reference is (B, H, W, 4): the last share of a pixel has no label. A pixel then
counts with the rest of its share, and a mean is one over what counts.
"""

from __future__ import annotations

import functools
from typing import Any

from wbcstudy.nets.backend import load_keras
from wbcstudy.registry import LOSSES, pick

_PACKAGE = "wbcstudy"
# Minimum distance of probabilities from 0 and 1, so that logarithms and their gradients are finite.
_EPSILON = 1e-7
# Eq. (2) adds 1 to numerator and denominator: a label that is absent and not predicted has no loss.
_SMOOTH = 1.0
# Pixels of which less than this is labelled are ignored altogether: 8-bit shares are not exact.
_LEAST_WEIGHT = 1 / 128


def build_loss(name: str):
    """Build a loss by its name.

    Args:
        name: a key of `registry.LOSSES`.

    Returns:
        keras.losses.Loss of (shares (B, H, W, 3) or integer mask (B, H, W), probabilities (B, H, W, 3)). A model
        compiled with it is loaded without `custom_objects` after `register_losses` (as by `model_file.load_model`).

    Raises:
        StudyError: unknown name.
    """
    return register_losses()[pick(LOSSES, name, "loss").name]()


@functools.cache
def register_losses() -> dict[str, type]:
    """Register the loss classes with Keras.

    Returns:
        Name in `registry.LOSSES` -> class.
    """
    keras = load_keras()
    ops = keras.ops
    register = keras.saving.register_keras_serializable

    class _MaskLoss(keras.losses.Loss):
        def __init__(self, name: str, **kwargs: Any) -> None:
            # Each formula includes the reduction; Keras gets one number per batch.
            kwargs.pop("reduction", None)
            super().__init__(name=name, reduction="none", dtype="float32")

        @classmethod
        def from_config(cls, config: dict[str, Any]):
            return cls(name=config["name"])

        def get_config(self) -> dict[str, Any]:
            return {"name": self.name}

        def shares(self, y_true, y_pred):
            """Return the reference as float32 shares of the labels, and the weight of each pixel; None if all count."""
            if len(y_true.shape) < len(y_pred.shape):
                return ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype="float32"), None
            shares = ops.cast(y_true, "float32")
            if shares.shape[-1] == y_pred.shape[-1]:
                return shares, None
            shares, ignored = shares[..., :-1], shares[..., -1]
            # Shares of a pixel sum to 1 again, as a cross-entropy needs; its weight is what was left of it.
            weight = ops.clip(1.0 - ignored, 0.0, 1.0)
            weight = ops.where(weight < _LEAST_WEIGHT, 0.0, weight)
            whole = shares / ops.maximum(ops.sum(shares, axis=-1, keepdims=True), _EPSILON)
            return ops.where(weight[..., None] > 0, whole, 1.0 / y_pred.shape[-1]), weight

        def mean(self, losses, weight):
            """Return the mean over pixels, weighted if not all count; 0 if none does."""
            if weight is None:
                return ops.mean(losses)
            return ops.sum(losses * weight) / ops.maximum(ops.sum(weight), _EPSILON)

    @register(_PACKAGE)
    class CrossEntropy(_MaskLoss):
        """Categorical cross-entropy, mean over pixels: -log of the probabilities, weighted by the labels' shares."""

        def __init__(self, name: str = "cross_entropy", **kwargs: Any) -> None:
            super().__init__(name, **kwargs)

        def call(self, y_true, y_pred):
            # Keras computes it from the logits of the softmax, which keeps the gradient of confident errors.
            y, weight = self.shares(y_true, y_pred)
            return self.mean(ops.categorical_crossentropy(y, y_pred), weight)

    @register(_PACKAGE)
    class Dice(_MaskLoss):
        """Eq. (2): 1 - (2 sum(y p) + 1) / (sum(y) + sum(p) + 1), sums over the pixels of the batch, mean over labels.

        Its value depends on how images are batched; the scores of the study do not.
        """

        def __init__(self, name: str = "dice", **kwargs: Any) -> None:
            super().__init__(name, **kwargs)

        def call(self, y_true, y_pred):
            y, weight = self.shares(y_true, y_pred)
            if weight is not None:
                y, y_pred = y * weight[..., None], y_pred * weight[..., None]
                overlap = ops.sum(y * y_pred / ops.maximum(weight[..., None], _EPSILON), axis=(0, 1, 2))
            else:
                overlap = ops.sum(y * y_pred, axis=(0, 1, 2))
            total = ops.sum(y, axis=(0, 1, 2)) + ops.sum(y_pred, axis=(0, 1, 2))
            return 1.0 - ops.mean((2.0 * overlap + _SMOOTH) / (total + _SMOOTH))

    @register(_PACKAGE)
    class BinaryCrossEntropy(_MaskLoss):
        """Eq. (1) as printed: -(y log p + (1 - y) log(1 - p)) for each label, mean over labels and pixels."""

        def __init__(self, name: str = "binary_cross_entropy", **kwargs: Any) -> None:
            super().__init__(name, **kwargs)

        def call(self, y_true, y_pred):
            y, weight = self.shares(y_true, y_pred)
            # Keras' version would interpret the logits of the softmax as logits of sigmoids.
            p = ops.clip(y_pred, _EPSILON, 1.0 - _EPSILON)
            losses = y * ops.log(p) + (1.0 - y) * ops.log(1.0 - p)
            if weight is None:
                return -ops.mean(losses)
            return -self.mean(ops.mean(losses, axis=-1), weight)

    return {"cross_entropy": CrossEntropy, "dice": Dice, "binary_cross_entropy": BinaryCrossEntropy}
