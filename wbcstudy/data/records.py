"""The records of a study's data: split.json, duplicates.json and dataset.json. Reads no images and needs no NumPy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Required

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from wbcstudy.config_io import Count, Share, Text, read_record_file
from wbcstudy.errors import DamagedFileError

PARTS = ("train", "validation", "test")
_CaseIds = Annotated[list[Text], Field(min_length=1)]


@dataclass(frozen=True)
class Split:
    """The case ids of one fold; each part is sorted, and no case is in two parts.

    Args:
        train: training set.
        validation: validation set, for early stopping and for choosing a network.
        test: test set, which is scored.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """Training, validation and test set, in this order."""
        return self.train, self.validation, self.test

    def __repr__(self) -> str:
        return f"Split: {len(self.train)} train, {len(self.validation)} validation, {len(self.test)} test"


class _Fold(TypedDict):
    train: _CaseIds
    validation: _CaseIds
    test: _CaseIds


class SplitRecord(TypedDict, total=False):
    """The content of split.json."""

    __pydantic_config__ = ConfigDict(extra="allow")

    format: Count
    dataset: Required[Text]
    settings: Required[dict[str, Any]]
    unused: list[Text]
    folds: Required[Annotated[list[_Fold], Field(min_length=1, max_length=1000)]]


class _Duplicate(TypedDict):
    first: Text
    second: Text
    kind: Text
    correlation: float | None


class DuplicatesRecord(TypedDict, total=False):
    """The content of duplicates.json."""

    __pydantic_config__ = ConfigDict(extra="allow")

    format: Count
    dataset: Required[Text]
    near: Required[bool]
    duplicates: Required[list[_Duplicate]]


class DatasetRecord(TypedDict, total=False):
    """The facts about a dataset in run.json."""

    __pydantic_config__ = ConfigDict(extra="allow")

    format: Count
    name: Text
    title: Text
    fingerprint: Text
    cases: Count
    citation: Text
    licence: Text
    acknowledgement: Text
    label_shares: dict[str, Share]
    ignored: list[Text]


class _StudyDataset(DatasetRecord):
    """The content of dataset.json."""

    name: Required[Text]


class GroupsRecord(TypedDict):
    """The content of groups.json."""

    groups: dict[str, Text]


def split_hash(splits: Iterable[Split]) -> str:
    """Return a short SHA-256 (16 hex digits) of the folds."""
    text = json.dumps([[split.train, split.validation, split.test] for split in splits])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_split(path: Path) -> tuple[tuple[Split, ...], dict[str, Any]] | None:
    """Read split.json.

    Returns:
        The folds and the record; None where the file is absent.

    Raises:
        DamagedFileError: the file is damaged, or a case is in two parts of a fold.
        StudyError: the file cannot be read, or was made by a newer version.
    """
    fix = "Restore the file, or remove the study's folder and run the study again."
    record = read_record_file(path, SplitRecord, fix)
    if record is None:
        return None
    splits = tuple(Split(*(tuple(fold[part]) for part in PARTS)) for fold in record["folds"])
    for number, split in enumerate(splits):
        cases = [case_id for part in split.parts for case_id in part]
        if len(set(cases)) < len(cases):
            raise DamagedFileError(
                f"{path} is damaged: a case of fold {number} is in two parts.",
                expected="each case once in every fold",
                fix=fix,
            )
    return splits, record


def read_duplicates_record(path: Path) -> dict[str, Any] | None:
    """Read duplicates.json; None where it is absent. Errors as `read_split`."""
    return read_record_file(path, DuplicatesRecord, "Delete the file. The next `wbcstudy run` searches again.")


def read_dataset_record(path: Path) -> dict[str, Any] | None:
    """Read dataset.json; None where it is absent. Errors as `read_split`."""
    fix = "Delete the file. The next `wbcstudy run` or `wbcstudy report` writes it again."
    return read_record_file(path, _StudyDataset, fix)


def read_groups(path: Path) -> dict[str, str]:
    """Read case id -> group from groups.json; empty where it is absent. Errors as `read_split`."""
    fix = "Restore the images, and run the study again: it writes the file."
    return (read_record_file(path, GroupsRecord, fix) or {"groups": {}})["groups"]
