"""Draw segmentations: overlays, differences, masks in colour, thumbnails.

The app, the gallery and the report's figures all draw with these functions, experts' masks and predictions alike.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageColor import getrgb

from wbcstudy.labels import (
    BACKGROUND,
    CYTOPLASM,
    DIFFERENCE_COLOURS,
    IGNORED,
    LABELS,
    NUCLEUS,
    REGION_COLOURS,
    region_mask,
)

# RGB of each label, uint8 (3, 3); the background is black.
_COLOURS = np.array([getrgb(REGION_COLOURS.get(name, "#000000")) for name in LABELS], np.uint8)
_IGNORED_COLOUR = 128


def draw_overlay(
    image: np.ndarray,
    mask: np.ndarray,
    instances: np.ndarray | None = None,
    opacity: float = 0.35,
    *,
    side_px: int | None = None,
    numbers: bool = False,
) -> np.ndarray:
    """Tint nucleus and cytoplasm and outline nuclei and cells, in the colours of `labels.REGION_COLOURS`.

    Outlines are inside the regions, and have exactly these colours at any opacity of the tint and any `side_px`.

    Args:
        image: RGB, uint8 (H, W, 3).
        mask: labels, integer (H, W).
        instances: cells, integer (H, W), to outline cells that touch separately; None to outline them together.
        opacity: opacity of the tint, 0 to 1.
        side_px: longest side of the drawing; None for that of the image. Image and mask are resized before the
            outlines are drawn: a drawing that is resized has pale, thin outlines.
        numbers: whether to write the number of each cell of `instances` at its upper edge.

    Returns:
        RGB, uint8 (H, W, 3), or of the longest side `side_px`.
    """
    if side_px is not None:
        image, mask = resize_for_view(image, side_px), resize_for_view(mask, side_px)
        instances = None if instances is None else resize_for_view(instances, side_px)
    drawn = image.copy()
    cells, nuclei = region_mask(mask, "cell"), mask == NUCLEUS
    drawn[cells] = (image[cells] * (1 - opacity) + _COLOURS[mask[cells]] * opacity + 0.5).astype(np.uint8)
    # A line of one pixel hardly shows in an image that is not enlarged.
    width_px = 2 if min(mask.shape) >= 200 else 1
    # Nuclei last, since a nucleus may reach the edge of its cell.
    for region, label in ((cells, CYTOPLASM), (nuclei, NUCLEUS)):
        drawn[_outlines(region, width_px)] = _COLOURS[label]
        if instances is not None:
            # Touching cells draw a line on both sides of their border.
            drawn[_outlines(np.where(region, instances, 0), 1)] = _COLOURS[label]
    return _write_numbers(drawn, instances) if numbers and instances is not None else drawn


def draw_difference(
    image: np.ndarray, reference: np.ndarray, prediction: np.ndarray, *, side_px: int | None = None
) -> np.ndarray:
    """Mark missed, added and confused pixels of a prediction on a pale grey image.

    Missed is cell in the reference and background in the prediction, added is the opposite, confused is nucleus instead
    of cytoplasm or the opposite. The colours are `labels.DIFFERENCE_COLOURS`.

    Args:
        image: RGB, uint8 (H, W, 3).
        reference: labels, integer (H, W).
        prediction: labels, integer (H, W).
        side_px: longest side of the drawing, as in `draw_overlay`.

    Returns:
        RGB, uint8 (H, W, 3), or of the longest side `side_px`.
    """
    if side_px is not None:
        image, reference, prediction = (resize_for_view(array, side_px) for array in (image, reference, prediction))
    grey = 140 + 0.45 * image.mean(axis=2, keepdims=True)
    drawn = grey.astype(np.uint8).repeat(3, axis=2)
    expected, predicted = region_mask(reference, "cell"), region_mask(prediction, "cell") & (reference != IGNORED)
    differences = {
        "missed": expected & ~predicted,
        "added": ~expected & predicted,
        "confused": expected & predicted & (reference != prediction),
    }
    for name, pixels in differences.items():
        drawn[pixels] = getrgb(DIFFERENCE_COLOURS[name])
    return drawn


def colour_mask(mask: np.ndarray, background: str) -> np.ndarray:
    """Draw a mask in the colours of its regions, and pixels without label in grey.

    Args:
        mask: labels, integer (H, W).
        background: colour of the background, "#rrggbb".

    Returns:
        RGB, uint8 (H, W, 3).
    """
    colours = np.zeros((IGNORED + 1, 3), np.uint8)
    colours[: len(_COLOURS)] = _COLOURS
    colours[BACKGROUND], colours[IGNORED] = getrgb(background), _IGNORED_COLOUR
    return colours[mask]


def resize_for_view(array: np.ndarray, side_px: int) -> np.ndarray:
    """Resize an image smoothly, or labels without new values, until the longest side is `side_px`.

    Args:
        array: RGB, uint8 (H, W, 3), or labels, integer (H, W).
        side_px: longest side of the result.
    """
    height, width = array.shape[:2]
    scale = side_px / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if array.ndim == 3:
        smooth = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX
        return np.asarray(Image.fromarray(array).resize(size[::-1], smooth))
    # The pixel below the centre of each new pixel.
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, (height, width), strict=True)
    )
    return array[rows[:, None], columns]


def encode_png(image: np.ndarray) -> bytes:
    """Encode an image as PNG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=3)
    return file.getvalue()


def _outlines(regions: np.ndarray, width_px: int) -> np.ndarray:
    """Return the outermost pixels of regions, integer or boolean (H, W)."""
    edge = np.zeros(regions.shape, bool)
    for step in range(1, width_px + 1):
        for values, edges in ((regions, edge), (regions.T, edge.T)):
            differ = values[step:] != values[:-step]
            edges[step:] |= differ
            edges[:-step] |= differ
    return edge & (regions > 0)


def _write_numbers(drawn: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """Write the numbers of cells, white with a black rim, so that they can be read on any stain."""
    from scipy.ndimage import find_objects

    page = Image.fromarray(drawn)
    pen = ImageDraw.Draw(page)
    side = max(page.size)
    size = min(max(side / 30, 12), 36)
    font, rim = ImageFont.load_default(size), max(1, round(size / 10))
    for number, box in enumerate(find_objects(instances.astype(np.int32)), 1):
        if box is None:
            continue
        text = str(number)
        left, top, right, bottom = pen.textbbox((0, 0), text, font, stroke_width=rim)
        # Numbers of cells at the border stay in the image.
        x = (box[1].start + box[1].stop - (right - left)) / 2
        x, y = max(0, min(x, page.width - (right - left))), max(0, min(box[0].start, page.height - (bottom - top)))
        pen.text((x - left, y - top), text, "white", font, stroke_width=rim, stroke_fill="black")
    return np.asarray(page)
