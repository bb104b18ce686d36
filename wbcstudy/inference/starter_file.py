"""The starter: a network trained on drawn smears, packed into one small file, for images without annotations.

A starter file is a ZIP file with `starter.json` (facts, settings and the record of its run), `weights.npz` (arrays in
the order of the network's weights) and `card.md`. `<name>.sha256` has its checksum. It is unpacked once into an
ordinary run folder, so that everything that takes a run takes the starter.

Weights are stored in half precision. Where the file would be too large, kernels are stored in eight bits, with one
factor per output channel (Jacob et al. 2018, Quantization and training of neural networks, CVPR); the unpacked network
computes with the stored values in its usual precision.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from wbcstudy.config import RunConfig
from wbcstudy.config_io import make_config, write_yaml
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, expand_home, sha256_sum, weights_cache
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.results import load_run, write_record

STARTER = "starter"
FILE_NAME = "starter.zip"
# The file that comes with the package.
SHIPPED = Path(__file__).with_name(FILE_NAME)
LARGEST_BYTES = 20_000_000
BUILD = "wbcstudy starter build"
# Room for the parts of a file that are not weights.
_OTHER_BYTES = 50_000
# Suffix of the arrays with the factors of kernels in eight bits.
_FACTOR = "_factor"
# Float16 cannot hold larger values.
_LARGEST_VALUE = float(np.finfo(np.float16).max)
# Facts of a run that its starter keeps.
_KEPT = (
    "config",
    "dataset",
    "split",
    "scores",
    "validation",
    "trained_on",
    "parameters",
    "epochs",
    "best_epoch",
    "code_version",
)


def own_starter() -> Path:
    """Return where `wbcstudy starter build` writes: `$WBCSTUDY_STARTER`, or starter.zip in the cache of weights."""
    given = os.environ.get("WBCSTUDY_STARTER")
    return expand_home(given) if given else weights_cache() / FILE_NAME


def starter_path() -> Path:
    """Return the path of the starter that is used: your own one, else the one that comes with the package."""
    own = own_starter()
    return own if os.environ.get("WBCSTUDY_STARTER") or own.is_file() else SHIPPED


def pack_starter(run: Path, out: Path, temperature: float, card: str, *, largest_bytes: int | None = None) -> Path:
    """Write a run's network as a starter file.

    Args:
        run: folder of a finished run.
        out: file to write.
        temperature: the logits are divided by it, which calibrates the probabilities and changes no mask.
        card: model card in Markdown.
        largest_bytes: largest size of the file; `LARGEST_BYTES` if None. Kernels are stored in eight bits where half
            precision needs more.

    Returns:
        `out`.

    Raises:
        StudyError: the run cannot be used, or the file would be larger.
    """
    from wbcstudy.nets.model_file import load_model

    largest_bytes = LARGEST_BYTES if largest_bytes is None else largest_bytes
    source = load_run(RunFolder(run), used=(RunFolder(run).model.name,))
    model = load_model(source.folder.model)
    for weight in model.get_layer("head").weights:
        weight.assign(weight.value.numpy() / temperature)
    values = [weight.value.numpy() for weight in model.weights]
    bits, weights = 16, _store(values, eight_bits=False)
    if len(weights) + _OTHER_BYTES > largest_bytes:
        bits, weights = 8, _store(values, eight_bits=True)
    record = {name: source.record[name] for name in _KEPT if name in source.record}
    facts = {"format": 1, "temperature": round(temperature, 4), "kernel_bits": bits, "record": record}
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as part:
        with zipfile.ZipFile(part, "w") as archive:
            for name, content in (
                ("starter.json", json.dumps(facts)),
                ("weights.npz", weights),
                ("card.md", card),
            ):
                # A fixed date: equal networks give equal files.
                archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content)
        if (size := part.stat().st_size) > largest_bytes:
            raise StudyError(
                f"The starter of {run} would have {size / 1e6:.1f} MB.",
                expected=f"at most {largest_bytes / 1e6:.0f} MB",
                fix="Train a smaller encoder, such as mobilenet.",
            )
    with atomic_write(_sum_path(out)) as part:
        part.write_text(f"{sha256_sum(out)}  {out.name}\n", encoding="utf-8")
    return out


def find_starter() -> Path:
    """Return the run folder of the starter; its file is checked and unpacked on first use.

    Raises:
        StudyError: there is no starter (the message names the command that builds it), or its file is damaged.
    """
    path = starter_path()
    if not path.is_file():
        raise StudyError(
            f"There is no starter network: {path} does not exist.",
            expected="a starter, or a network of your own",
            fix=f"Build it once with `{BUILD} --seed 0` (half an hour with bfloat16), or pass --model with a run.",
        )
    digest = sha256_sum(path)
    listed = _sum_path(path)
    if listed.is_file() and listed.read_text(encoding="utf-8").split()[:1] != [digest]:
        raise _damaged(path, f"its SHA-256 is not that of {listed.name}")
    config, record, arrays = _read(path)
    # The folder of the package may be read-only.
    folder = weights_cache() if path == SHIPPED else path.parent
    run = StudyFolder(folder / f"{STARTER}-{digest[:12]}").run(config.name)
    if run.read_status() != "complete":
        try:
            _unpack(path, run, config, record, arrays)
        except OSError as error:
            raise StudyError(
                f"The starter cannot be unpacked to {folder}: {error.strerror or error}.",
                expected="a folder that you may write, with 60 MB of free space",
                fix="Set WBCSTUDY_WEIGHTS to such a folder.",
            ) from None
    return run.path


def _sum_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _read(path: Path) -> tuple[RunConfig, dict[str, Any], list[np.ndarray]]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > 10 * LARGEST_BYTES:
                raise _damaged(path, "its parts are too large")
            facts = json.loads(archive.read("starter.json"))
            with np.load(io.BytesIO(archive.read("weights.npz")), allow_pickle=False) as stored:
                arrays = _restore(stored)
            record = dict(facts["record"])
            return make_config(RunConfig, record["config"], str(path)), record, arrays
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None


def _store(values: list[np.ndarray], *, eight_bits: bool) -> bytes:
    """Return the bytes of weights.npz; with `eight_bits`, a kernel has a second array with its factors."""
    arrays = {}
    for number, value in enumerate(values):
        name = f"{number:04d}"
        if eight_bits and value.ndim > 1:
            # The last axis are the output channels; a depthwise kernel has one output per channel.
            axes = tuple(range(value.ndim - 1 if value.shape[-1] > 1 else value.ndim - 2))
            factor = np.abs(value).max(axis=axes, keepdims=True).astype(np.float32) / 127
            factor[factor == 0] = 1
            arrays[name], arrays[name + _FACTOR] = np.rint(value / factor).astype(np.int8), factor
        else:
            arrays[name] = np.clip(value, -_LARGEST_VALUE, _LARGEST_VALUE).astype(np.float16)
    weights = io.BytesIO()
    np.savez_compressed(weights, **arrays)
    return weights.getvalue()


def _restore(stored) -> list[np.ndarray]:
    """Return the weights, float32, of an opened weights.npz."""
    arrays = []
    for name in sorted(name for name in stored.files if not name.endswith(_FACTOR)):
        value = stored[name].astype(np.float32)
        arrays.append(value * stored[name + _FACTOR] if name + _FACTOR in stored.files else value)
    return arrays


def _unpack(path: Path, run: RunFolder, config: RunConfig, record: dict[str, Any], arrays: list[np.ndarray]) -> None:
    """Write the starter as a finished run."""
    from wbcstudy.nets.unet import build_unet

    # The weights are in the file: none are downloaded.
    plain = config.model_copy(update={"encoder_weights": "none", "start_from": "none", "freeze_encoder": False})
    model = build_unet(plain)
    if [array.shape for array in arrays] != [tuple(weight.shape) for weight in model.weights]:
        raise _damaged(path, "its weights are not those of its settings")
    for weight, array in zip(model.weights, arrays, strict=True):
        weight.assign(array)
    run.path.mkdir(parents=True, exist_ok=True)
    write_yaml(config, run.params)
    with atomic_write(run.model) as part:
        model.save(part)
    # A record with scores has a scores.csv too, which a starter does not need.
    kept = {name: value for name, value in record.items() if name != "scores"}
    write_record(run, kept | {"status": "complete", "study": STARTER, "run": run.name})


def _damaged(path: Path, reason: str) -> StudyError:
    return StudyError(
        f"{path} is not a usable starter: {reason}.",
        expected=f"a file of `{BUILD}`",
        fix="Install wbcstudy again."
        if path == SHIPPED
        else f"Delete it, to use the starter of the package, or build it again: {BUILD} --seed 0",
    )
