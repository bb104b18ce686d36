"""Pipes, devices, folders and huge files in the place of every file that a user can pass: a message, at once."""

import os
from pathlib import Path

import pytest

from wbcstudy.config import RunConfig
from wbcstudy.config_io import read_run, read_study
from wbcstudy.data.case_files import read_facts, unused_columns
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.fetch import fetch_segmentation_wbc
from wbcstudy.data.records import read_split
from wbcstudy.data.spec import read_spec
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.errors import StudyError
from wbcstudy.files import read_json
from wbcstudy.nets.convert_weights import convert_weights
from wbcstudy.nets.model_file import load_model
from wbcstudy.nets.weights import find_weights, load_weights
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.records import read_network_starts, read_run_record
from wbcstudy.runs.results import Run, read_predictions, read_score_file
from wbcstudy.study.progress import _read_rows

KINDS = ("pipe", "device", "folder", "huge")


def make(kind: str, path: Path) -> Path:
    """Make a file that is no file, or has 100 GB of which none are on the disk."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(10**11)
    return path


def facts(path: Path) -> None:
    """Read cases.csv; its problems are returned."""
    assert unused_columns(path) == []
    read, problems = read_facts(path, ["a"], path.parent)
    assert read == {}
    raise problems[0]


def history(path: Path) -> None:
    """Read history.csv of a run without digests."""
    assert _read_rows(path) == []
    _ = Run(RunFolder(path.parent), {}, None).history


READERS = {
    "study.yaml": read_study,
    "params.yaml": lambda path: read_run(path, RunConfig),
    "dataset.yaml": read_spec,
    "cases.csv": facts,
    "run.json": read_run_record,
    "split.json": read_split,
    "network_starts.json": read_network_starts,
    "scores.csv": read_score_file,
    "history.csv": history,
    "predictions.npz": lambda path: read_predictions(RunFolder(path.parent)),
    "weights.h5": lambda path: load_weights(None, path),
    "hed.h5": lambda path: convert_weights("vgg16", path, path.with_name("out.h5")),
    "archive.zip": lambda path: fetch_segmentation_wbc(path, path.parent / "data", progress=False),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_none_is_refused_by_its_name(tmp_path, name, kind):
    make(kind, tmp_path / name)
    with pytest.raises(StudyError) as caught:
        READERS[name](tmp_path / name)
    assert name in caught.value.message and "Errno" not in caught.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_optional_are_passed_over(tmp_path, kind):
    assert read_json(make(kind, tmp_path / "record.json")) is None
    if kind != "huge":
        for read in (load_model, lambda path: find_weights(RunConfig(encoder_weights=str(path)))):
            with pytest.raises(StudyError, match=r"There is no model|there is no file"):
                read(tmp_path / "record.json")


@pytest.mark.parametrize("kind", ["pipe", "device", "huge"])
@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_dataset_names_the_image_or_mask(tmp_path, command, places, kind, part):
    folder = write_synthetic_dataset(tmp_path / "cells", cases=3, seed=1, size_px=32, slides=3)
    path = next((folder / part).iterdir())
    path.unlink()
    make(kind, path)
    with pytest.raises(StudyError, match=path.name):
        _ = load_dataset(folder).fingerprint
    code, output, _ = command("data", "check", folder)
    # A pattern matches files only: an image that is a pipe is a missing image.
    assert code == 1 and (f"{path.name} cannot be read: it has" in output if kind == "huge" else path.stem in output)
