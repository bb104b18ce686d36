"""Write segmented cells for other programs: label TIFF, QuPath's GeoJSON and ImageJ's ROI zip.

Outlines run along the edges of pixels: (0, 0) is the corner of the first pixel, as in QuPath and ImageJ, and
`wbcstudy data import` draws exactly the same pixels from them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.ImageColor import getrgb

from wbcstudy.errors import StudyError
from wbcstudy.labels import NUCLEUS, REGION_COLOURS

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

# Kind -> folder and ends of its files' names.
KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "tiff": ("label_tiff", ("_cells.tif", "_regions.tif")),
        "geojson": ("geojson", (".geojson",)),
        "roi": ("roi", (".zip",)),
    }
)
# Segments of ImageJ's composite shapes.
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0


@dataclass(frozen=True)
class CellOutline:
    """One cell.

    Args:
        number: its value in the map of cells.
        cell: its area, a polygon or several, in px.
        nucleus: the area of its nucleus; empty if it has none.
    """

    number: int
    cell: BaseGeometry
    nucleus: BaseGeometry

    def regions(self) -> Iterator[tuple[str, BaseGeometry]]:
        """Yield region and area of the cell and of its nucleus."""
        yield "cell", self.cell
        if not self.nucleus.is_empty:
            yield "nucleus", self.nucleus


def read_kinds(text: str) -> tuple[str, ...]:
    """Read "geojson,roi".

    Raises:
        StudyError: an unknown kind.
    """
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise StudyError(
            f"--also {text} cannot be used: there is no {unknown[0]!r}.",
            expected=f"one or more of {', '.join(KINDS)}, separated by commas",
            fix="Change --also.",
        )
    return kinds


def trace(area: np.ndarray) -> BaseGeometry:
    """Return the outline of an area along the edges of its pixels.

    Args:
        area: boolean (H, W).

    Returns:
        Polygon with holes, or MultiPolygon of parts that share no edge; empty for an empty area.
    """
    import shapely

    padded = np.pad(area, ((0, 0), (1, 1))).astype(np.int8)
    rows, starts = np.nonzero(np.diff(padded, axis=1) == 1)
    _, ends = np.nonzero(np.diff(padded, axis=1) == -1)
    merged = shapely.union_all(shapely.box(starts, rows, ends, rows + 1))
    # Without points in the middle of a side.
    return shapely.simplify(merged, 0)


def trace_cells(mask: np.ndarray, instances: np.ndarray) -> Iterator[CellOutline]:
    """Yield the outline of each cell.

    Args:
        mask: labels, integer (H, W).
        instances: cells, integer (H, W), 0 for background.
    """
    from scipy.ndimage import find_objects
    from shapely.affinity import translate

    for number, box in enumerate(find_objects(instances), start=1):
        if box is None:
            continue
        cell = instances[box] == number
        left_top = box[1].start, box[0].start
        areas = (trace(area) for area in (cell, cell & (mask[box] == NUCLEUS)))
        yield CellOutline(number, *(translate(area, *left_top) for area in areas))


def write_outlines(path: Path, kind: str, mask: np.ndarray, instances: np.ndarray, pixel_um: float | None) -> None:
    """Write one file.

    Args:
        path: the file.
        kind: end of its name, as in `KINDS`.
        mask: labels, integer (H, W).
        instances: cells, integer (H, W), at most 65,535.
        pixel_um: side of a pixel in micrometres; None if unknown. Only TIFF files have it.
    """
    if kind == ".geojson":
        features = [feature for outline in trace_cells(mask, instances) for feature in _features(outline)]
        record = {"type": "FeatureCollection", "features": features}
        path.write_text(json.dumps(record, separators=(",", ":")), encoding="utf-8")
    elif kind == ".zip":
        _write_rois(path, trace_cells(mask, instances))
    else:
        _write_tiff(path, (instances if kind == "_cells.tif" else mask).astype(np.uint16), pixel_um)


def _features(outline: CellOutline) -> Iterator[dict[str, Any]]:
    from shapely.geometry import mapping

    for region, area in outline.regions():
        yield {
            "type": "Feature",
            "geometry": mapping(area),
            "properties": {
                "objectType": "annotation",
                "name": f"{region} {outline.number}",
                "classification": {"name": region, "color": list(getrgb(REGION_COLOURS[region]))},
            },
        }


def _write_rois(path: Path, outlines: Iterator[CellOutline]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for outline in outlines:
            for region, area in outline.regions():
                name = f"{region}-{outline.number:05d}"
                archive.writestr(f"{name}.roi", _roi(name, area, REGION_COLOURS[region]))


def _roi(name: str, area: BaseGeometry, colour: str) -> bytes:
    from roifile import ROI_TYPE, ImagejRoi

    polygons = list(getattr(area, "geoms", [area]))
    rings = [np.asarray(ring.coords)[:-1] for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]
    if len(rings) == 1:
        roi = ImagejRoi.frompoints(rings[0].astype(int), name=name)
        roi.roitype = ROI_TYPE.POLYGON
    else:
        # A composite shape: a point is inside if it is inside of an odd number of rings.
        left, top, right, bottom = map(int, area.bounds)
        path = [value for ring in rings for value in _segments(ring)]
        roi = ImagejRoi(
            roitype=ROI_TYPE.RECT,
            name=name,
            left=left,
            top=top,
            right=right,
            bottom=bottom,
            shape_roi_size=len(path),
            multi_coordinates=np.array(path, np.float32),
        )
    roi.stroke_color = bytes((255, *getrgb(colour)))
    return roi.tobytes()


def _segments(ring: np.ndarray) -> Iterator[float]:
    for index, (x, y) in enumerate(ring):
        yield from (_LINE if index else _MOVE, x, y)
    yield _CLOSE


def _write_tiff(path: Path, labels: np.ndarray, pixel_um: float | None) -> None:
    """Write labels as ImageJ writes 16-bit images: the pixel size is in the resolution and the unit."""
    import tifffile

    scale = {"resolution": (1 / pixel_um, 1 / pixel_um), "metadata": {"unit": "um"}} if pixel_um else {}
    tifffile.imwrite(path, labels, imagej=True, compression=None, **scale)
