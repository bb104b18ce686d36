"""Values of masks are counted with their places."""

import numpy as np
from PIL import Image

from wbcstudy.data.mask_counts import count_values, is_border, most_enclosed, value_distance, without_strays


def counts(tmp_path, array, by_colour=False):
    Image.fromarray(array).save(tmp_path / "a.png")
    return count_values([tmp_path / "a.png", tmp_path / "missing.png"], by_colour)


def test_a_nucleus_in_a_cell(tmp_path):
    mask = np.zeros((20, 20), np.uint8)
    mask[4:16, 4:16] = 100
    mask[8:12, 8:12] = 200
    values = counts(tmp_path, mask)
    assert values.pixels == {0: 400 - 144, 100: 144 - 16, 200: 16}
    assert values.border[0] == 76 and values.flat[200] == 4
    assert values.contacts == {(0, 100): 48, (100, 200): 16}
    assert most_enclosed(values, [100, 200]) == (200, 100, 1.0)


def test_a_rim_takes_the_nearest_flat_value(tmp_path):
    mask = np.zeros((20, 20), np.uint8)
    mask[3:17, 3:17] = 60
    mask[4:16, 4:16] = 120
    values = without_strays(counts(tmp_path, mask), [0, 120])
    assert set(values.pixels) == {0, 120} and set(values.contacts) == {(0, 120)}


def test_borders_are_thin(tmp_path):
    mask = np.zeros((40, 40), np.uint8)
    mask[5:35, 5:35] = 1
    mask[8:32, 8:32] = 2
    values = counts(tmp_path, mask)
    assert is_border(values, 1) and not is_border(values, 2)


def test_colours_are_packed_and_compared_in_rgb(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    image[1:3, 1:3] = 255, 0, 16
    assert counts(tmp_path, image).pixels == {0: 12, 0xFF0010: 4}
    assert value_distance(0xFF0010, 0xFF0000, True) == 16 and value_distance(3, 10, False) == 7
