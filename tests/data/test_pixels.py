"""Stored numbers and shown colours of all kinds of pixels."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from wbcstudy.data import pixels as module
from wbcstudy.data.pixels import Pixels, pack_colours, unique_values


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_as_pillow_turns_them(orientation):
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(Pixels(np.asarray(image)).upright(orientation).values, expected)


def test_an_inverted_scale_changes_colours_but_not_numbers():
    pixels = Pixels(np.array([[0, 10, 255]], np.uint8), white_is_zero=True)
    assert pixels.numbers().tolist() == [[0, 10, 255]]
    assert pixels.colours()[0, :, 0].tolist() == [255, 245, 0]


@pytest.mark.parametrize(
    ("bits", "listed", "expected"),
    [
        (4, [0, 1], [0, 1, 15]),
        (4, [0, 17, 255], [0, 17, 255]),
        (2, [0, 3], [0, 1, 3]),
        (2, [0, 85], [0, 85, 255]),
        (1, [0, 255], [0, 255, 255]),
    ],
)
def test_few_bits_are_the_stored_numbers_if_one_is_listed(bits, listed, expected):
    values = np.minimum(np.array([[0, 1, 15]]), 2**bits - 1).astype(np.uint8)
    assert Pixels(values, bits).numbers(listed).tolist() == [expected]


@pytest.mark.parametrize("values", [np.array([[0.0, 1.5]]), np.array([[0, np.nan]]), np.array([[0, np.inf]])])
def test_only_whole_numbers_are_labels(values):
    with pytest.raises(ValueError, match=r"no whole number|infinite or no number"):
        Pixels(values, 64).numbers()


@pytest.mark.parametrize("kind", ["i8", "u8", "f2", "f8"])
def test_whole_numbers_of_any_type_are_labels(kind):
    assert Pixels(np.array([[0, 1, 300]]).astype(kind), 64).numbers().tolist() == [[0, 1, 300]]


def test_half_transparent_pixels_are_half_white():
    pixels = Pixels(np.full((1, 1, 3), 100, np.uint8), alpha=np.full((1, 1), 128, np.uint8))
    assert pixels.on_white()[0, 0].tolist() == [177, 177, 177]


@pytest.mark.parametrize("largest", [1, 300, 2**24])
def test_unique_values_of_parts_are_those_of_the_whole(monkeypatch, largest):
    monkeypatch.setattr(module, "_PART", 7)
    values = np.random.default_rng(0).integers(-1, largest, (9, 11)).T
    keys, where = unique_values(values)
    expected, index = np.unique(values, return_inverse=True)
    assert keys.tolist() == expected.tolist() and (where == index.reshape(values.shape)).all()
    assert unique_values(np.zeros((0, 3), int))[1].shape == (0, 3)


def test_packed_colours():
    assert pack_colours(np.array([[[1, 2, 3], [255, 0, 16]]], np.uint8)).tolist() == [[0x010203, 0xFF0010]]
