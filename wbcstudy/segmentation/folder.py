"""Many images, one after the other: nothing is kept in memory, nothing is done twice, one bad image stops nothing.

What is written, for an image `slide1/field07.tif` below the folder that was named:

    labels/slide1/field07.png         indexed colours: 0 background, 1 cytoplasm, 2 nucleus
    instances/slide1/field07.png      16-bit: 0 background, k the k-th cell
    overlays/slide1/field07.png       the image with regions and outlines
    probabilities/slide1/field07_nucleus.png, ..._cytoplasm.png    16-bit, 65535 is 1; on request
    cells/slide1/field07.csv          one row per cell
    thumbnails/slide1/field07.jpg     for the gallery
    records/slide1/field07.json       written last: an image without it is not finished

and for all of them `cells.csv`, `images.csv`, `gallery.html` and `segment.json`, the settings.
"""

from __future__ import annotations

import csv
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wbcstudy import __version__
from wbcstudy.data.images import read_image
from wbcstudy.errors import StudyError
from wbcstudy.regions import LABELS, REGIONS
from wbcstudy.segmentation.image import Segmentation, measure, predict_image
from wbcstudy.segmentation.networks import Network, load_network
from wbcstudy.segmentation.pictures import index_mask, shrink
from wbcstudy.segmentation.ways import WayName, choose_way
from wbcstudy.storage import atomic_write, expand_home, is_there, read_json, write_json

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
IMAGE_COLUMNS = ("image", "file", "status", "height_px", "width_px", "way", "cells", "cell_px", "error")
# Sides of a small picture in the gallery: two stand beside each other.
THUMBNAIL_PX = 320
_MOST_CELLS = np.iinfo(np.uint16).max
# Where cells are this much larger or smaller than in training, the scale is worth a look.
_ODD_SCALE = 1.5
_TOLD_FAILURES = 20


@dataclass(frozen=True)
class Settings:
    """What the results in a folder depend on, besides the network.

    Args:
        way: as for `ways.choose_way`.
        scale: as for `ways.choose_way`.
        pixel_um: side of a pixel in micrometres, or None.
        probabilities: whether to write probability maps.
    """

    way: WayName = "auto"
    scale: float | None = None
    pixel_um: float | None = None
    probabilities: bool = False


@dataclass(frozen=True)
class Summary:
    """What became of the images.

    Args:
        images: how many there are.
        kept: of these, how many were finished in an earlier call.
        cells: found in all.
        failed: name -> why.
        notes: what a reader of the results should know.
        gallery: the page.
    """

    images: int
    kept: int
    cells: int
    failed: dict[str, str]
    notes: tuple[str, ...]
    gallery: Path

    def tell(self) -> Iterator[str]:
        """What to say at the end, a line at a time."""
        good = self.images - len(self.failed)
        earlier = f" ({self.kept} of them earlier)" if self.kept else ""
        yield f"{self.cells} cells in {good} {'image' if good == 1 else 'images'}{earlier}."
        yield from self.notes
        if self.failed:
            few = list(self.failed.items())[:_TOLD_FAILURES]
            yield f"{len(self.failed)} could not be segmented:"
            yield from (f"  {name}: {why}" for name, why in few)
            if len(self.failed) > len(few):
                yield f"  and {len(self.failed) - len(few)} more, see images.csv"
        yield f"Look at {self.gallery}"


@dataclass(frozen=True)
class Results:
    """The folder of results: every file in it, by name."""

    path: Path

    @property
    def settings(self) -> Path:
        """The settings and the network, of which a folder has one."""
        return self.path / "segment.json"

    @property
    def cells(self) -> Path:
        """The measurements of all cells."""
        return self.path / "cells.csv"

    @property
    def images(self) -> Path:
        """One row per image."""
        return self.path / "images.csv"

    @property
    def gallery(self) -> Path:
        """The first page to look at."""
        return self.path / "gallery.html"

    def file(self, kind: str, name: str, end: str) -> Path:
        """One image's file: `kind` is the folder, `end` what its name ends with."""
        return self.path / kind / f"{name}{end}"

    def record(self, name: str) -> Path:
        """One image's record."""
        return self.file("records", name, ".json")

    def files(self, name: str, probabilities: bool) -> list[Path]:
        """All of one image's files but its record."""
        kinds = [("labels", ".png"), ("instances", ".png"), ("overlays", ".png"), ("cells", ".csv")]
        kinds += [("thumbnails", ".jpg")]
        if probabilities:
            kinds += [("probabilities", f"_{region}.png") for region in LABELS if region in REGIONS]
        return [self.file(kind, name, end) for kind, end in kinds]


def segment_images(
    inputs: Sequence[str | Path],
    model: Network | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    show: Callable[[str], Any] = print,
    step: Callable[[int, int], Any] = lambda done, total: None,
) -> Summary:
    """Segment files and folders of images into a folder of results.

    An image that was finished by an earlier call with the same settings is not done again; one that failed is tried
    again. Called again after an interruption, it goes on where it was.

    Args:
        inputs: image files, and folders, in which all images at any depth are meant.
        model: see `networks.load_network`.
        out: folder of results; made if need be.
        settings: the defaults if None.
        show: told in one line what goes wrong with an image, as it happens.
        step: told after each image how many of how many are done.

    Raises:
        StudyError: no image; the model or a setting cannot be used; the folder holds results of other settings or
            cannot be written.
    """
    settings = settings or Settings()
    results = Results(expand_home(out))
    named = name_images(inputs, results.path)
    network = load_network(model)
    choose_way((1, 1), network.training, settings.way, settings.scale, settings.pixel_um)
    with _writing(results.path):
        _check_settings(results, network, settings)
    kept = 0
    for done, (name, path) in enumerate(named.items(), start=1):
        if _is_finished(results, name, path, settings):
            kept += 1
        else:
            why = _segment_one(results, name, path, network, settings)
            if why:
                show(f"Skipped {name}: {why}")
        step(done, len(named))
    with _writing(results.path):
        return _summarise(results, list(named), kept, network, settings)


def name_images(inputs: Sequence[str | Path], out: Path | None = None) -> dict[str, Path]:
    """The images that are meant, each under a name of its own.

    A name is the file's path below the folder that holds all inputs, without its suffix, so that `a/1.png` and
    `b/1.png` stay apart and keep their names from call to call. Where two differ in their suffix only, it is part of
    both names: `1_png`, `1_tif`.

    Args:
        inputs: files and folders. Of a folder, what is hidden and what is no image by its suffix is left out.
        out: the folder of results, whose pictures are no inputs.

    Returns:
        Name -> file, sorted by name.

    Raises:
        StudyError: an input does not exist, or there is no image.
    """
    places = [expand_home(place).resolve() for place in inputs]
    for place, given in zip(places, inputs, strict=True):
        if not is_there(place):
            raise StudyError(f"There is no {given}.", expected="an image, or a folder of images", fix="Check the path.")
    found = sorted({path for place in places for path in _images_in(place, out.resolve() if out else None)})
    if not found:
        raise StudyError(
            f"No image in {', '.join(map(str, inputs)) or 'nothing'}.",
            expected=f"files that end in {', '.join(IMAGE_SUFFIXES)}",
            fix="Name the folder that holds the images.",
        )
    top = Path(os.path.commonpath([place if place.is_dir() else place.parent for place in places]))
    stems: dict[str, list[Path]] = {}
    for path in found:
        stems.setdefault(path.relative_to(top).with_suffix("").as_posix(), []).append(path)
    names: dict[str, Path] = {}
    # Names that needed no suffix come first, so that one that gets a suffix makes way for them.
    for stem, paths in sorted(stems.items(), key=lambda item: (len(item[1]), item[0])):
        for path in paths:
            name = stem if len(paths) == 1 else f"{stem}_{path.suffix.lstrip('.')}"
            while name in names:
                name += "_"
            names[name] = path
    return dict(sorted(names.items()))


def _images_in(place: Path, out: Path | None) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    for folder, folders, files in os.walk(place):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and Path(folder, name) != out)
        for name in files:
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)


def _check_settings(results: Results, network: Network, settings: Settings) -> None:
    """Refuse to mix networks or settings in one folder; note them in a new one."""
    wanted = {"model": network.name, "model_sha256": network.digest} | vars(settings)
    before = read_json(results.settings)
    if before is not None:
        changed = [
            f"{key} was {before.get(key)!r}, is now {wanted[key]!r}" for key in wanted if before.get(key) != wanted[key]
        ]
        if changed:
            raise StudyError(
                f"{results.path} holds results of other settings: {'; '.join(changed)}.",
                expected="one network and one set of settings in a folder of results",
                fix="Choose another folder with --out, or delete this one.",
            )
        return
    if results.path.is_dir() and any(results.path.iterdir()):
        raise StudyError(
            f"{results.path} is not empty and holds no results of `wbcstudy segment`.",
            expected="a new or empty folder, or one of earlier results to go on with",
            fix="Choose another folder with --out.",
        )
    results.path.mkdir(parents=True, exist_ok=True)
    write_json(results.settings, wanted | {"code_version": __version__})


def _is_finished(results: Results, name: str, path: Path, settings: Settings) -> bool:
    record = read_json(results.record(name))
    if record is None or record.get("status") != "complete" or record.get("source") != _source(path):
        return False
    return all(file.is_file() for file in results.files(name, settings.probabilities))


def _source(path: Path) -> dict[str, Any]:
    about = path.stat()
    return {"file": str(path), "bytes": about.st_size, "modified_ns": about.st_mtime_ns}


def _segment_one(results: Results, name: str, path: Path, network: Network, settings: Settings) -> str | None:
    """Segment one image; why it could not be, or None."""
    record: dict[str, Any] = {"image": name, "status": "failed"}
    try:
        record["source"] = _source(path)
        image = read_image(path)
        way = choose_way(image.shape[:2], network.training, settings.way, settings.scale, settings.pixel_um)
        found = measure(image, predict_image(image, network, way), way, settings.pixel_um)
        if (count := int(found.instances.max())) > _MOST_CELLS:
            raise StudyError(f"{count} cells are found.", expected=f"at most {_MOST_CELLS}", fix="Cut the image.")
    except (StudyError, OSError, MemoryError) as error:
        why = (error.what if isinstance(error, StudyError) else str(error)) or type(error).__name__
        with _writing(results.path):
            write_json(results.record(name), record | {"error": why})
        return why
    record |= {"status": "complete", "height_px": image.shape[0], "width_px": image.shape[1]}
    record |= {"way": way.name, "why": way.why, "cells": count, "cell_px": _typical_diameter(found.instances)}
    with _writing(results.path):
        _write(results, name, found, settings.probabilities)
        write_json(results.record(name), record)
    return None


def _write(results: Results, name: str, found: Segmentation, probabilities: bool) -> None:
    pictures = {
        results.file("labels", name, ".png"): index_mask(found.mask),
        results.file("instances", name, ".png"): Image.fromarray(found.instances.astype(np.uint16)),
        results.file("overlays", name, ".png"): Image.fromarray(found.overlay()),
    }
    if probabilities:
        for region, label in LABELS.items():
            if region in REGIONS:
                levels = (found.probabilities[..., label] * 65535 + 0.5).astype(np.uint16)
                pictures[results.file("probabilities", name, f"_{region}.png")] = Image.fromarray(levels)
    for path, picture in pictures.items():
        with atomic_write(path) as part:
            picture.save(part, compress_level=3)
    with atomic_write(results.file("thumbnails", name, ".jpg")) as part:
        _thumbnail(found).save(part, quality=80)
    frame = found.cells.copy()
    frame.insert(0, "image", name)
    with atomic_write(results.file("cells", name, ".csv")) as part:
        frame.to_csv(part, index=False, lineterminator="\n")


def _thumbnail(found: Segmentation) -> Image.Image:
    """Image and overlay, side by side."""
    left, right = shrink(found.image, THUMBNAIL_PX), shrink(found.overlay(), THUMBNAIL_PX)
    both = Image.new("RGB", (2 * left.width + 4, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 4, 0))
    return both


def _typical_diameter(instances: np.ndarray) -> float | None:
    """Median diameter in px of the discs that have the cells' areas."""
    areas = np.bincount(instances.ravel())[1:]
    return round(float(np.median(2 * np.sqrt(areas[areas > 0] / np.pi))), 1) if (areas > 0).any() else None


def _summarise(results: Results, names: list[str], kept: int, network: Network, settings: Settings) -> Summary:
    """Put the images' files together: cells.csv, images.csv and the gallery."""
    from wbcstudy.segmentation.gallery import write_gallery

    records = functools.partial(_records, results, names)
    with atomic_write(results.cells) as part, part.open("w", newline="", encoding="utf-8") as file:
        _join_tables(file, (results.file("cells", r["image"], ".csv") for r in records() if r["status"] == "complete"))
    failed, cells, diameters, ways = {}, 0, [], {}
    with atomic_write(results.images) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(IMAGE_COLUMNS)
        for record in records():
            about = record | {"file": record.get("source", {}).get("file", "")}
            writer.writerow([about.get(column, "") for column in IMAGE_COLUMNS])
            if record["status"] != "complete":
                failed[record["image"]] = record["error"]
                continue
            cells += record["cells"]
            diameters += [record["cell_px"]] if record["cell_px"] else []
            ways.setdefault(record["way"], [0, record["image"], record["why"]])[0] += 1
    notes = tuple(_notes(network, settings, diameters, ways))
    write_gallery(results, records, len(names), cells, network, notes, failed)
    return Summary(len(names), kept, cells, failed, notes, results.gallery)


def _records(results: Results, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    for name in names:
        record = read_json(results.record(name))
        if record is not None:
            yield record


def _join_tables(file, paths: Iterable[Path]) -> None:
    """CSV files of the same columns as one, a row at a time."""
    writer, head = csv.writer(file, lineterminator="\n"), None
    for path in paths:
        with path.open(newline="", encoding="utf-8") as table:
            rows = csv.reader(table)
            first = next(rows)
            if head is None:
                head = first
                writer.writerow(head)
            writer.writerows(rows)


def _notes(network: Network, settings: Settings, diameters: list[float], ways: dict[str, list]) -> Iterator[str]:
    names = {"whole": "resized whole", "tiles": "brought to the scale of the training images"}
    for way, (count, first, why) in ways.items():
        yield f"{count} {'image was' if count == 1 else 'images were'} {names[way]} ({first}: {why})."
    usual = network.training.cell_px
    if not diameters or not usual:
        return
    expected = usual * choose_way((1, 1), network.training, settings.way, settings.scale, settings.pixel_um).scale
    ratio = float(np.median(diameters)) / expected
    if not 1 / _ODD_SCALE <= ratio <= _ODD_SCALE:
        yield (
            f"Look at the scale: a cell is typically {np.median(diameters):.0f} px across here, and {expected:.0f} px "
            "was expected from the training images. If the magnification or the camera differs, say so with --pixel-um "
            f"or --scale (for example --scale {ratio * (settings.scale or 1):.2g})."
        )


class _writing:
    """Turns a failure to write into words: no space, no permission."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, OSError):
            raise StudyError(
                f"Cannot write to {self._path}: {error.strerror or error}.",
                expected="a folder that you may write to, on a disk with free space",
                fix="Free some space or choose another folder with --out; the same command goes on where it stopped.",
            ) from None
