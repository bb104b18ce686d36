"""How an image that may be of any size is shown to a network that was trained at one: whole, or in tiles.

A network knows cells at the scale of its training, where whole images were resized to S x S px. An image as large as
those is resized in the same way. Any other is resized by as much as a training image was, so that the network never
sees a cell at another scale, and shown in tiles that are at least as large as a training image, and larger where the
image is: a tile's border is work done twice. Tiles overlap by half a training image, and their probabilities are
blended. Pure NumPy; no network here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wbcstudy.errors import StudyError

# An image this much smaller or larger than all training images, in either direction, is no longer "as large as those":
# the zoom of the augmentation (0.1 by default) and the spread of cell sizes cover about as much.
ALIKE = 1.25
# How far a tile lies over its neighbour, in training images. A white cell fills up to half of a training image around
# one cell, and should be whole in some tile.
OVERLAP = 0.5
# The most that the network sees of an image in either direction, in px as it sees them, unless it was trained on more.
# A larger tile takes more memory; in a smaller one the overlap is more work (here a fifth if training was at 96 px).
LARGEST_TILE = 512
# Encoders halve an image up to five times.
_MULTIPLE = 32

WayName = Literal["auto", "whole", "tiles"]


@dataclass(frozen=True)
class TrainingScale:
    """What a network was trained on.

    Args:
        image_size: S, the side in px to which training images were resized.
        height_px: smallest, median and largest height of a training image before that.
        width_px: the same for widths.
        cell_px: median diameter of a cell in training images before resizing; None where unknown.
        pixel_size_um: side of their pixels; None where unknown.
        assumed: whether the sizes are not recorded, and taken to be S.
    """

    image_size: int
    height_px: tuple[int, int, int]
    width_px: tuple[int, int, int]
    cell_px: float | None = None
    pixel_size_um: float | None = None
    assumed: bool = False


@dataclass(frozen=True)
class Way:
    """How one image is shown to a network.

    Args:
        name: "whole" or "tiles".
        tile: height and width in px of the part of the image that the network sees at a time.
        seen: height and width in px to which that part is resized.
        overlap: how far tiles lie over each other, in px of the image, at least.
        scale: how many times larger a cell is here than in the training images, in px.
        why: in a sentence.
    """

    name: str
    tile: tuple[int, int]
    seen: tuple[int, int]
    overlap: tuple[int, int]
    scale: float
    why: str


def choose_way(
    shape: tuple[int, int],
    training: TrainingScale,
    way: WayName = "auto",
    scale: float | None = None,
    pixel_um: float | None = None,
) -> Way:
    """Choose how an image is shown to a network.

    Args:
        shape: its height and width in px.
        training: what the network was trained on.
        way: "whole" or "tiles" to force it.
        scale: how many times larger a cell is here, in px, than in the training images. By default the quotient of the
            two pixel sizes where both are known, else 1.
        pixel_um: side of a pixel of the image in micrometres.

    Raises:
        StudyError: a way, scale or pixel size that cannot be used.
    """
    if way not in ("auto", "whole", "tiles"):
        raise StudyError(f"Unknown way {way!r}.", expected="auto, whole or tiles", fix="Use one of these.")
    for name, value in (("scale", scale), ("pixel_um", pixel_um)):
        if value is not None and not 0.01 <= value <= 100:
            raise StudyError(f"{name} = {value:g} cannot be used.", expected="0.01 to 100", fix=f"Change {name}.")
    scale, told = _scale(training, scale, pixel_um)
    seen = f"{training.width_px[1]}x{training.height_px[1]} px"
    if training.assumed:
        seen += " (assumed: this run does not say)"
    size = f"{shape[1]}x{shape[0]} px"
    alike = all(
        span[0] * scale / ALIKE <= side <= span[2] * scale * ALIKE
        for side, span in zip(shape, (training.height_px, training.width_px), strict=True)
    )
    if way == "whole" or (way == "auto" and alike):
        why = "as asked" if way == "whole" else f"{size} is about the size of the training images, {seen}{told}"
        return Way("whole", tuple(shape), (training.image_size,) * 2, (0, 0), scale, why)
    trained = tuple(max(1, round(span[1] * scale)) for span in (training.height_px, training.width_px))
    tile, shown = zip(*(_tile(*pair, training.image_size) for pair in zip(shape, trained, strict=True)), strict=True)
    why = "as asked" if way == "tiles" else f"{size} is another size than the training images, {seen}{told}"
    why += f"; {trained[1]}x{trained[0]} px here are as much as a training image"
    if any(side < length for side, length in zip(tile, shape, strict=True)):
        why += f", in overlapping tiles of {tile[1]}x{tile[0]} px"
    overlap = tuple(round(OVERLAP * side) for side in trained)
    return Way("tiles", tile, shown, overlap, scale, why)


def _tile(length: int, trained: int, image_size: int) -> tuple[int, int]:
    """Length of a tile along an axis of the image, in px of the image and as the network sees it."""
    if length <= trained:
        return trained, image_size
    # Px of the image for one of the network's.
    factor = trained / image_size
    enough = _MULTIPLE * math.ceil(length / factor / _MULTIPLE)
    seen = max(image_size, min(enough, LARGEST_TILE))
    return round(seen * factor), seen


def _scale(training: TrainingScale, scale: float | None, pixel_um: float | None) -> tuple[float, str]:
    if scale is not None:
        return scale, f", times {scale:g} as asked"
    if pixel_um is None or training.pixel_size_um is None:
        return 1.0, ""
    scale = training.pixel_size_um / pixel_um
    return scale, f" of {training.pixel_size_um:g} µm, here {pixel_um:g} µm"


def place_tiles(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one axis: evenly spread, the first at 0, the last ending at `length`.

    Args:
        length: of the image along this axis, in px, at least `tile`.
        tile: length of a tile.
        overlap: how far a tile lies over its neighbour at least, in px, less than `tile`.
    """
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / max(1, tile - overlap))
    return [round(place * (length - tile) / (count - 1)) for place in range(count)]


def tiles_of(shape: tuple[int, int], way: Way) -> Iterator[tuple[int, int]]:
    """First row and column of each tile, row by row."""
    return itertools.product(*(place_tiles(*axis) for axis in zip(shape, way.tile, way.overlap, strict=True)))


def tile_weights(tile: tuple[int, int]) -> np.ndarray:
    """How much a tile's pixels count where tiles overlap: most in its middle, next to nothing at its edge.

    A cell that a tile's edge cuts is better seen by the neighbour. The product of two raised cosines.

    Returns:
        float32 (H, W), above 0.
    """
    rows, columns = (np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 + 1e-3 for side in tile)
    return np.outer(rows, columns).astype(np.float32)


def enlarge(image: np.ndarray, tile: tuple[int, int]) -> np.ndarray:
    """An image mirrored at its right and lower border until it is at least as large as a tile.

    Args:
        image: uint8 (H, W, 3).
        tile: height and width.
    """
    missing = [max(0, side - have) for side, have in zip(tile, image.shape, strict=False)]
    return np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric") if any(missing) else image
