"""Compare the files of a run without digests (of wbcstudy 0.2 or earlier) with each other.

A file that was swapped with that of another run is noticed where its content follows from the scores: calibration.csv
(sums of pixels), boundary.csv (run and cases) and predictions.npz (pixels of each region of each case). history.csv,
of which only the number of epochs is recorded, and model.keras cannot be verified.
"""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from wbcstudy.files import MOST_HASHED_BYTES, check_file, read_bytes, unescape_cell
from wbcstudy.labels import REGIONS

_COUNTS = ("tp", "fp", "fn", "tn")
# Case id -> region -> counts.
_Counts = dict[str, dict[str, dict[str, int]]]


def cross_check(folder: Path, record: Mapping[str, Any], *, masks: bool) -> Iterator[str]:
    """Yield the damages of a run's other files, given that scores.csv agrees with run.json.

    Args:
        folder: the run's folder.
        record: its run.json.
        masks: whether to read predictions.npz, which may be large.
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
