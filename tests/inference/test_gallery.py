"""The gallery of a segmented folder."""

import os
import re

import pandas as pd
from PIL import Image

from tests.helpers.colour_run import TWO_CELLS, paint
from wbcstudy.inference import gallery
from wbcstudy.inference.folder import Settings, segment_images


def test_a_name_that_is_not_text_is_escaped(slides, places, command):
    for name in (b"caf\xe9.png", b"caf\xe8.png"):
        os.link(slides / "slide1" / "1.png", os.fsencode(slides) + b"/" + name)
    code, output, _ = command("segment", slides, "--model", "cells", "--out", places / "out")
    assert code == 0 and "10 cells in 5 images" in output
    images = pd.read_csv(places / "out" / "images.csv")
    assert "caf\\udce9" in set(images["image"])
    assert (places / "out" / "labels" / "caf\\udce9.png").is_file()
    assert command("segment", slides, "--model", "cells", "--out", places / "out")[1].count("(5 already done)") == 1


def test_a_long_gallery_has_pages(slides, places, monkeypatch):
    monkeypatch.setattr(gallery, "_IMAGES_PER_PAGE", 2)
    done = segment_images([slides], "cells", places / "out")
    first, second = done.gallery.read_text(), (places / "out" / "gallery-2.html").read_text()
    assert first.count('<li id="image') == 2 and second.count('<li id="image') == 1
    assert 'href="gallery-2.html"' in first and 'href="gallery.html"' in second
    shown = segment_images([slides / "slide1", slides / "slide2" / "1.png"], "cells", places / "out")
    assert not (places / "out" / "gallery-2.html").exists()
    assert any("Not listed: 1 image of earlier commands" in note for note in shown.notes)


def test_the_gallery_loads_nothing_and_escapes_names(slides, places):
    odd = slides / "<img src=x onerror=alert(1)>.png"
    Image.fromarray(paint(TWO_CELLS)).save(odd)
    page = segment_images([slides], "cells", places / "out").gallery.read_text()
    assert "<img src=x" not in page and "&lt;img src=x" in page
    assert "Content-Security-Policy" in page and "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count('src="data:image/jpeg;base64,') == 4
    for field in (places / "out" / "fields").rglob("*.html"):
        text = field.read_text()
        assert "Content-Security-Policy" in text and "<script" not in text and "<img src=x" not in text
        assert (
            field.parent / re.search(r'href="(\S+gallery.html)"', text)[1]
        ).resolve() == places / "out" / "gallery.html"


def test_the_wall_shows_each_cell_with_number_ratio_and_size_bar(slides, places):
    page = segment_images([slides], "cells", places / "out", Settings(pixel_um=0.5)).gallery.read_text()
    cells = pd.read_csv(places / "out" / "cells.csv")
    assert re.findall(r'aria-label="(\S+), cell (\d)"', page) == [
        (image, str(number)) for image, number in zip(cells["image"], cells["cell_id"], strict=True)
    ]
    assert re.findall(r"N:C ([\d.]+)", page) == [f"{ratio:.2f}" for ratio in cells["nucleus_to_cytoplasm_ratio"]]
    # 10 of 25 µm.
    assert re.findall(r'<b style="width:([\d.]+)px">', page) == ["41.6"] * 6 and "The bar is 10 µm long" in page
    plain = segment_images([slides], "cells", places / "plain").gallery.read_text()
    assert "<b style" not in plain and "The bar is" not in plain


def test_many_cells_are_divided_into_pages_and_a_crowded_image_is_cut(monkeypatch):
    records = [{"image": str(k), "cells": 150} for k in range(5)] + [{"image": "crowd", "cells": 5000}]
    assert [len(page) for page in gallery._split_pages(records)] == [2, 2, 1, 1]
    assert gallery._split_pages([]) == [[]]


def test_charts_count_cells_per_image_and_by_size():
    sizes = pd.DataFrame({"cell_diameter_um": [8.2, 9.9, 14.1, 30], "touches_border": [False, False, False, True]})
    sizes["cell_diameter_px"] = sizes["cell_diameter_um"] * 10
    images, diameters = gallery.draw_charts([{"cells": number} for number in (0, 1, 1, 4)], sizes)
    assert images.bars == {"0": 1, "1": 2, "2": 0, "3-5": 1}
    assert sum(diameters.bars.values()) == 3 and "1 cell cut by the border" in diameters.note
    assert all(name.endswith(" µm") for name in diameters.bars) and len(diameters.bars) <= 12
    assert gallery.draw_charts([], sizes) == []
