"""Compare the files of a run without digests (of wbcstudy 0.2 or earlier) with each other.

A file that was swapped with that of another run is noticed where its content follows from the scores: calibration.csv
(sums of pixels), boundary.csv (run and cases) and predictions.npz (pixels of each region of each case); or from
run.json: history.csv (epochs, best epoch and times) and model.keras (encoder, loss and number of parameters). The
weights of another run with the same encoder and loss are not noticed, so that model.keras is never verified.
"""

from __future__ import annotations

import csv
import json
import math
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from wbcstudy.files import MOST_HASHED_BYTES, check_file, read_bytes, unescape_cell
from wbcstudy.labels import REGIONS
from wbcstudy.registry import ENCODERS, LOSSES

_COUNTS = ("tp", "fp", "fn", "tn")
# Case id -> region -> counts.
_Counts = dict[str, dict[str, dict[str, int]]]


def cross_check(folder: Path, record: Mapping[str, Any], *, masks: bool, network: bool = False) -> Iterator[str]:
    """Yield the damages of a run's other files, given that scores.csv agrees with run.json.

    Args:
        folder: the run's folder.
        record: its run.json.
        masks: whether to read predictions.npz, which may be large.
        network: whether to read model.keras.
    """
    scores = _read_scores(folder / "scores.csv")
    if (folder / "history.csv").exists():
        yield from _history_damage(folder / "history.csv", record)
    if (folder / "calibration.csv").exists():
        yield from _calibration_damage(folder / "calibration.csv", scores)
    if (folder / "boundary.csv").exists() and scores:
        yield from _boundary_damage(folder / "boundary.csv", record, scores)
    if masks and (folder / "predictions.npz").exists():
        yield from _masks_damage(folder / "predictions.npz", scores)
    if network and (folder / "model.keras").exists():
        yield from _network_damage(folder / "model.keras", record)


def _read_scores(path: Path) -> _Counts:
    """Read the counts of a table that was checked before; {} where it is absent or of several seeds."""
    scores: _Counts = {}
    if not path.exists():
        return scores
    rows = list(csv.DictReader(read_bytes(path).decode().splitlines(keepends=True)))
    if len({row["run"] for row in rows}) != 1:
        return {}
    for row in rows:
        counts = {name: int(row[name]) for name in _COUNTS}
        scores.setdefault(unescape_cell(row["case_id"]), {})[row["region"]] = counts
    return scores


def _history_damage(path: Path, record: Mapping[str, Any]) -> Iterator[str]:
    numbers = _read_numbers(path)
    if numbers is None or [row.get("epoch") for row in numbers] != list(range(1, len(numbers) + 1)):
        yield "history.csv is not a table of epochs"
    elif len(numbers) != record.get("epochs", len(numbers)):
        yield f"history.csv has {len(numbers)} epochs, not {record['epochs']} as run.json says"
    else:
        yield from _epochs_damage(numbers, record)


def _epochs_damage(rows: list[dict[str, Any]], record: Mapping[str, Any]) -> Iterator[str]:
    """Compare best epoch and times; the times differ between any two runs."""
    losses = [row.get("val_loss") for row in rows]
    if "best_epoch" in record and None not in losses and losses.index(min(losses)) + 1 != record["best_epoch"]:
        best = losses.index(min(losses)) + 1
        yield f"history.csv has the lowest val_loss in epoch {best}, not {record['best_epoch']} as run.json says"
        return
    seconds = [row.get("seconds") for row in rows]
    if None in seconds:
        return
    # In the precision of run.json; each time in history.csv is rounded, too.
    expected = {"fit_seconds": (sum(seconds), 0.06 + 0.0005 * len(rows)), "seconds_per_epoch": (median(seconds), 0.002)}
    for name, (value, tolerance) in expected.items():
        if record.get(name) is not None and abs(record[name] - value) > tolerance:
            yield f"the times of history.csv do not agree with {name} of run.json"
            return


def _network_damage(path: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """Compare encoder, loss and number of parameters; the file is not loaded by Keras."""
    import h5py

    config = record.get("config", {})
    try:
        check_file(path, MOST_HASHED_BYTES)
        with zipfile.ZipFile(path) as archive:
            network = json.loads(archive.read("config.json"))
            with archive.open("model.weights.h5") as stored, h5py.File(stored) as weights:
                names: list[str] = []
                weights.visit(names.append)
                sizes = {name: weights[name].size for name in names if isinstance(weights[name], h5py.Dataset)}
        encoder = network["config"]["name"]
        loss = (network.get("compile_config") or {}).get("loss") or {}
        loss = loss.get("config", {}).get("name") if isinstance(loss, dict) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, RuntimeError):
        yield f"{path.name} cannot be read"
        return
    parameters = sum(size for name, size in sizes.items() if not name.startswith("optimizer"))
    for name, value, known in (("encoder", encoder, ENCODERS), ("loss", loss, LOSSES)):
        # Networks of other programs have other names.
        if value in known and name in config and value != config[name]:
            yield f"{path.name} is a network with the {name} {value}, not {config[name]} as run.json says"
            return
    if record.get("parameters") and parameters != record["parameters"]:
        yield f"{path.name} has {parameters} parameters, not {record['parameters']} as run.json says"


def _calibration_damage(path: Path, scores: _Counts) -> Iterator[str]:
    """Check the sums of all bins: every pixel is in one, and each correct one is counted in the scores, too."""
    numbers = _read_numbers(path, text=("region",))
    curves: dict[Any, list] = {}
    for row in numbers or ():
        curves.setdefault(row.get("region"), []).append(row)
    bins = [[row.get("bin") for row in rows] for rows in curves.values()]
    if not numbers or len(bins) != 3 or any(values != list(range(len(numbers) // 3)) for values in bins):
        yield "calibration.csv is not a table of three curves"
    elif scores:
        sums = {
            region: {name: sum(rows[region][name] for rows in scores.values()) for name in _COUNTS}
            for region in ("nucleus", "cytoplasm", "cell")
        }
        # Correct labels: the nucleus as nucleus, the cytoplasm as cytoplasm, and the background as background.
        correct = {"all": sums["nucleus"]["tp"] + sums["cytoplasm"]["tp"] + sums["cell"]["tn"]}
        # Pixels of a region in the expert's masks.
        correct |= {region: counts["tp"] + counts["fn"] for region, counts in sums.items()}
        pixels = sum(sums["cell"].values())
        for curve, rows in curves.items():
            given = [sum(row.get(name) or 0 for row in rows) for name in ("n", "sum_correct")]
            if given != [pixels, correct.get(curve)]:
                yield "calibration.csv does not agree with scores.csv"
                return


def _boundary_damage(path: Path, record: Mapping[str, Any], scores: _Counts) -> Iterator[str]:
    try:
        rows = list(csv.DictReader(read_bytes(path).decode().splitlines(keepends=True), strict=True))
        runs, cases = {row["run"] for row in rows}, {unescape_cell(row["case_id"]) for row in rows}
    except (OSError, ValueError, KeyError, csv.Error):
        yield "boundary.csv is not a table of distances"
        return
    if "run" in record and runs - {record["run"]}:
        yield "boundary.csv is of another run"
    elif cases and cases != set(scores):
        yield "the cases of boundary.csv are not those of scores.csv"


def _masks_damage(path: Path, scores: _Counts) -> Iterator[str]:
    """Check that the masks can be read and have as many pixels of each region as scores.csv counts."""
    import numpy as np

    try:
        check_file(path, MOST_HASHED_BYTES)
        with np.load(path, allow_pickle=False) as stored:
            cases = stored["case_ids"].tolist()
            masks = stored["masks"] if "masks" in stored else [stored[f"mask_{index}"] for index in range(len(cases))]
        if len(cases) != len(masks) or any(mask.ndim != 2 or mask.dtype != np.uint8 for mask in masks):
            yield f"{path.name} holds no masks"
            return
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, MemoryError):
        yield f"{path.name} cannot be read"
        return
    if scores and set(cases) != set(scores):
        yield f"the cases of {path.name} are not those of scores.csv"
        return
    for case, mask in zip(cases if scores else (), masks, strict=False):
        for region, counts in scores[case].items():
            # Earlier versions kept the masks at the network's size and scored them at another.
            same_size = mask.size == sum(counts.values())
            if same_size and np.isin(mask, REGIONS[region]).sum() != counts["tp"] + counts["fp"]:
                yield f"the masks of {path.name} do not agree with scores.csv"
                return


def _read_numbers(path: Path, text: Collection[str] = ()) -> list[dict[str, Any]] | None:
    """Read a table of finite numbers; None where it is not one. An empty field is None."""
    try:
        rows = list(csv.DictReader(read_bytes(path).decode().splitlines(), strict=True))
        table = [
            {name: value if name in text else float(value) if value else None for name, value in row.items()}
            for row in rows
        ]
    except (OSError, ValueError, TypeError, csv.Error):
        return None
    values = [value for row in table for name, value in row.items() if name not in text]
    complete = all(None not in row and None not in rows[k].values() for k, row in enumerate(table))
    return table if complete and all(value is None or math.isfinite(value) for value in values) else None
