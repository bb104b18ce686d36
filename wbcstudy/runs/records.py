"""The record of a run, run.json: its fields, and whether the run's files are those that it describes.

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
from typing import Annotated, Any, Literal, Required

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from wbcstudy.config_io import Count, Number, Share, Text, read_record_file, read_yaml
from wbcstudy.data.records import DatasetRecord, Split, read_split, split_hash
from wbcstudy.errors import DamagedFileError, StudyError
from wbcstudy.files import read_bytes, sha256_sum, unescape_cell
from wbcstudy.runs.cross_checks import cross_check

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
_SidePx = Annotated[float, Field(ge=4, le=1_000_000, allow_inf_nan=False)]
_Span = Annotated[list[_SidePx], Field(min_length=3, max_length=3)]
_Size = Annotated[float, Field(ge=1e-4, le=1e6, allow_inf_nan=False)]


class FileFacts(TypedDict):
    """Size in bytes and SHA-256 of a file."""

    bytes: Count
    sha256: Text


class RegionScores(TypedDict, total=False):
    """Sums over the cases: counts and ratios; a ratio that is undefined is None."""

    __pydantic_config__ = ConfigDict(extra="allow")

    tp: Required[Count]
    fp: Required[Count]
    fn: Required[Count]
    tn: Required[Count]
    precision: Share | None
    sensitivity: Share | None
    specificity: Share | None
    accuracy: Share | None
    dice: Share | None
    iou: Share | None
    dice_mean: Share | None
    n: Count


class ScaleRecord(TypedDict, total=False):
    """Sizes of the training images: smallest, median and largest."""

    height_px: Required[_Span]
    width_px: Required[_Span]
    cell_px: _Size | None
    pixel_size_um: _Size | None


class PartSizes(TypedDict):
    """Numbers of cases."""

    train: Count
    validation: Count
    test: Count


class MethodRecord(TypedDict, total=False):
    """The facts about an earlier method."""

    __pydantic_config__ = ConfigDict(extra="allow")

    name: Text
    title: Text
    reference: Text
    algorithm: Text


class NotebookRecord(TypedDict, total=False):
    """The notebook that made a run, see `runs.notebooks.describe_notebook`."""

    name: Text | None
    sha256: Text
    shipped: bool | None


class OwnPartRecord(TypedDict, total=False):
    """A loss, callback or augmentation of the user's own, see `runs.own_parts.describe_part`."""

    __pydantic_config__ = ConfigDict(extra="allow")

    name: Required[Text]
    sha256: Text
    settings: dict[str, Any]


class EncoderStartRecord(TypedDict, total=False):
    """Which weights an encoder took from a file, see `nets.weights.LoadedWeights`."""

    __pydantic_config__ = ConfigDict(extra="allow")

    file: Required[Text]
    sha256: Required[Text]
    layers: Required[Count]
    first: Required[Text]
    last: Required[Text]
    matched_by: Text
    unused: list[Text]
    origin: dict[str, Text] | None


class RunRecord(TypedDict, total=False):
    """The content of run.json: of a training, of an earlier method, or of a network's scores on another dataset.

    Only `status` is in every record. A field that is not named here may have any value.
    """

    __pydantic_config__ = ConfigDict(extra="allow")

    format: Count
    sha256: Text
    status: Required[Literal["complete", "failed"]]
    study: Text
    run: Text
    config: dict[str, bool | int | Number | Text | list[Text | Number] | None]
    files: dict[str, FileFacts]
    written: Text
    network: Text | None
    code_version: Text
    commit: Text | None
    notebook: NotebookRecord | None
    own_parts: dict[str, list[OwnPartRecord]]
    dataset: DatasetRecord
    split_hash: Text
    split: PartSizes
    packages: dict[str, Text]
    python: Text
    platform: Text
    device: Text | None
    arithmetic: Text | None
    encoder_start: EncoderStartRecord | None
    seed: Count
    seeds: list[Count]
    method: MethodRecord
    best_epoch: Count
    epochs: Count
    stopped_early: bool
    parameters: Count | None
    multiply_adds: Count | None
    fit_seconds: Number | None
    wall_seconds: Number | None
    total_seconds: Number | None
    seconds_per_epoch: Number | None
    seconds_per_image: Number | None
    seconds: Number | None
    peak_memory_mb: Number | None
    trained_on: ScaleRecord | None
    scores: dict[str, RegionScores] | dict[str, dict[str, RegionScores]]
    validation: dict[str, RegionScores]
    error: Text
    advice: Text


def read_run_record(path: Path) -> RunRecord | None:
    """Read a run.json; None where it is absent. Errors as `read_record_file`."""
    return read_record_file(path, RunRecord, repeat_advice(path.parent))


def describe_files(folder: Path) -> dict[str, FileFacts]:
    """Return path -> size and SHA-256 of the files of a run that are complete when run.json is written.

    The executed notebook and its page are written later. Scores on other datasets have their own run.json.
    """
    paths = [path for path in sorted(folder.rglob("[!.]*")) if path.is_file()]
    names = {path.relative_to(folder): path for path in paths}
    skipped = ("transfer", "checkpoint")
    return {
        name.as_posix(): describe_file(path)
        for name, path in names.items()
        if name.parts[0] not in skipped and path.suffix not in (".ipynb", ".html") and path.name != "run.json"
    }


def describe_file(path: Path) -> FileFacts:
    """Return size and SHA-256 of a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256_sum(path)}


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


def repeat_advice(folder: Path) -> str:
    """Return how to make the run of a damaged folder again."""
    study = _study_folder(folder)
    if study is None:
        return "Restore the files from a copy."
    return (
        f"Restore the files from a copy, or make the run again: wbcstudy run params/{study.name}.yaml --repeat-damaged"
    )


def _study_folder(folder: Path) -> Path | None:
    """Return the folder of a run's study; None for a run that was copied elsewhere."""
    parents = folder.absolute().parents
    levels = {"runs": 1, "baselines": 1, "transfer": 3}.get(parents[0].name)
    return parents[levels] if levels is not None and levels < len(parents) else None


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
    study = _study_folder(folder)
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
