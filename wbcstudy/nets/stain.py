"""The first layer of a network with stain normalisation, so that a saved model takes images as they come."""

from __future__ import annotations

import functools

import numpy as np

from wbcstudy.backend import load_keras
from wbcstudy.data.stain import STAIN_METHODS, find_target

LAYER = "stain_normalisation"


@functools.cache
def register_stain() -> type:
    """Make the layer known to Keras.

    Returns:
        The class `StainNormalisation(method)`, see `data.stain.STAIN_METHODS` for the methods.
    """
    keras = load_keras()

    @keras.saving.register_keras_serializable("wbcstudy")
    class StainNormalisation(keras.layers.Layer):
        """RGB 0-255 to RGB 0-255 in the target's colours; always float32.

        Like Keras' augmentation layers the other way round, it works in inference only: in training, images come
        normalised already, and augmented after that. Its one weight, the target, is not trained.
        """

        def __init__(self, method: str, **kwargs) -> None:
            super().__init__(**(kwargs | {"dtype": "float32", "trainable": False}))
            self.method = method
            self.row = STAIN_METHODS[method]

        def build(self, input_shape):
            self.target = self.add_weight(shape=self.row.shape, initializer="zeros", trainable=False, name="target")

        def call(self, images, training=False):
            return images if training else self.row.apply(images, self.target.value)

        def compute_output_shape(self, input_shape):
            return input_shape

        def get_config(self):
            return super().get_config() | {"method": self.method}

    return StainNormalisation


def set_target(model, images: np.ndarray) -> None:
    """Find the target on the training images and give it to the model's layer; nothing where it has none.

    Args:
        model: from `build_unet`.
        images: uint8 (N, S, S, 3), N > 0.
    """
    for layer in model.layers:
        if layer.name == LAYER:
            layer.target.assign(find_target(images, layer.method))
