"""Find, download and load the weights of encoders.

This module needs no TensorFlow: a login node can fill the cache for cluster nodes without internet access.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.files import candidate_paths, download, expand_home, md5_sum, path_exists, weights_cache
from wbcstudy.registry import ENCODERS, Encoder, pick


@dataclass(frozen=True)
class WeightsRow:
    """The ImageNet weights file of one encoder.

    Args:
        encoder: name of the encoder.
        file: name of the file in the cache.
        path: path of the file, None if it is absent.
        verified: whether its MD5 sum is the published one.
    """

    encoder: str
    file: str
    path: Path | None
    verified: bool


def find_weights(config: RunConfig) -> Path | None:
    """Find the file with the initial weights of a run's encoder.

    Args:
        config: encoder and encoder_weights are used.

    Returns:
        None for `encoder_weights: none`; else the given file, or the ImageNet file, downloaded if it is not cached.

    Raises:
        StudyError: the file does not exist, or the download failed; the message explains how to copy it by hand.
    """
    if config.encoder_weights == "none":
        return None
    if config.encoder_weights == "imagenet":
        return fetch_weights([config.encoder])[0]
    path = expand_home(config.encoder_weights)
    for candidate in candidate_paths(path):
        if path_exists(candidate) and candidate.is_file():
            return candidate
    raise StudyError(
        f"encoder_weights: there is no file {path}.",
        expected="'imagenet', 'none', or the path of a .h5 file",
        fix="Check the path (relative to the current folder or the checkout).",
    )


def list_weights() -> list[WeightsRow]:
    """List the ImageNet weights of each encoder that has them, in the registry's order; reads each cached file."""
    rows = []
    for encoder in ENCODERS.values():
        if encoder.weights_url:
            verified = _find_verified(encoder)
            path = verified or next((path for path in _cache_paths(encoder) if path.is_file()), None)
            rows.append(WeightsRow(encoder.name, encoder.weights_file, path, verified is not None))
    return rows


def fetch_weights(
    names: Iterable[str] = (),
    *,
    urls: Mapping[str, str] | None = None,
    progress: bool = False,
    report: Callable[[str], Any] = lambda line: None,
    pause_s: float = 1.0,
) -> list[Path]:
    """Download the ImageNet weights of encoders, unless they are cached.

    Args:
        names: encoders; empty for all that have weights.
        urls: encoder -> URL of a mirror, instead of the registry's URL.
        progress: show a progress bar per file.
        report: called with one line per file.
        pause_s: pause before the second attempt, in s; doubled before each further attempt.

    Returns:
        One verified file per name, in the same order.

    Raises:
        StudyError: an unknown encoder, one without weights, or a failed download; the message explains how to copy the
            file by hand.
    """
    names = list(names) or [encoder.name for encoder in ENCODERS.values() if encoder.weights_url]
    encoders = [pick(ENCODERS, name, "encoder") for name in names]
    for encoder in encoders:
        if encoder.weights_url is None:
            raise StudyError(
                f"There are no pretrained weights for {encoder.name!r}.",
                expected=", ".join(row.name for row in ENCODERS.values() if row.weights_url),
                fix="Train it with encoder_weights: none.",
            )
    paths = []
    for encoder in encoders:
        path = _find_verified(encoder)
        state = "is cached and verified" if path else "downloaded and verified"
        path = path or _download(encoder, (urls or {}).get(encoder.name, encoder.weights_url), progress, pause_s)
        report(f"{encoder.name}: {path} {state}")
        paths.append(path)
    return paths


def load_weights(backbone, path: Path) -> None:
    """Load the weights of a .h5 file into an encoder.

    The file has the layout of Keras 2 (attribute `layer_names`, one group per layer), as the public files. Layers are
    matched by name, or by order if the names differ. If the names match, other layers of the file (a classification
    head) are ignored.

    Args:
        backbone: keras.Model, the encoder.
        path: the file.

    Raises:
        StudyError: the file cannot be read, or belongs to another network; the message names the layer and the shapes.
    """
    saved = _read_h5(path)
    layers = {layer.name: layer for layer in backbone.layers if layer.weights}
    if set(layers) <= set(saved):
        pairs = [(layer, name) for name, layer in layers.items()]
    elif len(layers) == len(saved):
        pairs = list(zip(layers.values(), saved, strict=True))
    else:
        missing = next(name for name in layers if name not in saved)
        raise _wrong(
            path,
            f"it has {len(saved)} layers with weights and none named {missing!r}",
            f"the encoder's {len(layers)} layers with weights",
        )
    for layer, name in pairs:
        expected, shapes = [tuple(w.shape) for w in layer.weights], [array.shape for array in saved[name]]
        if shapes != expected:
            raise _wrong(path, f"its layer {name!r} has shapes {shapes}", f"{expected}, the shapes of {layer.name!r}")
    for layer, name in pairs:
        layer.set_weights(saved[name])


def _read_h5(path: Path) -> dict[str, list[np.ndarray]]:
    """Read a Keras 2 .h5 file of weights or of a whole model.

    Returns:
        Layer name -> arrays, in the file's order; without layers that have no weights.

    Raises:
        StudyError: not an HDF5 file, cut off, or of another layout.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            group = file["model_weights"] if "model_weights" in file else file
            if "layer_names" not in group.attrs:
                raise _wrong(path, "it has no 'layer_names'", "the .h5 layout of Keras 2 (`model.save_weights`)")
            saved = {}
            for name in map(_text, group.attrs["layer_names"]):
                layer = group[name]
                arrays = [np.asarray(layer[_text(weight)]) for weight in layer.attrs["weight_names"]]
                if arrays:
                    saved[name] = arrays
            return saved
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _wrong(path, f"it cannot be read ({error})", "a complete .h5 file") from error


def _wrong(path: Path, problem: str, expected: str) -> StudyError:
    return StudyError(
        f"{path} does not match this encoder: {problem}.",
        expected=expected,
        fix="Use the file of the same encoder, without its classification head ('no_top'), or encoder_weights: none.",
    )


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _cache_paths(encoder: Encoder) -> list[Path]:
    """Return the paths of a file in our cache and in that of Keras."""
    keras_cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
    return [weights_cache() / encoder.weights_file, keras_cache / encoder.weights_file]


def _find_verified(encoder: Encoder) -> Path | None:
    paths = [path for path in _cache_paths(encoder) if path.is_file()]
    return next((path for path in paths if md5_sum(path) == encoder.weights_md5), None)


def _download(encoder: Encoder, url: str, progress: bool, pause_s: float) -> Path:
    target = weights_cache() / encoder.weights_file
    download(
        url,
        target,
        md5=encoder.weights_md5,
        pause_s=pause_s,
        progress=progress,
        fix=f"On a machine with a network, run `wbcstudy weights fetch {encoder.name}` or download {url}, and copy the "
        f"file to {target} here (or set WBCSTUDY_WEIGHTS to a folder that contains {encoder.weights_file}). "
        "Or train from random weights: encoder_weights: none.",
    )
    return target
