"""Images and masks in all formats and modes that microscopes, labelling tools and office programs write."""

import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from tests.helpers.pixel_types import LABEL, colour, grey, opaque, palette
from wbcstudy.data.image_files import read_pixels
from wbcstudy.data.images import read_image, read_instances, read_shape
from wbcstudy.errors import StudyError

IMAGE = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [128, 128, 128], [255, 255, 255]]], np.uint8)


class TestImages:
    @pytest.mark.parametrize("name", ["a.bmp", "a.BMP", "a.png", "a.tif", "a.TIFF"])
    def test_lossless_formats_come_back_as_they_were(self, tmp_path, name):
        Image.fromarray(IMAGE).save(tmp_path / name)
        read = read_image(tmp_path / name)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, IMAGE)

    def test_jpeg_comes_back_nearly_as_it_was(self, tmp_path):
        smooth = np.full((16, 16, 3), (200, 150, 100), np.uint8)
        Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
        np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), smooth, atol=3)

    def test_the_content_decides_not_the_suffix(self, tmp_path):
        Image.fromarray(IMAGE).save(tmp_path / "a.bmp", format="PNG")
        np.testing.assert_array_equal(read_image(tmp_path / "a.bmp"), IMAGE)

    def test_grey_is_repeated(self, tmp_path):
        Image.fromarray(grey()).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(grey()[..., None], 3, axis=2))

    def test_one_bit_is_black_and_white(self, tmp_path):
        Image.fromarray(LABEL > 0).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 0], np.where(LABEL > 0, 255, 0))

    def test_a_palette_is_applied(self, tmp_path):
        palette().save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), colour())

    @pytest.mark.parametrize(("alpha", "expected"), [(255, 100), (0, 255)])
    def test_transparent_pixels_are_placed_on_white(self, tmp_path, alpha, expected):
        opaque(np.full((2, 3, 3), 100, np.uint8), alpha).save(tmp_path / "a.png")
        assert (read_image(tmp_path / "a.png") == expected).all()

    @pytest.mark.parametrize("name", ["a.png", "a.tif"])
    def test_of_sixteen_bits_the_high_byte_is_kept(self, tmp_path, name):
        Image.fromarray(np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)).save(tmp_path / name)
        assert read_image(tmp_path / name)[..., 1].tolist() == [[0, 0, 1], [128, 255, 255]]

    def test_twelve_bits_in_sixteen_are_refused_not_shown_black(self, tmp_path):
        Image.fromarray(np.array([[0, 4095]], np.uint16)).save(tmp_path / "a.tif")
        with pytest.raises(StudyError, match=r"a\.tif has 16 bits per pixel, but its brightest value is 4095"):
            read_image(tmp_path / "a.tif")

    def test_float_is_refused(self, tmp_path):
        Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "a.tif")
        with pytest.raises(StudyError, match="no defined scale"):
            read_image(tmp_path / "a.tif")

    @pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a.png"])
    def test_the_cameras_orientation_is_applied(self, tmp_path, name):
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn clockwise
        image = np.full((16, 32, 3), 255, np.uint8)
        image[:, :8] = 0
        Image.fromarray(image).save(tmp_path / name, exif=exif)
        read = read_image(tmp_path / name)
        assert read.shape == (32, 16, 3)
        assert read[:6].max() < 30
        assert read[10:].min() > 220

    def test_several_pages_are_refused(self, tmp_path):
        page = Image.fromarray(IMAGE)
        page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
        with pytest.raises(StudyError, match="has 2 pages"):
            read_image(tmp_path / "a.tif")

    def test_the_pages_of_a_tiff_are_not_counted(self, tmp_path):
        # Width, height, 8 bits, uncompressed, black is zero, offset, bytes: each page is the same grey pixel.
        tags = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (279, 1)]
        size, count = 2 + 12 * len(tags) + 4, 300_000
        page = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        starts = [12 + size * (number + 1) for number in range(count - 1)] + [0]
        header = b"II" + struct.pack("<HI", 42, 12) + bytes([7, 0, 0, 0])
        (tmp_path / "a.tif").write_bytes(header + b"".join(page + struct.pack("<I", start) for start in starts))
        with pytest.raises(StudyError, match=r"a\.tif has more than 3 pages"):
            read_image(tmp_path / "a.tif")

    def test_a_pipe_a_device_and_a_huge_file_are_refused(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "device.png").symlink_to("/dev/zero")
        with (tmp_path / "huge.png").open("wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            file.truncate(10**10)
        for name, reason in {
            "pipe": "it is a pipe or",
            "device": "it is a pipe or",
            "huge": "it has 10,000.0 MB",
        }.items():
            path = tmp_path / f"{name}.png"
            for read in (read_image, read_instances, read_shape, read_pixels):
                with pytest.raises(StudyError, match=rf"{name}\.png cannot be read: {reason}"):
                    read(path)

    def test_a_file_that_is_missing(self, tmp_path):
        with pytest.raises(StudyError, match=r"gone\.png does not exist"):
            read_image(tmp_path / "gone.png")

    @pytest.mark.parametrize("content", [b"", b"hello", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"])
    def test_a_file_that_is_not_an_image(self, tmp_path, content):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(StudyError, match=r"a\.png cannot be read: it is not a BMP, PNG, JPEG or TIFF file"):
            read_image(tmp_path / "a.png")

    @pytest.mark.filterwarnings("ignore:Image size")
    def test_more_pixels_than_pillow_allows(self, tmp_path, monkeypatch):
        Image.fromarray(IMAGE).save(tmp_path / "a.png")
        for limit in (5, 2):  # Pillow only warns at the first
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
            with pytest.raises(StudyError, match="more pixels than can be decoded safely"):
                read_image(tmp_path / "a.png")


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    paths = {}
    for name in ("a.bmp", "a.png", "a.jpg", "a.tif"):
        noise.save(folder / name)
        paths[name] = (folder / name).read_bytes()
    return folder, paths


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", ["a.bmp", "a.png", "a.jpg", "a.tif"])
class TestDamagedFiles:
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
    def test_a_file_cut_off_is_named(self, whole_files, name, share):
        folder, files = whole_files
        content = files[name]
        (folder / f"cut_{name}").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(StudyError, match=f"cut_{name} cannot be read"):
            read_image(folder / f"cut_{name}")

    @settings(deadline=None)  # a busy machine is no failure
    @given(where=st.floats(0, 0.999), value=st.integers(0, 255))
    def test_a_flipped_byte_never_shows_a_traceback(self, whole_files, name, where, value):
        folder, files = whole_files
        content = bytearray(files[name])
        # Headers are where decoders stumble.
        content[int(min(len(content), 600) * where)] = value
        path = folder / f"flipped_{name}"
        path.write_bytes(bytes(content))
        try:
            assert read_image(path).dtype == np.uint8
        except StudyError:
            pass


class TestInstances:
    @pytest.mark.parametrize("kind", [np.uint8, np.uint16])
    def test_numbers_come_back(self, tmp_path, kind):
        Image.fromarray(LABEL.astype(kind)).save(tmp_path / "a.png")
        read = read_instances(tmp_path / "a.png")
        assert read.dtype == np.uint16
        np.testing.assert_array_equal(read, LABEL)

    def test_a_colour_image_is_not_an_instance_map(self, tmp_path):
        Image.fromarray(IMAGE).save(tmp_path / "a.png")
        with pytest.raises(StudyError, match="not an instance map"):
            read_instances(tmp_path / "a.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_shape_of_an_image_is_known_without_decoding_it(tmp_path, orientation):
    path, exif = tmp_path / "turned.png", Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (5, 3)).save(path, exif=exif)
    assert read_shape(path) == read_image(path).shape[:2]


def test_the_shape_of_no_image_is_an_error(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(StudyError, match="cannot be read"):
        read_shape(tmp_path / "text.png")
