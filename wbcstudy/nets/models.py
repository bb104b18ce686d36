"""Trained models as files, and what a run notes about the machine."""

from __future__ import annotations

import json
import math
import platform
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wbcstudy.backend import load_keras
from wbcstudy.errors import StudyError
from wbcstudy.nets.layers import register_fast_layers
from wbcstudy.nets.losses import register_losses
from wbcstudy.nets.stain import register_stain
from wbcstudy.nets.unet import register_layers

# What our networks are made of. A .keras file names the classes that are to be made, and Keras would import others.
_LAYERS = {
    "Activation",
    "Add",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Conv2DTranspose",
    "DepthwiseConv2D",
    "Dropout",
    "InputLayer",
    "MaxPooling2D",
    "ReLU",
    "Softmax",
    "UpSampling2D",
    "ZeroPadding2D",
}
_HARMLESS_MODULES = {"keras.initializers", "keras.optimizers"}
_CONFIG_BYTES = 50_000_000
# What Keras, zipfile and h5py say of damaged files.
_UNREADABLE = (ValueError, TypeError, AttributeError, ImportError, OSError, EOFError, RuntimeError, LookupError)
_UNREADABLE += (zipfile.BadZipFile, zlib.error)


def load_model(path: str | Path):
    """Read a `model.keras`. Code in the file is never run.

    The file is looked through before Keras sees it: it may only hold the layers that this project's networks are made
    of, Keras' own and those registered by this package.

    Args:
        path: the file.

    Returns:
        keras.Model, not compiled; see `unet.build_unet` for its input and output.

    Raises:
        StudyError: no such file, or not a model of this project.
    """
    path = Path(path)
    if not path.is_file():
        raise StudyError(
            f"There is no model {path}.",
            expected="the model.keras of a finished run",
            fix="Check the path; `wbcstudy status params/<study>.yaml` lists the finished runs.",
        )
    if not zipfile.is_zipfile(path):
        raise _foreign(path, "it is not a .keras file, or was cut off")
    keras = load_keras()
    register_layers()
    register_fast_layers()
    register_losses()
    register_stain()
    _check_classes(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except _UNREADABLE as error:
        raise _foreign(path, (str(error).splitlines() or [type(error).__name__])[0][:300]) from error
    shapes = (getattr(model, "input_shape", None), getattr(model, "output_shape", None))
    if shapes != ((None, None, None, 3), (None, None, None, 3)):
        raise _foreign(path, f"its input and output are {shapes[0]} and {shapes[1]}")
    return model


def _check_classes(path: Path) -> None:
    """Refuse a file that asks for a class that no network of this project has.

    Raises:
        StudyError: such a file, or one without a readable description of a network.
    """
    keras = load_keras()
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > _CONFIG_BYTES:
                raise _foreign(path, "its description is too large")
            config = json.loads(archive.read("config.json"))
    except (
        KeyError,
        ValueError,
        OSError,
        RecursionError,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise _foreign(path, f"its description cannot be read ({type(error).__name__})") from None
    for node in _nodes(config):
        name, module, registered = (str(node.get(key) or "") for key in ("class_name", "module", "registered_name"))
        if name in ("__keras_tensor__", "__tuple__"):
            continue
        ours = registered.startswith("wbcstudy>") and keras.saving.get_registered_object(registered) is not None
        known = (
            (ours and module.startswith("wbcstudy."))
            or module in _HARMLESS_MODULES
            or (module == "keras" and name == "DTypePolicy")
            or (module == "keras.layers" and name in _LAYERS)
            or (module in ("keras", "keras.models", "keras.src.models.functional") and name == "Functional")
        )
        if not known:
            raise _foreign(path, f"it holds {module + '.' if module else ''}{name}, which could run code")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Everything in a description that Keras would make an object of."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def count_multiply_adds(model, image_size: int) -> int:
    """Multiplications, each with its addition, that one image takes in convolutions and dense layers.

    A measure of work that no other program on the machine can disturb. Normalisation, activation, pooling and
    upsampling are not counted; they are a few per cent. A convolution at a padded border counts as one inside.

    Args:
        model: a functional model that takes (B, H, W, 3), without models inside it.
        image_size: side S of the image, in px.
    """
    keras = load_keras()
    layers = keras.layers
    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose, layers.Dense)
    counted = [layer for layer in model.layers if isinstance(layer, kinds)]
    if not counted:
        return 0
    # A transposed convolution spreads every pixel of its input; the others gather for every pixel of their output.
    tensors = [layer.input if isinstance(layer, layers.Conv2DTranspose) else layer.output for layer in counted]
    shapes = keras.Model(model.inputs, tensors).compute_output_spec(keras.KerasTensor((1, image_size, image_size, 3)))
    return sum(
        math.prod(tensor.shape[1:-1]) * math.prod(layer.kernel.shape)
        for layer, tensor in zip(counted, keras.tree.flatten(shapes), strict=True)
    )


def arithmetic(model) -> str:
    """The type that a network's convolutions compute in: "float32" or "bfloat16"; weights are float32 in both."""
    # The last layer with weights: the softmax after it is float32 in both, and a network of one's own names its layers
    # as it likes.
    return next(layer for layer in reversed(model.layers) if layer.weights).compute_dtype


def peak_memory_mb() -> float:
    """The most memory this process has held so far, in MB (10**6 bytes); on a GPU, its own memory is not in it."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    # Linux counts in kibibytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def device_name() -> str:
    """What networks are computed on: the GPU's name, or the processor's."""
    load_keras()
    import tensorflow as tf

    names = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    if names:
        return "GPU " + ", ".join(names)
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    return f"CPU {processor}"


def _foreign(path: Path, why: str) -> StudyError:
    return StudyError(
        f"{path} is not a model of this project: {why}.",
        expected="a model.keras written by a run of this project",
        fix="Pass outputs/<study>/runs/<run>/model.keras; if this is one, run it again.",
    )
