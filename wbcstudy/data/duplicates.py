"""Duplicates in a dataset: images with equal pixels, images of the same cell, and copies by their name.

Duplicates stay together in a split and count as one image in intervals and tests.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wbcstudy.config_io import seal_record
from wbcstudy.data.datasets import DATASETS
from wbcstudy.data.findings import read_or_group
from wbcstudy.data.images import read_image
from wbcstudy.data.near_duplicates import find_pairs, make_thumbnail
from wbcstudy.data.records import read_duplicates_record
from wbcstudy.files import cannot_write, write_json
from wbcstudy.labels import IGNORED, REGIONS, region_mask

if TYPE_CHECKING:
    from wbcstudy.data.datasets import Dataset

# Roboflow names the copies of IMG_7.jpg "IMG_7_jpg.rf.<hash>.jpg", Augmentor "<folder>_original_IMG_7.jpg_<UUID>.jpg".
_COPY_NAME = re.compile(
    r"(?P<source>.+)(?:\.rf\.[0-9A-Za-z]{8,}|(?<=\.(?i:jpg|png|bmp|tif))_[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})"
)


class Duplicate(NamedTuple):
    """Two cases that are not independent.

    Args:
        first: id of a case.
        second: id of another case, later in the dataset.
        kind: "pixels" for equal pixels, "near" for another image of the same cell, "name" for copies of one image by
            their name.
        correlation: correlation of the gradients of the aligned images, 0-1; None if it was not computed.
    """

    first: str
    second: str
    kind: str
    correlation: float | None = None

    @property
    def case_ids(self) -> tuple[str, str]:
        """Both ids."""
        return self.first, self.second


def image_digest(image: np.ndarray) -> str:
    """Return the SHA-256 of the pixels: equal images have equal digests, in any file format."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()


class DuplicateFinder:
    """Search for duplicates among images that are read one by one; 9 kB per image are kept.

    Args:
        near: whether to search for near duplicates and copies by name too.
    """

    def __init__(self, near: bool = True) -> None:
        self._near = near
        self._thumbnails: list[np.ndarray] = []
        self._same_pixels: dict[str, list[str]] = {}

    def add(self, case_id: str, image: np.ndarray) -> None:
        """Add an image, uint8 (H, W, 3)."""
        same = self._same_pixels.setdefault(image_digest(image), [])
        same.append(case_id)
        if self._near and len(same) == 1:
            self._thumbnails.append(make_thumbnail(image))

    def find(self) -> tuple[Duplicate, ...]:
        """Return the duplicates, sorted. Of several equal images, only the first is compared with others."""
        duplicates = [
            Duplicate(same[0], other, "pixels", 1.0) for same in self._same_pixels.values() for other in same[1:]
        ]
        if self._near:
            first_ids = [same[0] for same in self._same_pixels.values()]
            pairs = find_pairs(np.array(self._thumbnails))
            duplicates += [Duplicate(first_ids[a], first_ids[b], "near", round(value, 4)) for a, b, value in pairs]
            linked = {frozenset(duplicate.case_ids) for duplicate in duplicates}
            by_name: dict[str, list[str]] = {}
            for case_id in (case_id for same in self._same_pixels.values() for case_id in same):
                if match := _COPY_NAME.fullmatch(case_id):
                    by_name.setdefault(match["source"], []).append(case_id)
            duplicates += [
                Duplicate(ids[0], other, "name")
                for ids in by_name.values()
                for other in ids[1:]
                if {ids[0], other} not in linked
            ]
        return tuple(sorted(duplicates))


def find_duplicates(dataset: Dataset, near: bool = True) -> tuple[Duplicate, ...]:
    """Read all images of a dataset and return its duplicates, with the known ones of a public dataset.

    Args:
        dataset: the dataset.
        near: whether to search for near duplicates and copies by name too.

    Raises:
        StudyError: an image cannot be read.
    """
    finder = DuplicateFinder(near)
    for case in dataset.cases:
        finder.add(case.case_id, read_or_group(lambda case: read_image(case.image_path), case, dataset))
    return add_known(finder.find(), dataset) if near else finder.find()


def compare_masks(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Compare two masks of one image, integer labels (H, W): region -> Dice, for the regions of either mask.

    Pixels that one of them ignores do not count.
    """
    agreement, counted = {}, (first != IGNORED) & (second != IGNORED)
    for region in REGIONS:
        one, other = (region_mask(mask, region) & counted for mask in (first, second))
        if area := int(one.sum()) + int(other.sum()):
            agreement[region] = 2 * int((one & other).sum()) / area
    return agreement


def add_known(duplicates: Sequence[Duplicate], dataset: Dataset) -> tuple[Duplicate, ...]:
    """Add the known duplicates of a public dataset to those that were found."""
    case_ids, linked = {case.case_id for case in dataset.cases}, {duplicate.case_ids for duplicate in duplicates}
    known = [pair for pair in known_duplicates(dataset.name) if case_ids.issuperset(pair.case_ids)]
    return tuple(sorted([*duplicates, *(pair for pair in known if pair.case_ids not in linked)]))


def known_duplicates(name: str) -> tuple[Duplicate, ...]:
    """Return the duplicates of a public dataset that this package lists; () for other datasets."""
    return tuple(Duplicate(*pair, "near") for pair in DATASETS[name].duplicates) if name in DATASETS else ()


def load_or_find_duplicates(path: Path, dataset: Dataset, near: bool = True) -> tuple[Duplicate, ...]:
    """Read the duplicates of a study, or search for them and save them on first use.

    Args:
        path: `duplicates.json` of the study.
        dataset: the dataset; after a change of its files, the search is repeated.
        near: as for `find_duplicates`.

    Raises:
        StudyError: an image cannot be read, or the file is damaged or cannot be written.
    """
    made_from = {"dataset": dataset.fingerprint, "near": near}
    record = read_duplicates_record(path) or {}
    if {name: record.get(name) for name in made_from} != made_from:
        duplicates = find_duplicates(dataset, near)
        try:
            write_json(path, seal_record(made_from | {"duplicates": [pair._asdict() for pair in duplicates]}))
        except OSError as error:
            raise cannot_write(path, error) from None
    return read_duplicates(path)


def read_duplicates(path: Path, name: str = "") -> tuple[Duplicate, ...]:
    """Read the duplicates of a study; those known of the dataset with this name before the first search."""
    record = read_duplicates_record(path)
    return known_duplicates(name) if record is None else tuple(Duplicate(**pair) for pair in record["duplicates"])


def merge_groups(groups: Mapping[str, Hashable], linked: Iterable[Sequence[str]]) -> dict[str, Hashable]:
    """Join groups of cases that are linked, directly or through others.

    Args:
        groups: case id -> group (patient or slide), of the cases with a group.
        linked: ids of cases that belong together, such as `Duplicate.case_ids`.

    Returns:
        Case id -> group, of the cases with a group or a link. A joined group has the name of its first.
    """
    from scipy.cluster.hierarchy import DisjointSet

    linked = [tuple(case_ids) for case_ids in linked]
    joined = DisjointSet([*groups, *(case_id for case_ids in linked for case_id in case_ids)])
    members: dict[Hashable, str] = {}
    for case_id, group in groups.items():
        joined.merge(members.setdefault(group, case_id), case_id)
    for first, *others in linked:
        for other in others:
            joined.merge(first, other)
    names: dict[str, Hashable] = {}
    for case_id in joined:
        root = joined[case_id]
        names.setdefault(root, groups.get(case_id, f"duplicates of {case_id}"))
    return {case_id: names[joined[case_id]] for case_id in joined}
