"""Masks of all pixel types become labels, and an error names value, pixel and fix."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wbcstudy.data.masks import read_mask
from wbcstudy.errors import StudyError

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
        with pytest.raises(StudyError, match="16-bit grey pixels, whose values are not 8-bit colours"):
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
