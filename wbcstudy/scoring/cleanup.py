"""Clean up predicted masks, with the same settings for the U-Net and for every earlier method.

Pixel classifiers leave specks, holes and bridges. Clean-up changes the scores more than the choice of classifier does.
It is therefore done in one place with one setting, and results are reported with and without it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS

# Sizes refer to a square image with this side: the input size of the paper's networks.
_REFERENCE_SIDE_PX = 256

# One round nearly always reaches the fixed point; masks that resemble noise need more.
_MAX_ROUNDS = 20


def clean_up(
    mask: np.ndarray,
    *,
    min_nucleus_px: float = 40,
    min_cell_px: float = 120,
    opening_px: float = 3,
    keep_central: bool = False,
) -> np.ndarray:
    """Keep the connected pieces that look like cells, without holes and with a nucleus.

    1. Nuclei: fill small holes, then open with a disk of half `opening_px`, which removes specks and threads.
    2. Cells (nuclei and cytoplasm together): fill holes, open with a disk of `opening_px`, which cuts thin bridges to
       neighbouring red cells, and add the nuclei again.
    3. Keep a connected piece (8 neighbours) with an area of at least `min_cell_px` and a nucleus, all lobes together,
       of at least `min_nucleus_px`. Everything else in the piece becomes cytoplasm.
    4. With `keep_central`, keep only the piece nearest to the image's centre (the larger one of two at the same
       distance). This helps on crops of single cells and is wrong on whole fields.

    The steps are repeated until nothing changes: cleaning twice equals cleaning once. Every nucleus of the result
    contains a nucleus pixel of the mask.

    Args:
        mask: integer labels (H, W).
        min_nucleus_px: minimum area of a cell's nucleus, in px of an image of 256 x 256 px; scaled by H * W / 256^2.
            Also the maximum area of the holes that are filled in nuclei.
        min_cell_px: minimum area of a cell, in the same unit. Also the maximum area of the holes that are filled in
            cells.
        opening_px: radius of the opening disk, in px of an image of 256 x 256 px; scaled by sqrt(H * W) / 256. 0 for
            no opening.
        keep_central: keep one cell only.

    Returns:
        uint8 (H, W) of labels; all background if no piece is kept.

    Raises:
        StudyError: not a mask, or a negative size.
    """
    mask = np.asarray(mask)
    _check_input(mask, min_nucleus_px, min_cell_px, opening_px)
    if mask.size == 0:
        return mask.astype(np.uint8)
    area = mask.size / _REFERENCE_SIDE_PX**2
    sizes = (min_nucleus_px * area, min_cell_px * area, opening_px * area**0.5)
    for _ in range(_MAX_ROUNDS):
        cleaned = _clean_once(mask, *sizes)
        if np.array_equal(cleaned, mask):
            break
        mask = cleaned
    return _keep_central(cleaned) if keep_central else cleaned


def clean_variants(predictions: Mapping[int, Sequence[np.ndarray]]) -> dict[str, Mapping[int, Sequence[np.ndarray]]]:
    """Clean up predictions, seed -> N masks of labels, uint8 (H, W), in two ways.

    Returns:
        "raw" -> the predictions; "cleaned" -> each mask after `clean_up`; "central" -> after `clean_up` with
        `keep_central`.
    """
    cleaned = {seed: [clean_up(mask) for mask in masks] for seed, masks in predictions.items()}
    central = {seed: [_keep_central(mask) for mask in masks] for seed, masks in cleaned.items()}
    return {"raw": predictions, "cleaned": cleaned, "central": central}


def _clean_once(mask: np.ndarray, min_nucleus: float, min_cell: float, radius: float) -> np.ndarray:
    from skimage.measure import label

    nucleus = _open(_fill_holes(mask == NUCLEUS, min_nucleus), radius / 2)
    cell = _open(_fill_holes((mask != BACKGROUND) | nucleus, min_cell), radius) | nucleus
    pieces = label(cell, connectivity=2)
    cell_areas = np.bincount(pieces.ravel())
    nucleus_areas = np.bincount(pieces[nucleus], minlength=cell_areas.size)
    keep = (cell_areas >= min_cell) & (nucleus_areas >= max(min_nucleus, 1))
    keep[0] = False
    kept = keep[pieces]
    cleaned = np.where(kept, CYTOPLASM, BACKGROUND).astype(np.uint8)
    cleaned[kept & nucleus] = NUCLEUS
    return cleaned


def _fill_holes(region: np.ndarray, max_px: float) -> np.ndarray:
    """Fill holes of at most `max_px` px. A gap that touches the image's border is not a hole."""
    from skimage.measure import label

    gaps = label(~region, connectivity=1)
    holes = np.bincount(gaps.ravel()) <= max_px
    for edge in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        holes[edge] = False
    holes[0] = False
    return region | holes[gaps]


def _open(region: np.ndarray, radius: float) -> np.ndarray:
    """Open with a disk. Outside the image counts as region, so that a cell at the border keeps its edge."""
    from skimage.morphology import isotropic_dilation, isotropic_erosion

    if radius < 1 or not region.any() or region.all():
        return region
    eroded = isotropic_erosion(region, radius)
    return isotropic_dilation(eroded, radius) if eroded.any() else eroded


def _keep_central(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import minimum
    from skimage.measure import label

    pieces = label(mask != BACKGROUND, connectivity=2)
    if pieces.max() < 2:
        return mask
    rows, columns = np.indices(mask.shape)
    middle = (np.array(mask.shape) - 1) / 2
    distance = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2
    nearest = minimum(distance, pieces, range(1, pieces.max() + 1))
    areas = np.bincount(pieces.ravel())[1:]
    central = 1 + np.lexsort((-areas, nearest))[0]
    return np.where(pieces == central, mask, np.uint8(BACKGROUND))


def _check_input(mask: np.ndarray, *sizes: float) -> None:
    if mask.ndim != 2 or mask.dtype.kind not in "iub":
        raise StudyError(
            f"Not a mask: {mask.dtype} of shape {mask.shape}.",
            expected="integer labels of shape (height, width)",
            fix="Clean up one predicted mask at a time, after the argmax over the labels.",
        )
    if not all(size >= 0 for size in sizes):
        raise StudyError(
            f"Cannot clean up with min_nucleus_px, min_cell_px, opening_px = {sizes}.",
            expected="sizes of 0 or more",
            fix="Pass sizes that are not negative.",
        )
