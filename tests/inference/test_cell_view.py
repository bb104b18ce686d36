"""An image with its cells, and their table."""

import base64
import io

import numpy as np
from PIL import Image
from PIL.ImageColor import getrgb

from tests.helpers.colour_run import TWO_CELLS, paint
from wbcstudy.data.overlays import draw_overlay
from wbcstudy.inference.cell_view import describe_cells, encode_view, image_html, table_html
from wbcstudy.inference.measure_cells import measure_cells
from wbcstudy.inference.split_cells import split_cells
from wbcstudy.labels import REGION_COLOURS


def decode(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_outlines_are_shown_in_exactly_the_colours_of_the_legend():
    drawn = draw_overlay(paint(TWO_CELLS), TWO_CELLS, split_cells(TWO_CELLS), 0, side_px=300)
    photo, lines = map(decode, encode_view(drawn, most_bytes=4000))
    assert photo.format == "JPEG"
    composed = Image.alpha_composite(photo.convert("RGBA"), lines.convert("RGBA")).convert("RGB")
    for region in ("nucleus", "cytoplasm"):
        outline = (drawn == getrgb(REGION_COLOURS[region])).all(axis=2)
        assert outline.sum() > 100 and (np.asarray(composed)[outline] == getrgb(REGION_COLOURS[region])).all()


def test_cells_are_listed_and_marked_up_to_a_limit():
    cells = measure_cells(paint(TWO_CELLS), TWO_CELLS, split_cells(TWO_CELLS), pixel_um=0.5)
    view = describe_cells(cells, TWO_CELLS.shape, "c", 1)
    table, image = table_html(view), image_html(paint(TWO_CELLS), "<a>", view, numbers=True)
    assert "diameter, µm" in table and "the first 1 of 2 cells" in table and table.count("<tr>") == 2
    assert image.count("<label") == 1 and 'alt="&lt;a&gt;"' in image
    assert "No cells" in table_html(describe_cells(cells[:0], TWO_CELLS.shape, "c", 1))
