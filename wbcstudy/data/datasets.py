"""Datasets with a name, and loading of any dataset.

`load_dataset("synthetic")` takes a name of `DATASETS`; `load_dataset("path/to/folder")` takes any folder with a
`dataset.yaml`. Both return a `Dataset`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np

from wbcstudy import files
from wbcstudy.data.case_files import CaseFiles, find_case_files, read_facts
from wbcstudy.data.images import read_image, read_orientation
from wbcstudy.data.masks import read_case_mask
from wbcstudy.data.spec import SPEC_FILE, Case, DatasetSpec, read_spec
from wbcstudy.errors import StudyError
from wbcstudy.registry import pick
from wbcstudy.wording import join_words

__all__ = ["DATASETS", "Case", "Dataset", "DatasetRow", "find_spec", "load_dataset", "read_case"]

FETCH_COMMAND = "wbcstudy data fetch segmentation_wbc"
# Part of the folder's name. Raise it when the generator changes, so that images of the old one are not used.
_SYNTHETIC_VERSION = 1


@dataclass(frozen=True)
class DatasetRow:
    """A dataset with a name.

    Args:
        name: name in `params/*.yaml`.
        title: name in reports.
        description: content, in one line.
        folder: its folder below the data folder.
        citation: reference to cite.
        generator: arguments of `write_synthetic_dataset`; None for a dataset to download.
        duplicates: pairs of case ids that show the same cell.
        expert_dice: region -> mean Dice of the expert's two masks of a pair of `duplicates`, after alignment; measured
            with benchmarks/expert_agreement.py.
    """

    name: str
    title: str
    description: str
    folder: str
    citation: str = ""
    generator: Mapping[str, object] | None = None
    duplicates: tuple[tuple[str, str], ...] = ()
    expert_dice: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Dataset:
    """The cases of a dataset.

    Args:
        name: short name.
        title: name in reports.
        folder: folder of its `dataset.yaml`.
        spec: content of that file.
        cases: sorted by case id; at least one.
    """

    name: str
    title: str
    folder: Path
    spec: DatasetSpec = field(repr=False)
    cases: tuple[Case, ...] = field(repr=False)

    def case(self, case_id: str) -> Case:
        """Return the case with an id.

        Raises:
            StudyError: there is no such case; the message suggests the nearest.
        """
        return pick(self._by_id, case_id, "case")

    @property
    def groups(self) -> dict[str, str]:
        """Case id -> group (patient or slide), of the cases with a group."""
        return {case.case_id: case.group for case in self.cases if case.group}

    @cached_property
    def _by_id(self) -> dict[str, Case]:
        return {case.case_id: case for case in self.cases}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (64 hex digits) of everything that influences a training: ids, facts, labels, and the files' bytes.

        It does not depend on the path of the folder, on file names apart from case ids, or on the order on disk.
        """
        # Without ignored values as before there were any, so that earlier studies can be continued.
        values = [self.spec.labels, self.spec.tolerance, *([self.spec.ignore] if self.spec.ignore else [])]
        total = hashlib.sha256(json.dumps(values).encode())
        for case in self.cases:
            paths = (case.image_path, case.mask_path, *([case.cell_mask_path] if case.cell_mask_path else []))
            digests = [_digest(path) for path in paths]
            total.update(json.dumps([case.case_id, case.cell_type, case.group, *digests]).encode())
        return total.hexdigest()

    def __repr__(self) -> str:
        labels = "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in self.spec.labels.items())
        lines = [f"{len(self.cases)} cases in {self.folder}"]
        if any(case.cell_type for case in self.cases):
            types = Counter(case.cell_type or "unknown" for case in self.cases)
            lines.append("cell types: " + ", ".join(f"{name} {n}" for name, n in sorted(types.items())))
        if self.groups:
            lines.append(f"groups: {len(set(self.groups.values()))}")
        lines.append(f"mask values: {labels}" + (f" (within {self.spec.tolerance:g})" if self.spec.tolerance else ""))
        if self.spec.ignore:
            lines[-1] += f"; ignored {', '.join(map(str, self.spec.ignore))}"
        branches = [f"├── {line}" for line in lines[:-1]] + [f"└── {lines[-1]}"]
        return "\n".join([f"{self.name}: {self.title}", *branches])


def _digest(path: Path) -> str:
    try:
        return files.sha256_sum(path)
    except OSError as error:
        raise StudyError(
            f"{path} cannot be read: {error.strerror or error}.",
            expected="an image or mask file",
            fix="Ask its owner for permission, or copy it to your own folder."
            if isinstance(error, PermissionError)
            else "Copy the file again from its source, or remove both files of this case.",
        ) from None


_ZHENG = (
    "Xin Zheng, Yong Wang, Guoyou Wang and Jianguo Liu: Fast and robust segmentation of white blood cell images by "
    "self-supervised learning. Micron 107, 55-71 (2018). https://doi.org/10.1016/j.micron.2018.01.010"
)

DATASETS: Mapping[str, DatasetRow] = MappingProxyType(
    {
        row.name: row
        for row in (
            DatasetRow(
                "synthetic",
                "Synthetic white cells",
                "80 drawn images of 192x192 px with one or two white cells each, from 40 slides",
                f"synthetic-v{_SYNTHETIC_VERSION}",
                generator=MappingProxyType({"cases": 80, "seed": 0, "size_px": 192, "slides": 40, "name": "synthetic"}),
            ),
            DatasetRow(
                "synthetic_fields",
                "Synthetic smear fields",
                "12 drawn fields of 1024x768 px with several white cells, some of them touching",
                f"synthetic_fields-v{_SYNTHETIC_VERSION}",
                generator=MappingProxyType(
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
                "300 photographs of about 120x120 px, one white cell each, rapid stain, yellow (Jiangxi Tecom)",
                "segmentation_wbc/Dataset 1",
                _ZHENG,
                # Photographed or cut out twice; 112 and 139 have equal pixels and different masks.
                duplicates=(
                    ("019", "075"),
                    ("021", "082"),
                    ("026", "089"),
                    ("030", "086"),
                    ("051", "073"),
                    ("054", "091"),
                    ("056", "092"),
                    ("060", "090"),
                    ("070", "072"),
                    ("071", "084"),
                    ("112", "139"),
                    ("157", "158"),
                    ("166", "171"),
                    ("167", "169"),
                ),
                expert_dice=MappingProxyType({"nucleus": 0.981, "cytoplasm": 0.942, "cell": 0.983}),
            ),
            DatasetRow(
                "segmentation_wbc_2",
                "segmentation_WBC, Dataset 2",
                "100 photographs of 300x300 px, purple, with red cells (CellaVision blog)",
                "segmentation_wbc/Dataset 2",
                _ZHENG,
            ),
        )
    }
)


def load_dataset(name_or_path: str | Path, data_folder: Path | None = None) -> Dataset:
    """Load the list of cases of a dataset, without reading images. A synthetic dataset is generated on first use.

    Args:
        name_or_path: a name in `DATASETS`, or the path of a `dataset.yaml` or its folder. Relative paths start at the
            current folder, then at the checkout.
        data_folder: folder of named datasets; `files.data_folder()` by default.

    Raises:
        StudyError: the name is unknown (the message suggests the nearest), the dataset has not been downloaded, there
            is no dataset.yaml, or the files do not match it. Only the first error is raised; `wbcstudy data check`
            lists all.
    """
    spec_path = find_spec(name_or_path, data_folder)
    spec, folder = read_spec(spec_path), spec_path.parent
    case_files = find_case_files(folder, spec)
    problems, facts = list(case_files.problems), {}
    if spec.cases and not problems:
        facts, problems = read_facts(folder / spec.cases, case_files.images, folder)
    if problems:
        raise problems[0]
    dataset = make_dataset(spec, folder, case_files, facts)
    if isinstance(name_or_path, str) and name_or_path in DATASETS:
        return replace(dataset, title=DATASETS[name_or_path].title)
    return dataset


def find_spec(name_or_path: str | Path, data_folder: Path | None = None) -> Path:
    """Return the `dataset.yaml` of a dataset; arguments and errors as for `load_dataset`."""
    if isinstance(name_or_path, str) and name_or_path in DATASETS:
        row = DATASETS[name_or_path]
        folder = (Path(data_folder) if data_folder else files.data_folder()) / row.folder
        if row.generator and not (folder / SPEC_FILE).is_file():
            _generate(row, folder)
        if not (folder / SPEC_FILE).is_file():
            raise StudyError(
                f"The dataset {row.name!r} has not been downloaded: there is no {folder / SPEC_FILE}.",
                expected="its files in the data folder",
                fix=f"Run `{FETCH_COMMAND}` (with `--archive FILE` if you have the zip file already).",
            )
        return folder / SPEC_FILE
    candidates = files.candidate_paths(files.expand_home(name_or_path))
    for candidate in candidates:
        for path in (candidate, candidate / SPEC_FILE):
            if files.path_exists(path) and path.is_file():
                return path
    if any(files.path_exists(candidate) for candidate in candidates):
        raise StudyError(
            f"There is no {SPEC_FILE} in the folder {name_or_path}.",
            expected=f"a folder with {SPEC_FILE}, which describes its files",
            fix="Write one; docs/guides/own_data.md has an example.",
        )
    text = str(name_or_path)
    if isinstance(name_or_path, str) and not set("/\\") & set(text) and not text.endswith((".yaml", ".yml")):
        pick(DATASETS, text, "dataset")
    raise StudyError(
        f"There is no dataset at {text}.",
        expected=f"a name ({', '.join(DATASETS)}), or the path of a {SPEC_FILE} or its folder",
        fix=f"Check the path. Searched: {join_words(dict.fromkeys(map(str, candidates)))}.",
    )


def make_dataset(spec: DatasetSpec, folder: Path, case_files: CaseFiles, facts: Mapping) -> Dataset:
    """Make a `Dataset` of the cases with image and mask; `facts` are those of `read_facts`.

    Cell type and group are those of cases.csv or, where it has none, of folder and file names.
    """

    def case_facts(case_id: str) -> tuple[str | None, ...]:
        by_table, by_name = facts.get(case_id, (None, None)), case_files.facts[case_id]
        return tuple(listed or named for listed, named in zip(by_table, by_name, strict=True))

    cases = tuple(
        Case(
            case_id,
            case_files.images[case_id],
            case_files.masks[case_id],
            *case_facts(case_id),
            case_files.instances.get(case_id),
            case_files.cell_masks.get(case_id),
        )
        for case_id in case_files.complete
    )
    return Dataset(spec.name, spec.title or spec.name, folder, spec, cases)


def read_case(dataset: Dataset, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Read one case.

    Returns:
        The image, uint8 (H, W, 3) RGB, and its mask, uint8 (H, W) of labels and `IGNORED`.

    Raises:
        StudyError: a file cannot be read, the mask has an unlisted value, or image and mask differ in size.
    """
    image = read_image(case.image_path)
    mask = read_case_mask(case, dataset.spec)
    check_sizes(case, image, mask)
    return image, mask


def check_sizes(case: Case, image: np.ndarray, mask: np.ndarray) -> None:
    """Raise `StudyError` if image and mask differ in size."""
    if mask.shape == image.shape[:2]:
        return
    (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
    note = ""
    fix = (
        "Export the mask at the size of the image. Do not stretch it unless you are sure that it shows the same field."
    )
    orientation, mask_orientation = read_orientation(case.image_path), read_orientation(case.mask_path)
    if mask.shape == (width, height) and orientation != mask_orientation:
        note = f", rotated by its EXIF orientation {orientation} (the mask has {mask_orientation})"
        fix = "Rotate the mask too, or remove the orientation from the image (exiftool -Orientation= FILE)."
    raise StudyError(
        f"Mask {case.mask_path} is {mask_width}x{mask_height} px, its image "
        f"{case.image_path} is {width}x{height} px{note}.",
        expected="a mask with the width and height of its image",
        fix=fix,
    )


def _generate(row: DatasetRow, folder: Path) -> None:
    from wbcstudy.data.synthetic.dataset import write_synthetic_dataset

    print(f"Generating {row.title.lower()} in {folder} (only once) ...", file=sys.stderr, flush=True)
    try:
        write_synthetic_dataset(folder, **row.generator)
    except StudyError:
        # Another process may have been faster, and wrote the same files.
        if not (folder / SPEC_FILE).is_file():
            raise
