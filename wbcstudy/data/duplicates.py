"""Find images that occur more than once in a dataset."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from wbcstudy.data.images import read_image

if TYPE_CHECKING:
    from wbcstudy.data.datasets import Dataset


def image_digest(image: np.ndarray) -> str:
    """Return the SHA-256 of the pixels: equal images have equal digests, in any file format."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def find_duplicates(dataset: Dataset) -> tuple[tuple[str, ...], ...]:
    """Return the ids of cases with exactly equal pixels, in groups of two or more; () if all images differ."""
    case_ids: dict[str, list[str]] = {}
    for case in dataset.cases:
        case_ids.setdefault(image_digest(read_image(case.image_path)), []).append(case.case_id)
    return tuple(tuple(ids) for ids in case_ids.values() if len(ids) > 1)
