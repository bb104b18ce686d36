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

from wbcstudy.nets.backend import load_keras


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
    return _backbones().get_backbone(
        name,
        input_shape=tuple(tensor.shape[1:]),
        input_tensor=tensor,
        weights=None,
        include_top=False,
        backend=keras.backend,
        layers=keras.layers,
        models=keras.models,
        utils=keras.utils,
    )


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
    skips = _backbones().get_feature_layers(name, n=4)
    return unet.build_unet(backbone, unet.DecoderUpsamplingX2Block, skips, classes=num_labels, activation="softmax")


def _backbones():
    load_segmentation_models()
    from segmentation_models.backbones.backbones_factory import Backbones

    return Backbones
