"""The files in an output folder of `wbcstudy segment`, and how they are written.

An image `slide1/field07.tif` of the input folder gets:

    labels/slide1/field07.png         indexed colours: 0 background, 1 cytoplasm, 2 nucleus
    instances/slide1/field07.png      16-bit: 0 background, k the k-th cell
    overlays/slide1/field07.png       the image with its regions and their outlines
    probabilities/slide1/field07_nucleus.png, ..._cytoplasm.png    16-bit, 65535 is 1; on request
    label_tiff/slide1/field07_cells.tif, ..._regions.tif    16-bit with the pixel size; on request, as the next two
    geojson/slide1/field07.geojson    outlines for QuPath
    roi/slide1/field07.zip            outlines for ImageJ
    cells/slide1/field07.csv          one row per cell
    thumbnails/slide1/field07.jpg     for the gallery
    records/slide1/field07.json       written last: an image without it is not finished

All images share `cells.csv`, `images.csv`, `gallery.html`, and `segment.json` with the settings and the input folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image

from wbcstudy.data.overlays import index_mask, shrink
from wbcstudy.files import atomic_write, cannot_write, escape_cell, read_json
from wbcstudy.inference.image import Segmentation
from wbcstudy.inference.outlines import KINDS, write_outlines
from wbcstudy.labels import LABELS, REGIONS

IMAGE_COLUMNS = ("image", "file", "status", "height_px", "width_px", "way", "cells", "cell_px", "error")
# Longest side of a thumbnail; the gallery shows image and overlay next to each other.
_THUMBNAIL_PX = 320
_SUFFIXES = {"labels": ".png", "instances": ".png", "overlays": ".png", "cells": ".csv", "thumbnails": ".jpg"}
_ALL_SUFFIXES = _SUFFIXES | {"probabilities": ".png", "records": ".json"}
_KIND_SUFFIXES = [ending for _, endings in KINDS.values() for ending in endings]
FILE_SUFFIXES = tuple(dict.fromkeys([*_ALL_SUFFIXES.values(), *_KIND_SUFFIXES]))
# Regions that are labels.
_PROBABILITIES = {region: label for region, label in LABELS.items() if region in REGIONS}


class Results:
    """An output folder.

    Args:
        path: the folder.

    Attributes:
        settings: segment.json, the settings and the network of all results.
        cells: cells.csv, the measurements of all cells.
        images: images.csv, one row per image.
        gallery: gallery.html, the page to open first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings, self.cells = path / "segment.json", path / "cells.csv"
        self.images, self.gallery = path / "images.csv", path / "gallery.html"

    def file(self, folder: str, name: str, ending: str = "") -> Path:
        """Return the path of an image's file in one of the folders, `ending` being the end of its stem."""
        return self.path / folder / f"{name}{ending}{_ALL_SUFFIXES[folder]}"

    def files(self, name: str, probabilities: bool, also: Collection[str] = ()) -> list[Path]:
        """Return the paths of all of an image's files except its record."""
        maps = [self.file("probabilities", name, f"_{region}") for region in _PROBABILITIES if probabilities]
        return [self.file(folder, name) for folder in _SUFFIXES] + maps + [*self._further(name, also)]

    def _further(self, name: str, also: Collection[str]) -> dict[Path, str]:
        """Return path -> end of the name, as in `outlines.KINDS`, of the files for other programs."""
        kinds = (KINDS[kind] for kind in also)
        return {self.path / folder / f"{name}{ending}": ending for folder, endings in kinds for ending in endings}

    def write(
        self,
        name: str,
        segmentation: Segmentation,
        probabilities: bool,
        also: Collection[str] = (),
        pixel_um: float | None = None,
    ) -> None:
        """Write all of an image's files except its record.

        Args:
            name: name of the image's results.
            segmentation: the segmented image.
            probabilities: whether to write the probability maps.
            also: files for other programs, keys of `outlines.KINDS`.
            pixel_um: side of a pixel in micrometres, None if unknown.
        """
        images = {
            self.file("labels", name): index_mask(segmentation.mask),
            self.file("instances", name): Image.fromarray(segmentation.instances.astype(np.uint16)),
            self.file("overlays", name): Image.fromarray(segmentation.overlay()),
        }
        if probabilities:
            for region, label in _PROBABILITIES.items():
                levels = (segmentation.probabilities[..., label] * 65535 + 0.5).astype(np.uint16)
                images[self.file("probabilities", name, f"_{region}")] = Image.fromarray(levels)
        for path, image in images.items():
            with atomic_write(path) as part:
                image.save(part, compress_level=3)
        for path, ending in self._further(name, also).items():
            with atomic_write(path) as part:
                write_outlines(part, ending, segmentation.mask, segmentation.instances, pixel_um)
        with atomic_write(self.file("thumbnails", name)) as part:
            _thumbnail(segmentation).save(part, quality=80)
        frame = segmentation.cells.copy()
        frame.insert(0, "image", escape_cell(name))
        with atomic_write(self.file("cells", name)) as part:
            frame.to_csv(part, index=False, lineterminator="\n")

    def read_records(self, names: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Read the records of images one by one; images without a record are left out."""
        for name in names:
            record = read_json(self.file("records", name))
            if record is not None:
                yield record

    def count_others(self, names: Collection[str]) -> int:
        """Count the images with results that are not among these names."""
        folder = self.path / "records"
        others = {path.relative_to(folder).as_posix().removesuffix(".json") for path in folder.rglob("[!.]*.json")}
        return sum(record["status"] == "complete" for record in self.read_records(others - set(names)))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn a failure to write (disk full, no permission) into a StudyError."""
        try:
            yield
        except OSError as error:
            instead = "choose another folder with --out; re-running the same command resumes"
            raise cannot_write(self.path, error, instead=instead) from None


def _thumbnail(segmentation: Segmentation) -> Image.Image:
    """Draw image and overlay side by side."""
    left, right = (shrink(image, _THUMBNAIL_PX) for image in (segmentation.image, segmentation.overlay()))
    both = Image.new("RGB", (2 * left.width + 4, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 4, 0))
    return both


def join_tables(file: TextIO, paths: Iterable[Path]) -> None:
    """Write CSV files with the same columns as one, row by row."""
    for number, path in enumerate(paths):
        with path.open(newline="", encoding="utf-8") as table:
            header = next(table)
            file.writelines(table if number else (header, *table))
