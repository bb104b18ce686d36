"""Read cases as arrays of one size, the input of networks and earlier methods, and bring predictions back."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from wbcstudy.data.datasets import Dataset, read_case
from wbcstudy.data.findings import read_or_group
from wbcstudy.data.images import read_shape
from wbcstudy.errors import StudyError
from wbcstudy.files import read_number
from wbcstudy.labels import BACKGROUND, CYTOPLASM, IGNORED, NUCLEUS, NUM_LABELS

# Memory for one part of a split, in MB (10**6 bytes), unless WBCSTUDY_CACHE_MB is set.
_CACHE_MB = 1000.0
# Labels of the two channels of shares; the rest is background.
_SHARES = (CYTOPLASM, NUCLEUS)


@dataclass(frozen=True)
class Arrays:
    """Cases at one size, and their reference masks at the size at which predictions are scored.

    Images and shares that need more memory than WBCSTUDY_CACHE_MB are kept on disk, as a `DiskArray`.

    Args:
        case_ids: N ids.
        cell_types: N cell types, None where unknown.
        images: uint8 (N, h, w, 3), RGB.
        shares: uint8 (N, h, w, 2), the share of each pixel that is cytoplasm and nucleus, in units of 1/255. If the
            dataset ignores mask values, uint8 (N, h, w, 3): the last share has no label.
        references: the experts' masks at the scored size; not kept in memory.
        aspects: height / width of the stored images, float (N,).
    """

    case_ids: tuple[str, ...]
    cell_types: tuple[str | None, ...]
    images: np.ndarray
    shares: np.ndarray
    references: References
    aspects: np.ndarray

    def __len__(self) -> int:
        return len(self.case_ids)

    def __repr__(self) -> str:
        height, width = self.images.shape[1:3]
        return f"Arrays of {len(self)} cases, {width}x{height} px"

    @property
    def masks(self) -> np.ndarray:
        """The label with the largest share of each pixel, uint8 (N, h, w); `IGNORED` where most has no label."""
        return majority(self.shares)


class References(Sequence):
    """The experts' masks of cases at the size at which predictions are scored, read from the files one by one.

    Args:
        dataset: the dataset.
        case_ids: N ids.
        shapes: height and width of the stored masks, N pairs.
        score_px: None for the stored size, or the side in px of a square, see `DataSettings.score_px`.
    """

    def __init__(
        self, dataset: Dataset, case_ids: Sequence[str], shapes: Sequence[tuple[int, int]], score_px: int | None
    ) -> None:
        self._dataset, self._case_ids, self._score_px = dataset, tuple(case_ids), score_px
        # Height and width of each mask, known without reading it.
        self.shapes = [(score_px, score_px) if score_px else tuple(shape) for shape in shapes]

    def __len__(self) -> int:
        return len(self._case_ids)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_scored_case(self._dataset, self._case_ids[index], self._score_px)[1]


def read_cases(dataset: Dataset, case_ids: Sequence[str], image_size: int, score_px: int | None = None) -> Arrays:
    """Read cases and resize them to squares, the input of networks and earlier methods.

    The aspect ratio is not kept, as in the paper, whose images have 1024x768 px.

    Args:
        dataset: the dataset.
        case_ids: the cases to read, in this order; may be empty.
        image_size: S, in px.
        score_px: as for `References`.

    Raises:
        StudyError: an unknown case, an unreadable file, or too little disk space.
    """
    return _read(dataset, case_ids, (image_size, image_size), score_px)


def read_training_cases(dataset: Dataset, case_ids: Sequence[str], image_size: int) -> Arrays:
    """Read cases to be augmented: at their stored size, or reduced to at most `2 * image_size` in each direction.

    All get the size of the largest. The augmentation resamples them once, to `image_size`. From twice that size its
    bilinear sampling is nearly an average over the area of a pixel (benchmarks/ceilings.py measures it).

    Args and errors as for `read_cases`.
    """
    cases = [dataset.case(case_id) for case_id in case_ids]
    shapes = [read_or_group(lambda case: read_shape(case.image_path), case, dataset) for case in cases] or [(1, 1)]
    height, width = np.minimum(np.max(shapes, axis=0), 2 * image_size).tolist()
    return _read(dataset, case_ids, (height, width), None)


def _read(dataset: Dataset, case_ids: Sequence[str], shape: tuple[int, int], score_px: int | None) -> Arrays:
    cases = [dataset.case(case_id) for case_id in case_ids]
    channels = len(_SHARES) + bool(dataset.spec.ignore)
    in_memory = len(cases) * shape[0] * shape[1] * (3 + channels) <= cache_mb() * 1e6
    full = (len(cases), *shape)
    images, shares = (np.zeros(s, np.uint8) if in_memory else DiskArray(s) for s in ((*full, 3), (*full, channels)))
    shapes = []
    for k, case in enumerate(cases):
        image, mask = read_or_group(partial(read_case, dataset), case, dataset)
        resized = resize_shares(mask, *shape)
        images[k] = resize_image(image, *shape)
        # Many masks of a dataset have no ignored pixel; that share stays 0.
        shares[k] = np.pad(resized, ((0, 0), (0, 0), (0, channels - resized.shape[-1])))
        shapes.append(mask.shape)
    return Arrays(
        tuple(case_ids),
        tuple(case.cell_type for case in cases),
        images,
        shares,
        References(dataset, case_ids, shapes, score_px),
        np.array([height / width for height, width in shapes]),
    )


def read_scored_case(dataset: Dataset, case_id: str, score_px: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Read image, uint8 (H, W, 3), and reference mask, uint8 (H, W), of a case at the size at which it is scored."""
    image, mask = read_or_group(partial(read_case, dataset), dataset.case(case_id), dataset)
    if score_px is None:
        return image, mask
    return resize_image(image, score_px, score_px), _resize_mask(mask, score_px, score_px)


def cache_mb() -> float:
    """Return the memory for one part of a split, in MB (10**6 bytes). Larger parts are kept on disk.

    Raises:
        StudyError: `WBCSTUDY_CACHE_MB` is not a number of 0 or more.
    """
    return read_number("WBCSTUDY_CACHE_MB", _CACHE_MB, "the memory for resized images in MB")


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


def resize_shares(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a mask, uint8 (H, W) of labels, to shares with the filter of `resize_image`.

    Returns:
        uint8 (height, width, 2), see `Arrays.shares`; uint8 (height, width, 3) if the mask has pixels without label.
    """
    labels = (*_SHARES, IGNORED) if (mask == IGNORED).any() else _SHARES
    channels = (Image.fromarray(np.where(mask == label, np.uint8(255), np.uint8(0))) for label in labels)
    shares = [np.asarray(channel.resize((width, height), Image.Resampling.BILINEAR)) for channel in channels]
    # Each may have been rounded up.
    cytoplasm, nucleus = shares[0], np.minimum(shares[1], 255 - shares[0])
    ignored = [np.minimum(share, 255 - cytoplasm - nucleus) for share in shares[2:]]
    return np.stack([cytoplasm, nucleus, *ignored], axis=-1)


def label_probabilities(shares: np.ndarray) -> np.ndarray:
    """Convert shares, uint8 (..., 2), to the shares of all labels, float32 (..., 3), which sum to 1.

    Of shares with pixels without label, uint8 (..., 3), the result is float32 (..., 4): the last is that share.
    """
    shares = shares / np.float32(255)
    return np.concatenate([1 - shares.sum(axis=-1, keepdims=True), shares], axis=-1)


def majority(shares: np.ndarray) -> np.ndarray:
    """Return the label with the largest share, uint8 (...), of shares; `IGNORED` where most of a pixel has no label."""
    cytoplasm, nucleus, *ignored = np.moveaxis(np.asarray(shares), -1, 0)
    background = 255 - cytoplasm - nucleus - sum(ignored)
    largest = np.maximum(cytoplasm, nucleus)
    label = np.where(nucleus > cytoplasm, np.uint8(NUCLEUS), np.uint8(CYTOPLASM))
    label = np.where(background >= largest, np.uint8(BACKGROUND), label)
    return np.where(ignored[0] > 127, np.uint8(IGNORED), label) if ignored else label


def resize_probabilities(probabilities: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize probabilities, float32 (h, w, 3), linearly between pixel centres, averaging where the image shrinks.

    With the argmax of the result, predictions of any size become masks of an image's own size.
    """
    if probabilities.shape[:2] == tuple(shape):
        return probabilities
    # Pillow instead of matrix products, whose threads compete with the network's.
    height, width = shape
    channels = (Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(probabilities, -1, 0))
    return np.stack([channel.resize((width, height), Image.Resampling.BILINEAR) for channel in channels], axis=-1)


def resize_labels(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bring a predicted mask, uint8 (h, w) of labels, to another size, as probabilities of 0 and 1 would be."""
    probabilities = np.eye(NUM_LABELS, dtype=np.float32)[mask]
    return resize_probabilities(probabilities, shape).argmax(axis=-1).astype(np.uint8)


def _resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a mask, uint8 (H, W) of labels, by nearest neighbour: the reference of `score_at: image_size`."""
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def _reserve(file, num_bytes: int) -> None:
    """Allocate a file on disk: writing to a memory map of a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, num_bytes)
    else:
        for start in range(0, num_bytes, 2**24):
            file.write(bytes(min(2**24, num_bytes - start)))
