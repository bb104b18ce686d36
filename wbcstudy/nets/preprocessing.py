"""The first layer of each network, and the same layers as plain Keras ones."""

from __future__ import annotations

import functools

import numpy as np

from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.fast_layers import register_fast_layers
from wbcstudy.nets.stain import register_stain

# Channel means of ImageNet in the order blue, green, red, as Caffe's VGG was trained with.
_CAFFE_MEANS = (103.939, 116.779, 123.68)


@functools.cache
def register_layers() -> type:
    """Make the preprocessing layer known to Keras.

    Returns:
        The class `Preprocessing(kind)`, see `registry.Encoder.preprocessing` for its kinds.
    """
    keras = load_keras()
    ops = keras.ops

    @keras.saving.register_keras_serializable("wbcstudy")
    class Preprocessing(keras.layers.Layer):
        """RGB 0-255 to what an encoder's ImageNet weights expect; no weights, always float32."""

        def __init__(self, kind: str, **kwargs) -> None:
            super().__init__(**(kwargs | {"dtype": "float32", "trainable": False}))
            self.kind = kind

        def call(self, images):
            if self.kind == "tf":
                return images / 127.5 - 1.0
            if self.kind == "caffe":
                return images[..., ::-1] - ops.array(_CAFFE_MEANS, dtype="float32")
            return images

        def compute_output_shape(self, input_shape):
            return input_shape

        def get_config(self):
            return super().get_config() | {"kind": self.kind}

    return Preprocessing


def make_plain_layer(layer):
    """A layer that does in inference what a layer of our networks does, but is one of Keras' own, in float32.

    For `keras.models.clone_model`: the result reads without this package, unless it normalises stains.

    Args:
        layer: a layer of `build_unet`'s network.

    Returns:
        keras.layers.Layer of the same name. The weights are not copied; a preprocessing's are its own.
    """
    keras = load_keras()
    if isinstance(layer, register_stain()):
        # No layer of Keras normalises stains; formats that keep the operations and not the layers can hold it.
        return type(layer).from_config(layer.get_config())
    if isinstance(layer, register_layers()):
        if layer.kind == "caffe":
            # Red and blue change places and lose their means: a convolution of one pixel.
            order, means = np.eye(3, dtype=np.float32)[::-1], -np.array(_CAFFE_MEANS, np.float32)
            constant = keras.initializers.Constant
            return keras.layers.Conv2D(
                3,
                1,
                kernel_initializer=constant(order[None, None].tolist()),
                bias_initializer=constant(means.tolist()),
                trainable=False,
                name=layer.name,
                dtype="float32",
            )
        scale, offset = (1 / 127.5, -1.0) if layer.kind == "tf" else (1.0, 0.0)
        return keras.layers.Rescaling(scale, offset, name=layer.name, dtype="float32")
    kind = type(layer)
    for fast in register_fast_layers():
        if isinstance(layer, fast):
            kind = getattr(keras.layers, fast.__name__)
    return kind.from_config(layer.get_config() | {"dtype": "float32"})
