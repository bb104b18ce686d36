"""An image with its cells to click on, and a table in which the same cell is then selected, and vice versa.

Each row has a radio button, each cell in the image is a label of it, and a style sheet shows the selected cell: the
page needs no script. The app and the pages of fields use it.
"""

from __future__ import annotations

import base64
import io
import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from PIL.ImageColor import getrgb

from wbcstudy.files import page_template
from wbcstudy.labels import DIFFERENCE_COLOURS, REGION_COLOURS

# Size of a JPEG, and the qualities to try until it is reached.
_MOST_BYTES = 1_500_000
_QUALITIES = (90, 75, 50)
_EXACT_COLOURS = tuple(getrgb(colour) for colour in (*REGION_COLOURS.values(), *DIFFERENCE_COLOURS.values()))

_PACK = np.array([1 << 16, 1 << 8, 1], np.uint32)


def describe_cells(cells: pd.DataFrame, shape: tuple[int, int], prefix: str, most: int) -> dict[str, Any]:
    """Describe cells for the macros in `templates/cell_view.html`.

    Args:
        cells: one row per cell, from `measure_cells.measure_cells`.
        shape: height and width of the image in px.
        prefix: start of the HTML ids, unique in the page.
        most: number of cells to list.

    Returns:
        prefix; heads of the table; rows with number, texts, and box in % of the image; number of cells in all.
    """
    known = bool(cells["cell_diameter_um"].notna().any())
    unit, area = ("µm", "µm²") if known else ("px", "px")
    suffix = "um" if known else "px"
    columns = {
        f"cell_diameter_{suffix}": f"diameter, {unit}",
        f"nucleus_diameter_{suffix}": f"nucleus diameter, {unit}",
        "nucleus_share": "nucleus share",
        "nucleus_to_cytoplasm_ratio": "N:C ratio",
        "nuclear_lobes": "lobes",
        f"cell_area_{suffix}{'2' if known else ''}": f"cell area, {area}",
        "cell_circularity": "circularity",
        "mean_confidence": "confidence",
        "touches_border": "cut by the border",
    }
    height, width = shape
    rows = [
        {
            "number": row["cell_id"],
            "texts": [_text(row[name]) for name in columns],
            "left": 100 * row["left_px"] / width,
            "top": 100 * row["top_px"] / height,
            "width": 100 * row["width_px"] / width,
            "height": 100 * row["height_px"] / height,
        }
        for row in cells.head(most).to_dict("records")
    ]
    return {"prefix": prefix, "heads": list(columns.values()), "rows": rows, "count": len(cells)}


def image_html(image: np.ndarray, alt: str, view: dict[str, Any], numbers: bool, most_bytes: int = _MOST_BYTES) -> str:
    """Return an image as HTML, with its cells to click on, and their numbers if wanted."""
    macros = page_template("cell_view.html").module
    return str(macros.image(encode_view(image, most_bytes), alt, view, numbers))


def table_html(view: dict[str, Any]) -> str:
    """Return the table of cells as HTML, with the styles that mark the selected cell."""
    return str(page_template("cell_view.html").module.table(view))


def encode_view(image: np.ndarray, most_bytes: int = _MOST_BYTES) -> list[str]:
    """Encode an image as two data URIs, to be shown on each other.

    The first is a JPEG, which is small but changes colours. The second has the pixels with a colour of the legend,
    unchanged, and is transparent elsewhere.

    Args:
        image: RGB, uint8 (H, W, 3).
        most_bytes: size of the JPEG to stay below, if the lowest quality does.
    """
    for quality in _QUALITIES:
        photo = io.BytesIO()
        Image.fromarray(image).save(photo, "JPEG", quality=quality)
        if photo.tell() <= most_bytes:
            break
    # One number per pixel: comparing three took half of the time of a field's files.
    packed = image.astype(np.uint32) @ _PACK
    indices = np.zeros(image.shape[:2], np.uint8)
    for index, colour in enumerate(_EXACT_COLOURS, 1):
        indices[packed == np.dot(colour, _PACK)] = index
    lines = Image.fromarray(indices)
    lines.putpalette([0, 0, 0, *itertools.chain(*_EXACT_COLOURS)])
    exact = io.BytesIO()
    lines.save(exact, "PNG", transparency=0)
    return [
        f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
        for kind, file in (("jpeg", photo), ("png", exact))
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if pd.isna(value) or isinstance(value, int):
        return "-" if pd.isna(value) else str(value)
    # Three significant digits, with the zeros at the end: the numbers of a column are below each other.
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if value else "0"
