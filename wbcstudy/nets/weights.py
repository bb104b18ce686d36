"""Weights of the encoders: where the public ImageNet files lie, how they are fetched, how a file is read.

There is no TensorFlow here, so that a login node can fill the cache for cluster nodes that have no network.
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
    """The weights file of one encoder.

    Args:
        encoder: its name.
        file: the file's name in the cache.
        path: where it lies, None where it is absent.
        verified: whether its MD5 sum is the published one.
        size_bytes: its size, 0 where it is absent.
    """

    encoder: str
    file: str
    path: Path | None
    verified: bool
    size_bytes: int

    @property
    def present(self) -> bool:
        """Whether there is a file, be it right or wrong."""
        return self.path is not None


def keras_cache() -> Path:
    """Where Keras keeps the same files; a right one there is used."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"


def find_weights(config: RunConfig) -> Path | None:
    """The file with which a run's encoder starts.

    Args:
        config: encoder and encoder_weights are used.

    Returns:
        None for `encoder_weights: none`; the given file; or the cached ImageNet file, downloaded if need be.

    Raises:
        StudyError: no such file, or the download failed; then the message says how to bring the file by hand.
    """
    if config.encoder_weights == "none":
        return None
    if config.encoder_weights == "imagenet":
        return fetch_weights([config.encoder])[0]
    path = expand_home(config.encoder_weights)
    for place in candidate_paths(path):
        if path_exists(place) and place.is_file():
            return place
    raise StudyError(
        f"encoder_weights: there is no file {path}.",
        expected="'imagenet', 'none', or the path of a .h5 file",
        fix="Check the path (relative ones start at the folder of the command, or at the checkout).",
    )


def list_weights() -> list[WeightsRow]:
    """One row per encoder that has ImageNet weights, in the registry's order; reads every file that is there."""
    rows = []
    for encoder in ENCODERS.values():
        if encoder.weights_url is None:
            continue
        places = [path for path in _places(encoder) if path.is_file()]
        right = next((path for path in places if md5_sum(path) == encoder.weights_md5), None)
        path = right or next(iter(places), None)
        size = path.stat().st_size if path else 0
        rows.append(WeightsRow(encoder.name, encoder.weights_file, path, right is not None, size))
    return rows


def fetch_weights(
    names: Iterable[str] = (),
    *,
    urls: Mapping[str, str] | None = None,
    progress: bool = False,
    report: Callable[[str], Any] = lambda line: None,
    pause_s: float = 1.0,
) -> list[Path]:
    """Have the ImageNet weights of encoders on this machine, downloading those that are not.

    Args:
        names: encoders; all that have weights when empty.
        urls: encoder -> address, instead of the registry's (a mirror).
        progress: show a progress bar per file.
        report: called with one line per file.
        pause_s: wait before a second attempt, in seconds; doubled before each further one.

    Returns:
        One verified file per name, in their order.

    Raises:
        StudyError: unknown encoder, one without weights, or a file that cannot be had; it says how to bring it by hand.
    """
    names = list(names) or [encoder.name for encoder in ENCODERS.values() if encoder.weights_url]
    encoders = [pick(ENCODERS, name, "encoder") for name in names]
    for encoder in encoders:
        if encoder.weights_url is None:
            raise StudyError(
                f"No pretrained weights of {encoder.name!r} exist.",
                expected=", ".join(row.name for row in ENCODERS.values() if row.weights_url),
                fix="Train it with encoder_weights: none.",
            )
    paths = []
    for encoder in encoders:
        cached = [path for path in _places(encoder) if path.is_file()]
        path = next((path for path in cached if md5_sum(path) == encoder.weights_md5), None)
        if path is None:
            path = _download(encoder, (urls or {}).get(encoder.name, encoder.weights_url), progress, pause_s)
            report(f"{encoder.name}: {path} fetched and verified")
        else:
            report(f"{encoder.name}: {path} is there and verified")
        paths.append(path)
    return paths


def load_weights(backbone, path: Path) -> None:
    """Put the weights of a .h5 file into an encoder.

    Reads the layout of Keras 2 (attribute `layer_names`, one group per layer), in which the public files are. Layers
    are matched by name; where the file has other names, by their order. Layers of the file that the encoder has not
    (a classification head) are left out when the names match.

    Args:
        backbone: keras.Model, the encoder.
        path: the file.

    Raises:
        StudyError: the file cannot be read, or it is of another network; the message names the layer and the shapes.
    """
    saved = read_h5(path)
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
        wanted, found = [tuple(w.shape) for w in layer.weights], [array.shape for array in saved[name]]
        if wanted != found:
            raise _wrong(path, f"its layer {name!r} has shapes {found}", f"{wanted}, those of {layer.name!r}")
    for layer, name in pairs:
        layer.set_weights(saved[name])


def read_h5(path: Path) -> dict[str, list[np.ndarray]]:
    """The weights of a Keras 2 .h5 file, also one that holds a whole model.

    Returns:
        Layer name -> its arrays, in the file's order; layers without weights are left out.

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
        raise _wrong(path, f"it cannot be read ({error})", "a whole .h5 file") from error


def _wrong(path: Path, found: str, expected: str) -> StudyError:
    return StudyError(
        f"{path} does not fit this encoder: {found}.",
        expected=expected,
        fix="Give the file of the same encoder, without its classification head ('no_top'), or encoder_weights: none.",
    )


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _places(encoder: Encoder) -> list[Path]:
    return [weights_cache() / encoder.weights_file, keras_cache() / encoder.weights_file]


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
