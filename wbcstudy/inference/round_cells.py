"""Find round cells of about a known size by their edges: red cells, without a network.

Each edge pixel votes for the centre that is one radius away towards the denser side (a Hough transform with gradient
directions: Kimme, Ballard and Sklansky 1975, Commun ACM 18, 120). Cells that are cut, pale in the middle, or overlap
still have most of their edge.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wbcstudy.data.arrays import resize_image, resize_labels
from wbcstudy.inference.tiling import TrainingScale
from wbcstudy.labels import BACKGROUND

# Diameter of red cells in dried smears in µm (Bain, Blood Cells: 6.7 to 7.7), and how much smaller they are at the
# steepest part of their edge (natural logarithm; measured on drawn smears).
RED_CELL_UM = 7.2
EDGE_INSIDE = 0.08
# A red cell has at most this share of white cell in its middle.
_MOST_WHITE, _MIDDLE = 0.2, 0.7
# Part of a large image to count cells in, in px at the network's resolution.
_COUNTED_PX = 1024
# Radii to try, relative to the one asked for, and the ratio of neighbouring ones.
_STEP, _STEPS = 1.05, 4
# Share of a circle that must be edge. Drawn smears: from 0.2 to 0.4, the scale is found as well.
_LEAST_EDGE = 0.3
# Edges are steeper than the median of the image by this factor, and than this (natural logarithm of light per px).
_STEEPER, _STEEPEST_NOISE = 2.0, 0.004
# Two circles are the same cell if their centres are nearer than this, in radii.
_APART = 0.6


class RoundCell(NamedTuple):
    """A round cell.

    Args:
        edge: share of its circle that is edge, 0 to about 1.
        row: row of its centre.
        column: column of its centre.
        radius_px: radius at the steepest part of the edge.
    """

    edge: float
    row: int
    column: int
    radius_px: float


def find_round_cells(image: np.ndarray, radius_px: float, brighter: bool = False) -> list[RoundCell]:
    """Find discs that are denser than their surroundings in green light, which stains and red cells absorb.

    Args:
        image: uint8 (H, W, 3), RGB.
        radius_px: radius to look for; radii from 0.82 to 1.22 of it are found. Best about 10 px.
        brighter: find discs that are brighter than their surroundings instead.

    Returns:
        The cells, the clearest first; centres inside the image.
    """
    from scipy.ndimage import gaussian_filter, maximum_filter

    height, width = image.shape[:2]
    rows, columns, up, right = _find_edges(image)
    if brighter:
        up, right = -up, -right
    candidates = []
    for power in range(-_STEPS, _STEPS + 1):
        radius = radius_px * _STEP**power
        y, x = np.rint(rows + up * radius).astype(int), np.rint(columns + right * radius).astype(int)
        inside = (y >= 0) & (x >= 0) & (y < height) & (x < width)
        votes = np.bincount(y[inside] * width + x[inside], minlength=height * width).reshape(height, width)
        # A Gaussian of one pixel, scaled to 1 at its peak, collects the votes for one centre.
        share = gaussian_filter(votes.astype(np.float32), 1.0, mode="constant") / np.float32(radius)
        peaks = (share > _LEAST_EDGE) & (share == maximum_filter(share, 5))
        candidates += [RoundCell(float(share[row, column]), row, column, radius) for row, column in np.argwhere(peaks)]
    cells: list[RoundCell] = []
    for cell in sorted(candidates, reverse=True):
        if all(
            np.hypot(cell.row - other.row, cell.column - other.column) > _APART * max(cell.radius_px, other.radius_px)
            for other in cells
        ):
            cells.append(cell)
    return cells


def find_red_cells(image: np.ndarray, mask: np.ndarray, radius_px: float, brighter: bool = False) -> list[RoundCell]:
    """Find round cells where a network sees no white cell.

    Args:
        image: uint8 (H, W, 3), RGB.
        mask: labels, integer (H, W).
        radius_px: as in `find_round_cells`, as the next.
        brighter: find bright discs instead.
    """
    return [
        cell
        for cell in find_round_cells(image, radius_px, brighter)
        if _white_share(mask, cell.row, cell.column, _MIDDLE * cell.radius_px) <= _MOST_WHITE
    ]


def input_factor(training: TrainingScale) -> float:
    """Return the px of a training image per px of the network's input, the geometric mean of both axes."""
    return float(np.sqrt(training.height_px[1] * training.width_px[1])) / training.image_size


def red_radius_px(training: TrainingScale) -> float:
    """Return the radius of a red cell at the network's input; the pixel size of the training images is known."""
    return RED_CELL_UM / 2 / training.pixel_size_um / input_factor(training)


def count_discs(image: np.ndarray, mask: np.ndarray, scale: float, training: TrainingScale) -> tuple[float, float]:
    """Count the discs of the size of a red cell outside white cells.

    Args:
        image: uint8 (H, W, 3), RGB.
        mask: labels, integer (H, W).
        scale: scale of the image.
        training: scale of the network's training; its pixel size is known.

    Returns:
        The number of those that are denser than their surroundings, as red cells are, and of brighter ones. Of a large
        image, the middle is counted, and the rest assumed to have as many.
    """
    factor = scale * input_factor(training)
    side = int(_COUNTED_PX * factor)
    rows, columns = (
        slice((length - side) // 2, (length + side) // 2) if length > side else slice(None)
        for length in image.shape[:2]
    )
    part, labels = image[rows, columns], mask[rows, columns]
    shape = [max(1, round(length / factor)) for length in part.shape[:2]]
    small, labels = resize_image(part, *shape), resize_labels(labels, tuple(shape))
    share = image[..., 0].size / part[..., 0].size
    dark, bright = (
        share * len(find_red_cells(small, labels, red_radius_px(training), brighter)) for brighter in (False, True)
    )
    return dark, bright


def _white_share(mask: np.ndarray, row: int, column: int, radius_px: float) -> float:
    """Return the share of white cell in a disc around a point of a mask."""
    reach = int(np.ceil(radius_px))
    top, left = max(0, row - reach), max(0, column - reach)
    part = mask[top : row + reach + 1, left : column + reach + 1]
    y, x = np.ogrid[: part.shape[0], : part.shape[1]]
    disc = (y + top - row) ** 2 + (x + left - column) ** 2 <= radius_px**2
    return float((part[disc] != BACKGROUND).mean())


def _find_edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return rows and columns of the edge pixels, and the directions towards the denser side, unit vectors."""
    from scipy.ndimage import gaussian_filter

    density = -np.log(np.clip(image[..., 1].astype(np.float32), 1, None))
    up, right = (gaussian_filter(density, 1.0, order=order) for order in ((1, 0), (0, 1)))
    steepness = np.hypot(up, right)
    # Only the steepest pixel across an edge, in one of four directions.
    direction = np.rint(np.arctan2(up, right) / (np.pi / 4)).astype(int) % 4
    height, width = steepness.shape
    padded = np.pad(steepness, 1, mode="edge")
    offsets = [(0, 1), (1, 1), (1, 0), (1, -1)]
    ahead, behind = (
        np.choose(
            direction,
            [padded[1 + sign * y : 1 + sign * y + height, 1 + sign * x : 1 + sign * x + width] for y, x in offsets],
        )
        for sign in (1, -1)
    )
    least = max(_STEEPER * float(np.median(steepness)), _STEEPEST_NOISE)
    edge = (steepness >= ahead) & (steepness > behind) & (steepness > least)
    rows, columns = np.nonzero(edge)
    return rows, columns, up[edge] / steepness[edge], right[edge] / steepness[edge]
