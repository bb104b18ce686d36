"""Images and files inside the page."""

import base64
import io

import numpy as np
from PIL import Image

from wbcstudy.reporting.embedding import embed_image, embed_text


def test_an_image_is_webp_no_wider_than_asked_and_shown_at_its_size_on_paper(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (300, 600, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", dpi=(150, 150))
    source, width, height = embed_image(tmp_path / "a.png", 400)
    kind, _, content = source.partition(",")
    stored = Image.open(io.BytesIO(base64.b64decode(content)))
    assert kind == "data:image/webp;base64" and stored.format == "WEBP" and stored.size == (400, 200)
    # 4 x 2 inches.
    assert (width, height) == (420, 210)


def test_text_keeps_its_characters():
    source = embed_text("Dice,µm²\n", "text/csv")
    assert source.startswith("data:text/csv;charset=utf-8;base64,")
    assert base64.b64decode(source.partition(",")[2]).decode() == "Dice,µm²\n"
