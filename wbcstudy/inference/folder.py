"""Segment many images one by one: memory stays flat, finished images are kept, unreadable images are skipped."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wbcstudy import __version__
from wbcstudy.data.images import DARK, read_image
from wbcstudy.errors import StudyError, printable
from wbcstudy.files import atomic_write, escape_cell, expand_home, read_json, write_json
from wbcstudy.inference.image import segment_image
from wbcstudy.inference.inputs import input_folder, name_images
from wbcstudy.inference.network import Network, load_network
from wbcstudy.inference.results import IMAGE_COLUMNS, Results, join_tables
from wbcstudy.inference.tiling import DESCRIPTIONS, Tiling, Way, choose_tiling
from wbcstudy.wording import count

if TYPE_CHECKING:
    from rich.console import Console

_MAX_CELLS = np.iinfo(np.uint16).max
# Cells larger or smaller than in training by this factor suggest a wrong scale.
_ODD_SCALE = 1.5
_MAX_LISTED_FAILURES = 20
# Progress lines in a log.
_LOG_LINES = 10


@dataclass(frozen=True)
class Settings:
    """Settings of `segment_images`; an output folder has one set of them.

    Args:
        way: as in `tiling.choose_tiling`.
        scale: as in `tiling.choose_tiling`.
        pixel_um: side of a pixel in micrometres, or None.
        probabilities: whether to write probability maps.
    """

    way: Way = "auto"
    scale: float | None = None
    pixel_um: float | None = None
    probabilities: bool = False

    def tiling(self, shape: tuple[int, int], network: Network) -> Tiling:
        """Choose how to show an image of this height and width to the network."""
        return choose_tiling(shape, network.training, self.way, self.scale, self.pixel_um)


@dataclass(frozen=True)
class Summary:
    """The outcome of `segment_images`.

    Args:
        images: number of images.
        kept: number of these images that an earlier command had finished.
        cells: number of cells in all images.
        failed: name -> reason, of images that could not be segmented.
        notes: sentences for the reader of the results.
        gallery: the page.
    """

    images: int
    kept: int
    cells: int
    failed: dict[str, str]
    notes: tuple[str, ...]
    gallery: Path

    def lines(self) -> Iterator[str]:
        """Yield the lines to print at the end."""
        kept = f" ({self.kept} already done)" if self.kept else ""
        yield f"{count(self.cells, 'cell')} in {count(self.images - len(self.failed), 'image')}{kept}."
        yield from self.notes
        if self.failed:
            listed = list(self.failed.items())[:_MAX_LISTED_FAILURES]
            yield f"{count(len(self.failed), 'image')} could not be segmented:"
            yield from (f"  {name}: {reason}" for name, reason in listed)
            if len(self.failed) > len(listed):
                yield f"  and {len(self.failed) - len(listed)} more, see images.csv"
        yield f"Gallery: {self.gallery}"


def segment_images(
    inputs: Sequence[str | Path],
    model: Network | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    show: Callable[[str], Any] = print,
    step: Callable[[int, int], Any] = lambda done, total: None,
) -> Summary:
    """Segment image files and folders of images into an output folder.

    An image that an earlier command finished with the same settings is kept; one that failed or whose file changed is
    segmented again. An output folder belongs to one input folder, since results are named by the paths below it. Its
    tables and pages list the images of the last command.

    Args:
        inputs: image files, and folders, which are searched at any depth.
        model: see `network.load_network`.
        out: output folder; created if missing.
        settings: settings; the defaults if None.
        show: called with one line for each image that fails, when it fails.
        step: called after each image with the number of images done and in total.

    Raises:
        StudyError: no image; the model or a setting cannot be used; the output folder holds results of other settings
            or images, or cannot be written.
    """
    settings = settings or Settings()
    results = Results(expand_home(out))
    images = name_images(inputs, results.path)
    network = load_network(model)
    settings.tiling((1, 1), network)  # raises before anything is written
    with results.writing():
        _check_settings(results, network, settings, input_folder(inputs))
        _check_images(results, images)
    kept = 0
    for done, (name, path) in enumerate(images.items(), start=1):
        if _is_finished(results, name, path, settings):
            kept += 1
        elif error := _segment_one(results, name, path, network, settings):
            show(f"Skipped {name}: {error}")
        step(done, len(images))
    with results.writing():
        return _summarise(results, list(images), kept, network, settings)


@contextlib.contextmanager
def progress_bar(console: Console) -> Iterator[tuple[Callable[[str], Any], Callable[[int, int], Any]]]:
    """Yield `show` and `step` for `segment_images`: a bar in a terminal, a line now and then in a log."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("Segmenting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("images", total=None)

        def show(line: str) -> None:
            console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

        def step(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if not console.is_terminal and done * _LOG_LINES // total != (done - 1) * _LOG_LINES // total:
                show(f"{done} of {total} images")

        yield show, step


def _check_settings(results: Results, network: Network, settings: Settings, folder: Path) -> None:
    """Refuse to mix networks, settings or input folders in one output folder; record them in a new one."""
    wanted = {"model": network.name, "model_sha256": network.digest} | vars(settings)
    inputs = printable(str(folder))
    before = read_json(results.settings)
    if before is None:
        if results.path.is_dir() and any(results.path.iterdir()):
            raise StudyError(
                f"{results.path} is not empty and holds no results of `wbcstudy segment`.",
                expected="a new or empty folder, or an output folder of the same command, which is then resumed",
                fix="Choose another folder with --out.",
            )
        results.path.mkdir(parents=True, exist_ok=True)
        write_json(results.settings, wanted | {"images": inputs, "code_version": __version__})
        return
    changed = [
        f"{key} was {before.get(key)!r}, is now {wanted[key]!r}" for key in wanted if before.get(key) != wanted[key]
    ]
    if changed:
        raise StudyError(
            f"{results.path} holds results of other settings: {'; '.join(changed)}.",
            expected="one network and one set of settings per output folder",
            fix="Choose another folder with --out, or delete this one.",
        )
    # Results of earlier versions do not record their input folder.
    if before.get("images", inputs) != inputs:
        raise StudyError(
            f"{results.path} holds results of images in {before['images']}, not {folder}.",
            expected="one input folder per output folder, since results are named by the paths below it",
            fix=f"Choose another folder with --out, or pass {before['images']} to resume.",
        )


def _check_images(results: Results, images: Mapping[str, Path]) -> None:
    """Refuse to replace the results of another file of the same name; a changed file is segmented again."""
    for name, path in images.items():
        record = read_json(results.file("records", name)) or {}
        before = record.get("source", {}).get("file")
        if record.get("status") == "complete" and before not in (None, printable(str(path))):
            raise StudyError(
                f"{results.path} holds results of {before}, whose name {name!r} is also the name of {path}.",
                expected="images of one input folder per output folder",
                fix="Choose another folder with --out.",
            )


def _is_finished(results: Results, name: str, path: Path, settings: Settings) -> bool:
    record = read_json(results.file("records", name))
    if record is None or record.get("status") != "complete" or record.get("source") != _source(path):
        return False
    return all(file.is_file() for file in results.files(name, settings.probabilities))


def _source(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"file": printable(str(path)), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}


def _segment_one(results: Results, name: str, path: Path, network: Network, settings: Settings) -> str | None:
    """Segment one image; return the reason if it fails."""
    record: dict[str, Any] = {"image": name, "status": "failed"}
    try:
        record["source"] = _source(path)
        image = read_image(path)
        segmentation = segment_image(image, network, way=settings.way, scale=settings.scale, pixel_um=settings.pixel_um)
        if (cells := int(segmentation.instances.max())) > _MAX_CELLS:
            raise StudyError(f"The image has {cells} cells.", expected=f"at most {_MAX_CELLS}", fix="Crop the image.")
    except (StudyError, OSError, MemoryError) as error:
        reason = printable((error.message if isinstance(error, StudyError) else str(error)) or type(error).__name__)
        with results.writing():
            write_json(results.file("records", name), record | {"error": reason})
        return reason
    record |= {"status": "complete", "height_px": image.shape[0], "width_px": image.shape[1]}
    record |= {"way": segmentation.way.name, "why": segmentation.way.reason, "cells": cells}
    record |= {"cell_px": _median_diameter(segmentation.instances), "brightest": int(image.max())}
    with results.writing():
        results.write(name, segmentation, settings.probabilities)
        write_json(results.file("records", name), record)
    return None


def _median_diameter(instances: np.ndarray) -> float | None:
    """Return the median diameter in px of discs with the cells' areas."""
    areas = np.bincount(instances.ravel())[1:]
    return round(float(np.median(2 * np.sqrt(areas[areas > 0] / np.pi))), 1) if (areas > 0).any() else None


def _summarise(results: Results, names: list[str], kept: int, network: Network, settings: Settings) -> Summary:
    """Write cells.csv, images.csv and the gallery from the images' files."""
    from wbcstudy.inference.gallery import write_gallery

    complete: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    with atomic_write(results.images) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, IMAGE_COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        for record in results.read_records(names):
            row = record | {"file": record.get("source", {}).get("file", "")}
            table.writerow({name: escape_cell(value) for name, value in row.items()})
            if record["status"] == "complete":
                complete.append(record)
            else:
                failed[record["image"]] = record["error"]
    with atomic_write(results.cells) as part, part.open("w", newline="", encoding="utf-8") as file:
        join_tables(file, (results.file("cells", record["image"]) for record in complete))
    cells = sum(record["cells"] for record in complete)
    notes = tuple(_notes(complete, network, settings, results.count_others(names)))
    write_gallery(results, complete, cells, network, notes, failed)
    return Summary(len(names), kept, cells, failed, notes, results.gallery)


def _notes(records: list[dict[str, Any]], network: Network, settings: Settings, others: int) -> Iterator[str]:
    for way, description in DESCRIPTIONS.items():
        if group := [record for record in records if record["way"] == way]:
            yield f"{count(len(group), 'image')} {description} ({group[0]['image']}: {group[0]['why']})."
    yield from _scale_notes(records, network, settings)
    # Records of earlier versions lack the brightest value.
    if dark := [record for record in records if record.get("brightest", DARK) < DARK]:
        yield (
            f"Nearly black: {count(len(dark), 'image')} ({dark[0]['image']}: the brightest value is "
            f"{dark[0]['brightest']} of 255). If a camera of 12 or 14 bits wrote 16-bit files, save them as 8 bits."
        )
    if others:
        yield (
            f"Not listed: {count(others, 'image')} of earlier commands. cells.csv, images.csv and gallery.html list "
            "only the images of this command."
        )


def _scale_notes(records: list[dict[str, Any]], network: Network, settings: Settings) -> Iterator[str]:
    areas_only = settings.pixel_um is not None and settings.scale is None and network.training.pixel_size_um is None
    if areas_only:
        yield (
            "--pixel-um only adds areas in µm²: the pixel size of the training images is unknown. If magnification or "
            "camera differ, set --scale."
        )
    diameters = [record["cell_px"] for record in records if record["cell_px"]]
    if not diameters or not network.training.cell_px:
        return
    diameter = float(np.median(diameters))
    expected = network.training.cell_px * settings.tiling((1, 1), network).scale
    if not 1 / _ODD_SCALE <= diameter / expected <= _ODD_SCALE:
        yield (
            f"Check the scale: the median cell diameter is {diameter:.0f} px, the training images suggest "
            f"{expected:.0f} px. If magnification or camera differ, set {'' if areas_only else '--pixel-um or '}"
            f"--scale (for example --scale {diameter / expected * (settings.scale or 1):.2g})."
        )
