"""Arrays that are larger than a run may keep in memory: their rows lie on the disk and are read when asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from wbcstudy.errors import StudyError


class StoredArray:
    """N rows of one shape and type, in a file without a name that goes when the process ends, however it ends.

    Reads like an array: `stored[3]`, `stored[8:16]`, `stored[[5, 1, 5]]`, `len(stored)`, iteration, `np.asarray`. What
    was read is a copy of its own. Unlike a memory map, nothing that was read stays in the process.

    Args:
        shape: (N, ...).
        dtype: of the numbers.

    Raises:
        StudyError: the disk has no room for it.
    """

    def __init__(self, shape: Sequence[int], dtype=np.uint8) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self._row_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        # In $TMPDIR, or where the system keeps such files.
        self._file = tempfile.TemporaryFile(buffering=0)
        try:
            if hasattr(os, "posix_fallocate") and self.nbytes:
                os.posix_fallocate(self._file.fileno(), 0, self.nbytes)
        except OSError as error:
            self._file.close()
            raise StudyError(
                f"No room for {self.nbytes / 1e6:.0f} MB of resized images in {tempfile.gettempdir()} "
                f"({error.strerror}).",
                expected="room on the disk for what memory should not hold",
                fix="Set TMPDIR to a folder on a disk with room, or WBCSTUDY_CACHE_MB to keep more in memory.",
            ) from None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of all rows together."""
        return self.shape[0] * self._row_bytes

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"StoredArray of shape {self.shape}, {self.dtype}, {self.nbytes / 1e6:.0f} MB on the disk"

    def __setitem__(self, row: int | slice, values: np.ndarray) -> None:
        if isinstance(row, slice):
            for one, part in zip(range(*row.indices(len(self))), values, strict=True):
                self[one] = part
            return
        values = np.ascontiguousarray(values, self.dtype)
        if values.shape != self.shape[1:]:
            raise ValueError(f"a row has shape {self.shape[1:]}, not {values.shape}")
        view, place = memoryview(values).cast("B"), self._place(row)
        while view:
            written = os.pwrite(self._file.fileno(), view, place)
            view, place = view[written:], place + written

    def __getitem__(self, rows) -> np.ndarray:
        if isinstance(rows, int | np.integer):
            return self._read([rows])[0]
        if isinstance(rows, slice):
            return self._read(range(*rows.indices(len(self))))
        return self._read(np.asarray(rows, np.intp))

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _read(self, rows: Sequence[int]) -> np.ndarray:
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if found.size:
            for one, row in zip(found, rows, strict=True):
                view, place = memoryview(one).cast("B"), self._place(row)
                while view:
                    # The kernel may give less than was asked for, never nothing: the file has its full length.
                    count = os.preadv(self._file.fileno(), [view], place)
                    view, place = view[count:], place + count
        return found

    def _place(self, row: int) -> int:
        index = int(row) + (len(self) if row < 0 else 0)
        if not 0 <= index < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return index * self._row_bytes


def empty_like(array: np.ndarray | StoredArray) -> np.ndarray | StoredArray:
    """An array of the same shape and type, in memory or on the disk as the given one is; its values are to be set."""
    return StoredArray(array.shape, array.dtype) if isinstance(array, StoredArray) else np.empty_like(array)
