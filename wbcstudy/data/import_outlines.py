"""Draw masks from the outlines of annotation programs, and write a dataset folder."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from wbcstudy.data.class_names import guess_label
from wbcstudy.data.images import read_shape
from wbcstudy.data.new_dataset import MASK_VALUES, dataset_name, new_names, new_pair, write_dataset_yaml
from wbcstudy.data.outline_files import FORMATS, Annotated, Outline, read_embedded_image, read_outlines
from wbcstudy.data.propose_files import IMAGE_SUFFIXES, count_mask_folders, list_folder, shared_folders
from wbcstudy.errors import StudyError
from wbcstudy.files import cannot_write, escape_cell, temporary_folder
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS
from wbcstudy.registry import pick
from wbcstudy.wording import count, join_words

# What an outline may mean; a whole cell becomes cytoplasm where no nucleus is drawn over it.
MEANINGS = {"nucleus": NUCLEUS, "cell": CYTOPLASM, "cytoplasm": CYTOPLASM, "background": BACKGROUND}
# Pixels of the bounding box times points: about a minute.
_MOST_WORK = 3e10


@dataclass
class Summary:
    """What an import wrote and left out.

    Args:
        images: number of images with a mask.
        drawn: number of outlines of each class.
        left_out: (file, object or image, reason) of each object and image that was left out.
        questions: what the names of the folders do not show.
    """

    images: int = 0
    drawn: Counter = field(default_factory=Counter)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)


def find_format(folder: Path, paths: Sequence[PurePosixPath]) -> str | None:
    """Return the format of the outlines in a folder; None if there are none."""
    for name, form in FORMATS.items():
        files = [path for path in paths if path.suffix.lower() in form.suffixes]
        for path in files[:20]:
            try:
                if read_outlines(name, folder, path):
                    return name
            except StudyError:
                continue
    return None


def import_outlines(form: str, source: Path, out: Path, classes: Mapping[str, str] | None = None) -> list[str]:
    """Draw masks from outlines, and write images, masks, dataset.yaml and left_out.csv.

    A pixel belongs to an outline if its centre is inside. Nuclei are drawn over cells. Images without outlines are left
    out.

    Args:
        form: a key of `FORMATS`.
        source: folder of images and outlines.
        out: the new dataset folder, which must not exist or be empty.
        classes: class name -> key of `MEANINGS`; other names are assigned by their words.

    Returns:
        Lines for the terminal.

    Raises:
        StudyError: an unknown format or class, nothing to draw, a damaged file, or `out` is not empty.
    """
    pick(FORMATS, form, "format")
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise StudyError(
            f"There is no folder {source}.", expected="a folder of images and outlines", fix="Check the path."
        )
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise StudyError(
            f"{out} exists and is not empty; nothing is overwritten.",
            expected="a new or an empty folder for the dataset",
            fix="Choose another folder.",
        )
    paths = list_folder(source)
    files = [path for path in paths if path.suffix.lower() in FORMATS[form].suffixes]
    annotated = [entry for path in files for entry in read_outlines(form, source, path)]
    if not annotated:
        raise StudyError(
            f"{source} has no outlines as {FORMATS[form].title}: {count(len(files), 'file')} of the suffix "
            f"{join_words(FORMATS[form].suffixes, last='or')}.",
            expected="a folder of images and outlines",
            fix=f"Check the folder and the format ({join_words(FORMATS, last='or')}).",
        )
    meanings = _assign_classes(source, annotated, classes or {})
    summary, by_image = Summary(), _find_images(annotated, [p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES])
    try:
        with temporary_folder(out.parent) as temporary:
            part = temporary / "dataset"
            _write(part, source, by_image, meanings, summary, dataset_name(out))
            if out.is_dir():
                out.rmdir()
            part.rename(out)
    except OSError as error:
        raise cannot_write(out, error, instead="choose another folder") from None
    lines = [f"Written: {out}: {count(summary.images, 'image')} with a mask"]
    lines += [f"  {name or 'without a class'} ({meanings[name]}): {n}" for name, n in sorted(summary.drawn.items())]
    if summary.left_out:
        reasons = Counter(re.sub(r"\d+", "N", reason) for *_, reason in summary.left_out)
        lines.append(f"Left out: {len(summary.left_out)} (see {out / 'left_out.csv'})")
        lines += [f"  {number}: {reason}" for reason, number in reasons.most_common(8)]
    if summary.questions:
        lines += ["Please decide (the lines in dataset.yaml are marked with CHECK):"]
        lines += [f"  {question}" for question in summary.questions]
    return [*lines, "Next, look at the masks:", f"  wbcstudy data check {shlex.quote(str(out))} --html check.html"]


def read_classes(options: Sequence[str]) -> dict[str, str]:
    """Return class name -> meaning of options like 'leukocyte=cell'.

    Raises:
        StudyError: an option without '=', or an unknown meaning.
    """
    for option in options:
        if "=" not in option:
            raise StudyError(
                f"--class {option} has no meaning.",
                expected=f"NAME=MEANING, where MEANING is {join_words(MEANINGS, last='or')}",
                fix=f"For example, write --class '{option}=cell'.",
            )
    return {name: meaning for name, _, meaning in (option.rpartition("=") for option in options)}


def draw_outline(outline: Outline, shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels whose centres are inside of an outline, boolean (H, W).

    Raises:
        ValueError: the outline is too large to draw, or its run lengths do not fit the image.
    """
    from skimage.draw import polygon

    area = np.zeros(shape, bool)
    if outline.runs is not None:
        counts, *size = outline.runs
        if tuple(size) != shape or min(counts, default=0) < 0 or sum(counts) != shape[0] * shape[1]:
            raise ValueError("its run lengths do not fit the image")
        filled = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return filled.reshape(shape, order="F")
    if outline.area is not None:
        pixels, top, left = outline.area
        rows, columns = np.nonzero(pixels)
        inside = (rows + top >= 0) & (rows + top < shape[0]) & (columns + left >= 0) & (columns + left < shape[1])
        area[rows[inside] + top, columns[inside] + left] = True
        return area
    for ring in outline.rings:
        low, high = np.clip(ring.min(axis=0), 0, shape[::-1]), np.clip(ring.max(axis=0), 0, shape[::-1])
        if float(np.prod(high - low + 1)) * len(ring) > _MOST_WORK:
            raise ValueError("it has too many points to draw")
        # The centre of pixel (row, column) is (column + 0.5, row + 0.5).
        rows, columns = polygon(ring[:, 1] - 0.5, ring[:, 0] - 0.5, shape)
        area[rows, columns] ^= True
    return area


def _assign_classes(source: Path, annotated: Sequence[Annotated], classes: Mapping[str, str]) -> dict[str, str]:
    """Return class name -> meaning; classes of unknown meaning are one error."""
    numbers = Counter(outline.class_name for entry in annotated for outline in entry.outlines)
    for name, meaning in classes.items():
        pick(MEANINGS, meaning, "meaning of a class")
        pick(numbers, name, "class")
    meanings = {name: classes.get(name) or _guess(name) for name in numbers}
    unknown = [name for name, meaning in meanings.items() if meaning is None]
    if unknown:
        listed = [f"{name!r} ({numbers[name]})" if name else f"no class ({numbers[name]})" for name in unknown]
        options = " ".join(f"--class '{name}=cell'" for name in unknown[:3])
        raise StudyError(
            f"The meaning of {count(len(unknown), 'class')} of outlines is unknown: {join_words(listed, most=8)}.",
            expected=f"for each class one of {join_words(MEANINGS, last='or')}",
            fix=f"Add options, for example {options}. `background` leaves the outlines of a class out.",
        )
    if not {"nucleus", "cell", "cytoplasm"} & set(meanings.values()):
        raise StudyError(
            f"No outline in {source} is a nucleus or a cell, so there is nothing to draw.",
            expected="at least one outline of a nucleus or cell",
            fix="Set the meaning of a class, for example --class 'NAME=nucleus'.",
        )
    return meanings


def _guess(name: str) -> str | None:
    label = guess_label(name)
    return "cell" if label == "cytoplasm" and not re.search("(?i)cyto|plasm", name) else label


def _find_images(
    annotated: Sequence[Annotated], images: Sequence[PurePosixPath]
) -> list[tuple[Annotated, PurePosixPath | str]]:
    """Return each annotated image with its file (the source, if it holds the image), or why there is none."""
    by_name: dict[str, list[PurePosixPath]] = {}
    for path in images:
        for name in {path.name, path.stem, path.name.partition(".")[0]}:
            by_name.setdefault(name, []).append(path)
    pairs: list[tuple[Annotated, PurePosixPath | str]] = []
    for entry in annotated:
        name = PurePosixPath(entry.image).name
        names = [name, PurePosixPath(name).stem, entry.source.stem]
        # ImageJ: RoiSet_<image>.zip, <image>_rois.zip, or one RoiSet.zip for one image.
        plain = re.sub(r"(?i)^(rois?|roi ?set)[ _-]+|[ _-]+(rois?|roi ?set)$", "", entry.source.stem)
        files = next((by_name[n] for n in [*names, plain] if n in by_name), [])
        if not files and len(images) == 1 and len(annotated) == 1:
            files = list(images)
        same = [path for path in files if f"/{path}".endswith(f"/{entry.image}")]
        near = [path for path in same or files if path.parent == entry.source.parent] or same or files
        if len(near) > 1:
            near = _nearest(near, entry.source)
        if not near and entry.embedded:
            pairs.append((entry, entry.source))
        else:
            pairs.append((entry, near[0] if len(near) == 1 else f"{'several' if near else 'no'} images of this name"))
    return pairs


def _nearest(paths: Sequence[PurePosixPath], source: PurePosixPath) -> list[PurePosixPath]:
    """Return the files that are in no folder of masks and share most folders with the source.

    For `geojson/slide1/a.geojson`, `images/slide1/a.png` rather than `masks/slide1/a.png` or `images/slide2/a.png`.
    """
    ranks = {path: (-count_mask_folders(path), shared_folders(path, source)) for path in paths}
    return [path for path in paths if ranks[path] == max(ranks.values())]


def _write(part: Path, source: Path, by_image, meanings: Mapping[str, str], summary: Summary, name: str) -> None:
    """Write the dataset folder; an image with several files of outlines gets all of them."""
    groups: dict[PurePosixPath, list[Annotated]] = {}
    for entry, image in by_image:
        if isinstance(image, str):
            summary.left_out.append((str(entry.source), entry.image, image))
        else:
            groups.setdefault(image, []).append(entry)
    names = new_names(list(groups))
    pairs = []
    for image, entries in groups.items():
        stored, new_name = source / image, names[image]
        if image == entries[0].source and entries[0].embedded:
            try:
                data, suffix = read_embedded_image(stored)
            except ValueError as error:
                summary.left_out.append((str(image), "image", str(error)))
                continue
            stored, new_name = part.with_name(f"embedded{suffix}"), new_name.with_suffix(suffix)
            stored.write_bytes(data)
        mask = _draw(stored, image, entries, meanings, summary)
        if mask is None:
            continue
        pairs.append(new_pair(new_name))
        for path in pairs[-1]:
            (part / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stored, part / pairs[-1][0])
        Image.fromarray(MASK_VALUES[mask]).save(part / pairs[-1][1])
        summary.images += 1
    if not summary.images:
        reasons = join_words(sorted({reason for *_, reason in summary.left_out}), most=3)
        raise StudyError(
            f"No image of {source} has an outline that can be drawn: {reasons}.",
            expected="images whose names are those in the files of outlines, in the same folder or below",
            fix="Copy the images into the folder, under their original names.",
        )
    comment = "Written by `wbcstudy data import`. A pixel belongs to an outline if its centre is inside."
    summary.questions += write_dataset_yaml(part, name, pairs, comment)
    with (part / "left_out.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        rows = [("file", "object", "reason"), *summary.left_out]
        csv.writer(file, lineterminator="\n").writerows([escape_cell(cell) for cell in row] for row in rows)


def _draw(
    path: Path, image: PurePosixPath, entries, meanings: Mapping[str, str], summary: Summary
) -> np.ndarray | None:
    """Return the mask of an image; None if nothing can be drawn."""
    try:
        shape = read_shape(path)
    except StudyError as error:
        summary.left_out.append((str(image), "image", error.message))
        return None
    outlines = []
    for entry in entries:
        if entry.size is not None and entry.size != shape:
            size, real = (f"{width}x{height} px" for height, width in (entry.size, shape))
            summary.left_out.append(
                (str(entry.source), entry.image, f"drawn on an image of {size}, which now has {real}")
            )
        else:
            outlines += [(entry, outline) for outline in entry.outlines]
    mask, drawn = np.zeros(shape, np.uint8), 0
    for entry, outline in sorted(outlines, key=lambda pair: MEANINGS[meanings[pair[1].class_name]]):
        label, reason = MEANINGS[meanings[outline.class_name]], outline.left_out
        if not reason and label == BACKGROUND:
            reason = f"class {outline.class_name!r} is background"
        if not reason:
            try:
                area = draw_outline(outline, shape)
                reason = "" if area.any() else "outside of the image, or smaller than a pixel"
            except ValueError as error:
                reason = str(error)
        if reason:
            summary.left_out.append((str(entry.source), outline.class_name or "without a class", reason))
            continue
        mask[area] = label
        summary.drawn[outline.class_name] += 1
        drawn += 1
    if not drawn:
        summary.left_out.append((str(image), "image", "no outline of a nucleus or cell"))
        return None
    return mask
