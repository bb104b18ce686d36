"""Whether the files of a run are those that its run.json describes.

Each file of a run has its size and SHA-256 in run.json. Small files are checked whenever a run is read; large ones when
they are used, or by `wbcstudy status --verify`. Records of wbcstudy 0.2 and earlier have no digests: of their files,
what follows from others is checked, see `runs.cross_checks`.
"""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from wbcstudy.config_io import read_yaml
from wbcstudy.data.records import Split, read_split, split_hash
from wbcstudy.errors import DamagedFileError, StudyError
from wbcstudy.files import read_bytes, sha256_sum, unescape_cell
from wbcstudy.runs.cross_checks import cross_check
from wbcstudy.runs.records import FileFacts, repeat_advice, study_folder_of

# Files of at most this size, in bytes, are checked whenever a run is read.
_SMALL = 16_000_000
# Results, which the package reads. Notebook, page and figures are for people, who may open and save them.
_RESULTS = (".csv", ".npz", ".keras")
# Files that may be deleted to save space.
_OPTIONAL = (".npz", ".keras")
# All large files, as the argument `used` of `find_damage`.
VERIFY = ("",)
_COUNTS = ("tp", "fp", "fn", "tn")
_REGIONS = ("nucleus", "cytoplasm", "cell")
# Ratio -> its numerator and denominator, as sums of counts.
_RATIOS = {
    "precision": (("tp",), ("tp", "fp")),
    "sensitivity": (("tp",), ("tp", "fn")),
    "specificity": (("tn",), ("tn", "fp")),
    "accuracy": (("tp", "tn"), _COUNTS),
    "dice": (("tp", "tp"), ("tp", "tp", "fp", "fn")),
    "iou": (("tp",), ("tp", "fp", "fn")),
}


def find_damage(
    folder: Path, record: Mapping[str, Any], used: Collection[str] | None = None
) -> DamagedFileError | None:
    """Check the files of a complete run.

    Args:
        folder: the run's folder.
        record: its run.json.
        used: names or suffixes (".keras") of large files to check too; None to check only the digests of small files,
            not whether scores, split and sums agree.

    Returns:
        The first damage; None where there is none.
    """
    if record["status"] != "complete":
        return None
    for reason in _damages(folder, record, used):
        return DamagedFileError(
            f"{folder}: {reason}.", expected="the files as the run wrote them", fix=repeat_advice(folder)
        )
    return None


def changed_documents(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Return the names of notebook, page and figures that differ from run.json; no result depends on them."""
    files = {name: facts for name, facts in record.get("files", {}).items() if not name.endswith((*_RESULTS, ".yaml"))}
    return [name for name, facts in files.items() if (folder / name).exists() and not _is_same(folder / name, facts)]


def _damages(folder: Path, record: Mapping[str, Any], used: Collection[str] | None) -> Iterator[str]:
    name, step = str(record.get("run", folder.name)), folder.parent.name
    # A folder that was renamed by hand has no such name.
    if step in ("runs", "baselines") and "__fold" in folder.name and name != folder.name:
        yield f"run.json is that of another run, {name}"
    files = record.get("files")
    for file, facts in (files or {}).items():
        yield from _file_damage(folder / file, file, facts, used)
    if "config" in record and step != "transfer" and (used is not None or files is not None):
        yield from _params_damage(folder / "params.yaml", record["config"], (files or {}).get("params.yaml"))
    if used is None:
        return
    yield from _score_damage(folder, record)
    if files is None:
        large = {"masks": _is_used("predictions.npz", used), "network": _is_used("model.keras", used)}
        yield from cross_check(folder, record, **large)


def _file_damage(path: Path, name: str, facts: FileFacts, used: Collection[str] | None) -> Iterator[str]:
    if not name.endswith(_RESULTS) or ".." in Path(name).parts or Path(name).is_absolute():
        return
    if not path.exists():
        if not name.endswith(_OPTIONAL):
            yield f"{name} is missing"
    elif not path.is_file():
        yield f"{name} is not a file"
    elif path.stat().st_size != facts["bytes"]:
        yield f"{name} has {path.stat().st_size} bytes, not {facts['bytes']} as run.json says"
    elif (facts["bytes"] <= _SMALL or _is_used(name, used)) and not _is_same(path, facts):
        yield f"{name} has changed since the run wrote it"


def _is_used(name: str, used: Collection[str] | None) -> bool:
    return any(name.endswith(end) for end in used or ())


def _is_same(path: Path, facts: FileFacts) -> bool:
    return path.is_file() and path.stat().st_size == facts["bytes"] and sha256_sum(path) == facts["sha256"]


def _params_damage(path: Path, config: Mapping[str, Any], facts: FileFacts | None) -> Iterator[str]:
    """Compare params.yaml with the settings in run.json. Its comments may be those of another version."""
    if not path.exists() or (facts and _is_same(path, facts)):
        return
    try:
        settings = read_yaml(path)
    except StudyError:
        yield "params.yaml cannot be read"
        return
    if differing := [name for name in settings.keys() & config.keys() if settings[name] != config[name]]:
        yield f"params.yaml has other settings than run.json ({', '.join(sorted(differing))})"
    elif not settings.keys() >= config.keys():
        yield f"params.yaml lacks settings of run.json ({', '.join(sorted(config.keys() - settings.keys()))})"


def _score_damage(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """Compare the scores with the split and with the sums in run.json."""
    scores = record.get("scores", {})
    sums = dict(scores) if "raw" in scores else {"raw": scores}
    sums["validation"] = record.get("validation", {})
    splits, split = _read_splits(folder), None
    if splits:
        if record.get("split_hash", split_hash(splits)) != split_hash(splits):
            yield "its split is not that of split.json"
        with contextlib.suppress(LookupError, TypeError):
            split = splits[record["config"]["fold"]]
    for variant in ("raw", "cleaned", "central", "single", "validation"):
        path = folder / ("scores.csv" if variant == "raw" else f"scores_{variant}.csv")
        if path.exists() or (variant == "raw" and scores):
            cases = (split.validation if variant == "validation" else split.test) if split else None
            yield from _table_damage(path, sums.get(variant) or None, cases, record.get("run"))
    for variant, regions in sums.items():
        for region, counts in regions.items():
            if wrong := _wrong_ratio(counts, counts):
                yield f"run.json: {wrong} of {region} ({variant}) does not follow from its counts"


def _read_splits(folder: Path) -> tuple[Split, ...] | None:
    """Return the folds of a run's study; None where there is no readable split, which the study itself reports."""
    study = study_folder_of(folder)
    if study is None or folder.parent.name == "transfer":
        return None
    with contextlib.suppress(StudyError):
        if split := read_split(study / "split.json"):
            return split[0]
    return None


def _table_damage(
    path: Path, sums: Mapping[str, Any] | None, cases: Collection[str] | None, run: str | None
) -> Iterator[str]:
    """Check a table of scores: its columns, run, counts and ratios, its cases, and its sums over all rows."""
    try:
        lines = read_bytes(path).decode().splitlines(keepends=True)
        rows = list(csv.DictReader(lines, strict=True))
        totals: dict[str, dict[str, int]] = {}
        regions: dict[tuple[str, str], dict[str, int]] = {}
        for number, row in enumerate(rows, start=2):
            if None in row or None in row.values():
                yield f"line {number} of {path.name} has too many or too few fields"
                return
            if run is not None and row["run"] != run and not row["run"].startswith(f"{run}__seed"):
                yield f"line {number} of {path.name} is of another run"
                return
            counts = {name: int(row[name]) for name in _COUNTS}
            if min(counts.values()) < 0:
                yield f"line {number} of {path.name} has a negative count"
                return
            if wrong := _wrong_ratio(counts, row):
                yield f"line {number} of {path.name}: {wrong} does not follow from the counts"
                return
            regions.setdefault((row["run"], unescape_cell(row["case_id"])), {})[row["region"]] = sum(counts.values())
            total = totals.setdefault(row["region"], dict.fromkeys(_COUNTS, 0))
            for name, value in counts.items():
                total[name] += value
    except FileNotFoundError:
        yield f"{path.name} is missing"
        return
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        yield f"{path.name} is not a table of scores"
        return
    for (_, case), pixels in regions.items():
        if set(pixels) != set(_REGIONS) or len(set(pixels.values())) > 1:
            yield f"{path.name} has too few or different rows of case {case}"
            return
    if len(rows) != len(_REGIONS) * len(regions):
        yield f"{path.name} has a row twice"
    elif cases is not None and {case for _, case in regions} != set(cases):
        yield f"the cases of {path.name} are not those of split.json"
    elif sums is not None and totals != {
        region: {name: value[name] for name in _COUNTS} for region, value in sums.items()
    }:
        yield f"the sums of {path.name} are not those of run.json"


def _wrong_ratio(counts: Mapping[str, int], values: Mapping[str, Any]) -> str:
    """Return the first ratio that does not follow from its counts; '' if all do. An undefined one is None or empty."""
    for name, (above, below) in _RATIOS.items():
        if name in values:
            denominator = sum(counts[count] for count in below)
            expected = sum(counts[count] for count in above) / denominator if denominator else None
            given = None if values[name] in (None, "") else float(values[name])
            if (given is None) != (expected is None) or (
                given is not None and not math.isclose(given, expected, abs_tol=1e-9)
            ):
                return name
    return ""
