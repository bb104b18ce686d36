"""The files in an output folder of `wbcstudy segment`, and how they are written.

An image `slide1/field07.tif` of the input folder gets:

    labels/slide1/field07.png         grey: 0 background, 1 cytoplasm, 2 nucleus
    instances/slide1/field07.png      16-bit: 0 background, k the k-th cell
    overlays/slide1/field07.png       the image with its regions, their outlines and the numbers of the cells
    fields/slide1/field07.html        the image in full size with its cells to select
    probabilities/slide1/field07_nucleus.png, ..._cytoplasm.png    16-bit, 65535 is 1; on request
    label_tiff/slide1/field07_cells.tif, ..._regions.tif    16-bit with the pixel size; on request, as the next two
    geojson/slide1/field07.geojson    outlines for QuPath
    roi/slide1/field07.zip            outlines for ImageJ
    cells/slide1/field07.csv          one row per cell
    thumbnails/slide1/field07.jpg     for the gallery, as the next
    cell_images/slide1/field07.jpg    its cells one by one
    records/slide1/field07.json       written last: an image without it is not finished

All images share `cells.csv`, `cells_columns.txt`, `images.csv`, `gallery.html`, and `segment.json` with the settings
and the input folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from markupsafe import Markup
from PIL import Image

from wbcstudy import __version__
from wbcstudy.data.overlays import resize_for_view
from wbcstudy.files import POLICY, atomic_write, cannot_write, page_template, read_json
from wbcstudy.inference.cell_columns import cells_csv, column_guide
from wbcstudy.inference.cell_images import draw_cells
from wbcstudy.inference.cell_view import describe_cells, encode_view
from wbcstudy.inference.image import Segmentation
from wbcstudy.inference.outlines import KINDS, write_outlines
from wbcstudy.labels import LABELS, REGIONS

IMAGE_COLUMNS = (
    "image",
    "file",
    "status",
    "height_px",
    "width_px",
    "way",
    "cells",
    "cell_px",
    "scale",
    "stain",
    "doubts",
    "error",
)
# Longest side of a thumbnail; the gallery shows image and overlay next to each other.
_THUMBNAIL_PX = 320
# Longest side of the images in a field's page, and cells in its table: the page is then below about 6 MB.
_FIELD_PX, _FIELD_ROWS = 2000, 1000
_SUFFIXES = {"labels": ".png", "instances": ".png", "overlays": ".png", "cells": ".csv", "fields": ".html"}
_SUFFIXES |= {"thumbnails": ".jpg", "cell_images": ".jpg"}
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
        guide: cells_columns.txt, the meanings of its columns.
        images: images.csv, one row per image.
        gallery: gallery.html, the page to open first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings, self.cells = path / "segment.json", path / "cells.csv"
        self.guide = path / "cells_columns.txt"
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
        file: str,
        segmentation: Segmentation,
        probabilities: bool = False,
        also: Collection[str] = (),
        pixel_um: float | None = None,
    ) -> None:
        """Write all of an image's files except its record.

        Args:
            name: name of the image's results.
            file: name of the image file with its suffix, for cells.csv.
            segmentation: the segmented image.
            probabilities: whether to write the probability maps.
            also: files for other programs, keys of `outlines.KINDS`.
            pixel_um: side of a pixel in micrometres, None if unknown.
        """
        self.write_masks(name, segmentation, pixel_um)
        self.write_overlay(name, segmentation, pixel_um)
        self.write_table(name, file, segmentation)
        if probabilities:
            for region, label in _PROBABILITIES.items():
                levels = (segmentation.probabilities[..., label] * 65535 + 0.5).astype(np.uint16)
                _write_png(self.file("probabilities", name, f"_{region}"), levels, pixel_um)
        for path, ending in self._further(name, also).items():
            with atomic_write(path) as part:
                write_outlines(part, ending, segmentation.mask, segmentation.instances, pixel_um)
        with atomic_write(self.file("thumbnails", name)) as part:
            _thumbnail(segmentation).save(part, quality=80)
        with atomic_write(self.file("cell_images", name)) as part:
            draw_cells(segmentation, pixel_um).save(part, quality=80, subsampling=0)
        with atomic_write(self.file("fields", name)) as part:
            part.write_text(_field_page(name, file, segmentation), encoding="utf-8")

    def write_masks(self, name: str, segmentation: Segmentation, pixel_um: float | None = None) -> list[Path]:
        """Write the labels and the cells of an image; return the paths."""
        paths = [self.file("labels", name), self.file("instances", name)]
        for path, mask in zip(paths, (segmentation.mask, segmentation.instances.astype(np.uint16)), strict=True):
            _write_png(path, mask, pixel_um)
        return paths

    def write_overlay(
        self, name: str, segmentation: Segmentation, pixel_um: float | None = None, opacity: float = 0.35
    ) -> list[Path]:
        """Write the overlay of an image; return its path."""
        _write_png(self.file("overlays", name), segmentation.overlay(opacity, numbers=True), pixel_um)
        return [self.file("overlays", name)]

    def write_table(self, name: str, file: str, segmentation: Segmentation) -> list[Path]:
        """Write the cells of an image as CSV; return its path."""
        with atomic_write(self.file("cells", name)) as part:
            part.write_text(cells_csv(segmentation.cells, name, file), encoding="utf-8")
        return [self.file("cells", name)]

    def write_guide(self) -> Path:
        """Write the meanings of the columns of cells.csv; return the path."""
        with atomic_write(self.guide) as part:
            part.write_text(column_guide(), encoding="utf-8")
        return self.guide

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


def _write_png(path: Path, pixels: np.ndarray, pixel_um: float | None) -> None:
    """Write an image with the size of its pixels, which PNG files store as pixels per metre."""
    resolution = {"dpi": (25_400 / pixel_um,) * 2} if pixel_um and pixel_um > 0.001 else {}
    with atomic_write(path) as part:
        Image.fromarray(pixels).save(part, compress_level=3, **resolution)


def _thumbnail(segmentation: Segmentation) -> Image.Image:
    """Draw image and overlay side by side."""
    overlay = segmentation.overlay(side_px=_THUMBNAIL_PX)
    left, right = map(Image.fromarray, (resize_for_view(segmentation.image, _THUMBNAIL_PX), overlay))
    both = Image.new("RGB", (2 * left.width + 4, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 4, 0))
    return both


def _field_page(name: str, file: str, segmentation: Segmentation) -> str:
    """Return the page of one field: its image with and without outlines, and its cells."""
    height, width = segmentation.mask.shape
    # Small fields are enlarged, so that outlines and numbers do not cover the cells.
    side_px = min(max(height, width, 800), _FIELD_PX)
    outlined = segmentation.overlay(0, side_px=side_px)
    return page_template("field.html").render(
        policy=Markup(POLICY),
        version=__version__,
        name=name,
        file=file,
        home="../" * (name.count("/") + 1),
        size=(width, height),
        shrunk=side_px if max(height, width) > side_px else None,
        plain=encode_view(resize_for_view(segmentation.image, side_px)),
        outlined=encode_view(outlined),
        view=describe_cells(segmentation.cells, (height, width), "cell", _FIELD_ROWS),
    )


def join_tables(file: TextIO, paths: Iterable[Path]) -> None:
    """Write CSV files with the same columns as one, row by row."""
    for number, path in enumerate(paths):
        with path.open(newline="", encoding="utf-8") as table:
            header = next(table)
            file.writelines(table if number else (header, *table))
