"""Find round cells of about a known size by their edges: red cells, without a network.

Each edge pixel votes for the centre that is one radius away towards the denser side (a Hough transform with gradient
directions: Kimme, Ballard and Sklansky 1975, Commun ACM 18, 120). Cells that are cut, pale in the middle, or overlap
still have most of their edge.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

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
