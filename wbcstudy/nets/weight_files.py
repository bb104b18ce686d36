"""Read files of weights: Keras 2 (.h5), Keras 3 (.weights.h5) and whole models (.keras, .h5), without running code.

Only arrays and the names of layers are read. Keras itself is not asked to open the file, since a whole model names the
classes to build.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.files import check_file
from wbcstudy.registry import ENCODERS

# The largest public classification heads have a tenth of this. HDF5 can declare any size in a file of a few bytes.
_MAX_VALUES = 1_000_000_000
# Encoder -> the layer that no other encoder below it in this table has, and the number of its weights. ResNet-34 has
# all layers of ResNet-18, with equal shapes; VGG-19 has those of VGG-16: the larger ones come first.
_MARKS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "resnet152": ("stage3_unit36_conv3", 58_280_137),
        "resnet50": ("stage3_unit6_conv3", 23_546_057),
        "resnet34": ("stage3_unit6_conv2", 21_302_473),
        "resnet18": ("stage3_unit2_conv2", 11_186_889),
        "vgg19": ("block5_conv4", 20_024_384),
        "vgg16": ("block5_conv3", 14_714_688),
        "mobilenetv2": ("block_16_project", 2_257_984),
        "mobilenet": ("conv_pw_13", 3_228_864),
    }
)
# Layers of networks that are often taken for one of ours.
_OTHERS = MappingProxyType(
    {
        "down0a_conv": "a plain U-Net of wbcstudy, which has no separate encoder",
        "conv5_block3_3_conv": (
            "a ResNet of keras.applications; the ResNets here are those of classification_models, whose layers differ"
        ),
        "post_bn": (
            "a ResNetV2 of keras.applications; the ResNets here are those of classification_models, whose layers differ"
        ),
    }
)
# Errors of h5py and zipfile for damaged files.
_UNREADABLE = (OSError, EOFError, LookupError, TypeError, ValueError, RuntimeError, MemoryError, AttributeError)
_UNREADABLE += (zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class SavedLayer:
    """The weights of one layer in a file.

    Args:
        name: name of the layer.
        key: where Keras 3 stores it, by class and order ("conv2d_3"); "" in files of Keras 2.
        arrays: its weights, float32, in the layer's order.
    """

    name: str
    key: str
    arrays: list[np.ndarray]


def read_weight_file(path: Path) -> list[SavedLayer]:
    """Read the layers with weights of a file.

    Args:
        path: `.h5` of Keras 2 or `.weights.h5` of Keras 3, with weights or a whole model, or a `.keras` file. The
            content decides, not the name.

    Returns:
        The layers in the file's order. Names of layers in a nested model are those of the layers.

    Raises:
        StudyError: not such a file, cut off, or with links to other files.
    """
    import h5py

    try:
        check_file(path, 4 * _MAX_VALUES)
        with zipfile.ZipFile(path) if zipfile.is_zipfile(path) else path.open("rb") as opened:
            if isinstance(opened, zipfile.ZipFile):
                if opened.getinfo("model.weights.h5").file_size > 4 * _MAX_VALUES:
                    raise ValueError("its weights are too large")
                opened = io.BytesIO(opened.read("model.weights.h5"))
            with h5py.File(opened, "r") as file:
                _check_links(file)
                group = file["model_weights"] if "model_weights" in file else file
                layers = list(_read_keras_2(group) if "layer_names" in group.attrs else _read_keras_3(group))
    except _UNREADABLE as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__
        raise refuse(path, f"it cannot be read ({reason})", "a complete .h5, .weights.h5 or .keras file") from error
    if not layers:
        raise refuse(
            path,
            "it has no layers in the layout of Keras",
            "a file of `model.save_weights` or `model.save` of Keras, or a run's model.keras",
        )
    return layers


def identify_encoder(names: Iterable[str], values: int = 0) -> str | None:
    """Return the encoder that the layers of a file belong to, by their names or else by their number of weights.

    Args:
        names: names of layers; further layers (a head, a decoder) are ignored.
        values: number of weights in the file; 0 if unknown.

    Returns:
        Name of the encoder, None if the file belongs to no encoder of this package.
    """
    names = set(names)
    by_name = (encoder for encoder, (layer, _) in _MARKS.items() if layer in names)
    by_size = (encoder for encoder, (_, size) in _MARKS.items() if size == values)
    return next(by_name, None) or next(by_size, None)


def describe_owner(saved: list[SavedLayer]) -> str:
    """Say in a clause which encoder a file fits."""
    names = [layer.name for layer in saved]
    encoder = identify_encoder(names, sum(array.size for layer in saved for array in layer.arrays))
    if encoder:
        return f"it fits {ENCODERS[encoder].title} (encoder: {encoder})"
    other = next((text for layer, text in _OTHERS.items() if layer in names), None)
    return f"it is of {other}" if other else f"it fits no encoder of wbcstudy (its first layer is {names[0]!r})"


def refuse(path: Path, problem: str, expected: str) -> StudyError:
    """Return the error for a file that cannot start a training."""
    return StudyError(
        f"{path} does not match this encoder: {problem}.",
        expected=expected,
        fix="Use the file of the same encoder, without its classification head ('no_top'), or encoder_weights: none "
        "with freeze_encoder: false.",
    )


def _check_links(file) -> None:
    """Refuse links to other files, which HDF5 would open."""
    import h5py

    # The callbacks must not raise: h5py cannot pass errors on. A value other than None ends the visit.
    def is_elsewhere(name: str, item) -> str | None:
        return name if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual) else None

    def is_external(name: str, link) -> str | None:
        return name if isinstance(link, h5py.ExternalLink) else None

    if name := file.visititems(is_elsewhere) or file.visititems_links(is_external):
        raise ValueError(f"{_text(name)} is in another file")


def _read_keras_2(group) -> Iterator[SavedLayer]:
    """Read attribute `layer_names`, one group per layer, and `weight_names` in it."""
    for name in map(_text, group.attrs["layer_names"]):
        weights = [_text(weight) for weight in group[name].attrs["weight_names"]]
        owners = [weight.rpartition("/")[0].rpartition("/")[2] for weight in weights]
        # A nested model is one group, with the weights of all its layers.
        nested = len(set(owners)) > 1
        for owner in dict.fromkeys(owners):
            mine = [weight for weight, other in zip(weights, owners, strict=True) if other == owner]
            yield SavedLayer(owner if nested else name, "", [_read_array(group[name][weight]) for weight in mine])


def _read_keras_3(file) -> Iterator[SavedLayer]:
    """Read groups `<path>/vars` with arrays 0, 1, ...; those of the optimizer and of dropout are no weights."""
    import h5py

    paths: list[str] = []
    file.visititems(lambda path, item: paths.append(path) if isinstance(item, h5py.Group) else None)
    for path in paths:
        parts = path.split("/")
        if parts[-1] != "vars" or len(parts) < 2 or parts[0] == "optimizer" or "seed_generator" in parts:
            continue
        arrays = [_read_array(file[path][str(index)]) for index in range(len(file[path]))]
        if arrays:
            yield SavedLayer(_text(file[path].attrs.get("name", parts[-2])), parts[-2], arrays)


def _read_array(dataset) -> np.ndarray:
    if dataset.size > _MAX_VALUES:
        raise ValueError(f"{dataset.name} declares {dataset.size} values")
    if _text(dataset.attrs.get("dtype", "")) == "bfloat16":
        return (np.asarray(dataset).view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if dataset.dtype.kind != "f":
        raise ValueError(f"{dataset.name} has values of type {dataset.dtype}, not floating-point numbers")
    return np.asarray(dataset, np.float32)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
