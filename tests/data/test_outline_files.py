"""Files of outlines: damaged ones are refused."""

import base64
import io
import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools import mask as coco_mask
from roifile import ROI_TYPE, ImagejRoi

from tests.helpers.layouts import save
from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.data.import_outlines import draw_outline, import_outlines
from wbcstudy.data.outline_files import Outline, decode_runs
from wbcstudy.errors import StudyError


@pytest.mark.parametrize(
    ("form", "name", "data"),
    [
        ("labelme", "a.json", b"{"),
        ("labelme", "a.json", b'{"shapes": [{"points": 3}]}'),
        ("labelme", "a.json", b'{"shapes": [{"label": "cell", "points": [[NaN, 1], [2, 2], [3, 1]]}]}'),
        ("labelme", "a.json", b'{"shapes": [{"label": "cell", "points": [[1e300, 1], [2, 2], [3, 1]]}]}'),
        ("labelme", "a.json", b"[" * 100_000),
        ("labelme", "a.json", b"\xff\xfe\x00"),
        ("labelme", "a.json", b"{}"),
        ("labelme", "a.json", b'{"shapes": []}'),
        ("coco", "a.json", b'{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 2}]}'),
        ("coco", "a.json", b'{"images": [3], "annotations": []}'),
        ("qupath", "a.geojson", b'{"features": [{"geometry": {"type": "Polygon", "coordinates": [[[1, 2]]]}}]}'),
        ("qupath", "a.geojson", b'{"features": [{"geometry": {"type": "Blob"}}]}'),
        ("imagej", "a.zip", b"PK\x03\x04"),
        ("imagej", "a.roi", b"Iout" + bytes(20)),
        ("imagej", "a.roi", b""),
    ],
)
def test_damaged_files_are_one_clear_error(tmp_path, form, name, data):
    save(tmp_path / "in/a.png", np.zeros((20, 20, 3), np.uint8))
    (tmp_path / "in" / name).write_bytes(data)
    with pytest.raises(StudyError) as caught:
        import_outlines(form, tmp_path / "in", tmp_path / "out")
    assert str(tmp_path / "in") in caught.value.message and len(caught.value.message) < 600
    assert not (tmp_path / "out").exists()


def test_compressed_run_lengths_are_those_of_pycocotools():
    rng = np.random.default_rng(0)
    for share in (0.02, 0.3, 0.9):
        area = np.asfortranarray(rng.random((37, 53)) < share)
        text = coco_mask.encode(area.astype(np.uint8))["counts"].decode()
        np.testing.assert_array_equal(draw_outline(Outline("", runs=(decode_runs(text), 37, 53)), (37, 53)), area)
    for text in ("\xff", "oooooooooooooo", " "):
        with pytest.raises(ValueError, match=r"damaged|ascii"):
            decode_runs(text)


def png(pixels, form="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return base64.b64encode(buffer.getvalue()).decode()


IMAGE = np.random.default_rng(0).integers(60, 250, (20, 30, 3), dtype=np.uint8)
DISC = np.hypot(*np.mgrid[-4:5, -4:5]) < 4.2


def write_labelme(folder, shapes, **fields):
    folder.mkdir(exist_ok=True)
    (folder / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": shapes} | fields))


def area(points, mask, label="nucleus"):
    return {"label": label, "shape_type": "mask", "points": points, "mask": mask}


def read_drawn(folder):
    dataset = load_dataset(folder)
    return read_case(dataset, dataset.cases[0])


@pytest.mark.parametrize(("left", "top"), [(3, 5), (26, 15), (-3, -2)], ids=["inside", "right edge", "left edge"])
def test_masks_of_labelme_are_drawn_where_they_are(tmp_path, left, top):
    save(tmp_path / "in/a.png", IMAGE)
    write_labelme(tmp_path / "in", [area([[left, top], [left + 8, top + 8]], png(DISC.astype(np.uint8) * 255))])
    import_outlines("labelme", tmp_path / "in", tmp_path / "out")
    expected = np.zeros((40, 50), np.uint8)
    expected[top + 10 : top + 19, left + 10 : left + 19] = DISC * 2
    np.testing.assert_array_equal(read_drawn(tmp_path / "out")[1], expected[10:30, 10:40])


@pytest.mark.parametrize(
    "shape",
    [area([[0, 0], [9, 9]], png(DISC)), area([[0, 0], [8, 8]], "no base64"), area([[0, 0], [8, 8]], "AAAA")],
    ids=["another size", "no base64", "no PNG"],
)
def test_a_damaged_mask_of_labelme_is_one_clear_error(tmp_path, shape):
    save(tmp_path / "in/a.png", IMAGE)
    write_labelme(tmp_path / "in", [shape])
    with pytest.raises(StudyError, match=r"a\.json cannot be read as LabelMe JSON"):
        import_outlines("labelme", tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(("form", "suffix"), [("PNG", ".png"), ("BMP", ".bmp"), ("TIFF", ".tif")])
def test_an_image_inside_of_a_labelme_file_is_written(tmp_path, form, suffix):
    write_labelme(tmp_path / "in", [area([[2, 2], [10, 10]], png(DISC))], imageData=png(IMAGE, form))
    import_outlines("labelme", tmp_path / "in", tmp_path / "out")
    image, mask = read_drawn(tmp_path / "out")
    np.testing.assert_array_equal(image, IMAGE)
    assert (mask == 2).sum() == DISC.sum()
    assert (tmp_path / f"out/images/a{suffix}").exists()


def test_an_image_next_to_a_labelme_file_counts_rather_than_the_one_inside(tmp_path):
    save(tmp_path / "in/a.png", IMAGE)
    write_labelme(tmp_path / "in", [area([[2, 2], [10, 10]], png(DISC))], imageData=png(IMAGE // 2))
    import_outlines("labelme", tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(read_drawn(tmp_path / "out")[0], IMAGE)


def test_an_unknown_image_inside_is_left_out_with_the_reason(tmp_path):
    write_labelme(tmp_path / "in", [area([[2, 2], [10, 10]], png(DISC))], imageData=png(IMAGE, "WEBP"))
    with pytest.raises(StudyError, match="the image inside is not PNG, JPEG, TIFF or BMP"):
        import_outlines("labelme", tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("field", ["Overlays", "ROI"])
def test_outlines_that_imagej_stored_in_the_image_are_drawn(tmp_path, field):
    corners = np.array([[5, 4], [15, 4], [15, 12], [5, 12]], np.float32)
    roi = ImagejRoi.frompoints(corners, name="nucleus-1")
    roi.roitype = ROI_TYPE.POLYGON
    (tmp_path / "in").mkdir()
    stored = [roi.tobytes()] if field == "Overlays" else roi.tobytes()
    tifffile.imwrite(tmp_path / "in/a.tif", IMAGE, imagej=True, metadata={field: stored})
    tifffile.imwrite(tmp_path / "in/b.tif", IMAGE, imagej=True)
    (tmp_path / "in/c.tif").write_bytes(b"II*\0damaged")
    import_outlines("imagej", tmp_path / "in", tmp_path / "out")
    image, mask = read_drawn(tmp_path / "out")
    expected = np.zeros((20, 30), np.uint8)
    expected[4:12, 5:15] = 2
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(image, IMAGE)
