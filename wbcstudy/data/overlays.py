"""Draw segmentations: overlays, differences, masks in colour, thumbnails.

The app, the gallery and the report's figures all draw with these functions, experts' masks and predictions alike.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
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
    image: np.ndarray, mask: np.ndarray, instances: np.ndarray | None = None, opacity: float = 0.35
) -> np.ndarray:
    """Tint nucleus and cytoplasm and outline nuclei and cells, in the colours of `labels.REGION_COLOURS`.

    Outlines are inside the regions and opaque at any opacity of the tint.

    Args:
        image: RGB, uint8 (H, W, 3).
        mask: labels, integer (H, W).
        instances: cells, integer (H, W), to outline cells that touch separately; None to outline them together.
        opacity: opacity of the tint, 0 to 1.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    drawn = image.copy()
    cells = region_mask(mask, "cell")
    drawn[cells] = (image[cells] * (1 - opacity) + _COLOURS[mask[cells]] * opacity + 0.5).astype(np.uint8)
    # A line of one pixel hardly shows in an image that is not enlarged.
    width_px = 2 if min(mask.shape) >= 200 else 1
    drawn[_outlines(cells, width_px)] = _COLOURS[CYTOPLASM]
    if instances is not None:
        # Touching cells draw a line on both sides of their border.
        drawn[_outlines(instances, 1)] = _COLOURS[CYTOPLASM]
    # Last, since a nucleus may reach the edge of its cell.
    drawn[_outlines(mask == NUCLEUS, width_px)] = _COLOURS[NUCLEUS]
    return drawn


def draw_difference(image: np.ndarray, reference: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Mark missed, added and confused pixels of a prediction on a pale grey image.

    Missed is cell in the reference and background in the prediction, added is the opposite, confused is nucleus instead
    of cytoplasm or the opposite. The colours are `labels.DIFFERENCE_COLOURS`.

    Args:
        image: RGB, uint8 (H, W, 3).
        reference: labels, integer (H, W).
        prediction: labels, integer (H, W).

    Returns:
        RGB, uint8 (H, W, 3).
    """
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


def index_mask(mask: np.ndarray) -> Image.Image:
    """Convert a mask to indexed colours: pixel values are labels, viewers show the regions' colours.

    Args:
        mask: labels, uint8 (H, W).
    """
    indexed = Image.fromarray(mask)
    indexed.putpalette(_COLOURS.tobytes())
    return indexed


def shrink(image: np.ndarray, side_px: int) -> Image.Image:
    """Shrink an image until neither side is longer than `side_px`."""
    thumbnail = Image.fromarray(image)
    thumbnail.thumbnail((side_px, side_px), Image.Resampling.BILINEAR, reducing_gap=2)
    return thumbnail


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
