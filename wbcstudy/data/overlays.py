"""What is drawn of a segmentation: overlays, label masks in indexed colours, small pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from wbcstudy.labels import DIFFERENCE_COLOURS, LABELS, REGION_COLOURS

_OUTLINE = (0, 0, 0)


def label_palette() -> np.ndarray:
    """RGB of each label, uint8 (3, 3): black, and the colours of cytoplasm and nucleus."""
    colours = np.zeros((len(LABELS), 3), np.uint8)
    for name, label in LABELS.items():
        if name in REGION_COLOURS:
            colours[label] = _rgb(REGION_COLOURS[name])
    return colours


def index_mask(mask: np.ndarray) -> Image.Image:
    """A mask as a picture in indexed colours: the pixel values are the labels, viewers show the regions' colours.

    Args:
        mask: uint8 (H, W).
    """
    picture = Image.fromarray(mask)
    picture.putpalette(label_palette().tobytes())
    return picture


def draw_overlay(image: np.ndarray, mask: np.ndarray, instances: np.ndarray, opacity: float = 0.35) -> np.ndarray:
    """An image tinted with its regions, a dark line between cells and around them.

    Args:
        image: uint8 (H, W, 3).
        mask: uint8 (H, W) of labels.
        instances: integer (H, W), cells.
        opacity: of the tint, 0 to 1. At 0 only the lines are drawn.

    Returns:
        uint8 (H, W, 3).
    """
    drawn = image.copy()
    inside = mask > 0
    tint = label_palette()[mask[inside]]
    drawn[inside] = (image[inside] * (1 - opacity) + tint * opacity + 0.5).astype(np.uint8)
    drawn[outlines(instances)] = _OUTLINE
    return drawn


def draw_difference(image: np.ndarray, reference: np.ndarray, prediction: np.ndarray, opacity: float = 0.8):
    """Where a prediction differs from the expert: missed, added and confused pixels on the image, made pale.

    Args:
        image: uint8 (H, W, 3).
        reference: uint8 (H, W), the expert's labels.
        prediction: uint8 (H, W), the network's.
        opacity: of the colours.

    Returns:
        uint8 (H, W, 3).
    """
    drawn = (image * 0.4 + 255 * 0.6).astype(np.uint8)
    kinds = {
        "missed": (reference > 0) & (prediction == 0),
        "added": (reference == 0) & (prediction > 0),
        "confused": (reference > 0) & (prediction > 0) & (reference != prediction),
    }
    for name, where in kinds.items():
        drawn[where] = (drawn[where] * (1 - opacity) + np.array(_rgb(DIFFERENCE_COLOURS[name])) * opacity).astype("u1")
    return drawn


def outlines(instances: np.ndarray) -> np.ndarray:
    """The pixels of cells that have another cell or background below or to the right, or are such a neighbour's.

    Args:
        instances: integer (H, W).

    Returns:
        Boolean (H, W).
    """
    edge = np.zeros(instances.shape, bool)
    across = instances[:, 1:] != instances[:, :-1]
    along = instances[1:] != instances[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= along
    edge[:-1] |= along
    return edge & (instances > 0)


def shrink(image: np.ndarray, side_px: int) -> Image.Image:
    """A picture no longer than `side_px` in either direction."""
    picture = Image.fromarray(image)
    picture.thumbnail((side_px, side_px), Image.Resampling.BILINEAR, reducing_gap=2)
    return picture


def encode_png(image: np.ndarray) -> bytes:
    """An array as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=3)
    return file.getvalue()


def _rgb(colour: str) -> tuple[int, int, int]:
    return tuple(bytes.fromhex(colour[1:]))
