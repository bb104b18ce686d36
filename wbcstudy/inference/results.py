"""A folder of results: what each file in it is called, and how it is written.

What is written, for an image `slide1/field07.tif` below the folder that was named:

    labels/slide1/field07.png         indexed colours: 0 background, 1 cytoplasm, 2 nucleus
    instances/slide1/field07.png      16-bit: 0 background, k the k-th cell
    overlays/slide1/field07.png       the image with regions and outlines
    probabilities/slide1/field07_nucleus.png, ..._cytoplasm.png    16-bit, 65535 is 1; on request
    cells/slide1/field07.csv          one row per cell
    thumbnails/slide1/field07.jpg     for the gallery
    records/slide1/field07.json       written last: an image without it is not finished

and for all of them `cells.csv`, `images.csv`, `gallery.html` and `segment.json`: settings and folder of images.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wbcstudy.data.overlays import index_mask, shrink
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, read_json
from wbcstudy.inference.image import Segmentation
from wbcstudy.labels import LABELS, REGIONS

IMAGE_COLUMNS = ("image", "file", "status", "height_px", "width_px", "way", "cells", "cell_px", "error")
# Sides of a small picture in the gallery: two stand beside each other.
THUMBNAIL_PX = 320


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

    def write(self, name: str, found: Segmentation, probabilities: bool) -> None:
        """Write all of one image's files but its record.

        Args:
            name: what the image is called here.
            found: in it.
            probabilities: whether to write the probability maps, too.
        """
        pictures = {
            self.file("labels", name, ".png"): index_mask(found.mask),
            self.file("instances", name, ".png"): Image.fromarray(found.instances.astype(np.uint16)),
            self.file("overlays", name, ".png"): Image.fromarray(found.overlay()),
        }
        if probabilities:
            for region, label in LABELS.items():
                if region in REGIONS:
                    levels = (found.probabilities[..., label] * 65535 + 0.5).astype(np.uint16)
                    pictures[self.file("probabilities", name, f"_{region}.png")] = Image.fromarray(levels)
        for path, picture in pictures.items():
            with atomic_write(path) as part:
                picture.save(part, compress_level=3)
        with atomic_write(self.file("thumbnails", name, ".jpg")) as part:
            _thumbnail(found).save(part, quality=80)
        frame = found.cells.copy()
        frame.insert(0, "image", name)
        with atomic_write(self.file("cells", name, ".csv")) as part:
            frame.to_csv(part, index=False, lineterminator="\n")

    def read_records(self, names: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The images' records, read one by one; of images that have one."""
        for name in names:
            record = read_json(self.record(name))
            if record is not None:
                yield record

    def count_others(self, names: Collection[str]) -> int:
        """How many images that are not among these have results here, from earlier calls."""
        folder, names = self.path / "records", set(names)
        found = (path.relative_to(folder).as_posix().removesuffix(".json") for path in folder.rglob("[!.]*.json"))
        return sum(record["status"] == "complete" for record in self.read_records(n for n in found if n not in names))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turns a failure to write into words: no space, no permission."""
        try:
            yield
        except OSError as error:
            raise StudyError(
                f"Cannot write to {self.path}: {error.strerror or error}.",
                expected="a folder that you may write to, on a disk with free space",
                fix="Free some space or choose another folder with --out; the same command goes on where it stopped.",
            ) from None


def _thumbnail(found: Segmentation) -> Image.Image:
    """Image and overlay, side by side."""
    left, right = shrink(found.image, THUMBNAIL_PX), shrink(found.overlay(), THUMBNAIL_PX)
    both = Image.new("RGB", (2 * left.width + 4, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 4, 0))
    return both


def join_tables(file, paths: Iterable[Path]) -> None:
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
