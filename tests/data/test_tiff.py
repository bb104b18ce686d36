"""What other programs write into TIFF files is read as they show it, or refused for the true reason."""

import numpy as np
import pytest
import tifffile

from wbcstudy.data.image_files import read_orientation, read_pixels, read_shape
from wbcstudy.data.images import read_image
from wbcstudy.errors import StudyError

STACK = np.random.default_rng(0).integers(0, 256, (3, 20, 30)).astype(np.uint8)


def write(path, array, **options):
    tifffile.imwrite(path, array, **options)
    return path


def error_of(read, path):
    with pytest.raises(StudyError) as caught:
        read(path)
    return caught.value


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("options", [{"ome": True}, {"imagej": True}, {}], ids=["ome", "imagej", "plain"])
def test_three_channels_are_red_green_and_blue(tmp_path, bits, options):
    stored = STACK.astype(f"u{bits // 8}") << (bits - 8)
    kind = {} if "imagej" in options else {"photometric": "minisblack"}
    path = write(tmp_path / "a.tif", stored, metadata={"axes": "CYX"}, **kind, **options)
    np.testing.assert_array_equal(read_image(path), np.moveaxis(STACK, 0, 2))


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
@pytest.mark.parametrize("options", [{"ome": True}, {"imagej": True}])
def test_a_stack_is_no_colour_image(tmp_path, axes, options):
    path = write(tmp_path / "a.tif", STACK, metadata={"axes": axes}, photometric="minisblack", **options)
    assert "has 3 pages" in error_of(read_image, path).message


def test_four_channels_are_refused_without_the_advice_to_save_one_of_them(tmp_path):
    path = write(tmp_path / "a.tif", np.resize(STACK, (4, 20, 30)), ome=True, metadata={"axes": "CYX"})
    error = error_of(read_image, path)
    assert "4 channels of one image" in error.message
    assert "RGB Color" in error.fix and "instead of saving one of the pages" in error.fix


def test_channels_in_another_order_are_refused(tmp_path):
    channels = {"Name": ["blue", "green", "red"], "Color": [65535, 16711935, -16776961]}
    metadata = {"axes": "CYX", "Channel": channels}
    path = write(tmp_path / "a.tif", STACK, photometric="minisblack", ome=True, metadata=metadata)
    assert "not red, green and blue in this order" in error_of(read_image, path).message


def test_the_pages_of_a_long_file_are_not_counted(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", np.zeros((500, 1, 1), np.uint8), photometric="minisblack", metadata=None)
    opened = []
    seek = tifffile.TiffPages._seek
    monkeypatch.setattr(tifffile.TiffPages, "_seek", lambda self, index: opened.append(index) or seek(self, index))
    assert "has more than 3 pages" in error_of(read_image, path).message
    assert max(opened) <= 3


def test_a_compression_that_cannot_be_read_is_no_damage(tmp_path):
    path = write(tmp_path / "a.tif", STACK[0], compression="zlib")
    content = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].tags["Compression"].valueoffset
    path.write_bytes(content[:offset] + (54321).to_bytes(2, "little") + content[offset + 2 :])
    error = error_of(read_image, path)
    assert "compressed in a way that cannot be read" in error.message
    assert "Copy the file again" not in error.fix


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"compression": "lzw", "rowsperstrip": 3}, {"tile": (16, 16)}]
)
def test_a_file_that_was_cut_off_is_damaged_not_dark(tmp_path, options):
    path = write(tmp_path / "a.tif", STACK[0], photometric="minisblack", **options)
    content = path.read_bytes()
    for share in (0.5, 0.8, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        assert "cannot be read" in error_of(read_image, path).message


def test_a_stack_that_was_cut_off_is_no_grey_image(tmp_path):
    path = write(tmp_path / "a.tif", STACK, photometric="minisblack", ome=True, metadata={"axes": "CYX"})
    with tifffile.TiffFile(path) as file:
        end = file.pages[1].offset
    path.write_bytes(path.read_bytes()[:end])
    assert "cannot be read" in error_of(read_image, path).message


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_shape_without_decoding(tmp_path, orientation):
    path = write(tmp_path / "a.tif", STACK[0], photometric="minisblack", extratags=[(274, 3, 1, orientation, True)])
    assert read_orientation(path) == orientation
    assert read_shape(path) == read_pixels(path).values.shape
