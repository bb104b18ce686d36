"""TensorFlow and Keras as this project needs them, and `segmentation-models` 1.0.1 made to work on Keras 3.

That package was written for Keras 2 and is the source of the paper's eight encoders. Everything that makes it work is
in this module; nothing else imports it. Its losses and metrics do not work on Keras 3 and are not used.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import tempfile
import types
from collections.abc import Iterator
from typing import Any

from wbcstudy.errors import StudyError


@functools.cache
def load_keras():
    """Import Keras on TensorFlow, quietly, with the number of threads that `$WBCSTUDY_THREADS` asks for.

    Every function of this package that needs Keras gets it here, so that importing a module costs nothing.

    Returns:
        The module `keras`.

    Raises:
        StudyError: `$WBCSTUDY_THREADS` is not a positive integer, or Keras runs on another backend.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    threads = _threads()
    # The loader of the CUDA and oneDNN libraries talks before any log level is read.
    with _quiet_start() if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3") == "3" else contextlib.nullcontext():
        # Level 2 would still print errors about absent GPUs; what concerns a user comes as an exception.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras
        import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise StudyError(
            f"Keras runs on {keras.backend.backend()!r}.",
            expected="the TensorFlow backend",
            fix="Unset KERAS_BACKEND, or set it to tensorflow.",
        )
    if threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            # A notebook that has already used TensorFlow keeps the threads it started with.
            pass
    return keras


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


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and Keras, and make every operation of TensorFlow deterministic from here on.

    Deterministic operations cannot be switched off again within a process.

    Args:
        seed: 0 to 2**32 - 1.
    """
    keras = load_keras()
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _threads() -> int | None:
    text = os.environ.get("WBCSTUDY_THREADS", "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise StudyError(
            f"WBCSTUDY_THREADS={text!r} cannot be used.",
            expected="the number of processor cores for one training, 1 or more",
            fix="Set it to a whole number, or unset it to use all cores.",
        )
    return int(text)


def _backbones():
    load_segmentation_models()
    from segmentation_models.backbones.backbones_factory import Backbones

    return Backbones


def _submodules() -> dict[str, Any]:
    keras = load_keras()
    return {"backend": keras.backend, "layers": keras.layers, "models": keras.models, "utils": keras.utils}


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Keep what C code writes to the error stream; show it only where the block fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        try:
            saved = os.dup(2)
        except OSError:
            # No error stream at all (a windowed program).
            yield
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
