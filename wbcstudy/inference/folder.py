"""Many images, one after the other: nothing is kept in memory, nothing is done twice, one bad image stops nothing."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wbcstudy import __version__
from wbcstudy.data.images import DARK, read_image
from wbcstudy.errors import StudyError, printable
from wbcstudy.files import atomic_write, expand_home, read_json, write_json
from wbcstudy.inference.image import measure, predict_image
from wbcstudy.inference.inputs import name_images, top_folder
from wbcstudy.inference.network import Network, load_network
from wbcstudy.inference.results import IMAGE_COLUMNS, Results, join_tables
from wbcstudy.inference.tiling import WayName, choose_way

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


def segment_images(
    inputs: Sequence[str | Path],
    model: Network | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    show: Callable[[str], Any] = print,
    step: Callable[[int, int], Any] = lambda done, total: None,
) -> Summary:
    """Segment files and folders of images into a folder of results.

    An image that was finished by an earlier call with the same settings is not done again; one that failed, or whose
    file has changed, is. Called again after an interruption, it goes on where it was. A folder of results belongs to
    one folder of images, from which names count; its tables and pages list the images of the last call.

    Args:
        inputs: image files, and folders, in which all images at any depth are meant.
        model: see `networks.load_network`.
        out: folder of results; made if need be.
        settings: the defaults if None.
        show: told in one line what goes wrong with an image, as it happens.
        step: told after each image how many of how many are done.

    Raises:
        StudyError: no image; the model or a setting cannot be used; the folder holds results of other settings or of
            other images, or cannot be written.
    """
    settings = settings or Settings()
    results = Results(expand_home(out))
    named = name_images(inputs, results.path)
    network = load_network(model)
    choose_way((1, 1), network.training, settings.way, settings.scale, settings.pixel_um)
    with results.writing():
        _check_settings(results, network, settings, top_folder(inputs))
        _check_images(results, named)
    kept = 0
    for done, (name, path) in enumerate(named.items(), start=1):
        if _is_finished(results, name, path, settings):
            kept += 1
        else:
            why = _segment_one(results, name, path, network, settings)
            if why:
                show(f"Skipped {name}: {why}")
        step(done, len(named))
    with results.writing():
        return _summarise(results, list(named), kept, network, settings)


def _check_settings(results: Results, network: Network, settings: Settings, top: Path) -> None:
    """Refuse to mix networks, settings or folders of images in one folder of results; note them in a new one."""
    wanted = {"model": network.name, "model_sha256": network.digest} | vars(settings)
    # Apart from the settings: an earlier version did not note it.
    noted = {"images": printable(str(top))}
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
        if before.get("images", noted["images"]) != noted["images"]:
            raise StudyError(
                f"{results.path} holds results of images below {before['images']}, not {top}.",
                expected="one folder of images for a folder of results, since results are named by the paths below it",
                fix=f"Choose another folder with --out, or name {before['images']} to go on with its images.",
            )
        return
    if results.path.is_dir() and any(results.path.iterdir()):
        raise StudyError(
            f"{results.path} is not empty and holds no results of `wbcstudy segment`.",
            expected="a new or empty folder, or one of earlier results to go on with",
            fix="Choose another folder with --out.",
        )
    results.path.mkdir(parents=True, exist_ok=True)
    write_json(results.settings, wanted | noted | {"code_version": __version__})


def _check_images(results: Results, named: Mapping[str, Path]) -> None:
    """Refuse to replace the results of another file of the same name; a file that has changed is done again."""
    for name, path in named.items():
        record = read_json(results.record(name)) or {}
        before = record.get("source", {}).get("file")
        if record.get("status") == "complete" and before not in (None, printable(str(path))):
            raise StudyError(
                f"{results.path} holds the results of {before} under the name {name!r}, as {path} would be called.",
                expected="images of one folder in a folder of results",
                fix="Choose another folder with --out.",
            )


def _is_finished(results: Results, name: str, path: Path, settings: Settings) -> bool:
    record = read_json(results.record(name))
    if record is None or record.get("status") != "complete" or record.get("source") != _source(path):
        return False
    return all(file.is_file() for file in results.files(name, settings.probabilities))


def _source(path: Path) -> dict[str, Any]:
    about = path.stat()
    return {"file": printable(str(path)), "bytes": about.st_size, "modified_ns": about.st_mtime_ns}


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
        why = printable((error.message if isinstance(error, StudyError) else str(error)) or type(error).__name__)
        with results.writing():
            write_json(results.record(name), record | {"error": why})
        return why
    record |= {"status": "complete", "height_px": image.shape[0], "width_px": image.shape[1]}
    record |= {"way": way.name, "why": way.why, "cells": count, "cell_px": _typical_diameter(found.instances)}
    record |= {"brightest": int(image.max())}
    with results.writing():
        results.write(name, found, settings.probabilities)
        write_json(results.record(name), record)
    return None


def _typical_diameter(instances: np.ndarray) -> float | None:
    """Median diameter in px of the discs that have the cells' areas."""
    areas = np.bincount(instances.ravel())[1:]
    return round(float(np.median(2 * np.sqrt(areas[areas > 0] / np.pi))), 1) if (areas > 0).any() else None


def _summarise(results: Results, names: list[str], kept: int, network: Network, settings: Settings) -> Summary:
    """Put the images' files together: cells.csv, images.csv and the gallery."""
    from wbcstudy.inference.gallery import write_gallery

    records = functools.partial(results.read_records, names)
    with atomic_write(results.cells) as part, part.open("w", newline="", encoding="utf-8") as file:
        join_tables(file, (results.file("cells", r["image"], ".csv") for r in records() if r["status"] == "complete"))
    failed, cells, diameters, ways, dark = {}, 0, [], {}, []
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
            # Records of an earlier version do not say.
            if record.get("brightest", DARK) < DARK:
                dark.append((record["image"], record["brightest"]))
    notes = (*_notes(network, settings, diameters, ways), *_warnings(results, names, dark))
    write_gallery(results, records, len(names), cells, network, notes, failed)
    return Summary(len(names), kept, cells, failed, notes, results.gallery)


def _notes(network: Network, settings: Settings, diameters: list[float], ways: dict[str, list]) -> Iterator[str]:
    names = {"whole": "resized whole", "tiles": "brought to the scale of the training images"}
    for way, (count, first, why) in ways.items():
        yield f"{count} {'image was' if count == 1 else 'images were'} {names[way]} ({first}: {why})."
    unused = settings.pixel_um is not None and settings.scale is None and network.training.pixel_size_um is None
    if unused:
        yield (
            "--pixel-um gives areas in µm² here, and no scale: the pixel size of the training images is not known. If "
            "the magnification or the camera differs, say so with --scale."
        )
    usual = network.training.cell_px
    if not diameters or not usual:
        return
    expected = usual * choose_way((1, 1), network.training, settings.way, settings.scale, settings.pixel_um).scale
    ratio = float(np.median(diameters)) / expected
    if not 1 / _ODD_SCALE <= ratio <= _ODD_SCALE:
        yield (
            f"Look at the scale: a cell is typically {np.median(diameters):.0f} px across here, and {expected:.0f} px "
            "was expected from the training images. If the magnification or the camera differs, say so with "
            f"{'' if unused else '--pixel-um or '}--scale (for example --scale {ratio * (settings.scale or 1):.2g})."
        )


def _warnings(results: Results, names: list[str], dark: list[tuple[str, int]]) -> Iterator[str]:
    if dark:
        (first, brightest), count = dark[0], len(dark)
        yield (
            f"{count} {'image is' if count == 1 else 'images are'} nearly black ({first}: its brightest value is "
            f"{brightest} of 255). Was an image of 12 or 14 bits saved as 16 bits? Save it anew with 8 bits."
        )
    if others := results.count_others(names):
        yield (
            f"{others} {'image' if others == 1 else 'images'} of earlier calls: not in cells.csv, images.csv and "
            "gallery.html, which list what was named now."
        )
