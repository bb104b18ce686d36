"""Read cases as arrays of one size, the input of networks and earlier methods."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wbcstudy.data.datasets import Dataset, read_case
from wbcstudy.errors import StudyError

# Memory for one part of a split, in MB (10**6 bytes), unless WBCSTUDY_CACHE_MB is set.
_CACHE_MB = 1000.0


@dataclass(frozen=True)
class Arrays:
    """Cases at one size.

    Images and masks that need more memory than WBCSTUDY_CACHE_MB are kept on disk, as a `DiskArray`.

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
    """Read cases and resize them to squares.

    The aspect ratio is not kept, as in the paper, whose images have 1024x768 px.

    Args:
        dataset: the dataset.
        case_ids: the cases to read, in this order; may be empty.
        image_size: S, in px.

    Raises:
        StudyError: an unknown case, an unreadable file, or too little disk space.
    """
    cases = [dataset.case(case_id) for case_id in case_ids]
    shape = (len(cases), image_size, image_size)
    # Images take three times the memory of masks; both are kept in the same way.
    in_memory = len(cases) * image_size**2 * 4 <= _cache_mb() * 1e6
    images, masks = (np.zeros(s, np.uint8) if in_memory else DiskArray(s) for s in ((*shape, 3), shape))
    for k, case in enumerate(cases):
        image, mask = read_case(dataset, case)
        images[k], masks[k] = resize_image(image, image_size, image_size), _resize_mask(mask, image_size, image_size)
    return Arrays(tuple(case_ids), tuple(case.cell_type for case in cases), images, masks)


def _cache_mb() -> float:
    """Return the memory for one part of a split, in MB (10**6 bytes). Larger parts are kept on disk.

    Raises:
        StudyError: `WBCSTUDY_CACHE_MB` is not a number of 0 or more.
    """
    text = os.environ.get("WBCSTUDY_CACHE_MB", "").strip()
    if not text:
        return _CACHE_MB
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise StudyError(
            f"WBCSTUDY_CACHE_MB={text!r} is not valid.",
            expected="the memory for resized images in MB, a number of 0 or more",
            fix=f"Set it to a number, or unset it for the default of {_CACHE_MB:.0f}.",
        )
    return limit


class DiskArray(np.memmap):
    """An array whose rows are kept in a temporary file, for data larger than memory.

    The file has no name and disappears when the process ends, for any reason. Reading returns a copy. After each access
    the pages of the file are released: a plain memory map counts every page once read as memory of the process.

    Args:
        shape: (N, ...), without a length of 0.
        dtype: data type of the elements.

    Raises:
        StudyError: too little disk space.
    """

    def __new__(cls, shape: Sequence[int], dtype=np.uint8) -> DiskArray:
        """Reserve the file and map it."""
        num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        with tempfile.TemporaryFile() as file:
            try:
                _reserve(file, num_bytes)
            except OSError as error:
                raise StudyError(
                    f"No space for {num_bytes / 1e6:.0f} MB of resized images in {tempfile.gettempdir()} "
                    f"({error.strerror}).",
                    expected="enough disk space for the images that exceed WBCSTUDY_CACHE_MB",
                    fix="Set TMPDIR to a folder on a larger disk, or raise WBCSTUDY_CACHE_MB to use more memory.",
                ) from None
            return super().__new__(cls, file, dtype, "r+", shape=tuple(shape))

    def __getitem__(self, rows) -> np.ndarray:
        values = np.array(np.asarray(self)[rows])
        self._release()
        return values

    def __setitem__(self, rows, values) -> None:
        # Not `super().__setitem__`: NumPy would write into what `__getitem__` returns, which is a copy.
        np.asarray(self)[rows] = values
        self._release()

    def _release(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mmap.madvise(mmap.MADV_DONTNEED)


def empty_like(array: np.ndarray) -> np.ndarray:
    """Return an uninitialised array of the same shape and type, on disk if the given one is."""
    return DiskArray(array.shape, array.dtype) if isinstance(array, DiskArray) else np.empty_like(array)


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an image, uint8 (H, W, 3), bilinearly to a size in px, without aliasing when it shrinks."""
    # Pillow widens the filter's support by the factor of reduction.
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a mask, uint8 (H, W) of labels, by nearest neighbour to a size in px: no new label appears."""
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def _reserve(file, num_bytes: int) -> None:
    """Allocate a file on disk: writing to a memory map of a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, num_bytes)
    else:
        for start in range(0, num_bytes, 2**24):
            file.write(bytes(min(2**24, num_bytes - start)))
