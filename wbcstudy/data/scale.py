"""Measure the sizes and colours of the images of a dataset, to bring new images to the same scale and colours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from wbcstudy.data.colours import measure_colours, summarise_colours
from wbcstudy.data.datasets import Dataset, read_case
from wbcstudy.data.findings import read_or_group
from wbcstudy.labels import region_mask

# Cases to measure, evenly spread: a median needs no more, and a dataset may have thousands of images.
_MOST_CASES = 100
# Smaller connected components are specks of the annotation, not cells.
_MIN_AREA_PX = 16


def describe_scale(dataset: Dataset, case_ids: Sequence[str]) -> dict[str, Any]:
    """Measure the training images, for `run.json`.

    Args:
        dataset: the dataset.
        case_ids: the training cases, at least one. Of more than 100, at most 100 are measured, evenly spread.

    Returns:
        `height_px` and `width_px`: smallest, median and largest, before resizing. `cell_px`: median diameter of a cell
        in pixels of the original image, None if there is no cell. `pixel_size_um`: from dataset.yaml, or None.
        `colours`: see `colours.summarise_colours`.

        A cell is a connected component of the cell region that does not touch the border; its diameter is that of the
        disc of equal area. Touching cells count as one, which changes the median little.
    """
    step = max(1, -(-len(case_ids) // _MOST_CASES))
    shapes, diameters, colours = [], [], []
    for case_id in list(case_ids)[::step]:
        image, mask = read_or_group(partial(read_case, dataset), dataset.case(case_id), dataset)
        shapes.append(mask.shape)
        colours.append(measure_colours(image))
        diameters += _cell_diameters(region_mask(mask, "cell"))
    heights, widths = np.array(shapes).T
    return {
        "height_px": _span(heights),
        "width_px": _span(widths),
        "cell_px": round(float(np.median(diameters)), 1) if diameters else None,
        "pixel_size_um": dataset.spec.pixel_size_um,
        "colours": summarise_colours(colours),
    }


def _cell_diameters(cells: np.ndarray) -> list[float]:
    """Return the diameters, in px, of discs with the areas of the cells, bool (H, W), that do not touch the border."""
    from scipy import ndimage

    components, count = ndimage.label(cells, structure=np.ones((3, 3), int))
    areas = np.bincount(components.ravel(), minlength=count + 1)
    border = np.concatenate([components[[0, -1]].ravel(), components[:, [0, -1]].ravel()])
    complete = areas >= _MIN_AREA_PX
    complete[border] = complete[0] = False
    return (2 * np.sqrt(areas[complete] / np.pi)).tolist()


def _span(values: np.ndarray) -> list[int]:
    return [int(values.min()), round(float(np.median(values))), int(values.max())]
