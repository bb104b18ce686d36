"""`segmentation-models` 1.0.1 made to work on Keras 3.

That package was written for Keras 2 and is the source of the paper's eight encoders. Everything that makes it work is
in this module; nothing else imports it. Its losses and metrics do not work on Keras 3 and are not used.
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

    What is missing in Keras 3 and put back: `keras.utils.generic_utils.get_custom_objects` and
    `keras.backend.int_shape`, both used while the package is imported or while it builds.

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
    # It prints which framework it uses.
    with contextlib.redirect_stdout(io.StringIO()):
        import segmentation_models
    return segmentation_models


def build_backbone(name: str, tensor) -> Any:
    """The contracting path of one encoder, with random weights, on top of a tensor.

    Args:
        name: a `backbone` of the registry.
        tensor: Keras tensor float (B, H, W, 3), already preprocessed.

    Returns:
        keras.Model from the tensor's input to the deepest features, (B, H/32, W/32, C).
    """
    backbones = _backbones()
    return backbones.get_backbone(
        name, input_shape=tuple(tensor.shape[1:]), input_tensor=tensor, weights=None, include_top=False, **_submodules()
    )


def build_decoder(name: str, backbone, num_labels: int):
    """The U-Net of `segmentation-models` on a backbone: nearest upsampling, then two convolutions, five times.

    The package's own `Unet` takes no tensor as input, therefore its two halves are called one after the other.

    Args:
        name: a `backbone` of the registry.
        backbone: what `build_backbone` returned for it.
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


def _submodules() -> dict[str, Any]:
    keras = load_keras()
    return {"backend": keras.backend, "layers": keras.layers, "models": keras.models, "utils": keras.utils}
