"""Cases as arrays of one size, as networks and earlier methods take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wbcstudy.data.datasets import Dataset, read_case


@dataclass(frozen=True)
class Arrays:
    """Cases at one size.

    Args:
        case_ids: N ids.
        cell_types: N cell types, None where unknown.
        images: uint8 (N, S, S, 3), RGB.
        masks: uint8 (N, S, S) of labels.
    """

    case_ids: tuple[str, ...]
    cell_types: tuple[str | None, ...]
    images: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.case_ids)

    def __repr__(self) -> str:
        size = self.images.shape[1]
        return f"Arrays of {len(self)} cases, {size}x{size} px"


def read_cases(dataset: Dataset, case_ids: Sequence[str], image_size: int) -> Arrays:
    """Read cases and bring them to one size.

    Images are stretched to a square, so the aspect ratio is not kept: so the paper did with its 1024x768 px.

    Args:
        dataset: where the cases are from.
        case_ids: which ones, in this order; may be empty.
        image_size: S, in px.

    Raises:
        StudyError: an unknown case, or one that cannot be read.
    """
    cases = [dataset.case(case_id) for case_id in case_ids]
    images = np.zeros((len(cases), image_size, image_size, 3), np.uint8)
    masks = np.zeros((len(cases), image_size, image_size), np.uint8)
    for k, case in enumerate(cases):
        image, mask = read_case(dataset, case)
        images[k], masks[k] = resize_image(image, image_size, image_size), resize_mask(mask, image_size, image_size)
    return Arrays(tuple(case_ids), tuple(case.cell_type for case in cases), images, masks)


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an image bilinearly; when it shrinks, every pixel of the original counts (no aliasing).

    Args:
        image: uint8 (H, W, 3).
        height: wanted, in px.
        width: wanted, in px.

    Returns:
        uint8 (height, width, 3).
    """
    # Pillow widens the filter's support by the factor of reduction.
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a mask to the nearest pixel, so that no label appears that was not there.

    Args:
        mask: uint8 (H, W) of labels.
        height: wanted, in px.
        width: wanted, in px.

    Returns:
        uint8 (height, width).
    """
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
