"""How large the images of a dataset are, and how large a cell is in them: what a network trained on them expects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wbcstudy.data.datasets import Dataset, read_case
from wbcstudy.labels import region_mask

# Cases that are looked at, evenly spread: a median needs no more, and a dataset may have thousands of images.
MOST_CASES = 100
# Pieces of a region that are smaller than this are specks of the annotation, not cells.
_SPECK_PX = 16


def describe_scale(dataset: Dataset, case_ids: Sequence[str]) -> dict[str, Any]:
    """What `run.json` keeps of the training images, so that new images can be brought to the same scale.

    Args:
        dataset: where the cases are from.
        case_ids: the training cases, at least one; of more than `MOST_CASES`, as many evenly spread.

    Returns:
        `height_px` and `width_px`: smallest, median and largest, before any resizing. `cell_px`: median diameter of a
        cell in the images' own pixels, None where there is none. `pixel_size_um`: as the dataset says, or None.

        A cell is here a connected piece of the cell region that the border does not cut, its diameter that of the
        disc of equal area. Cells that touch count as one; the median bears some of them.
    """
    step = max(1, -(-len(case_ids) // MOST_CASES))
    shapes, diameters = [], []
    for case_id in list(case_ids)[::step]:
        _, mask = read_case(dataset, dataset.case(case_id))
        shapes.append(mask.shape)
        diameters += cell_diameters(region_mask(mask, "cell"))
    heights, widths = np.array(shapes).T
    return {
        "height_px": _span(heights),
        "width_px": _span(widths),
        "cell_px": round(float(np.median(diameters)), 1) if diameters else None,
        "pixel_size_um": dataset.spec.pixel_size_um,
    }


def cell_diameters(cells: np.ndarray) -> list[float]:
    """Diameters of the discs that have the areas of the connected pieces (8 neighbours) inside the image.

    Args:
        cells: boolean (H, W).

    Returns:
        In px; pieces of fewer than 16 px and those that touch the border are left out.
    """
    from scipy import ndimage

    pieces, count = ndimage.label(cells, structure=np.ones((3, 3), int))
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    border = np.concatenate([pieces[[0, -1]].ravel(), pieces[:, [0, -1]].ravel()])
    whole = areas >= _SPECK_PX
    whole[border] = whole[0] = False
    return (2 * np.sqrt(areas[whole] / np.pi)).tolist()


def _span(values: np.ndarray) -> list[int]:
    return [int(values.min()), round(float(np.median(values))), int(values.max())]
