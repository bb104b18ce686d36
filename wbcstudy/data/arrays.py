"""Cases as arrays of one size, as networks and earlier methods take them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wbcstudy.data.datasets import Dataset, read_case
from wbcstudy.data.stored import StoredArray
from wbcstudy.errors import StudyError

# What one part of a split may take in memory, in MB (10**6 bytes), unless $WBCSTUDY_CACHE_MB says otherwise.
CACHE_MB = 1000.0


@dataclass(frozen=True)
class Arrays:
    """Cases at one size.

    What is larger than `cache_mb()` lies on the disk and is read in pieces: it has the same shape and is indexed in
    the same way, and `np.asarray` makes an array of it.

    Args:
        case_ids: N ids.
        cell_types: N cell types, None where unknown.
        images: uint8 (N, S, S, 3), RGB.
        masks: uint8 (N, S, S) of labels.
    """

    case_ids: tuple[str, ...]
    cell_types: tuple[str | None, ...]
    images: np.ndarray | StoredArray
    masks: np.ndarray | StoredArray

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
        StudyError: an unknown case, one that cannot be read, or no room for them all.
    """
    cases = [dataset.case(case_id) for case_id in case_ids]
    shape = (len(cases), image_size, image_size)
    # Images are three times as large as masks; where they go, masks go too.
    make = np.zeros if len(cases) * image_size**2 * 4 <= cache_mb() * 1e6 else StoredArray
    images, masks = make((*shape, 3), np.uint8), make(shape, np.uint8)
    for k, case in enumerate(cases):
        image, mask = read_case(dataset, case)
        images[k], masks[k] = resize_image(image, image_size, image_size), resize_mask(mask, image_size, image_size)
    return Arrays(tuple(case_ids), tuple(case.cell_type for case in cases), images, masks)


def cache_mb() -> float:
    """What one part of a split may take in memory, in MB (10**6 bytes); a larger one is kept on the disk.

    Raises:
        StudyError: `$WBCSTUDY_CACHE_MB` is not a number of 0 or more.
    """
    text = os.environ.get("WBCSTUDY_CACHE_MB", "").strip()
    if not text:
        return CACHE_MB
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise StudyError(
            f"WBCSTUDY_CACHE_MB={text!r} cannot be used.",
            expected="the megabytes of resized images that a run may keep in memory, 0 or more",
            fix=f"Set it to a number, or unset it for {CACHE_MB:.0f}.",
        )
    return limit


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
