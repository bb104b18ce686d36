"""Images and masks in all formats and modes that microscopes, labelling tools and office programs write."""

import os
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from wbcstudy.data.images import read_image, read_instances, read_mask, read_shape
from wbcstudy.errors import StudyError

IMAGE = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [128, 128, 128], [255, 255, 255]]], np.uint8)
LABEL = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
COLOURS = {"background": ("#ff0000", "#000000"), "cytoplasm": ("#00ff00",), "nucleus": ("#0000ff",)}
NUMBERS = {"background": (0,), "cytoplasm": (128,), "nucleus": (255,)}


def spec(labels=NUMBERS, tolerance=0):
    return SimpleNamespace(labels=labels, tolerance=tolerance, uses_colours=isinstance(labels["background"][0], str))


def grey(values=(0, 128, 255)):
    return np.array(values, np.uint8)[LABEL]


def colour():
    return np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)[LABEL]


def palette():
    """Index 0, 1, 2 in red, green and blue."""
    image = Image.new("P", (3, 2))
    image.putdata(LABEL.ravel().tolist())
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return image


def opaque(array, alpha=255):
    return Image.fromarray(np.dstack([array, np.full(array.shape[:2], alpha, np.uint8)]))


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
        with pytest.raises(StudyError, match="has more than one page"):
            read_image(tmp_path / "a.tif")

    def test_the_pages_of_a_tiff_are_not_counted(self, tmp_path):
        # Width, height, 8 bits, uncompressed, black is zero, offset, bytes: each page is the same grey pixel.
        tags = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (279, 1)]
        size, count = 2 + 12 * len(tags) + 4, 300_000
        page = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        starts = [12 + size * (number + 1) for number in range(count - 1)] + [0]
        header = b"II" + struct.pack("<HI", 42, 12) + bytes([7, 0, 0, 0])
        (tmp_path / "a.tif").write_bytes(header + b"".join(page + struct.pack("<I", start) for start in starts))
        with pytest.raises(StudyError, match=r"a\.tif has more than one page"):
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
            "huge": "it has 10,000 MB",
        }.items():
            path = tmp_path / f"{name}.png"
            for read in (read_image, read_instances, read_shape, lambda path: read_mask(path, spec())):
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


class TestMasks:
    @pytest.mark.parametrize(
        ("image", "labels"),
        [
            (Image.fromarray(grey()), NUMBERS),
            (Image.fromarray(LABEL), {"background": (0,), "cytoplasm": (1,), "nucleus": (2,)}),
            (Image.fromarray(np.dstack([grey()] * 3)), NUMBERS),
            (opaque(np.dstack([grey()] * 3)), NUMBERS),
            (Image.merge("LA", [Image.fromarray(grey()), Image.new("L", (3, 2), 255)]), NUMBERS),
            (
                Image.fromarray(np.array([0, 300, 65535], np.uint16)[LABEL]),
                {"background": (0,), "cytoplasm": (300,), "nucleus": (65535,)},
            ),
            (palette(), {"background": (0,), "cytoplasm": (1,), "nucleus": (2,)}),
            (palette(), COLOURS),
            (Image.fromarray(colour()), COLOURS),
            (opaque(colour()), COLOURS),
            (
                Image.fromarray(grey()),
                {"background": ("#000000",), "cytoplasm": ("#808080",), "nucleus": ("#ffffff",)},
            ),
        ],
        ids="grey labels greyRGB greyRGBA LA grey16 indices palette RGB RGBA greyAsColour".split(),
    )
    def test_each_mode_gives_the_same_labels(self, tmp_path, image, labels):
        image.save(tmp_path / "a.png")
        mask, strays = read_mask(tmp_path / "a.png", spec(labels))
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, LABEL)
        assert strays == 0

    @pytest.mark.parametrize("name", ["a.bmp", "a.tif"])
    def test_masks_in_other_formats(self, tmp_path, name):
        Image.fromarray(grey()).save(tmp_path / name)
        np.testing.assert_array_equal(read_mask(tmp_path / name, spec())[0], LABEL)

    @pytest.mark.parametrize("white", [1, 255])
    def test_white_of_a_one_bit_mask_is_1_or_255_as_listed(self, tmp_path, white):
        Image.fromarray(LABEL == 2).save(tmp_path / "a.png")
        labels = {"background": (0,), "cytoplasm": (77,), "nucleus": (white,)}
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png", spec(labels))[0], np.where(LABEL == 2, 2, 0))

    def test_several_values_of_one_label(self, tmp_path):
        Image.fromarray(np.array([[0, 40, 80, 120, 160]], np.uint8)).save(tmp_path / "a.png")
        labels = {"background": (0, 40), "cytoplasm": (80,), "nucleus": (120, 160)}
        assert read_mask(tmp_path / "a.png", spec(labels))[0].tolist() == [[0, 0, 1, 2, 2]]

    def test_the_papers_four_regions_are_three_labels(self, tmp_path):
        labels = {"background": ("#ff0000", "#ffff00"), "cytoplasm": ("#00ff00",), "nucleus": ("#0000ff",)}
        regions = np.array([[[0, 0, 255], [0, 255, 0], [255, 0, 0], [255, 255, 0]]], np.uint8)
        Image.fromarray(regions).save(tmp_path / "a.bmp")
        assert read_mask(tmp_path / "a.bmp", spec(labels))[0].tolist() == [[2, 1, 0, 0]]

    def test_a_stray_value_goes_to_the_nearest_label_and_is_counted(self, tmp_path):
        Image.fromarray(np.array([[0, 2, 50, 64, 100, 200, 255]], np.uint8)).save(tmp_path / "a.png")
        mask, strays = read_mask(tmp_path / "a.png", spec(tolerance=64))
        assert mask.tolist() == [[0, 0, 0, 0, 1, 2, 2]]  # 64 is halfway: background comes first
        assert strays == 5

    def test_a_stray_colour_goes_by_distance_in_rgb(self, tmp_path):
        Image.fromarray(np.array([[[250, 3, 0], [0, 250, 0], [9, 0, 255]]], np.uint8)).save(tmp_path / "a.png")
        mask, strays = read_mask(tmp_path / "a.png", spec(COLOURS, tolerance=9))
        assert (mask.tolist(), strays) == ([[0, 1, 2]], 3)
        with pytest.raises(StudyError, match="'#0900ff' at row 0, column 2"):
            read_mask(tmp_path / "a.png", spec(COLOURS, tolerance=8))

    def test_an_unlisted_value_is_named_with_file_pixel_and_fix(self, tmp_path):
        values = grey()
        values[1, 2] = 7
        Image.fromarray(values).save(tmp_path / "a.png")
        with pytest.raises(StudyError) as caught:
            read_mask(tmp_path / "a.png", spec(tolerance=6))
        text = str(caught.value)
        assert "a.png has the value 7 at row 1, column 2" in text
        assert "Add 7 to its label under `labels` in dataset.yaml, or raise `tolerance`" in text
        assert "cytoplasm: 128" in text

    def test_unlisted_values_are_listed_by_frequency(self, tmp_path):
        # Users who do not know the values of their masks learn them from this message.
        Image.fromarray(np.array([[9, 8, 8, 7, 8, 9, 0]], np.uint8)).save(tmp_path / "a.png")
        with pytest.raises(StudyError, match=r"Unlisted values: 8 \(3 px\), 9 \(2 px\), 7 \(1 px\)"):
            read_mask(tmp_path / "a.png", spec())

    def test_an_unlisted_palette_index_is_shown_with_its_colour(self, tmp_path):
        palette().save(tmp_path / "a.png")
        with pytest.raises(StudyError, match=r"value 1 \(a palette index; its colour is '#00ff00'\)"):
            read_mask(tmp_path / "a.png", spec())

    def test_colours_where_numbers_are_listed(self, tmp_path):
        Image.fromarray(colour()).save(tmp_path / "a.png")
        with pytest.raises(StudyError, match="has colours: '#ff0000' at row 0, column 0") as caught:
            read_mask(tmp_path / "a.png", spec())
        assert "as colours" in caught.value.fix

    def test_sixteen_bits_where_colours_are_listed(self, tmp_path):
        Image.fromarray(LABEL.astype(np.uint16)).save(tmp_path / "a.png")
        with pytest.raises(StudyError, match="pixels of type 'I;16'"):
            read_mask(tmp_path / "a.png", spec(COLOURS))

    def test_a_transparent_mask_is_refused(self, tmp_path):
        opaque(colour(), 128).save(tmp_path / "a.png")
        with pytest.raises(StudyError, match=r"transparent at row 0, column 0 \(alpha 128\)"):
            read_mask(tmp_path / "a.png", spec(COLOURS))

    def test_a_palette_with_a_transparent_entry_is_refused_where_it_is_used(self, tmp_path):
        palette().save(tmp_path / "a.png", transparency=2)
        with pytest.raises(StudyError, match="transparent at row 0, column 2"):
            read_mask(tmp_path / "a.png", spec(COLOURS))

    def test_a_palette_with_an_unused_transparent_entry_is_fine(self, tmp_path):
        image = palette()
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
        image.save(tmp_path / "a.png", transparency=3)
        for labels in (COLOURS, {"background": (0,), "cytoplasm": (1,), "nucleus": (2,)}):
            np.testing.assert_array_equal(read_mask(tmp_path / "a.png", spec(labels))[0], LABEL)

    @settings(deadline=None)  # a busy machine is no failure
    @given(st.lists(st.integers(0, 255), min_size=1, max_size=40), st.integers(0, 255))
    def test_nearest_value_by_brute_force(self, tmp_path_factory, values, tolerance):
        path = tmp_path_factory.mktemp("m") / "a.png"
        Image.fromarray(np.array([values], np.uint8)).save(path)
        listed = [(0, 0), (128, 1), (200, 1), (255, 2)]
        labels = {"background": (0,), "cytoplasm": (128, 200), "nucleus": (255,)}
        if any(min(abs(v - k) for k, _ in listed) > tolerance for v in values):
            with pytest.raises(StudyError):
                read_mask(path, spec(labels, tolerance))
        else:
            mask, strays = read_mask(path, spec(labels, tolerance))
            assert mask[0].tolist() == [min(listed, key=lambda row: (abs(v - row[0]), row[1]))[1] for v in values]
            assert strays == sum(v not in (0, 128, 200, 255) for v in values)


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
