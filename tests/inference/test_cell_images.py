"""Small images of single cells."""

import numpy as np
import pytest

from tests.helpers.colour_run import paint, round_cells
from wbcstudy.inference import cell_images
from wbcstudy.inference.cell_images import TILE_PX, draw_cells, tile_offset, tile_sides
from wbcstudy.inference.image import Segmentation
from wbcstudy.inference.measure_cells import measure_cells
from wbcstudy.inference.split_cells import split_cells


def segmented(mask):
    instances = split_cells(mask)
    cells = measure_cells(paint(mask), mask, instances)
    return Segmentation(paint(mask), mask, instances, np.zeros((*mask.shape, 3)), cells, None)


def test_each_cell_is_in_the_middle_of_its_square_also_at_the_border():
    field = segmented(round_cells(80, 300, [(40, 40), (40, 140), (4, 290)]))
    wall = np.asarray(draw_cells(field, None))
    assert len(field.cells) == 3 and wall.shape[:2] == (TILE_PX, 3 * TILE_PX)
    for index in range(3):
        left, top = tile_offset(index)
        tile = wall[top : top + TILE_PX, left : left + TILE_PX]
        assert (tile[TILE_PX // 2, TILE_PX // 2] == paint(np.array([[2]]))[0, 0]).all()
        assert (tile[0, 0] > 200).all()


def test_cells_of_a_field_have_one_scale_unless_they_are_too_large():
    cells = segmented(round_cells(200, 300, [(40, 40), (40, 140)], radius=20)).cells
    assert tile_sides(cells, None)[0] == tile_sides(cells, None)[1] == pytest.approx(1.4 * 39, abs=2)
    assert tile_sides(cells, 0.25).tolist() == [100, 100], "25 µm"
    assert (tile_sides(cells, 2.0) >= 1.1 * cells["width_px"]).all()


def test_a_field_without_cells_and_one_with_too_many(monkeypatch):
    assert draw_cells(segmented(np.zeros((40, 40), np.uint8)), None).size == (1, 1)
    monkeypatch.setattr(cell_images, "MAX_CELLS", 1)
    assert draw_cells(segmented(round_cells(80, 200, [(40, 40), (40, 140)])), None).size == (TILE_PX, TILE_PX)
