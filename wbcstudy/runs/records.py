"""The record of a run, run.json: its fields, and the size and SHA-256 of each file of the run.

Whether the files are still those that the record describes is checked in `runs.damage`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Required

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from wbcstudy.config_io import Count, Number, Share, Text, read_record_file
from wbcstudy.data.records import DatasetRecord
from wbcstudy.files import sha256_sum

_SidePx = Annotated[float, Field(ge=4, le=1_000_000, allow_inf_nan=False)]
_Span = Annotated[list[_SidePx], Field(min_length=3, max_length=3)]
_Size = Annotated[float, Field(ge=1e-4, le=1e6, allow_inf_nan=False)]
_LabRow = Annotated[
    list[Annotated[float, Field(ge=-200, le=200, allow_inf_nan=False)]], Field(min_length=3, max_length=3)
]
_LabValues = Annotated[list[_LabRow], Field(min_length=2, max_length=2)]


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


class ColourRecord(TypedDict):
    """Colours of the training images, see `data.colours.summarise_colours`."""

    mean: _LabValues
    spread: _LabValues


class ScaleRecord(TypedDict, total=False):
    """Sizes of the training images: smallest, median and largest; and their colours."""

    height_px: Required[_Span]
    width_px: Required[_Span]
    cell_px: _Size | None
    pixel_size_um: _Size | None
    colours: ColourRecord


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


class TrainedRecord(TypedDict, total=False):
    """On which images a network was trained."""

    __pydantic_config__ = ConfigDict(extra="allow")

    network: Required[Text]
    folder: Required[Text]
    fold: Count
    dataset: DatasetRecord
    split_hash: Text | None
    split: PartSizes | None
    drawn: bool


class NetworkStartRecord(TypedDict, total=False):
    """The network that a training started from, see `study.network_start`.

    `trained_on` has that network first, then those that it started from itself.
    """

    __pydantic_config__ = ConfigDict(extra="allow")

    source: Required[Text]
    network: Required[Text]
    folder: Required[Text]
    sha256: Required[Text]
    model_sha256: Required[Text]
    chosen: Text
    encoder: Required[Text]
    image_size: Count
    stain_normalisation: Text
    pixel_size_um: _Size | None
    cell_px: _Size | None
    code_version: Text
    trained_on: Required[Annotated[list[TrainedRecord], Field(min_length=1)]]
    validation_seen: list[Text]
    unknown: list[Text]
    layers: Count


class NetworkStarts(TypedDict, total=False):
    """The content of network_starts.json: source -> network."""

    __pydantic_config__ = ConfigDict(extra="allow")

    format: Count
    sources: Required[dict[str, NetworkStartRecord]]


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
    kernels: Text | None
    encoder_start: EncoderStartRecord | None
    network_start: NetworkStartRecord | None
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


def read_network_starts(path: Path) -> dict[str, NetworkStartRecord]:
    """Read network_starts.json; empty where it is absent. Errors as `read_record_file`."""
    fix = "Restore the file, or remove the study's folder and run the study again."
    return (read_record_file(path, NetworkStarts, fix) or {"sources": {}})["sources"]


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


def repeat_advice(folder: Path) -> str:
    """Return how to make the run of a damaged folder again."""
    study = study_folder_of(folder)
    if study is None:
        return "Restore the files from a copy."
    return (
        f"Restore the files from a copy, or make the run again: wbcstudy run params/{study.name}.yaml --repeat-damaged"
    )


def study_folder_of(folder: Path) -> Path | None:
    """Return the folder of a run's study; None for a run that was copied elsewhere."""
    parents = folder.absolute().parents
    levels = {"runs": 1, "baselines": 1, "transfer": 3}.get(parents[0].name)
    return parents[levels] if levels is not None and levels < len(parents) else None
