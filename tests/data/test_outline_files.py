"""Files of outlines: damaged ones are refused."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.helpers.layouts import save
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
