"""A file that cannot be read is refused for the true reason, with advice that fits."""

import numpy as np
import pytest
from PIL import Image

from tests.formats.files import write_files
from wbcstudy.data.image_files import read_pixels
from wbcstudy.data.images import read_image
from wbcstudy.errors import StudyError


@pytest.mark.parametrize(
    ("content", "reason", "fix"),
    [
        (b"", "it is empty", "Copy the file again"),
        (b'{"version": "5.2.1", "shapes": []}', "a JSON file", "wbcstudy data import"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "HTML", "Download the image itself"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "a WebP image", "save the image as PNG"),
        (b"\0\0\0\x1cftypheic", "HEIC", "save the image as PNG"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG-2000 image", "save the image as PNG"),
        (bytes(128) + b"DICM", "a DICOM file", "save the image as PNG"),
        (b"PK\x03\x04", "a ZIP archive", "Unpack it"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS", "git lfs pull"),
        (b"some text", "its beginning is damaged", "Copy the file again"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, content, reason, fix):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(StudyError) as caught:
        read_pixels(tmp_path / "a.png")
    assert reason in caught.value.message
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied"), "no permission"),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path, monkeypatch, error, reason):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")

    def fail(*_):
        raise error

    monkeypatch.setattr("wbcstudy.data.image_files._signature", fail)
    with pytest.raises(StudyError, match=reason) as caught:
        read_pixels(tmp_path / "a.png")
    assert "remove" not in caught.value.fix


def test_alpha_that_is_zero_everywhere_in_a_bmp_is_no_transparency(tmp_path):
    written = [one for one in write_files(tmp_path) if one.path.suffix == ".bmp"]
    checked = [one for one in written if one.shown is not None and b"BGRs" in one.path.read_bytes()[:80]]
    assert len(checked) == 2
    for one in checked:
        np.testing.assert_array_equal(read_image(one.path), one.shown)


def test_an_animation_is_refused(tmp_path):
    pages = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "a.png", save_all=True, append_images=pages[1:])
    with pytest.raises(StudyError, match="an animation of 2 images"):
        read_pixels(tmp_path / "a.png")
