"""Images and files inside the report's page, as data URIs."""

from __future__ import annotations

import base64
import io
from pathlib import Path

# Text and lines stay sharp at this quality. Storing without loss is larger for nearly all figures, and much slower.
_OPTIONS = {"quality": 88, "method": 2}


def embed_text(text: str, media_type: str) -> str:
    """Return text as a data URI, UTF-8."""
    return f"data:{media_type};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def embed_image(path: Path, most_width_px: int) -> tuple[str, int, int]:
    """Return a PNG file as a WebP data URI, and the width and height in CSS px to show it at.

    Args:
        path: .png; its resolution gives the size to show it at.
        most_width_px: largest width of the stored image.
    """
    from PIL import Image

    with Image.open(path) as image:
        # A tenth larger than the size in inches that the file gives (a CSS inch has 96 px).
        scale = 105 / (image.info.get("dpi") or (150, 150))[0]
        width, height = round(image.width * scale), round(image.height * scale)
        pixels = image.convert("RGB")
        if image.width > most_width_px:
            pixels.thumbnail((most_width_px, image.height), Image.Resampling.HAMMING, reducing_gap=2)
    file = io.BytesIO()
    pixels.save(file, "WEBP", **_OPTIONS)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}", width, height
