import numpy as np
import pytest
from PIL.ImageColor import getrgb

from tests.helpers.colour_run import paint, round_cells
from wbcstudy.data.overlays import colour_mask, draw_difference, draw_overlay, resize_for_view
from wbcstudy.labels import DIFFERENCE_COLOURS, REGION_COLOURS

NUCLEUS, CYTOPLASM = getrgb(REGION_COLOURS["nucleus"]), getrgb(REGION_COLOURS["cytoplasm"])
GREY = np.full((3, 7, 3), 200, np.uint8)


def colours(drawn, row=1):
    names = {NUCLEUS: "n", CYTOPLASM: "c", (200, 200, 200): "."}
    return "".join(names[tuple(pixel)] for pixel in drawn[row].tolist())


def test_at_opacity_0_the_outlines_of_nucleus_and_cell_are_left():
    mask = np.tile(np.array([0, 1, 1, 2, 2, 2, 0], np.uint8), (3, 1))
    assert colours(draw_overlay(GREY, mask, opacity=0)) == ".c.n.n."
    assert colours(draw_overlay(GREY, mask, opacity=1)) == ".ccnnn."


def test_cells_that_touch_are_outlined_separately():
    mask, cells = np.ones((3, 7), np.uint8), np.tile(np.array([1, 1, 1, 1, 2, 2, 2]), (3, 1))
    assert colours(draw_overlay(GREY, mask, opacity=0)) == "......."
    assert colours(draw_overlay(GREY, mask, cells, opacity=0)) == "...cc.."


def test_cells_without_a_number_are_outlined_too():
    mask = np.tile(np.array([0, 0, 1, 1, 1, 0, 0], np.uint8), (3, 1))
    assert colours(draw_overlay(GREY, mask, np.zeros((3, 7), int), opacity=0)) == "..c.c.."


def test_nuclei_that_touch_are_outlined_separately():
    mask, cells = np.full((3, 7), 2, np.uint8), np.tile(np.array([1, 1, 1, 1, 2, 2, 2]), (3, 1))
    assert colours(draw_overlay(GREY, mask, cells, opacity=0)) == "...nn.."


@pytest.mark.parametrize("side_px", [40, 64, 150, 480])
def test_outlines_have_the_pure_colours_and_full_width_at_any_size(side_px):
    mask = round_cells(96, 64, [(32, 32)], radius=24)
    drawn = draw_overlay(paint(mask), mask, mask > 0, opacity=0, side_px=side_px)
    assert max(drawn.shape) == side_px
    line = drawn[round(32 * side_px / 96)].tolist()
    width = 2 if min(drawn.shape[:2]) >= 200 else 1
    for colour in (CYTOPLASM, NUCLEUS):
        assert line.count(list(colour)) == 2 * width
    # Apart from the outlines, the image is unchanged.
    plain = resize_for_view(paint(mask), side_px)
    changed = (drawn != plain).any(axis=2)
    assert {tuple(pixel) for pixel in drawn[changed].tolist()} == {CYTOPLASM, NUCLEUS}


def test_the_difference_is_drawn_in_pure_colours_at_any_size():
    mask = round_cells(96, 64, [(32, 32)], radius=24)
    drawn = draw_difference(paint(mask), mask, np.zeros_like(mask), side_px=300)
    assert max(drawn.shape) == 300
    assert {tuple(pixel) for pixel in drawn[resize_for_view(mask, 300) > 0].tolist()} == {
        getrgb(DIFFERENCE_COLOURS["missed"])
    }


def test_cell_numbers_are_written_inside_the_image():
    mask = round_cells(200, 300, [(60, 60), (12, 280)], radius=24)
    cells = np.where(mask > 0, np.where(np.arange(300) < 150, 1, 2), 0)
    plain = draw_overlay(paint(mask), mask, cells)
    numbered = draw_overlay(paint(mask), mask, cells, numbers=True)
    rows, columns = np.nonzero((numbered != plain).any(axis=2))
    assert np.abs(columns[columns < 150].mean() - 60) < 3 and rows[columns < 150].min() >= 36
    assert (numbered[rows, columns].min(axis=1) > 200).any(), "white digits"
    assert (columns > 250).any() and rows.max() < 70


@pytest.mark.parametrize(("side", "width"), [(64, 1), (200, 2)])
def test_the_tint_mixes_image_and_colour_and_outlines_show_in_large_images(side, width):
    mask = round_cells(side, side, [(32, 32)], radius=24)
    image = paint(mask)
    drawn = draw_overlay(image, mask, mask > 0, opacity=0.5)
    assert (drawn[mask == 0] == image[mask == 0]).all()
    row = drawn[32, 8:32].tolist()
    assert [row.count(list(colour)) for colour in (CYTOPLASM, NUCLEUS)] == [width, width]
    assert np.allclose(drawn[32, 32], (np.array(NUCLEUS) + image[32, 32]) / 2, atol=0.5)


def test_the_difference_shows_missed_added_and_confused_pixels_on_a_pale_grey_image():
    image = np.tile(np.array([90, 150, 210], np.uint8), (1, 5, 1))
    drawn = draw_difference(image, np.array([[0, 2, 0, 2, 2]]), np.array([[0, 0, 1, 1, 2]]))
    for column, name in enumerate(("missed", "added", "confused"), 1):
        assert tuple(drawn[0, column]) == getrgb(DIFFERENCE_COLOURS[name]), name
    for agreed in (0, 4):
        assert np.ptp(drawn[0, agreed]) == 0 and drawn[0, agreed, 0] > 150


def test_masks_are_drawn_in_the_colours_of_their_regions():
    mask = np.array([[0, 1, 2]], np.uint8)
    assert [tuple(pixel) for pixel in colour_mask(mask, "#102030")[0]] == [(16, 32, 48), CYTOPLASM, NUCLEUS]
