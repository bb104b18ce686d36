"""Run `segmentation-models` 1.0.1 on Keras 3.

That package was written for Keras 2 and provides the paper's eight encoders. Only this module imports it, and contains
all workarounds. Its losses and metrics do not work on Keras 3 and are not used.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import types
from typing import Any

from wbcstudy.errors import StudyError
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.fast_layers import list_readers

# Encoders that Keras 3 has itself: the versions of `segmentation-models` cannot be built with it.
_OF_KERAS = {
    **{f"densenet{depth}": f"DenseNet{depth}" for depth in (121, 169, 201)},
    **{f"efficientnetb{number}": f"EfficientNetB{number}" for number in range(8)},
}
# Sizes of the features that the decoder joins, as divisors of the image's, deepest first.
_SKIP_SCALES = (16, 8, 4, 2)


@functools.cache
def load_segmentation_models():
    """Import `segmentation-models` on Keras 3.

    Two functions that Keras 3 lacks are restored, since the package uses them to import or to build networks:
    `keras.utils.generic_utils.get_custom_objects` and `keras.backend.int_shape`.

    Returns:
        The module `segmentation_models`.
    """
    keras = load_keras()
    os.environ["SM_FRAMEWORK"] = "keras"
    if not hasattr(keras.utils, "generic_utils"):
        generic_utils = types.ModuleType("keras.utils.generic_utils")
        generic_utils.get_custom_objects = keras.saving.get_custom_objects
        keras.utils.generic_utils = generic_utils
        sys.modules.setdefault("keras.utils.generic_utils", generic_utils)
    if not hasattr(keras.backend, "int_shape"):
        keras.backend.int_shape = lambda tensor: tuple(tensor.shape)
    # The package prints which framework it uses.
    with contextlib.redirect_stdout(io.StringIO()):
        import segmentation_models
    return segmentation_models


def build_backbone(name: str, tensor) -> Any:
    """Build the contracting path of one encoder, with random weights, on a tensor.

    Args:
        name: `Encoder.backbone` of the registry.
        tensor: Keras tensor, float (B, H, W, 3), preprocessed.

    Returns:
        keras.Model from the tensor's input to the deepest features, (B, H/32, W/32, C).
    """
    keras = load_keras()
    if name in _OF_KERAS:
        return getattr(keras.applications, _OF_KERAS[name])(include_top=False, weights=None, input_tensor=tensor)
    backbones = _backbones()
    from classification_models.models import resnext, senet

    # Lambda layers hold Python code, which a network from another person must not contain.
    layers = types.SimpleNamespace(**vars(keras.layers) | {"Lambda": _add_two_axes})
    resnext.GroupConv2D = senet.GroupConv2D = _convolve_in_groups
    backbone = backbones.get_backbone(
        name,
        input_shape=tuple(tensor.shape[1:]),
        input_tensor=tensor,
        weights=None,
        include_top=False,
        backend=keras.backend,
        layers=layers,
        models=keras.models,
        utils=keras.utils,
    )
    (image,) = keras.utils.get_source_inputs(tensor)
    if backbone.inputs[0] is not image:
        # A model that begins at a tensor: Keras 3 gives it an input of its own, and copies of all tensors.
        backbone = keras.Model(image, backbone.layers[-1].output, name=name)
    return backbone


def _add_two_axes(function, arguments):
    """Return the layer for the only `Lambda` left: (B, C) -> (B, 1, 1, C), in blocks of squeeze and excitation."""
    return load_keras().layers.Reshape((1, 1, -1))


def _convolve_in_groups(filters, kernel_size, groups=32, **settings):
    """Return a layer in place of the `GroupConv2D` of `classification_models`, which needs `Lambda` layers."""
    own = ("strides", "kernel_initializer", "use_bias", "activation", "padding")
    layer_settings = {"kernel_initializer": "he_uniform"} | {key: settings[key] for key in own if key in settings}
    return register_grouped_convolution()(filters, kernel_size, groups=groups, **layer_settings)


@functools.cache
def register_grouped_convolution() -> type:
    """Register the class `GroupedConv2D` with Keras: a `Conv2D` whose groups are convolved one after the other.

    TensorFlow has no gradient of a grouped convolution on CPUs.
    """
    keras = load_keras()

    @keras.saving.register_keras_serializable("wbcstudy")
    class GroupedConv2D(keras.layers.Conv2D):
        """Keras' grouped convolution, with a gradient on every device."""

        def convolution_op(self, inputs, kernel):
            convolve = super().convolution_op
            parts = (keras.ops.split(array, self.groups, axis=-1) for array in (inputs, kernel))
            return keras.ops.concatenate([convolve(*pair) for pair in zip(*parts, strict=True)], axis=-1)

    return GroupedConv2D


def build_decoder(name: str, backbone, num_labels: int):
    """Build the U-Net of `segmentation-models` on a backbone: five times upsampling and two convolutions.

    The package's `Unet` cannot start from a tensor, so its two halves are built separately.

    Args:
        name: `Encoder.backbone` of the registry.
        backbone: the model from `build_backbone`.
        num_labels: channels of the output.

    Returns:
        keras.Model with output (B, H, W, num_labels), softmax; its last two layers are the head.
    """
    load_segmentation_models()
    from segmentation_models.models import unet

    keras = load_keras()
    unet.backend, unet.layers, unet.models, unet.keras_utils = keras.backend, keras.layers, keras.models, keras.utils
    skips = _backbones().get_feature_layers(name, n=len(_SKIP_SCALES))
    if not all(isinstance(skip, str) for skip in skips):
        # Indices, which count the layers of Keras 2.
        skips = _find_skips(backbone)
    return unet.build_unet(backbone, unet.DecoderUpsamplingX2Block, skips, classes=num_labels, activation="softmax")


def _find_skips(backbone) -> list[str]:
    """Return the names of the layers that the decoder joins: at each size the last one that all later layers depend on.

    For a DenseNet and an Inception network these are the layers that `segmentation-models` names by index.

    Raises:
        StudyError: the encoder has no such layer at one of the sizes.
    """
    keras = load_keras()
    layers, readers = backbone.layers, list_readers(backbone)
    position = {id(layer): number for number, layer in enumerate(layers)} | {id(backbone): len(layers)}
    last_readers = [max(position[id(reader)] for reader in readers[id(layer.output)]) for layer in layers]
    # Any size that can be halved five times.
    side = 32 * max(_SKIP_SCALES)
    features = keras.Model(backbone.input, [layer.output for layer in layers])
    specs = features.compute_output_spec(keras.KerasTensor((1, side, side, 3)))
    names: dict[int, str] = {}
    furthest = 0
    for number, (layer, spec) in enumerate(zip(layers, specs, strict=True)):
        if furthest <= number and len(spec.shape) == 4:
            names[spec.shape[1]] = layer.name
        furthest = max(furthest, last_readers[number])
    missing = [scale for scale in _SKIP_SCALES if side // scale not in names]
    if missing:
        raise StudyError(
            f"The encoder {backbone.name} has no features at 1/{missing[0]} of the image's size.",
            expected="an encoder that halves the image five times",
            fix="Choose another encoder.",
        )
    return [names[side // scale] for scale in _SKIP_SCALES]


def _backbones():
    load_segmentation_models()
    from segmentation_models.backbones.backbones_factory import Backbones

    return Backbones
