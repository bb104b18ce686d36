"""One clean-up for every method, and for the U-Net.

A classifier of pixels leaves specks, holes and bridges. Clean-up moves the scores more than the choice of classifier
does, so it is done in one place, with one setting, and results are reported with and without it.
"""

from collections.abc import Mapping

import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS

#: The side of the square that sizes refer to: the paper's images are that large when a network sees them.
REFERENCE_SIDE_PX = 256

# Cleaning once nearly always reaches the fixed point; more is for masks like noise.
_MOST_ROUNDS = 20


def clean_up(
    mask: np.ndarray,
    *,
    min_nucleus_px: float = 40,
    min_cell_px: float = 120,
    opening_px: float = 3,
    keep_central: bool = False,
) -> np.ndarray:
    """Keep what looks like cells: pieces of some size, without holes, that hold a nucleus.

    1. Nuclei: small holes are filled, then an opening with a disk of half `opening_px` takes specks and threads away.
    2. Cells (nuclei and cytoplasm together): holes are filled, an opening with a disk of `opening_px` cuts thin bridges
       to neighbouring red cells, and the nuclei are put back.
    3. A connected piece (8 neighbours) stays if it has `min_cell_px` and its nucleus, all lobes together, has
       `min_nucleus_px`. In a piece that stays, what is not nucleus is cytoplasm.
    4. With `keep_central`, only the piece nearest to the image's centre stays (the larger of two as near). That helps
       on crops of one cell and is wrong on whole fields.

    The steps are repeated until nothing changes, so cleaning twice equals cleaning once. No nucleus appears where none
    was: each nucleus of the result holds a nucleus pixel of the mask.

    Args:
        mask: integer labels (H, W).
        min_nucleus_px: least area of a cell's nucleus, in px of an image of 256 x 256 px; scaled by H * W / 256^2.
            Holes up to this area are filled in nuclei.
        min_cell_px: least area of a cell, in the same unit. Holes up to this area are filled in cells.
        opening_px: radius of the opening disk, in px of an image of 256 x 256 px; scaled by sqrt(H * W) / 256. 0 for
            no opening.
        keep_central: whether to keep one cell only.

    Returns:
        uint8 (H, W) of labels; all background where no piece stays.

    Raises:
        StudyError: not a mask, or a negative size.
    """
    mask = np.asarray(mask)
    _check(mask, min_nucleus_px, min_cell_px, opening_px)
    if mask.size == 0:
        return mask.astype(np.uint8)
    area = mask.size / REFERENCE_SIDE_PX**2
    sizes = (min_nucleus_px * area, min_cell_px * area, opening_px * area**0.5)
    for _ in range(_MOST_ROUNDS):
        cleaned = _clean_once(mask, *sizes)
        if np.array_equal(cleaned, mask):
            break
        mask = cleaned
    return _central(cleaned) if keep_central else cleaned


def clean_variants(predictions: Mapping[int, np.ndarray]) -> dict[str, Mapping[int, np.ndarray]]:
    """Predictions as they are and cleaned up in two ways.

    Args:
        predictions: seed -> uint8 (N, H, W) of labels.

    Returns:
        "raw" -> the same; "cleaned" -> each mask after `clean_up`; "central" -> after `clean_up` with `keep_central`.
    """

    def cleaned(**options):
        return {seed: np.stack([clean_up(mask, **options) for mask in masks]) for seed, masks in predictions.items()}

    return {"raw": predictions, "cleaned": cleaned(), "central": cleaned(keep_central=True)}


def _clean_once(mask: np.ndarray, min_nucleus: float, min_cell: float, radius: float) -> np.ndarray:
    from skimage.measure import label

    nucleus = _open(_fill(mask == NUCLEUS, min_nucleus), radius / 2)
    cell = _open(_fill((mask != BACKGROUND) | nucleus, min_cell), radius) | nucleus
    pieces = label(cell, connectivity=2)
    cell_areas = np.bincount(pieces.ravel())
    nucleus_areas = np.bincount(pieces[nucleus], minlength=cell_areas.size)
    stays = (cell_areas >= min_cell) & (nucleus_areas >= max(min_nucleus, 1))
    stays[0] = False
    kept = stays[pieces]
    cleaned = np.where(kept, CYTOPLASM, BACKGROUND).astype(np.uint8)
    cleaned[kept & nucleus] = NUCLEUS
    return cleaned


def _fill(region: np.ndarray, largest: float) -> np.ndarray:
    """Fill holes of at most `largest` px; what touches the image's border is no hole."""
    from skimage.measure import label

    gaps = label(~region, connectivity=1)
    holes = np.bincount(gaps.ravel()) <= largest
    for edge in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        holes[edge] = False
    holes[0] = False
    return region | holes[gaps]


def _open(region: np.ndarray, radius: float) -> np.ndarray:
    """Open with a disk by distance transforms, whose cost does not grow with the radius.

    What lies beyond the image counts as region: a cell that the border cuts keeps its edge.
    """
    if radius < 1 or not region.any() or region.all():
        return region
    from scipy.ndimage import distance_transform_edt

    eroded = distance_transform_edt(region) > radius
    if not eroded.any():
        return eroded
    return distance_transform_edt(~eroded) <= radius


def _central(mask: np.ndarray) -> np.ndarray:
    from skimage.measure import label

    pieces = label(mask != BACKGROUND, connectivity=2)
    if pieces.max() < 2:
        return mask
    rows, columns = np.indices(mask.shape)
    middle = (np.array(mask.shape) - 1) / 2
    distance = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2
    nearest = np.full(pieces.max() + 1, np.inf)
    np.minimum.at(nearest, pieces.ravel(), distance.ravel())
    areas = np.bincount(pieces.ravel())
    order = np.lexsort((-areas[1:], nearest[1:]))
    return np.where(pieces == order[0] + 1, mask, np.uint8(BACKGROUND))


def _check(mask: np.ndarray, *sizes: float) -> None:
    if mask.ndim != 2 or mask.dtype.kind not in "iub":
        raise StudyError(
            f"Not a mask: {mask.dtype} of shape {mask.shape}.",
            expected="integer labels of shape (height, width)",
            fix="Clean up one predicted mask at a time, after the argmax over the labels.",
        )
    if any(not size >= 0 for size in sizes):
        raise StudyError(
            f"Cannot clean up with min_nucleus_px, min_cell_px, opening_px = {sizes}.",
            expected="sizes of 0 or more",
            fix="Change the clean-up's sizes.",
        )
