"""Segment many images one by one: memory stays flat, finished images are kept, unreadable images are skipped."""

from __future__ import annotations

import contextlib
import csv
import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from wbcstudy import __version__
from wbcstudy.data.images import read_image
from wbcstudy.errors import StudyError, printable, printable_name
from wbcstudy.files import atomic_write, escape_cell, expand_home, read_json, write_json
from wbcstudy.inference.applying import Stain, check_stain
from wbcstudy.inference.find_scale import FoundScale, share_scale
from wbcstudy.inference.image import segment_image
from wbcstudy.inference.inputs import Inputs, find_inputs, input_folder
from wbcstudy.inference.network import Network, load_network
from wbcstudy.inference.results import IMAGE_COLUMNS, Results, join_tables
from wbcstudy.inference.summary import Failure, Summary, explain_failure, failure_kind, image_facts, write_notes
from wbcstudy.inference.tiling import Tiling, Way, choose_tiling

if TYPE_CHECKING:
    from rich.console import Console

_MAX_CELLS = np.iinfo(np.uint16).max
# Progress lines in a log.
_LOG_LINES = 10
# A disk refuses this name, or has a file where a folder must be: other images can still be written.
_BAD_NAME = {getattr(errno, name) for name in "ENAMETOOLONG EINVAL EILSEQ ENOTDIR EISDIR EEXIST".split()}


@dataclass(frozen=True)
class Settings:
    """Settings of `segment_images`; an output folder has one set of them.

    Args:
        way: as in `tiling.choose_tiling`.
        scale: as in `tiling.choose_tiling`.
        pixel_um: side of a pixel in micrometres, or None.
        probabilities: whether to write probability maps.
        also: files for other programs, keys of `outlines.KINDS`.
        stain: as in `applying.apply_network`.
    """

    way: Way = "auto"
    scale: float | None = None
    pixel_um: float | None = None
    probabilities: bool = False
    also: tuple[str, ...] = ()
    stain: Stain = "auto"

    def tiling(self, shape: tuple[int, int], network: Network) -> Tiling:
        """Choose how to show an image of this height and width to the network."""
        return choose_tiling(shape, network.training, self.way, self.scale, self.pixel_um)


def segment_images(
    inputs: Sequence[str | Path],
    model: Network | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    show: Callable[[str], Any] = print,
    step: Callable[[int, int], Any] = lambda done, total: None,
) -> Summary:
    """Segment image files and folders of images into an output folder.

    `inputs.find_inputs` has the rule which files are images. If an image cannot be read, or its results cannot be
    named, the others are segmented.

    An image that an earlier command finished with the same settings is kept; one that failed or whose file changed is
    segmented again. An output folder belongs to one input folder, since results are named by the paths below it. Its
    tables and pages list the images of the last command.

    Args:
        inputs: image files, and folders, which are searched at any depth.
        model: see `network.load_network`.
        out: output folder; created if missing.
        settings: settings; the defaults if None.
        show: called with one line for the first image with each fault, when it fails.
        step: called after each image with the number of images done and in total.

    Raises:
        StudyError: no image; the model or a setting cannot be used; the output folder holds results of other settings
            or images, or cannot be written.
    """
    settings = settings or Settings()
    results = Results(expand_home(out))
    listing = find_inputs(inputs, results.path)
    network = load_network(model)
    settings.tiling((1, 1), network)  # raises before anything is written
    check_stain(settings.stain, network)
    with results.writing():
        _check_settings(results, network, settings, input_folder(inputs))
        _check_images(results, listing.images)
    scale = _find_scale(results, listing, network, settings)
    kept, failed, kinds = 0, {}, set()
    for done, (name, path) in enumerate(listing.images.items(), start=1):
        if _is_finished(results, name, path, settings):
            kept += 1
        elif failure := _segment_one(results, name, path, network, settings, scale):
            failed[name] = failure
            # The summary names the other images with the same fault.
            if (kind := failure_kind(failure, path)) not in kinds:
                kinds.add(kind)
                show(f"Skipped {name}: {failure.reason}")
        step(done, len(listing.images))
    with results.writing():
        return _summarise(results, listing, failed, kept, network, settings)


@contextlib.contextmanager
def progress_bar(
    console: Console, title: str = "Segmenting"
) -> Iterator[tuple[Callable[[str], Any], Callable[[int, int], Any]]]:
    """Yield `show` and `step` for `segment_images`: a bar in a terminal, a line now and then in a log."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
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
    wanted = {"model": network.name, "model_sha256": network.digest} | vars(settings) | {"also": sorted(settings.also)}
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
    # Results of earlier versions do not record these.
    before = {"also": [], "stain": "none"} | before
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


def _find_scale(results: Results, listing: Inputs, network: Network, settings: Settings) -> FoundScale | float | None:
    """Find the scale that the images share, if it is neither given nor known; once per output folder.

    Returns:
        The scale; 1 if it was searched and not found; None if no image needs it.
    """
    if settings.way != "auto" or settings.scale is not None or not network.training.cell_px:
        return settings.scale
    stored = read_json(results.settings) or {}
    if "stain" not in stored:
        # Of an earlier version, which took the scale of the training images unless both pixel sizes are known.
        return None if settings.pixel_um and network.training.pixel_size_um else 1.0
    if "found_scale" not in stored:
        paths = list(listing.images.values())
        shared = share_scale(paths, network, settings.way, settings.scale, settings.pixel_um, settings.stain)
        stored["found_scale"] = asdict(shared) if isinstance(shared, FoundScale) else shared
        with results.writing():
            write_json(results.settings, stored)
    value = stored["found_scale"]
    return FoundScale(**value) if isinstance(value, dict) else value


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
    try:
        if record is None or record.get("status") != "complete" or record.get("source") != _source(path):
            return False
        if not record.keys() >= {"image", "height_px", "width_px", "way", "why", "cells", "cell_px"}:
            return False
        return all(file.is_file() for file in results.files(name, settings.probabilities, settings.also))
    except OSError:
        return False


def _source(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"file": printable(str(path)), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}


def _segment_one(
    results: Results, name: str, path: Path, network: Network, settings: Settings, scale: FoundScale | float | None
) -> Failure | None:
    """Segment one image, at a given or found scale; return the reason if it fails."""
    record: dict[str, Any] = {"image": name, "status": "failed"}
    try:
        record["source"] = _source(path)
        image = read_image(path)
        options = {"way": settings.way, "scale": scale, "pixel_um": settings.pixel_um, "stain": settings.stain}
        segmentation = segment_image(image, network, **options)
        if (cells := int(segmentation.instances.max())) > _MAX_CELLS:
            raise StudyError(f"The image has {cells} cells.", expected=f"at most {_MAX_CELLS}", fix="Crop the image.")
    except Exception as error:  # whatever a damaged file causes in a decoder: the other images are not affected
        failure = explain_failure(error)
        with results.writing():
            _write(lambda: write_json(results.file("records", name), record | {"error": failure.reason}))
        return failure
    record |= {"status": "complete"} | image_facts(segmentation)

    def write() -> None:
        file = (PurePosixPath(name).parent / printable_name(path.name)).as_posix()
        results.write(name, file, segmentation, settings.probabilities, settings.also, settings.pixel_um)
        write_json(results.file("records", name), record)

    with results.writing():
        return _write(write)


def _write(write: Callable[[], None]) -> Failure | None:
    """Write files of one image; return the reason if the disk takes no file of this name."""
    try:
        write()
    except OSError as error:
        if error.errno not in _BAD_NAME:
            raise
        reason = f"Its results cannot be written under this name: {error.strerror}."
        return Failure(reason, "Rename the file, or choose an output folder on another disk.")
    return None


def _summarise(
    results: Results,
    listing: Inputs,
    failed: dict[str, Failure],
    kept: int,
    network: Network,
    settings: Settings,
) -> Summary:
    """Write cells.csv, images.csv and the gallery from the images' files."""
    from wbcstudy.inference.gallery import write_gallery

    complete: list[dict[str, Any]] = []
    with atomic_write(results.images) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, IMAGE_COLUMNS, extrasaction="ignore", lineterminator="\n")

        def write_row(path: Path, **row: Any) -> None:
            row = row | {"file": printable_name(str(path))}
            table.writerow({name: escape_cell(value) for name, value in row.items()})

        table.writeheader()
        for name, path in listing.images.items():
            if name in failed:
                write_row(path, image=name, status="failed", error=failed[name].reason)
            elif record := read_json(results.file("records", name)):
                write_row(path, **record | {"doubts": "; ".join(record.get("doubts", ()))})
                complete.append(record)
        for entry in listing.left_out:
            write_row(entry.path, status="left out", error=entry.reason)
    with atomic_write(results.cells) as part, part.open("w", newline="", encoding="utf-8") as file:
        join_tables(file, (results.file("cells", record["image"]) for record in complete))
    results.write_guide()
    cells = sum(record["cells"] for record in complete)
    notes = (
        *write_notes(complete, network, settings, results.count_others(listing.images)),
        *listing.lines(),
    )
    reasons = {name: failure.reason for name, failure in failed.items()}
    write_gallery(results, complete, network, notes, reasons, settings.pixel_um)
    return Summary(len(listing.images), kept, cells, failed, notes, results.gallery, listing)
