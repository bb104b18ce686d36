"""Read outlines of cells: LabelMe JSON, COCO JSON, QuPath GeoJSON, ImageJ .roi files, zips and overlays of them.

Coordinates are x (to the right) and y (down) in pixels; (0, 0) is the corner of the first pixel, whose centre is
(0.5, 0.5). All four programs export such coordinates.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from wbcstudy.errors import StudyError, show_value
from wbcstudy.files import check_file, read_bytes

_MOST_BYTES, _MOST_ROI_BYTES, _MOST_ROIS = 300_000_000, 4_000_000, 50_000
_TIFF = (".tif", ".tiff")
# First bytes of an image -> suffix.
_SIGNATURES = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"II*\0": ".tif", b"MM\0*": ".tif", b"BM": ".bmp"}
_LARGEST = 1e7
_CIRCLE_POINTS = 90


@dataclass(frozen=True)
class Outline:
    """One annotated object.

    Args:
        class_name: its class; '' if it has none.
        rings: closed curves, float (n, 2) of x and y; a point is inside if it is inside of an odd number of them.
        runs: run lengths of COCO, column by column, background first, with height and width; None for curves.
        area: boolean (h, w), with the row and column of its first pixel; None for curves.
        left_out: why it cannot be drawn; '' if it can.
    """

    class_name: str
    rings: tuple[np.ndarray, ...] = ()
    runs: tuple[list[int], int, int] | None = None
    area: tuple[np.ndarray, int, int] | None = None
    left_out: str = ""


@dataclass(frozen=True)
class Annotated:
    """The outlines of one image.

    Args:
        source: the file of the outlines, relative to the folder.
        image: name of the image file as the source has it, or its stem.
        size: height and width of the image as the source has them; None if unknown.
        outlines: the objects, in their order.
        embedded: whether the source holds the image, see `read_embedded_image`.
    """

    source: PurePosixPath
    image: str
    size: tuple[int, int] | None
    outlines: tuple[Outline, ...]
    embedded: bool = False


def read_outlines(form: str, folder: Path, path: PurePosixPath) -> list[Annotated]:
    """Read a file of outlines.

    Args:
        form: a key of `FORMATS`.
        folder: folder of the data.
        path: the file, relative to the folder.

    Returns:
        The annotated images; empty if the file is of another format.

    Raises:
        StudyError: the file cannot be read or is damaged.
    """
    try:
        if path.suffix.lower() in _TIFF:
            return list(_read_overlay(path, folder / path))
        return list(FORMATS[form].read(path, read_bytes(folder / path, _MOST_BYTES)))
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError) as error:
        reason = (
            str(error)[:200] if isinstance(error, ValueError) else f"a field is missing or of another type ({error})"
        )
    except (
        Exception
    ) as error:  # shapely, roifile and zipfile have types of their own, and raise others on damaged files.
        reason = f"{type(error).__name__}: {error}"
    raise StudyError(
        f"{folder / path} cannot be read as {FORMATS[form].title}: {reason}.",
        expected=f"a complete file as {FORMATS[form].title.split()[0]} exports it",
        fix="Export it again, or remove it from the folder.",
    )


def _load_json(data: bytes) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not a number of JSON")

    return json.loads(data.decode("utf-8-sig"), parse_constant=refuse)


def _points(values: Any) -> np.ndarray:
    """Return finite points (n, 2), at least three."""
    points = np.asarray(values, float)
    if points.ndim != 2 or points.shape[1] < 2 or len(points) < 3:
        raise ValueError("an outline needs at least three points of x and y")
    points = points[:, :2]
    if not (np.abs(points) < _LARGEST).all():
        raise ValueError(f"a coordinate is not a number below {_LARGEST:.0f}")
    return points


def _ellipse(centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, _CIRCLE_POINTS, endpoint=False)
    return _points(centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _rectangle(first: Sequence[float], second: Sequence[float]) -> np.ndarray:
    (x0, y0), (x1, y1) = first, second
    return _points([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _read_labelme(path: PurePosixPath, data: bytes) -> Iterator[Annotated]:
    record = _load_json(data)
    if not isinstance(record, dict) or not isinstance(record.get("shapes"), list):
        return
    size = record.get("imageHeight"), record.get("imageWidth")
    # Windows writes paths with backslashes.
    image = PurePosixPath(str(record.get("imagePath") or path.stem).replace("\\", "/")).name
    known = all(isinstance(side, int) for side in size)
    outlines = tuple(map(_labelme_shape, record["shapes"]))
    yield Annotated(path, image, size if known else None, outlines, embedded=bool(record.get("imageData")))


def read_embedded_image(file: Path) -> tuple[bytes, str]:
    """Return the image that a LabelMe file holds, and the suffix of its format.

    Raises:
        ValueError: no image, or one of another format.
    """
    data = base64.b64decode(_load_json(read_bytes(file, _MOST_BYTES)).get("imageData") or "", validate=True)
    suffix = next((suffix for start, suffix in _SIGNATURES.items() if data.startswith(start)), None)
    if suffix is None:
        raise ValueError("the image inside is not PNG, JPEG, TIFF or BMP")
    return data, suffix


def _labelme_area(shape: dict) -> tuple[np.ndarray, int, int]:
    """Return a LabelMe mask: a PNG file between two corners, both included."""
    (left, top), (right, bottom) = np.round(np.asarray(shape["points"], float)).astype(int).tolist()
    with Image.open(io.BytesIO(base64.b64decode(shape["mask"], validate=True)), formats=("PNG",)) as image:
        if image.size != (right - left + 1, bottom - top + 1):
            raise ValueError(f"a mask of {image.width}x{image.height} px does not fit its corners")
        area = np.asarray(image) > 0
    return (area if area.ndim == 2 else area.any(axis=2)), top, left


def _labelme_shape(shape: dict) -> Outline:
    name, points = str(shape["label"]), shape["points"]
    form = shape.get("shape_type") or "polygon"
    if form == "mask":
        return Outline(name, area=_labelme_area(shape))
    if form == "rectangle" and len(points) == 2:
        return Outline(name, (_rectangle(*points),))
    if form == "circle":
        centre, edge = np.asarray(points, float)
        return Outline(name, (_ellipse(centre, np.hypot(*(edge - centre))),))
    if form not in ("polygon", "rectangle"):
        return Outline(name, left_out=f"a {form}, not an area")
    return Outline(name, (_points(points),)) if len(points) > 2 else Outline(name, left_out="fewer than three points")


def _read_coco(path: PurePosixPath, data: bytes) -> Iterator[Annotated]:
    record = _load_json(data)
    if not isinstance(record, dict) or not all(isinstance(record.get(k), list) for k in ("images", "annotations")):
        return
    names = {entry["id"]: str(entry["name"]) for entry in record.get("categories", [])}
    objects: dict[Any, list[Outline]] = {entry["id"]: [] for entry in record["images"]}
    for entry in record["annotations"]:
        if entry["image_id"] not in objects:
            raise ValueError(f"an annotation has the image_id {show_value(entry['image_id'])}, which is not in images")
        objects[entry["image_id"]].append(
            _coco_shape(names.get(entry.get("category_id"), ""), entry.get("segmentation"))
        )
    for entry in record["images"]:
        name = str(PurePosixPath(str(entry["file_name"]).replace("\\", "/")))
        size = entry.get("height"), entry.get("width")
        known = all(isinstance(side, int) for side in size)
        yield Annotated(path, name, size if known else None, tuple(objects[entry["id"]]))


def _coco_shape(name: str, segmentation: Any) -> Outline:
    if not segmentation:
        return Outline(name, left_out="a box, not an outline")
    if isinstance(segmentation, dict):
        height, width = map(int, segmentation["size"])
        counts = segmentation["counts"]
        return Outline(
            name, runs=(decode_runs(counts) if isinstance(counts, str) else list(map(int, counts)), height, width)
        )
    # Parts of one object do not overlap, so an odd number of them is one.
    return Outline(name, tuple(_points(np.reshape(np.asarray(part, float), (-1, 2))) for part in segmentation))


def decode_runs(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed text: groups of five bits, differences from the last but one.

    pycocotools reads the same text, but leaves memory uninitialised where the runs are too short.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text.encode("ascii"):
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("the run lengths are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts


def _read_qupath(path: PurePosixPath, data: bytes) -> Iterator[Annotated]:
    record = _load_json(data)
    features = record.get("features", [record]) if isinstance(record, dict) else record
    if not isinstance(features, list) or not any(isinstance(f, dict) and "geometry" in f for f in features):
        return
    outlines: list[Outline] = []
    for feature in features:
        properties = feature.get("properties") or {}
        classification = properties.get("classification") or {}
        name = classification.get("name") if isinstance(classification, dict) else classification
        name = name or properties.get("name") or ""
        is_cell = properties.get("objectType") == "cell" or "nucleusGeometry" in feature
        outlines.append(_geometry("cell" if is_cell else str(name), feature["geometry"]))
        if feature.get("nucleusGeometry"):
            outlines.append(_geometry("nucleus", feature["nucleusGeometry"]))
    yield Annotated(path, path.stem, None, tuple(outlines))


def _geometry(name: str, geometry: dict) -> Outline:
    from shapely.geometry import shape

    parts = [part for part in _parts(shape(geometry)) if part.geom_type == "Polygon"]
    if not parts:
        return Outline(name, left_out=f"a {geometry.get('type')}, not an area")
    return Outline(name, tuple(_points(ring.coords) for part in parts for ring in (part.exterior, *part.interiors)))


def _parts(geometry) -> list:
    parts = getattr(geometry, "geoms", None)
    return [geometry] if parts is None else [inner for part in parts for inner in _parts(part)]


def _read_imagej(path: PurePosixPath, data: bytes) -> Iterator[Annotated]:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.lower().endswith(".roi")]
            if not entries:
                return
            if len(entries) > _MOST_ROIS or any(entry.file_size > _MOST_ROI_BYTES for entry in entries):
                raise ValueError(f"more than {_MOST_ROIS} outlines, or one of more than {_MOST_ROI_BYTES} bytes")
            outlines = [_roi(archive.open(entry).read(_MOST_ROI_BYTES), entry.filename) for entry in entries]
    else:
        outlines = [_roi(data, path.stem)]
    yield Annotated(path, path.stem, None, tuple(outlines))


def _read_overlay(path: PurePosixPath, file: Path) -> Iterator[Annotated]:
    """Read the overlay that ImageJ stored in a TIFF file, or else its selection; nothing for other files."""
    from tifffile import TiffFile

    check_file(file, sys.maxsize)
    try:
        with TiffFile(file) as tif:
            metadata = tif.imagej_metadata or {}
    except Exception:  # tifffile has many; an image that is damaged is reported when it is read
        return
    stored = metadata.get("Overlays") or metadata.get("ROI") or []
    stored = [stored] if isinstance(stored, bytes) else list(stored)[:_MOST_ROIS]
    if stored:
        yield Annotated(path, path.name, None, tuple(_roi(data, "") for data in stored))


def _roi(data: bytes, file_name: str) -> Outline:
    from roifile import ROI_TYPE, ImagejRoi

    # Its warnings on damaged files would be printed before our error.
    logging.getLogger("roifile").setLevel(logging.CRITICAL)
    roi = ImagejRoi.frombytes(data)
    # ImageJ numbers its outlines: nucleus-1, nucleus-2, or 0012-0345 (the position) where the user gave no name.
    name = re.sub(r"[\W_]*\d[\d\W_]*$", "", roi.name or PurePosixPath(file_name).stem)
    areas = {ROI_TYPE.POLYGON, ROI_TYPE.RECT, ROI_TYPE.OVAL, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED}
    if roi.roitype not in areas:
        return Outline(name, left_out=f"a {ROI_TYPE(roi.roitype).name.lower()}, not an area")
    if roi.roitype == ROI_TYPE.OVAL:
        corners = np.array([[roi.left, roi.top], [roi.right, roi.bottom]], float)
        return Outline(name, (_ellipse(corners.mean(axis=0), (corners[1] - corners[0]) / 2),))
    rings = [ring for ring in roi.coordinates(multi=True) if len(ring) > 2]
    return Outline(name, tuple(map(_points, rings))) if rings else Outline(name, left_out="fewer than three points")


@dataclass(frozen=True)
class Format:
    """A format of outlines.

    Args:
        title: the program and its kind of file.
        suffixes: suffixes of the files.
        read: reads the bytes of a file; yields nothing for a file of another format.
    """

    title: str
    suffixes: tuple[str, ...]
    read: Callable[[PurePosixPath, bytes], Iterator[Annotated]]


FORMATS = {
    "labelme": Format("LabelMe JSON", (".json",), _read_labelme),
    "coco": Format("COCO JSON", (".json",), _read_coco),
    "qupath": Format("QuPath GeoJSON", (".geojson", ".json"), _read_qupath),
    "imagej": Format("ImageJ ROI", (".roi", ".zip", *_TIFF), _read_imagej),
}
