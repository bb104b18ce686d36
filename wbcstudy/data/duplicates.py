"""Images that are in a dataset twice."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from wbcstudy.data.images import read_image

if TYPE_CHECKING:
    from wbcstudy.data.datasets import Dataset


def image_digest(image: np.ndarray) -> str:
    """SHA-256 of the pixels: equal for equal pictures, whatever the file format."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def find_duplicates(dataset: Dataset) -> tuple[tuple[str, ...], ...]:
    """Case ids whose images show exactly the same pixels, in groups of two or more; () if all differ."""
    same: dict[str, list[str]] = {}
    for case in dataset.cases:
        same.setdefault(image_digest(read_image(case.image_path)), []).append(case.case_id)
    return tuple(tuple(ids) for ids in same.values() if len(ids) > 1)
