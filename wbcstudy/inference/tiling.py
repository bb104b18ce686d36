"""Fit an image of any size to a network that was trained at one size: resize it whole, or show it in tiles.

A network knows cells at the scale of its training, in which whole images were resized to S x S px. An image of about
that size is resized in the same way. Any other image is resized by the same factor as the training images, which keeps
the cells' scale, and shown in tiles. A tile is at least as large as a training image; in larger images it is larger,
since overlaps are work done twice. Tiles overlap by half a training image, and their probabilities are blended.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wbcstudy.errors import StudyError

Way = Literal["auto", "whole", "tiles"]
DESCRIPTIONS = {
    "whole": "resized to the input size of the network",
    "tiles": "resampled to the scale of the training images",
}

# An image counts as similar in size up to this factor. The zoom of the augmentation (0.1 by default) and the spread of
# cell sizes cover about as much.
_SIMILAR = 1.25
# Overlap of tiles, in training images. A white cell fills up to half of a training image around one cell, and should be
# whole in at least one tile.
_OVERLAP = 0.5
# Longest side of a tile at the network's input, in px, unless the network was trained on more. A larger tile takes more
# memory; in a smaller one the overlap is more work (here a fifth if training was at 96 px).
_LARGEST_INPUT_PX = 512
# The largest images that can be read take some hundred tiles at the scale of usual training images.
_MOST_TILES = 20_000
# Encoders halve an image up to five times.
_MULTIPLE = 32


@dataclass(frozen=True)
class TrainingScale:
    """The scale at which a network was trained.

    Args:
        image_size: S, the side in px to which training images were resized.
        height_px: smallest, median and largest height of the training images before that.
        width_px: smallest, median and largest width of the training images before that.
        cell_px: median diameter of a cell in training images before resizing; None if unknown.
        pixel_size_um: side of their pixels; None if unknown.
        assumed: True if the sizes are not recorded and assumed to be S.
    """

    image_size: int
    height_px: tuple[int, int, int]
    width_px: tuple[int, int, int]
    cell_px: float | None = None
    pixel_size_um: float | None = None
    assumed: bool = False


@dataclass(frozen=True)
class Tiling:
    """How an image is shown to a network.

    Args:
        name: "whole" or "tiles".
        tile: height and width of a tile, in px of the image.
        input_px: height and width to which a tile is resized, the network's input.
        overlap: minimum overlap of tiles by height and width, in px of the image.
        scale: size of a cell in px, relative to the training images.
        reason: why this tiling was chosen.
    """

    name: str
    tile: tuple[int, int]
    input_px: tuple[int, int]
    overlap: tuple[int, int]
    scale: float
    reason: str


def choose_tiling(
    shape: tuple[int, int],
    training: TrainingScale,
    way: Way = "auto",
    scale: float | None = None,
    pixel_um: float | None = None,
) -> Tiling:
    """Choose how to show an image to a network.

    Args:
        shape: height and width of the image in px.
        training: scale of the network's training.
        way: "whole" or "tiles" to force one of them.
        scale: size of a cell in px, relative to the training images. By default the ratio of the two pixel sizes if
            both are known, else 1.
        pixel_um: side of a pixel of the image in micrometres.

    Raises:
        StudyError: unknown way, or a scale or pixel size out of range.
    """
    if way not in ("auto", *DESCRIPTIONS):
        raise StudyError(f"Unknown way {way!r}.", expected="auto, whole or tiles", fix="Use one of these.")
    for name, value in (("scale", scale), ("pixel_um", pixel_um)):
        if value is not None and not 0.01 <= value <= 100:
            raise StudyError(f"{name} = {value:g} cannot be used.", expected="0.01 to 100", fix=f"Change {name}.")
    scale, scale_source = _resolve_scale(training, scale, pixel_um)
    spans = training.height_px, training.width_px
    # A training image at the scale of this image.
    trained_px = [max(1, round(median * scale)) for _, median, _ in spans]
    reason = "as requested"
    if way == "auto":
        similar = all(
            low * scale / _SIMILAR <= side <= high * scale * _SIMILAR
            for side, (low, _, high) in zip(shape, spans, strict=True)
        )
        way = "whole" if similar else "tiles"
        relation = "is about" if similar else "differs from"
        assumed = " (assumed, not recorded in this run)" if training.assumed else ""
        trained = f"{trained_px[1]}x{trained_px[0]} px{scale_source}{assumed}"
        reason = f"{shape[1]}x{shape[0]} px {relation} the size of a training image, {trained}"
    if way == "whole":
        return Tiling("whole", tuple(shape), (training.image_size,) * 2, (0, 0), scale, reason)
    sides = [_tile_side(*pair, training.image_size) for pair in zip(shape, trained_px, strict=True)]
    tile, input_px = zip(*sides, strict=True)
    if any(side < length for side, length in zip(tile, shape, strict=True)):
        reason += f"; overlapping tiles of {tile[1]}x{tile[0]} px"
    tiling = Tiling("tiles", tile, input_px, tuple(round(_OVERLAP * side) for side in trained_px), scale, reason)
    count = math.prod(len(_tile_starts(*axis)) for axis in zip(shape, tile, tiling.overlap, strict=True))
    if count > _MOST_TILES:
        raise StudyError(
            f"An image of {shape[1]}x{shape[0]} px would take {count} tiles of {tile[1]}x{tile[0]} px.",
            expected=f"at most {_MOST_TILES} tiles",
            fix="Check the scale and the pixel size, or use --way whole.",
        )
    return tiling


def _tile_side(length: int, trained_px: int, image_size: int) -> tuple[int, int]:
    """Return the side of a tile along one axis, in px of the image and at the network's input."""
    if length <= trained_px:
        return trained_px, image_size
    # Px of the image per px of the input.
    factor = trained_px / image_size
    enough = _MULTIPLE * math.ceil(length / factor / _MULTIPLE)
    input_px = max(image_size, min(enough, _LARGEST_INPUT_PX))
    return round(input_px * factor), input_px


def _resolve_scale(training: TrainingScale, scale: float | None, pixel_um: float | None) -> tuple[float, str]:
    if scale is not None:
        return scale, f" at scale {scale:g}"
    if pixel_um is None or training.pixel_size_um is None:
        return 1.0, ""
    return training.pixel_size_um / pixel_um, f" at {pixel_um:g} µm per pixel (training: {training.pixel_size_um:g} µm)"


def tile_corners(shape: tuple[int, int], tiling: Tiling) -> Iterator[tuple[int, int]]:
    """List the first row and column of each tile, row by row.

    Tiles are evenly spaced, the first at 0, the last ending where the image ends.

    Args:
        shape: height and width of the image in px, at least those of a tile.
        tiling: the tiling.
    """
    return itertools.product(*(_tile_starts(*axis) for axis in zip(shape, tiling.tile, tiling.overlap, strict=True)))


def _tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / max(1, tile - overlap))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def tile_weights(tile: tuple[int, int]) -> np.ndarray:
    """Return the weights of a tile's pixels where tiles overlap: highest in the middle, close to 0 at the edge.

    A cell cut by a tile's edge is better seen in the neighbouring tile. The product of two raised cosines.

    Returns:
        float32 (H, W), above 0.
    """
    rows, columns = (np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 + 1e-3 for side in tile)
    return np.outer(rows, columns).astype(np.float32)


def pad_to_tile(image: np.ndarray, tile: tuple[int, int]) -> np.ndarray:
    """Mirror an image at its right and lower border until it is at least as large as a tile.

    Args:
        image: uint8 (H, W, 3).
        tile: height and width.
    """
    missing = [max(0, side - length) for side, length in zip(tile, image.shape, strict=False)]
    return np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric") if any(missing) else image
