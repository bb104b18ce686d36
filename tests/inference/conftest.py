"""A folder of images to segment."""

import pytest
from PIL import Image

from tests.helpers.colour_run import TWO_CELLS, paint, write_colour_run


@pytest.fixture
def slides(places):
    """Three good images, two of them with one name, and a run to segment them with."""
    write_colour_run(places / "outputs", "cells")
    for name in ("slide1/1.png", "slide2/1.png", "slide2/deep/2.tif"):
        path = places / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(paint(TWO_CELLS)).save(path)
    (places / "images" / "notes.txt").write_text("no image")
    (places / "images" / ".hidden.png").write_text("no image")
    return places / "images"
