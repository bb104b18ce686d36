"""Masks of all pixel types become labels, and an error names value, pixel and fix."""

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.pixel_types import LABEL, colour, grey, opaque, palette
from wbcstudy.data.mask_values import enough_tolerance
from wbcstudy.data.masks import combine_masks, examine_mask, read_mask
from wbcstudy.errors import StudyError
from wbcstudy.labels import IGNORED

COLOURS = {"background": ("#ff0000", "#000000"), "cytoplasm": ("#00ff00",), "nucleus": ("#0000ff",)}
NUMBERS = {"background": (0,), "cytoplasm": (128,), "nucleus": (255,)}


def spec(labels=NUMBERS, tolerance=0, ignore=()):
    return SimpleNamespace(labels=labels, tolerance=tolerance, ignore=ignore)


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
        assert "Add 7 to its label under `labels` in dataset.yaml, or to `ignore`" in text
        assert "64, half the gap between the labels" in text
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


CLASSES = {"background": (0,), "cytoplasm": (1,), "nucleus": (2,)}


def save(path, values, kind=np.uint8):
    Image.fromarray(np.array(values).astype(kind)).save(path)
    return path


def error_of(path, *args):
    with pytest.raises(StudyError) as caught:
        read_mask(path, spec(*args))
    return caught.value


class TestValues:
    def test_ignored_values_have_no_label(self, tmp_path):
        path = save(tmp_path / "a.png", [[0, 1, 2, 255, 77]])
        mask, strays = read_mask(path, spec(CLASSES, ignore=(77, "200-255")))
        assert (mask.tolist(), strays) == ([[0, 1, 2, IGNORED, IGNORED]], 0)

    def test_a_range_is_one_label(self, tmp_path):
        path = save(tmp_path / "a.png", [[0, 1, 99, 100, 255]])
        labels = {"background": (0,), "cytoplasm": ("1-99",), "nucleus": ("100-255",)}
        assert read_mask(path, spec(labels))[0].tolist() == [[0, 1, 1, 2, 2]]

    @pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
    def test_instances_are_all_numbers_that_are_not_listed(self, tmp_path, kind):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, np.array([[0, 1, 2, 100, 120]]).astype(kind))
        labels = {"background": (0,), "cytoplasm": (100,), "nucleus": ("instances",)}
        assert read_mask(path, spec(labels))[0].tolist() == [[0, 2, 2, 1, 2]]

    def test_a_large_range_takes_no_time(self, tmp_path):
        values = np.arange(65536).reshape(256, 256).astype(np.uint16)
        labels = {"background": (0,), "cytoplasm": ("1-40000",), "nucleus": ("40001-65535",)}
        mask, _ = read_mask(save(tmp_path / "a.png", values, np.uint16), spec(labels))
        assert np.bincount(mask.ravel()).tolist() == [1, 40000, 25535]

    def test_an_ignored_colour(self, tmp_path):
        image = np.array([[[255, 0, 0], [0, 255, 0], [224, 224, 192]]], np.uint8)
        Image.fromarray(image).save(tmp_path / "a.png")
        mask, _ = read_mask(tmp_path / "a.png", spec(COLOURS, ignore=("#e0e0c0",)))
        assert mask.tolist() == [[0, 1, IGNORED]]


class TestAdvice:
    @pytest.mark.parametrize("value", [255, 3, 40])
    def test_class_numbers_have_no_distance(self, tmp_path, value):
        error = error_of(save(tmp_path / "a.png", [[0, 1, 2, value]]), CLASSES)
        assert "or to `ignore`" in error.fix
        assert "tolerance would not help" in error.fix

    def test_the_tolerance_does_not_hold_for_palette_indices(self, tmp_path):
        image = Image.fromarray(np.array([[0, 100, 200, 255]], np.uint8)).convert("P")
        image.putpalette([*range(255, -1, -1)] * 3)
        image.save(tmp_path / "a.png")
        labels = {"background": (0,), "cytoplasm": (100,), "nucleus": (200,)}
        error = error_of(tmp_path / "a.png", labels, 200)
        assert "255" in error.message
        assert "tolerance would not help" in error.fix

    @pytest.mark.parametrize(
        ("labels", "enough"), [(NUMBERS, 64), ({**NUMBERS, "cytoplasm": (100,)}, 78), (COLOURS, 181)]
    )
    def test_half_the_gap_between_labels_is_enough(self, labels, enough):
        assert enough_tolerance(spec(labels)) == enough

    def test_many_values_are_blurred_borders_with_the_number_to_set(self, tmp_path):
        error = error_of(save(tmp_path / "a.png", [[0, *range(5, 60, 5), 128, 255]]), NUMBERS)
        assert "11 values" in error.fix
        assert "`tolerance: 64`" in error.fix
        assert read_mask(tmp_path / "a.png", spec(NUMBERS, 64))[1] == 11


def blurred(number, values=(0, 128, 255)):
    """A round cell whose borders were blurred by resizing."""
    cell = np.zeros((80, 80), np.uint8)
    y, x = np.mgrid[:80, :80]
    distance = np.hypot(y - 40, x - 40 - number)
    cell[distance < 30] = values[2]
    cell[distance < 12] = values[1]
    return np.asarray(Image.fromarray(cell).resize((41, 41), Image.Resampling.BILINEAR))


class TestRims:
    def test_a_border_between_two_labels_must_not_be_a_third(self, tmp_path):
        # Here nucleus is between background and cytoplasm.
        labels = {"background": (0,), "cytoplasm": (255,), "nucleus": (128,)}
        read = examine_mask(save(tmp_path / "a.png", blurred(0)), spec(labels, 64))
        assert set(read.rims) == {"nucleus"}
        assert read.rims["nucleus"] > 20

    def test_a_border_between_neighbours_is_no_false_rim(self, tmp_path):
        # The border of the nucleus is between cytoplasm and nucleus, that of the cell between background and cytoplasm.
        read = examine_mask(save(tmp_path / "a.png", blurred(0, values=(0, 255, 128))), spec(NUMBERS, 64))
        assert read.strays.total() > 20
        assert not read.rims


class TestTwoFiles:
    def test_nuclei_and_cells_are_combined(self):
        nuclei = np.array([[0, 0, 2, 2, 255, 0]], np.uint8)
        cells = np.array([[0, 2, 2, 0, 2, 255]], np.uint8)
        assert combine_masks(nuclei, cells).tolist() == [[0, 1, 2, 2, IGNORED, IGNORED]]
