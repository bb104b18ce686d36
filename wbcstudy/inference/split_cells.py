"""Cells told apart.

A network says which pixels are cell; adjacent cells are one piece of that, a clump. `split_cells` cuts clumps where
they are narrow, `connected_cells` does not cut and is what to compare with.
"""

from __future__ import annotations

import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, NUCLEUS, NUM_LABELS

# Chosen on other images than those that are reported (benchmarks/compare_instances.py). It cuts predicted pairs of real
# cells that 0.8 leaves joined; single cells stay whole at any waist up to 0.98, since a piece needs a nucleus.
WAIST = 0.9
_SPECK = 0.15
# Smooths away the teeth of a drawn edge, each of which would be a seed.
_SMOOTHING_PX = 1.0
_TINY = 1e-6


def split_cells(
    mask: np.ndarray,
    *,
    distances: np.ndarray | None = None,
    min_cell_px: float | None = None,
    waist: float = WAIST,
    need_nucleus: bool = True,
) -> np.ndarray:
    """Tell the cells of a mask apart by a watershed of the distance to their edge.

    1. d is the distance of each cell pixel (nucleus or cytoplasm) to the nearest pixel that is no cell, with
       holes closed, smoothed by a Gaussian of 1 px. Each local maximum of d seeds a piece; a watershed of -d gives the
       pieces their pixels (Beucher and Lantuejoul 1979; Vincent and Soille 1991).
    2. Two pieces are one cell where they meet in no waist: where d at its highest on their contact is at least `waist`
       times the lower of their two peaks. The pair with the weakest waist is joined first. The measure is a ratio, so
       it does not depend on the image's scale.
    3. A cell has one nucleus, which may have lobes. A piece without nucleus is joined to the neighbour that it has the
       weakest waist with, and all nuclear lobes in a cell's outline are that cell's: they are never seeds, since two
       lobes of a neutrophil are as far apart as the nuclei of two lymphocytes.
    4. What has no nucleus at all is left out (`need_nucleus`), and so is what is smaller than `min_cell_px`.

    Args:
        mask: labels of `wbcstudy.labels`, integer (H, W).
        distances: (H, W) of finite numbers >= 0, in any unit, which replace the distance to the edge, for example those
            that a network learnt: high in the middle of a cell, low where two cells meet.
        min_cell_px: least area of a cell in px. None: 15 % of this image's median cell, each cell weighed by its area,
            so that specks, however many, do not move it.
        waist: between 0 (never cut) and 1 (cut at every waist).
        need_nucleus: whether a cell must have a nucleus. False for masks without nuclei, or fields whose border may
            hide them.

    Returns:
        int32 (H, W): 0 for background, 1..n for the cells, numbered in reading order of their first pixel. A pixel
        that is background in the mask is background here.

    Raises:
        StudyError: not a mask of labels, `distances` of another shape or with negative numbers, or a setting out of
            range.
    """
    mask = _check_mask(mask)
    distances = _check_distances(distances, mask.shape)
    _check_settings(waist, min_cell_px)
    from scipy.ndimage import find_objects
    from skimage.measure import label

    if not mask.size:
        return np.zeros(mask.shape, np.int32)
    clumps = label(mask != BACKGROUND, connectivity=1)
    pieces = np.zeros(mask.shape, np.int32)
    count = 0
    for number, box in enumerate(find_objects(clumps), 1):
        clump = clumps[box] == number
        nucleus = clump & (mask[box] == NUCLEUS)
        if need_nucleus and not nucleus.any():
            continue
        own = _split_clump(
            clump, nucleus, None if distances is None else distances[box], waist, _edges(box, mask.shape)
        )
        pieces[box][clump] = own[clump] + count
        count += int(own.max())
    return _number(_drop_specks(pieces, min_cell_px))


def connected_cells(mask: np.ndarray, *, min_cell_px: float | None = None, need_nucleus: bool = True) -> np.ndarray:
    """Connected pieces (4 neighbours) of nucleus and cytoplasm as cells: adjacent cells become one.

    The comparison for `split_cells`, with the same rule for what is left out.

    Args:
        mask: labels, integer (H, W).
        min_cell_px: as in `split_cells`.
        need_nucleus: as in `split_cells`.

    Returns:
        int32 (H, W), as `split_cells`.

    Raises:
        StudyError: as `split_cells`.
    """
    return split_cells(mask, min_cell_px=min_cell_px, waist=0.0, need_nucleus=need_nucleus)


def count_parts(region: np.ndarray, *, waist: float, min_share: float = 0.0) -> int:
    """Into how many parts a shape falls when it is cut at its waists.

    Args:
        region: boolean (H, W).
        waist: as in `split_cells`.
        min_share: parts below this share of the region's area do not count.

    Returns:
        0 for an empty region.
    """
    from skimage.measure import label

    clumps = label(region, connectivity=1)
    areas = []
    for number in range(1, int(clumps.max()) + 1):
        clump = clumps == number
        parts = _split_clump(clump, clump, None, waist, None)
        areas += np.bincount(parts[clump])[1:].tolist()
    return sum(area >= min_share * region.sum() for area in areas)


def _split_clump(clump, nucleus, distances, waist, edges) -> np.ndarray:
    """Cut one connected clump; int (h, w) with 1..n within it, other numbers around it."""
    from scipy.ndimage import gaussian_filter
    from skimage.segmentation import watershed

    if waist == 0:
        return clump.astype(np.int32)
    depth = _depth(clump, edges) if distances is None else distances
    depth = gaussian_filter(np.where(clump, depth, 0).astype(np.float32), _SMOOTHING_PX)
    # Framed by what is lower, a clump that fills its box has a maximum too, and so has a flat one.
    clump, depth = np.pad(clump, 1), np.pad(np.where(clump, np.maximum(depth, _TINY), 0), 1)
    pieces = watershed(-depth, mask=clump)
    has_nucleus = np.bincount(pieces[np.pad(nucleus, 1)], minlength=pieces.max() + 1) > 0
    return _join(pieces, depth, has_nucleus, waist)[1:-1, 1:-1]


def _depth(clump, edges) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    whole = binary_fill_holes(clump)
    # A frame of background, but not where the image ends: what the border cuts goes on beyond it.
    frame = [(1, 1), (1, 1)] if edges is None else edges
    padded = np.pad(whole, frame)
    depth = distance_transform_edt(padded)
    (top, _), (left, _) = frame
    return depth[top : top + whole.shape[0], left : left + whole.shape[1]]


def _edges(box, shape) -> list[tuple[int, int]]:
    """How many rows and columns of background to put around a box: none where the image ends."""
    return [(int(side.start > 0), int(side.stop < length)) for side, length in zip(box, shape, strict=True)]


def _join(pieces, depth, has_nucleus, waist) -> np.ndarray:
    """Join pieces that are one cell; returns int32 with the joined pieces numbered 1..n."""
    from scipy.ndimage import maximum

    count = int(pieces.max())
    peaks = np.concatenate([[0.0], np.atleast_1d(maximum(depth, pieces, np.arange(1, count + 1)))])
    passes = _passes(pieces, depth)
    has_nucleus = has_nucleus.copy()
    parent = np.arange(count + 1)
    while passes:
        # Pieces of one cell come together first; then what has no nucleus goes where it fits best.
        strength = {pair: height / max(min(peaks[list(pair)]), _TINY) for pair, height in passes.items()}
        pair = max(strength, key=strength.get)
        if strength[pair] < waist:
            bare = [pair for pair in passes if not has_nucleus[list(pair)].all()]
            if not bare or not has_nucleus.any():
                break
            pair = max(bare, key=strength.get)
        kept, gone = pair
        parent[parent == gone] = kept
        peaks[kept] = max(peaks[kept], peaks[gone])
        has_nucleus[kept] |= has_nucleus[gone]
        moved: dict[tuple[int, int], float] = {}
        for (one, other), height in passes.items():
            one, other = (kept if number == gone else number for number in (one, other))
            if one != other:
                key = (min(one, other), max(one, other))
                moved[key] = max(moved.get(key, 0.0), height)
        passes = moved
    numbers = np.zeros(count + 1, np.int32)
    roots = np.unique(parent[1:])
    numbers[1:] = np.searchsorted(roots, parent[1:]) + 1
    return numbers[pieces]


def _passes(pieces, depth) -> dict[tuple[int, int], float]:
    """Highest depth at which two pieces meet (4 neighbours), by pair of their numbers."""
    found: dict[tuple[int, int], float] = {}
    for axis in (0, 1):
        one, other = (pieces.swapaxes(0, axis)[part] for part in (slice(None, -1), slice(1, None)))
        low = np.minimum(*(depth.swapaxes(0, axis)[part] for part in (slice(None, -1), slice(1, None))))
        meet = (one != other) & (one > 0) & (other > 0)
        for a, b, height in zip(one[meet].tolist(), other[meet].tolist(), low[meet].tolist(), strict=True):
            key = (min(a, b), max(a, b))
            found[key] = max(found.get(key, 0.0), height)
    return found


def _drop_specks(pieces: np.ndarray, min_cell_px: float | None) -> np.ndarray:
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    if not areas.any():
        return pieces
    if min_cell_px is None:
        order = np.sort(areas)
        # Half of all cell pixels are in cells of this area or more.
        min_cell_px = _SPECK * order[np.searchsorted(np.cumsum(order), areas.sum() / 2)]
    return np.where((areas >= min_cell_px)[pieces], pieces, 0)


def _number(pieces: np.ndarray) -> np.ndarray:
    """Numbers 1..n in reading order of the first pixel."""
    inside = np.flatnonzero(pieces)
    first = np.full(int(pieces.max(initial=0)) + 1, pieces.size)
    # Backwards, so that the first pixel is the one that stays.
    first[pieces.ravel()[inside[::-1]]] = inside[::-1]
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < pieces.size)]
    numbers = np.zeros(first.size, np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers[pieces]


# ------------------------------------------------------------------------------------------------------------ scoring


def _check_mask(mask) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "iub":
        raise StudyError(
            f"Not a mask: {mask.dtype} of shape {mask.shape}.",
            expected="integer labels of shape (H, W)",
            fix="Take the most probable label of each pixel first: probabilities.argmax(axis=-1).",
        )
    if mask.size and (mask.min() < 0 or mask.max() >= NUM_LABELS):
        raise StudyError(
            f"The mask holds values from {mask.min()} to {mask.max()}.",
            expected=f"labels from 0 to {NUM_LABELS - 1}",
            fix="Read masks through their dataset.yaml, which says which value is which label.",
        )
    return mask


def _check_distances(distances, shape) -> np.ndarray | None:
    if distances is None:
        return None
    distances = np.asarray(distances, np.float32)
    if distances.shape != shape or not np.isfinite(distances).all() or (distances < 0).any():
        raise StudyError(
            f"Distances of shape {distances.shape} cannot be used.",
            expected=f"finite numbers of 0 or more, of the mask's shape {shape}",
            fix="Pass one number per pixel, or leave distances out.",
        )
    return distances


def _check_settings(waist, min_cell_px) -> None:
    if not 0 <= waist <= 1:
        raise StudyError(
            f"waist = {waist!r} cannot be used.", expected="a number from 0 to 1", fix=f"Use the default, {WAIST}."
        )
    if min_cell_px is not None and not min_cell_px >= 0:
        raise StudyError(
            f"min_cell_px = {min_cell_px!r} cannot be used.",
            expected="an area in px, 0 or more, or None",
            fix="Leave it out: then it follows from the image's cells.",
        )
