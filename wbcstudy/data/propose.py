"""Propose a `dataset.yaml` and a study for a folder, from its files and pixel values."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from wbcstudy.config_io import make_config, yaml_line
from wbcstudy.data.case_files import find_case_files
from wbcstudy.data.image_files import read_pixels
from wbcstudy.data.images import read_shape
from wbcstudy.data.mask_values import INSTANCES, NONE
from wbcstudy.data.masks import read_mask
from wbcstudy.data.propose_files import IMAGE_SUFFIXES, Paired, list_folder, pair_files
from wbcstudy.data.propose_labels import ProposedLabels, propose_labels
from wbcstudy.data.spec import SPEC_FILE, DatasetSpec
from wbcstudy.errors import StudyError, printable
from wbcstudy.files import atomic_write, cannot_write, project_root, short_path
from wbcstudy.labels import LABELS
from wbcstudy.wording import count, join_words

# Masks whose values are read.
_MOST_MASKS = 200
_MOST_COMPARED = 30
_SMALL_PX = 160
# Share of the nuclei that is inside of the cells, where each image has a mask of both.
_INSIDE = 0.9


@dataclass(frozen=True)
class Proposal:
    """A description of a folder.

    Args:
        spec_text: text of dataset.yaml; '' if the folder has outlines instead of masks.
        study_text: text of the study's file.
        summary: what was found, one line each.
        questions: what the files could not answer.
    """

    spec_text: str
    study_text: str
    summary: tuple[str, ...]
    questions: tuple[str, ...]


def init_folder(folder: Path, out: Path | None = None) -> list[str]:
    """Write dataset.yaml into a folder of images and masks, and a study that uses it.

    Args:
        folder: the folder.
        out: file of the study; params/<name of the folder>.yaml by default.

    Returns:
        Lines for the terminal: what was found, what to decide, what to do next.

    Raises:
        StudyError: one of the files exists, there are no images with masks or outlines, or a file cannot be written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StudyError(
            f"There is no folder {folder}.", expected="a folder with images and masks", fix="Check the path."
        )
    name = _name(folder)
    out = Path(out) if out is not None else project_root() / "params" / f"{name}.yaml"
    if out.suffix not in (".yaml", ".yml"):
        raise StudyError(f"--out {out} is not a YAML file.", expected="params/<study>.yaml", fix="End it with .yaml.")
    for path in (folder / SPEC_FILE, out):
        if path.exists() or path.is_symlink():
            raise StudyError(
                f"{path} exists, and nothing is overwritten.",
                expected="a folder without dataset.yaml, and a new name for the study",
                fix=f"To check it, run `wbcstudy data check {folder}`. For a new proposal, rename or delete it."
                if path.name == SPEC_FILE
                else "Choose another name with --out params/<study>.yaml.",
            )
    proposal = propose(folder, name)
    lines = list(proposal.summary)
    if proposal.spec_text:
        for path, text in ((folder / SPEC_FILE, proposal.spec_text), (out, proposal.study_text)):
            try:
                with atomic_write(path) as part:
                    part.write_text(text, encoding="utf-8")
            except OSError as error:
                raise cannot_write(path, error, instead="copy the data to a folder of your own") from None
            lines.append(f"Written: {short_path(path)}")
        if proposal.questions:
            lines += ["", "Please decide (the lines in dataset.yaml are marked with CHECK):"]
            lines += [f"  {number}. {question}" for number, question in enumerate(proposal.questions, 1)]
        lines += ["", "Next, look at some masks in the page of the check, then start the study:"]
        lines += [f"  wbcstudy data check {_quoted(folder)} --html check.html", f"  wbcstudy run {short_path(out)}"]
    return lines


def propose(folder: Path, name: str) -> Proposal:
    """Look at a folder's files and pixel values, and propose its description.

    Raises:
        StudyError: there are no images with masks or outlines.
    """
    paths = list_folder(folder)
    paired = pair_files(folder, paths)
    if paired is None:
        return _propose_import(folder, paths)
    masks = [folder / mask for _, mask in paired.pairs]
    labels = propose_labels(masks[:: max(1, len(masks) // _MOST_MASKS)], folder)
    second = _second_masks(folder, paths, paired)
    questions = [*paired.notes, *labels.questions]
    values: dict = {"name": name, "images": paired.images, "masks": paired.masks}
    values["labels"] = {label: list(listed) for label, listed in labels.labels.items()}
    if second is not None:
        values["masks"], values["cell_masks"] = second.nuclei, second.cells
        values["labels"] = {"background": [0], "cytoplasm": [NONE], "nucleus": [INSTANCES]}
        questions, labels = [], ProposedLabels({}, reason="in both files, 0 is background and any other number inside")
    if labels.ignore:
        values["ignore"] = list(labels.ignore)
    if labels.tolerance:
        values["tolerance"] = labels.tolerance
    if "cases.csv" in map(str, paths):
        values["cases"] = "cases.csv"
    spec = make_config(DatasetSpec, values, source="the proposed dataset.yaml")
    questions += _try(folder, spec)
    tables = [path for path in paths if path.suffix.lower() == ".csv" and path.name != "_classes.csv"]
    if not spec.cases and "{group}" not in spec.images:
        questions.append(
            "Which images are of one patient or slide. Without this, the images of a patient can be in both training "
            "and test set. Name them in cases.csv (case_id,cell_type,group), or write {group} in the patterns."
            + (f" Tables in the folder: {join_words(tables, most=3)}." if tables else "")
        )
    summary = [
        f"{count(len(paired.pairs), 'image')} with a mask in {folder}",
        f"  images: {paired.images}",
        f"  masks:  {values['masks']}",
        *([f"  cells:  {second.cells}"] if second else []),
        *([f"  labels: {labels.reason}"] if labels.reason else []),
    ]
    used = {path for pair in paired.pairs for path in pair} | (second.paths if second else set())
    unused = Counter(path.suffix.lower() or "no suffix" for path in paths if path not in used)
    if unused:
        summary.append("  not used: " + ", ".join(f"{number} {suffix}" for suffix, number in unused.most_common(5)))
    return Proposal(_spec_text(values, labels, questions), _study_text(folder, masks), tuple(summary), tuple(questions))


@dataclass(frozen=True)
class _TwoMasks:
    """Patterns of the masks of nuclei and of whole cells."""

    nuclei: str
    cells: str
    paths: frozenset[PurePosixPath]


def _second_masks(folder: Path, paths: Sequence[PurePosixPath], paired: Paired) -> _TwoMasks | None:
    """Find a second mask of each image, of which one has the nuclei and one the whole cells; None if there is none."""
    used = {mask for _, mask in paired.pairs}
    other = pair_files(folder, [path for path in paths if path not in used])
    if other is None or other.images != paired.images or len(other.pairs) != len(paired.pairs):
        return None
    masks, others = dict(paired.pairs), dict(other.pairs)
    inside, areas = [0, 0], [0, 0]
    for image in list(masks)[:_MOST_COMPARED]:
        try:
            numbers = [read_pixels(folder / path).numbers() for path in (masks[image], others[image])]
        except (StudyError, ValueError):
            return None
        if numbers[0].shape != numbers[1].shape:
            return None
        if not all(map(_is_region, numbers)):
            return None
        regions = [array > 0 for array in numbers]
        for index, region in enumerate(regions):
            inside[index] += int((regions[0] & regions[1]).sum())
            areas[index] += int(region.sum())
    shares = [common / max(1, area) for common, area in zip(inside, areas, strict=True)]
    patterns = [paired.masks, other.masks]
    nuclei = int(areas[1] < areas[0])
    if shares[nuclei] < _INSIDE or areas[nuclei] > _INSIDE * areas[1 - nuclei] or not areas[nuclei]:
        return None
    return _TwoMasks(patterns[nuclei], patterns[1 - nuclei], frozenset(others.values()))


def _is_region(numbers: np.ndarray) -> bool:
    """Whether a mask has two values, or 0 and the numbers of cells, instead of labels."""
    values = np.unique(numbers)
    return len(values) <= 2 or int(values[-1]) == len(values) - 1


def _try(folder: Path, spec: DatasetSpec) -> list[str]:
    """Return what goes wrong if the proposed description is used."""
    files = find_case_files(folder, spec)
    problems = [problem.message for problem in files.problems[:3]]
    for path in list(files.masks.values())[:: max(1, len(files.masks) // _MOST_MASKS)]:
        try:
            read_mask(path, spec)
        except StudyError as error:
            problems.append(error.message)
            break
    return problems


def _propose_import(folder: Path, paths: Sequence[PurePosixPath]) -> Proposal:
    """Return the commands that draw masks from outlines."""
    from wbcstudy.data.import_outlines import find_format

    form = find_format(folder, paths)
    images = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in paths)
    if form is None or not images:
        raise StudyError(
            f"{folder} has no images with masks: {count(images, 'image')} among {count(len(paths), 'file')}.",
            expected="images (BMP, PNG, JPEG or TIFF) and a mask for each, with related names; or outlines from "
            "LabelMe, COCO, QuPath or ImageJ",
            fix="Give the folder that holds both. docs/guides/own_data.md shows how to write dataset.yaml by hand.",
        )
    masks = folder.parent / f"{folder.name}_masks"
    return Proposal(
        "",
        "",
        (
            f"{folder} has outlines instead of masks ({form}). Draw masks from them first; nothing was written:",
            f"  wbcstudy data import {form} {_quoted(folder)} {_quoted(masks)}",
            "The command also writes dataset.yaml and copies the images.",
        ),
        (),
    )


def _spec_text(values: dict, labels: ProposedLabels, questions: Sequence[str]) -> str:
    lines = [
        "# Proposed by `wbcstudy init` from file names and pixel values. docs/guides/own_data.md explains the fields."
    ]
    lines += map(_comment, questions)
    lines += [yaml_line("name", values["name"])]
    lines += [f"{yaml_line(field, values[field])}" for field in ("images", "masks", "cell_masks") if field in values]
    lines.append("labels:" + (f"  # {printable(' '.join(labels.reason.split()))}" if labels.reason else ""))
    for label in LABELS:
        listed = values["labels"][label]
        lines.append(f"  {yaml_line(label, listed if len(listed) > 1 else listed[0])}")
    if "ignore" in values:
        lines.append(f"{yaml_line('ignore', values['ignore'])}  # these pixels neither train nor score")
    if "tolerance" in values:
        lines.append(f"{yaml_line('tolerance', values['tolerance'])}  # half the distance of the nearest two values")
    if "cases" in values:
        lines.append(yaml_line("cases", values["cases"]))
    lines += [
        "# pixel_size_um: 0.1            # side of a pixel in micrometres: then sizes are in micrometres, too",
        *([] if "cases" in values else ["# cases: cases.csv              # a table case_id,cell_type,group"]),
        "# citation: Author et al., 2024 # the report prints it",
    ]
    text = "\n".join(line for line in lines) + "\n"
    if yaml.safe_load(text) != {k: v for k, v in _plain(values).items()}:
        raise AssertionError("the text of dataset.yaml differs from its values")
    return text


def _comment(question: str) -> str:
    """Return a question as a line of dataset.yaml; names of files may hold line breaks and control characters."""
    return f"# CHECK: {printable(' '.join(question.split()))}"


def _plain(values: dict) -> dict:
    labels = {label: listed if len(listed) > 1 else listed[0] for label, listed in values["labels"].items()}
    return values | {"labels": labels}


def _study_text(folder: Path, masks: Sequence[Path]) -> str:
    """Return the template of a study with this dataset, and with the image size that fits."""
    text = (project_root() / "params" / "template.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("dataset:"))
    sides = []
    for path in masks[:20]:
        try:
            sides.append(max(read_shape(path)))
        except StudyError:
            continue
    dataset = str(folder.resolve())
    if folder.resolve().is_relative_to(project_root()):
        dataset = folder.resolve().relative_to(project_root()).as_posix()
    head = ["# Proposed by `wbcstudy init`. The file's name is the name of the study.", yaml_line("dataset", dataset)]
    body = lines[start + 1 :]
    if sides and max(sides) <= _SMALL_PX:
        small = f"image_size: 128            # px, a multiple of 32; the images have at most {max(sides)} px"
        body = [small if line.startswith("image_size:") else line for line in body]
    return "\n".join([*head, *body]) + "\n"


def _name(folder: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", folder.resolve().name).strip("_.-").lower()[:60]
    return name or "our_cells"


def _quoted(path: Path) -> str:
    return shlex.quote(short_path(path))
