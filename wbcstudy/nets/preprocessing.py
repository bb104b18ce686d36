"""The preprocessing layer of each network, and equivalent layers of Keras for export."""

from __future__ import annotations

import functools

import numpy as np

from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.fast_layers import register_fast_layers
from wbcstudy.nets.keras_compat import register_grouped_convolution
from wbcstudy.nets.stain import register_stain_normalisation

# ImageNet's channel means in the order blue, green, red, as in the training of Caffe's VGG.
_CAFFE_MEANS = (103.939, 116.779, 123.68)


@functools.cache
def register_preprocessing() -> type:
    """Register the preprocessing layer with Keras.

    Returns:
        The class `Preprocessing(kind)`; see `registry.Encoder.preprocessing` for the kinds.
    """
    keras = load_keras()
    ops = keras.ops

    @keras.saving.register_keras_serializable("wbcstudy")
    class Preprocessing(keras.layers.Layer):
        """Convert RGB 0-255 to the input range of an encoder's ImageNet weights; no weights, always float32."""

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
    """Return a layer of Keras, in float32, that computes the same in inference as a layer of our networks.

    For `keras.models.clone_model`: the clone can be loaded without this package, except a stain normalisation.

    Args:
        layer: a layer of a network from `build_unet`.

    Returns:
        keras.layers.Layer with the same name. Weights are not copied, except the constants of a preprocessing.
    """
    keras = load_keras()
    if isinstance(layer, register_stain_normalisation()):
        # Keras has no such layer; export formats that store operations can hold it.
        return type(layer).from_config(layer.get_config())
    if isinstance(layer, register_preprocessing()):
        if layer.kind == "caffe":
            # Swapping red and blue and subtracting the means is a convolution of one pixel.
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
    layer_class = type(layer)
    if layer_class in register_fast_layers():
        layer_class = getattr(keras.layers, layer_class.__name__)
    elif layer_class is register_grouped_convolution():
        layer_class = keras.layers.Conv2D
    return layer_class.from_config(layer.get_config() | {"dtype": "float32"})
