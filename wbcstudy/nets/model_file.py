"""Load trained models from files, safely."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.fast_layers import register_fast_layers
from wbcstudy.nets.keras_compat import register_grouped_convolution
from wbcstudy.nets.losses import register_losses
from wbcstudy.nets.preprocessing import register_preprocessing
from wbcstudy.nets.stain import LAYER_NAME, register_stain_normalisation

# Layers of our networks. A .keras file names the classes to build, and Keras would import any class.
_LAYERS = {
    "Activation",
    "Add",
    "AveragePooling2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Conv2DTranspose",
    "DepthwiseConv2D",
    "Dropout",
    "GlobalAveragePooling2D",
    "InputLayer",
    "MaxPooling2D",
    "Multiply",
    "Normalization",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Softmax",
    "UpSampling2D",
    "ZeroPadding2D",
}
_HARMLESS_MODULES = {"keras.initializers", "keras.optimizers"}
# Sizes after decompression: of the description, and of all parts.
_CONFIG_BYTES, _MOST_BYTES = 50_000_000, 3_000_000_000
# Errors of Keras, zipfile and h5py for damaged files.
_UNREADABLE = (
    ValueError,
    TypeError,
    AttributeError,
    ImportError,
    OSError,
    EOFError,
    RuntimeError,
    LookupError,
    MemoryError,
)
_UNREADABLE += (zipfile.BadZipFile, zlib.error)


def load_model(path: str | Path):
    """Load a `model.keras`. Code in the file is never run.

    The file is checked before Keras reads it: it may contain only the layers of this project's networks, from Keras or
    registered by this package. Keras finds registered classes by name, so the modules of these classes may move.

    Args:
        path: the file.

    Returns:
        keras.Model, not compiled; input and output as in `unet.build_unet`.

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
    register_preprocessing()
    register_fast_layers()
    register_grouped_convolution()
    register_losses()
    register_stain_normalisation()
    _check_classes(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except _UNREADABLE as error:
        raise _foreign(path, (str(error).splitlines() or [type(error).__name__])[0][:300]) from error
    shapes = (getattr(model, "input_shape", None), getattr(model, "output_shape", None))
    if shapes != ((None, None, None, 3), (None, None, None, 3)):
        raise _foreign(path, f"its input and output are {shapes[0]} and {shapes[1]}")
    return model


def copy_weights(model, path: str | Path) -> int:
    """Give a network all weights of a model file: encoder, decoder, head, and the statistics of batch norm.

    The target of a stain normalisation is not copied: it belongs to the training images.

    Args:
        model: from `unet.build_unet`; changed in place.
        path: `model.keras` of a run with the same encoder.

    Returns:
        Number of layers that have weights.

    Raises:
        StudyError: as `load_model`, or the file holds another network, or a value that is not a finite number. The
            model is then unchanged.
    """
    stored, own = (
        {layer.name: layer for layer in net.layers if _is_copied(layer)} for net in (load_model(path), model)
    )
    different = [
        name
        for name in own | stored
        if name not in own
        or name not in stored
        or [weight.shape for weight in own[name].weights] != [weight.shape for weight in stored[name].weights]
    ]
    if different:
        raise StudyError(
            f"{path} holds another network: {len(different)} of {len(own)} layers differ ({different[0]!r} first).",
            expected=f"the layers of {model.name}",
            fix="Start from a run with this encoder, made by this version of wbcstudy.",
        )
    arrays = {name: layer.get_weights() for name, layer in stored.items()}
    for name in arrays:
        if not all(np.isfinite(array).all() for array in arrays[name]):
            raise StudyError(
                f"{path}: layer {name!r} has a value that is not a finite number.",
                expected="a network whose training did not diverge",
                fix="Start from another run.",
            )
    for name, layer in own.items():
        layer.set_weights(arrays[name])
    return len(own)


def _is_copied(layer) -> bool:
    # Dropout has a state of its random generator, and no weights.
    return bool(layer.weights) and layer.name != LAYER_NAME


def _check_classes(path: Path) -> None:
    """Refuse a file with a class that no network of this project has.

    Raises:
        StudyError: such a class, or no readable description of a network.
    """
    keras = load_keras()
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MOST_BYTES:
                raise _foreign(path, "its parts are too large")
            if archive.getinfo("config.json").file_size > _CONFIG_BYTES:
                raise _foreign(path, "its description is too large")
            config = json.loads(archive.read("config.json"))
    except (KeyError, ValueError, OSError, RuntimeError, zipfile.BadZipFile) as error:
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
            raise _foreign(path, f"it contains {module + '.' if module else ''}{name}, which could run code")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield each part of a description that Keras would build an object from."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _foreign(path: Path, reason: str) -> StudyError:
    return StudyError(
        f"{path} is not a model of this project: {reason}.",
        expected="a model.keras written by a run of this project",
        fix="Pass outputs/<study>/runs/<run>/model.keras; if the file is damaged, train the run again.",
    )
