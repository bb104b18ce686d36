"""Separate touching cells.

A network says which pixels belong to cells. Cells that touch are one connected piece of these pixels, a clump.
`split_cells` cuts clumps where they are narrow; `connected_cells` does not cut and is the baseline to compare with.
"""

from __future__ import annotations

import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, NUCLEUS, NUM_LABELS

# Chosen on other images than those reported (benchmarks/compare_instances.py). It cuts predicted pairs of real cells
# that 0.8 leaves joined; single cells stay whole at any waist up to 0.98, since a piece needs a nucleus.
WAIST = 0.9
_SPECK = 0.15
# Smooths the teeth of a drawn edge, each of which would be a seed.
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
    """Separate the cells of a mask by a watershed on the distance transform.

    1. d is the distance of each cell pixel (nucleus or cytoplasm) to the nearest pixel outside of cells, with holes
       closed, smoothed by a Gaussian of 1 px. Each local maximum of d seeds a piece; a watershed of -d assigns the
       pixels to pieces (Beucher and Lantuejoul 1979; Vincent and Soille 1991).
    2. Two pieces are joined unless they meet at a waist, where the maximum of d on their contact is below `waist` times
       the lower of their two peaks. The pair with the highest such ratio is joined first. The ratio does not depend on
       the image's scale.
    3. A cell has one nucleus, which may have lobes. A piece without a nucleus is joined to the neighbour with the
       highest ratio, and all nuclear lobes in a cell's outline belong to that cell. Lobes are never seeds, since two
       lobes of a neutrophil are as far apart as the nuclei of two lymphocytes.
    4. Cells without a nucleus (`need_nucleus`) and cells smaller than `min_cell_px` are left out.

    Args:
        mask: labels, integer (H, W).
        distances: (H, W), finite numbers >= 0 in any unit, used instead of the distance to the edge, for example
            learned ones: high in the middle of a cell, low where two cells meet.
        min_cell_px: smallest area of a cell in px. None: 15 % of this image's median cell, each cell weighted by its
            area, so that specks do not change it.
        waist: from 0 (never cut) to 1 (cut at every waist).
        need_nucleus: whether a cell must have a nucleus. False for masks without nuclei, or fields whose border may
            hide them.

    Returns:
        int32 (H, W): 0 for background, 1..n for the cells, numbered in reading order of their first pixel. Background
        pixels of the mask remain background.

    Raises:
        StudyError: not a mask of labels, `distances` of another shape or with negative numbers, or a setting out of
            range.
    """
    mask = check_mask(mask)
    distances = _check_distances(distances, mask.shape)
    _check_settings(waist, min_cell_px)
    from scipy.ndimage import find_objects
    from skimage.measure import label

    if not mask.size:
        return np.zeros(mask.shape, np.int32)
    clumps = label(mask != BACKGROUND, connectivity=1)
    pieces = np.zeros(mask.shape, np.int32)
    total = 0
    for number, box in enumerate(find_objects(clumps), 1):
        clump = clumps[box] == number
        nucleus = clump & (mask[box] == NUCLEUS)
        if need_nucleus and not nucleus.any():
            continue
        clump_distances = None if distances is None else distances[box]
        parts = _split_clump(clump, nucleus, clump_distances, waist, _margins(box, mask.shape))
        pieces[box][clump] = parts[clump] + total
        total += int(parts.max())
    return _renumber(_drop_specks(pieces, min_cell_px))


def connected_cells(mask: np.ndarray, *, min_cell_px: float | None = None, need_nucleus: bool = True) -> np.ndarray:
    """Return connected pieces (4 neighbours) of nucleus and cytoplasm as cells, touching cells as one.

    The baseline for `split_cells`, with the same arguments, result and errors.
    """
    return split_cells(mask, min_cell_px=min_cell_px, waist=0.0, need_nucleus=need_nucleus)


def count_parts(region: np.ndarray, *, waist: float, min_share: float = 0.0) -> int:
    """Count the parts of a shape after cutting it at its waists; 0 for an empty shape.

    Args:
        region: boolean (H, W).
        waist: as in `split_cells`.
        min_share: smallest area of a part that counts, as a share of the region's area.
    """
    from skimage.measure import label

    clumps = label(region, connectivity=1)
    areas = []
    for number in range(1, int(clumps.max()) + 1):
        clump = clumps == number
        parts = _split_clump(clump, clump, None, waist, [(1, 1), (1, 1)])
        areas += np.bincount(parts[clump])[1:].tolist()
    return sum(area >= min_share * region.sum() for area in areas)


def _split_clump(clump, nucleus, distances, waist, margins) -> np.ndarray:
    """Cut one connected clump: int (h, w), 1..n inside the clump, arbitrary outside."""
    from scipy.ndimage import gaussian_filter
    from skimage.segmentation import watershed

    if waist == 0:
        return clump.astype(np.int32)
    depth = _depth(clump, margins) if distances is None else distances
    depth = gaussian_filter(np.where(clump, depth, 0).astype(np.float32), _SMOOTHING_PX)
    # With a lower margin, a clump that fills its box has a maximum too, and so has a flat one.
    clump, depth = np.pad(clump, 1), np.pad(np.where(clump, np.maximum(depth, _TINY), 0), 1)
    pieces = watershed(-depth, mask=clump)
    has_nucleus = np.bincount(pieces[np.pad(nucleus, 1)], minlength=pieces.max() + 1) > 0
    return _join(pieces, depth, has_nucleus, waist)[1:-1, 1:-1]


def _depth(clump, margins) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    depth = distance_transform_edt(np.pad(binary_fill_holes(clump), margins))
    (top, _), (left, _) = margins
    return depth[top : top + clump.shape[0], left : left + clump.shape[1]]


def _margins(box, shape) -> list[tuple[int, int]]:
    """Return the background to pad around a box: none at the image's border, where cells continue outside."""
    return [(int(side.start > 0), int(side.stop < length)) for side, length in zip(box, shape, strict=True)]


def _join(pieces, depth, has_nucleus, waist) -> np.ndarray:
    """Join the pieces of each cell; int32, numbered 1..n."""
    from scipy.ndimage import maximum

    number = int(pieces.max())
    peaks = np.concatenate([[0.0], np.atleast_1d(maximum(depth, pieces, np.arange(1, number + 1)))])
    contacts = _contacts(pieces, depth)
    has_nucleus = has_nucleus.copy()
    parent = np.arange(number + 1)
    while contacts:
        # First the pieces of one cell, then pieces without a nucleus.
        ratios = {pair: height / max(min(peaks[list(pair)]), _TINY) for pair, height in contacts.items()}
        pair = max(ratios, key=ratios.get)
        if ratios[pair] < waist:
            without_nucleus = [pair for pair in contacts if not has_nucleus[list(pair)].all()]
            if not without_nucleus or not has_nucleus.any():
                break
            pair = max(without_nucleus, key=ratios.get)
        kept, joined = pair
        parent[parent == joined] = kept
        peaks[kept] = max(peaks[kept], peaks[joined])
        has_nucleus[kept] |= has_nucleus[joined]
        merged: dict[tuple[int, int], float] = {}
        for ends, height in contacts.items():
            low, high = sorted(kept if end == joined else end for end in ends)
            if low != high:
                merged[low, high] = max(merged.get((low, high), 0.0), height)
        contacts = merged
    numbers = np.zeros(number + 1, np.int32)
    numbers[1:] = np.unique(parent[1:], return_inverse=True)[1] + 1
    return numbers[pieces]


def _contacts(pieces, depth) -> dict[tuple[int, int], float]:
    """Return the highest depth at which two pieces meet (4 neighbours), by the pair of their numbers."""
    contacts: dict[tuple[int, int], float] = {}
    for labels, depths in ((pieces, depth), (pieces.T, depth.T)):
        before, after = labels[:-1], labels[1:]
        meet = (before != after) & (before > 0) & (after > 0)
        heights = np.minimum(depths[:-1], depths[1:])[meet]
        for a, b, height in zip(before[meet].tolist(), after[meet].tolist(), heights.tolist(), strict=True):
            pair = (min(a, b), max(a, b))
            contacts[pair] = max(contacts.get(pair, 0.0), height)
    return contacts


def _drop_specks(pieces: np.ndarray, min_cell_px: float | None) -> np.ndarray:
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    if not areas.any():
        return pieces
    if min_cell_px is None:
        ordered = np.sort(areas)
        # Half of all cell pixels are in cells of this area or more.
        min_cell_px = _SPECK * ordered[np.searchsorted(np.cumsum(ordered), areas.sum() / 2)]
    return np.where((areas >= min_cell_px)[pieces], pieces, 0)


def _renumber(pieces: np.ndarray) -> np.ndarray:
    """Number the pieces 1..n in reading order of their first pixel."""
    labels, first = np.unique(pieces[pieces > 0], return_index=True)
    numbers = np.zeros(int(pieces.max(initial=0)) + 1, np.int32)
    numbers[labels[np.argsort(first)]] = np.arange(1, len(labels) + 1)
    return numbers[pieces]


def check_mask(mask) -> np.ndarray:
    """Return a mask of labels as an array, integer (H, W).

    Raises:
        StudyError: not a mask of labels.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "iub":
        raise StudyError(
            f"The mask is {mask.dtype} of shape {mask.shape}.",
            expected="integer labels of shape (H, W)",
            fix="Take the most probable label of each pixel first: probabilities.argmax(axis=-1).",
        )
    if mask.size and (mask.min() < 0 or mask.max() >= NUM_LABELS):
        raise StudyError(
            f"The mask holds values from {mask.min()} to {mask.max()}.",
            expected=f"labels from 0 to {NUM_LABELS - 1}",
            fix="Read masks with `data.datasets.read_case`, which converts values to labels by the dataset.yaml.",
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
            fix="Leave it out, to derive it from the image's cells.",
        )
