"""Cells in files of other programs are the cells that were segmented."""

import json
from pathlib import PurePosixPath

import numpy as np
import pytest
import shapely
import tifffile
from roifile import ImagejRoi
from shapely.geometry import shape
from skimage.draw import ellipse
from skimage.io import imread

from wbcstudy.data.import_outlines import draw_outline
from wbcstudy.data.outline_files import read_outlines
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.inference.outlines import KINDS, read_kinds, trace, trace_cells, write_outlines
from wbcstudy.labels import CYTOPLASM, NUCLEUS

FORMATS = {"geojson": "qupath", "roi": "imagej"}


def ring_cell():
    """A cell with a hole, a nucleus of two parts and a ring-shaped nucleus in a second cell."""
    mask, instances = np.zeros((70, 90), np.uint8), np.zeros((70, 90), np.int32)
    for number, (row, column) in enumerate([(30, 25), (35, 65)], start=1):
        instances[ellipse(row, column, 22, 18)] = number
    mask[instances > 0] = CYTOPLASM
    for row, column in ((22, 25), (40, 25)):
        mask[ellipse(row, column, 6, 6)] = NUCLEUS
    mask[ellipse(35, 65, 14, 12)] = NUCLEUS
    mask[ellipse(35, 65, 6, 5)] = CYTOPLASM
    # A vacuole that belongs to no cell.
    hole = ellipse(31, 14, 4, 3)
    mask[hole], instances[hole] = 0, 0
    return mask, instances


def drawn():
    smear = make_smear(5, 300, 400, white_cells=(6, 8), touching=0.8)
    return smear.mask, smear.instances


def iou(first, second):
    return np.count_nonzero(first & second) / np.count_nonzero(first | second)


@pytest.mark.parametrize("make", [ring_cell, drawn])
@pytest.mark.parametrize("kind", FORMATS)
def test_outlines_come_back_as_the_same_pixels(kind, make, tmp_path):
    """mask -> polygons in a file -> mask, with the reader of `wbcstudy data import`."""
    mask, instances = make()
    ending = KINDS[kind][1][0]
    write_outlines(tmp_path / f"image{ending}", ending, mask, instances, None)
    (annotated,) = read_outlines(FORMATS[kind], tmp_path, PurePosixPath(f"image{ending}"))
    numbers = [number for number in np.unique(instances) if number]
    cells = [outline for outline in annotated.outlines if outline.class_name == "cell"]
    nuclei = [outline for outline in annotated.outlines if outline.class_name == "nucleus"]
    assert len(cells) == len(numbers) and len(cells) + len(nuclei) == len(annotated.outlines)
    for number, outline in zip(numbers, cells, strict=True):
        assert iou(draw_outline(outline, mask.shape), instances == number) == 1
    redrawn = np.any([draw_outline(outline, mask.shape) for outline in nuclei], axis=0)
    assert iou(redrawn, (mask == NUCLEUS) & (instances > 0)) == 1


def test_shapely_and_roifile_read_areas_and_names(tmp_path):
    mask, instances = ring_cell()
    write_outlines(tmp_path / "image.geojson", ".geojson", mask, instances, None)
    write_outlines(tmp_path / "image.zip", ".zip", mask, instances, None)
    collection = json.loads((tmp_path / "image.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    geometries = [shape(feature["geometry"]) for feature in collection["features"]]
    names = [feature["properties"]["name"] for feature in collection["features"]]
    classes = [feature["properties"]["classification"]["name"] for feature in collection["features"]]
    assert names == ["cell 1", "nucleus 1", "cell 2", "nucleus 2"] and classes == ["cell", "nucleus"] * 2
    assert all(geometry.is_valid for geometry in geometries)
    areas = [np.count_nonzero((instances == k) & ((mask == NUCLEUS) | cell)) for k in (1, 2) for cell in (True, False)]
    assert [geometry.area for geometry in geometries] == areas
    assert [len(getattr(geometry, "geoms", [geometry])) for geometry in geometries] == [1, 2, 1, 1]
    assert [len(geometry.interiors) for geometry in (geometries[0], geometries[2], geometries[3])] == [1, 0, 1]
    rois = ImagejRoi.fromfile(tmp_path / "image.zip")
    assert [roi.name for roi in rois] == ["cell-00001", "nucleus-00001", "cell-00002", "nucleus-00002"]
    assert [len(roi.coordinates(multi=True)) if roi.composite else 1 for roi in rois] == [2, 2, 1, 2]
    left, top, right, bottom = shapely.bounds(geometries[0])
    assert (rois[0].left, rois[0].top, rois[0].right, rois[0].bottom) == (left, top, right, bottom)


def test_touching_corners_are_parts():
    area = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 1]], bool)
    assert trace(area).area == 5 and trace(area).is_valid
    assert trace(np.zeros((3, 3), bool)).is_empty
    assert not list(trace_cells(np.zeros((3, 3), np.uint8), np.zeros((3, 3), np.int32)))


def test_label_tiffs_have_the_pixel_size(tmp_path):
    mask, instances = ring_cell()
    for ending, expected in (("_cells.tif", instances), ("_regions.tif", mask)):
        path = tmp_path / f"image{ending}"
        write_outlines(path, ending, mask, instances, 0.125)
        assert (imread(path) == expected).all() and imread(path).dtype == np.uint16
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_imagej and tiff.imagej_metadata["unit"] == "um"
            pixels, micrometres = tiff.pages[0].tags["XResolution"].value
            assert pixels / micrometres == pytest.approx(8)
    write_outlines(tmp_path / "plain_cells.tif", "_cells.tif", mask, instances, None)
    with tifffile.TiffFile(tmp_path / "plain_cells.tif") as tiff:
        assert "unit" not in tiff.imagej_metadata


def test_unknown_kinds_are_refused():
    assert read_kinds(" roi, geojson,roi ") == ("roi", "geojson")
    assert read_kinds("") == ()
    with pytest.raises(StudyError, match=r"there is no 'svg'"):
        read_kinds("roi,svg")
