"""The gallery of a segmented folder."""

import os

import pandas as pd
from PIL import Image

from tests.helpers.colour_run import TWO_CELLS, paint
from wbcstudy.inference import gallery
from wbcstudy.inference.folder import segment_images


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
    assert first.count("<li>") == 2 and second.count("<li>") == 1
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
