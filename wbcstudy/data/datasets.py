"""The datasets a study can name, and how any of them becomes cases.

`load_dataset("synthetic")` takes a name of the table below; `load_dataset("path/to/folder")` takes any folder with a
`dataset.yaml`. Both give the same kind of `Dataset`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np

from wbcstudy import storage
from wbcstudy.data.files import find_files, read_facts
from wbcstudy.data.folder import SPEC_FILE, Case, DatasetSpec, read_spec
from wbcstudy.data.images import read_image, read_mask, read_orientation
from wbcstudy.errors import StudyError
from wbcstudy.registry import pick

__all__ = [
    "DATASETS",
    "Case",
    "Dataset",
    "DatasetRow",
    "find_duplicates",
    "find_spec",
    "image_digest",
    "load_dataset",
    "load_folder",
    "read_case",
]

# Part of the folder's name: raise it when the generator changes, so that nobody trains on what the old one made.
SYNTHETIC_VERSION = 1


@dataclass(frozen=True)
class DatasetRow:
    """One dataset that has a name.

    Args:
        name: as in `params/*.yaml`.
        title: as in reports.
        description: one line about what is in it.
        how: how to get it, in words.
        place: its folder below the data folder.
        citation: what to cite.
        generator: arguments of `write_synthetic_dataset`; None for a set that must be fetched.
    """

    name: str
    title: str
    description: str
    how: str
    place: str
    citation: str = ""
    generator: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Dataset:
    """Cases and what is known about them all.

    Args:
        name: short name.
        title: name as in reports.
        folder: where its `dataset.yaml` lies.
        spec: what that file says.
        cases: sorted by case id; at least one.
        citation: what to cite, or ''.
        acknowledgement: whom to thank, or ''.
        licence: licence of the data, or ''.
        pixel_size_um: side of a pixel in micrometres, or None.
    """

    name: str
    title: str
    folder: Path
    spec: DatasetSpec = field(repr=False)
    cases: tuple[Case, ...] = field(repr=False)
    citation: str = ""
    acknowledgement: str = ""
    licence: str = ""
    pixel_size_um: float | None = None

    def case(self, case_id: str) -> Case:
        """The case of an id.

        Raises:
            StudyError: no such case; the nearest is named.
        """
        return pick(self._by_id, case_id, "case")

    @property
    def groups(self) -> dict[str, str]:
        """Case id -> slide, patient or laboratory, of the cases that have one."""
        return {case.case_id: case.group for case in self.cases if case.group}

    @cached_property
    def _by_id(self) -> dict[str, Case]:
        return {case.case_id: case for case in self.cases}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (64 hex digits) of everything a training can see: ids, facts, labels, and the files' bytes.

        It does not depend on where the folder lies, on file names beyond the case ids, or on the order on disk.
        """
        total = hashlib.sha256(json.dumps([self.spec.labels, self.spec.tolerance]).encode())
        for case in self.cases:
            files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (case.image_path, case.mask_path)]
            total.update(json.dumps([case.case_id, case.cell_type, case.group, *files]).encode())
        return total.hexdigest()

    def __repr__(self) -> str:
        def count(values):
            return ", ".join(f"{value} {n}" for value, n in sorted(Counter(values).items()))

        labels = "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in self.spec.labels.items())
        lines = [f"{len(self.cases)} cases in {self.folder}"]
        if any(case.cell_type for case in self.cases):
            lines.append("cell types: " + count(case.cell_type or "unknown" for case in self.cases))
        groups = {case.group for case in self.cases if case.group}
        if groups:
            lines.append(f"groups: {len(groups)}")
        lines.append(f"mask values: {labels}" + (f" (within {self.spec.tolerance:g})" if self.spec.tolerance else ""))
        marks = ["├── "] * (len(lines) - 1) + ["└── "]
        return "\n".join(
            [f"{self.name}: {self.title}", *(mark + line for mark, line in zip(marks, lines, strict=True))]
        )


_ZHENG = (
    "Xin Zheng, Yong Wang, Guoyou Wang and Jianguo Liu: Fast and robust segmentation of white blood cell images by "
    "self-supervised learning. Micron 107, 55-71 (2018). https://doi.org/10.1016/j.micron.2018.01.010"
)
_FETCH = "wbcstudy data fetch segmentation_wbc"
_MADE = "made on first use"
_OURS = "Generated by wbcstudy; nothing to cite but the software."

DATASETS: Mapping[str, DatasetRow] = MappingProxyType(
    {
        row.name: row
        for row in (
            DatasetRow(
                "synthetic",
                "Synthetic white cells",
                "80 drawn images of 192x192 px around one or two white cells, from 40 slides",
                _MADE,
                f"synthetic-v{SYNTHETIC_VERSION}",
                _OURS,
                MappingProxyType({"cases": 80, "seed": 0, "size_px": 192, "slides": 40, "name": "synthetic"}),
            ),
            DatasetRow(
                "synthetic_fields",
                "Synthetic smear fields",
                "12 drawn fields of 1024x768 px with several white cells, some of which touch",
                _MADE,
                f"synthetic_fields-v{SYNTHETIC_VERSION}",
                _OURS,
                MappingProxyType(
                    {
                        "cases": 12,
                        "seed": 1,
                        "size_px": (768, 1024),
                        "slides": 4,
                        "white_cells": (4, 9),
                        "touching": 0.4,
                        "name": "synthetic_fields",
                    }
                ),
            ),
            DatasetRow(
                "segmentation_wbc_1",
                "segmentation_WBC, Dataset 1",
                "300 photographs around 120x120 px of one white cell each, rapid stain, yellow (Jiangxi Tecom)",
                _FETCH,
                "segmentation_wbc/Dataset 1",
                _ZHENG,
            ),
            DatasetRow(
                "segmentation_wbc_2",
                "segmentation_WBC, Dataset 2",
                "100 photographs of 300x300 px, purple, with red cells around (CellaVision blog)",
                _FETCH,
                "segmentation_wbc/Dataset 2",
                _ZHENG,
            ),
        )
    }
)


def load_dataset(name_or_path: str | Path, data_folder: Path | None = None) -> Dataset:
    """Find a dataset, making a synthetic one on its first use, and list its cases; no image is read.

    Args:
        name_or_path: a name in `DATASETS`, or the path of a `dataset.yaml` or of the folder that holds one. Relative
            paths count from the current folder, then from the checkout.
        data_folder: where named datasets lie; by default `storage.data_folder()`.

    Raises:
        StudyError: unknown name (the nearest is named), a set that was not fetched yet, no dataset.yaml there, or a
            folder whose files do not fit its dataset.yaml.
    """
    dataset = load_folder(find_spec(name_or_path, data_folder))
    if isinstance(name_or_path, str) and name_or_path in DATASETS:
        return replace(dataset, title=DATASETS[name_or_path].title)
    return dataset


def find_spec(name_or_path: str | Path, data_folder: Path | None = None) -> Path:
    """The `dataset.yaml` of a dataset, made if it is a synthetic one. Arguments and errors as for `load_dataset`."""
    if isinstance(name_or_path, str) and name_or_path in DATASETS:
        row = DATASETS[name_or_path]
        place = (Path(data_folder) if data_folder else storage.data_folder()) / row.place
        if row.generator is not None and not (place / SPEC_FILE).is_file():
            _generate(row, place)
        if not (place / SPEC_FILE).is_file():
            raise StudyError(
                f"The dataset {row.name!r} has not been fetched: there is no {place / SPEC_FILE}.",
                expected="its files in the data folder",
                fix=f"Run `{row.how}` (or with `--archive FILE` for a zip you already have).",
            )
        return place / SPEC_FILE
    places = storage.from_checkout_too(storage.expand_home(name_or_path))
    for place in places:
        for candidate in (place, place / SPEC_FILE):
            if storage.is_there(candidate) and candidate.is_file():
                return candidate
    if any(storage.is_there(place) for place in places):
        raise StudyError(
            f"There is no {SPEC_FILE} in the folder {name_or_path}.",
            expected=f"a folder with {SPEC_FILE}, which says what its files are",
            fix="Write one: the README, 'Your own data', has an example of ten lines.",
        )
    text = str(name_or_path)
    if isinstance(name_or_path, str) and not set("/\\") & set(text) and not text.endswith((".yaml", ".yml")):
        pick(DATASETS, text, "dataset")
    raise StudyError(
        f"There is no dataset at {text}.",
        expected=f"a name ({', '.join(DATASETS)}), or the path of a {SPEC_FILE} or its folder",
        fix=f"Check the path; it was looked for as {' and '.join(dict.fromkeys(map(str, places)))}.",
    )


def load_folder(spec_path: Path) -> Dataset:
    """The dataset of a `dataset.yaml`.

    Raises:
        StudyError: the first thing wrong with the file, the folder or `cases.csv`; `wbcstudy data check` lists all.
    """
    spec_path = Path(spec_path)
    spec, folder = read_spec(spec_path), spec_path.parent
    found = find_files(folder, spec)
    problems, facts = list(found.problems), {}
    if spec.cases and not problems:
        facts, problems = read_facts(folder / spec.cases, found.images)
    if problems:
        raise problems[0]
    return make_dataset(spec, folder, found, facts)


def make_dataset(spec: DatasetSpec, folder: Path, found, facts: Mapping) -> Dataset:
    """A `Dataset` of the complete cases among the files found."""
    cases = tuple(
        Case(
            case_id,
            found.images[case_id],
            found.masks[case_id],
            *facts.get(case_id, (None, None)),
            found.instances.get(case_id),
        )
        for case_id in found.complete
    )
    return Dataset(
        spec.name,
        spec.title or spec.name,
        folder,
        spec,
        cases,
        spec.citation,
        spec.acknowledgement,
        spec.licence,
        spec.pixel_size_um,
    )


def read_case(dataset: Dataset, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Read one case.

    Returns:
        The image, uint8 (H, W, 3) RGB, and its mask, uint8 (H, W) of labels.

    Raises:
        StudyError: unreadable file, unlisted mask value, or a mask of another size than its image.
    """
    image = read_image(case.image_path)
    mask, _ = read_mask(case.mask_path, dataset.spec)
    check_sizes(case, image, mask)
    return image, mask


def check_sizes(case: Case, image: np.ndarray, mask: np.ndarray) -> None:
    """Raise `StudyError` if a mask is not as large as its image."""
    if mask.shape != image.shape[:2]:
        (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
        told = f"its image {case.image_path} {width}x{height} px"
        fix = "Export the mask at the image's size; do not stretch it unless you know it shows the same field."
        if mask.shape == (width, height):
            turned, mask_turned = read_orientation(case.image_path), read_orientation(case.mask_path)
            if turned != mask_turned:
                told += f", turned as its EXIF orientation {turned} says (the mask's is {mask_turned})"
                fix = "Turn the mask, too, or take the orientation from the image (exiftool -Orientation= FILE)."
        raise StudyError(
            f"Mask {case.mask_path} is {mask_width}x{mask_height} px, {told}.",
            expected="a mask of its image's width and height",
            fix=fix,
        )


def image_digest(image: np.ndarray) -> str:
    """SHA-256 of the pixels: equal for equal pictures, whatever the file format."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def find_duplicates(dataset: Dataset) -> tuple[tuple[str, ...], ...]:
    """Case ids whose images show exactly the same pixels, in groups of two or more; () if all differ."""
    same: dict[str, list[str]] = {}
    for case in dataset.cases:
        same.setdefault(image_digest(read_image(case.image_path)), []).append(case.case_id)
    return tuple(tuple(ids) for ids in same.values() if len(ids) > 1)


def _generate(row: DatasetRow, place: Path) -> None:
    """Write a synthetic dataset in one step; of several processes at it, the first to finish wins."""
    from wbcstudy.data.synthetic import write_synthetic_dataset

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
    except OSError as error:
        raise StudyError(
            f"Cannot write the dataset {row.name!r} to {place}: {error.strerror}.",
            expected="a folder you may write to",
            fix="Set WBCSTUDY_DATA to a folder of yours.",
        ) from None
    print(f"Drawing {row.title.lower()} into {place}; only this once ...", file=sys.stderr, flush=True)
    try:
        made = workshop / place.name
        write_synthetic_dataset(made, **row.generator)
        try:
            made.replace(place)
        except OSError:
            # A folder that is not empty cannot be replaced: another process was first, and made the same.
            if not (place / SPEC_FILE).is_file():
                raise
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
