"""Small images of single cells, in one file per field, for the gallery's wall of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from wbcstudy.data.overlays import draw_overlay

if TYPE_CHECKING:
    from wbcstudy.inference.image import Segmentation

TILE_PX = 104
# Cells of one field on the wall: a file of this many is about 2 MB.
MAX_CELLS = 400
# A white cell is at most about 20 µm wide; the same side for all cells shows which are large.
_SIDE_UM = 25
# Side of a tile in usual bounding boxes, and in boxes of a larger cell.
_USUAL_MARGIN, _LEAST_MARGIN = 1.4, 1.1
_PER_ROW = 10
_OUTSIDE = 245


def tile_sides(cells: pd.DataFrame, pixel_um: float | None) -> np.ndarray:
    """Return the side in px of each cell's square in the image: the same for all cells of a field that fit in it.

    Args:
        cells: one row per cell, with `width_px` and `height_px`.
        pixel_um: side of a pixel in micrometres, None if unknown.
    """
    boxes = cells[["width_px", "height_px"]].max(axis=1).to_numpy(float)
    if not len(boxes):
        return boxes
    usual = _SIDE_UM / pixel_um if pixel_um else _USUAL_MARGIN * np.median(boxes)
    return np.maximum(np.maximum(usual, _LEAST_MARGIN * boxes), 8)


def tile_offset(index: int) -> tuple[int, int]:
    """Return left and top, in px, of the n-th cell in the file that `draw_cells` makes."""
    return index % _PER_ROW * TILE_PX, index // _PER_ROW * TILE_PX


def draw_cells(segmentation: Segmentation, pixel_um: float | None) -> Image.Image:
    """Draw the first `MAX_CELLS` cells of a field, each outlined in a square of `TILE_PX`."""
    cells = segmentation.cells.head(MAX_CELLS)
    rows, columns = -(-len(cells) // _PER_ROW), min(len(cells), _PER_ROW)
    wall = Image.new("RGB", (max(columns * TILE_PX, 1), max(rows * TILE_PX, 1)), "white")
    centres = cells[["top_px", "left_px"]].to_numpy() + cells[["height_px", "width_px"]].to_numpy() / 2
    # Scaled by the usual side of the whole field, as in `tile_sides` of its table.
    sides = tile_sides(segmentation.cells, pixel_um)[: len(cells)]
    for index, (number, centre, side) in enumerate(zip(cells["cell_id"], centres, sides, strict=True)):
        corner = np.rint(centre - side / 2).astype(int)
        image = _crop(segmentation.image, corner, round(side), _OUTSIDE)
        mask = _crop(segmentation.mask, corner, round(side), 0)
        mask[_crop(segmentation.instances, corner, round(side), 0) != number] = 0
        wall.paste(Image.fromarray(draw_overlay(image, mask, opacity=0, side_px=TILE_PX)), tile_offset(index))
    return wall


def _crop(array: np.ndarray, corner: np.ndarray, side: int, outside: int) -> np.ndarray:
    """Copy a square of an array; pixels outside of the array get a value."""
    square = np.full((side, side, *array.shape[2:]), outside, array.dtype)
    start, stop = np.maximum(corner, 0), np.minimum(corner + side, array.shape[:2])
    (top, left), (bottom, right) = start - corner, stop - corner
    square[top:bottom, left:right] = array[start[0] : stop[0], start[1] : stop[1]]
    return square
