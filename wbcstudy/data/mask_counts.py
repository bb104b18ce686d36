"""Count the values of masks: how many pixels, where, and next to which other values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wbcstudy.data.image_files import read_pixels
from wbcstudy.errors import StudyError

# Largest number of a class; larger values are grey levels.
LAST_CLASS = 20
# JPEG changes grey levels by about so much.
_JITTER = 12
# Half the width of a drawn border, such as the void border of Pascal VOC.
_BORDER_PX = 3.5
# Pixels that are read: 500 MB.
_MOST_PIXELS = 60_000_000


@dataclass
class MaskCounts:
    """Counts over masks.

    Args:
        arrays: the masks, uint32 (H, W): numbers, or colours as 0xrrggbb.
        colours: whether the values are colours.
        pixels: pixels of each value.
        flat: flat pixels of each value.
        border: pixels of each value at the border of the image.
        contacts: pairs of neighbouring pixels of two values, the lower first.
    """

    arrays: list[np.ndarray]
    colours: bool
    pixels: Counter
    flat: Counter
    border: Counter
    contacts: Counter


def count_values(masks: Sequence[Path], by_colour: bool) -> MaskCounts:
    """Read and count masks; unreadable ones are left out.

    Args:
        masks: mask files.
        by_colour: whether to count the colours of files with a palette, instead of their numbers.
    """
    read, size = [], 0
    for path in masks:
        array = _read(path)
        if array is not None:
            read.append(array)
            size += array[0].size
        if size > _MOST_PIXELS:
            break
    colours = by_colour or any(has_colours for _, has_colours, _ in read)
    values = MaskCounts(
        [packed if colours else numbers for numbers, _, packed in read], colours, *map(Counter, [()] * 4)
    )
    for array in values.arrays:
        keys, where, counts = np.unique(array, return_inverse=True, return_counts=True)
        where = where.reshape(array.shape)
        jitter = 0 if colours or array.max(initial=0) <= LAST_CLASS else _JITTER
        for counter, indices in (
            (values.flat, where[_flat(array, jitter)]),
            (values.border, where[_edge(array.shape)]),
        ):
            counter.update(dict(zip(keys.tolist(), np.bincount(indices, minlength=len(keys)).tolist(), strict=True)))
        values.pixels.update(dict(zip(keys.tolist(), counts.tolist(), strict=True)))
        values.contacts.update(_contacts(array))
    return values


def _flat(array: np.ndarray, jitter: int) -> np.ndarray:
    """Return the pixels that differ from no neighbour by more than `jitter`, boolean (H, W); none at the border."""
    array = array.astype(np.int64)
    flat = np.zeros(array.shape, bool)
    inner = array[1:-1, 1:-1]
    others = (array[:-2, 1:-1], array[2:, 1:-1], array[1:-1, :-2], array[1:-1, 2:])
    flat[1:-1, 1:-1] = np.logical_and.reduce([abs(inner - other) <= jitter for other in others])
    return flat


def _edge(shape: tuple[int, int]) -> np.ndarray:
    edge = np.ones(shape, bool)
    edge[1:-1, 1:-1] = False
    return edge


def _contacts(array: np.ndarray) -> Counter:
    """Count the pairs of neighbouring pixels of two values, the lower first."""
    contacts: Counter = Counter()
    for first, second in ((array[1:], array[:-1]), (array[:, 1:], array[:, :-1])):
        differ = first != second
        low, high = np.minimum(first, second)[differ], np.maximum(first, second)[differ]
        pairs, numbers = np.unique(low.astype(np.uint64) << np.uint64(32) | high, return_counts=True)
        for pair, number in zip(pairs.tolist(), numbers.tolist(), strict=True):
            contacts[pair >> 32, pair & 0xFFFFFFFF] += number
    return contacts


def _read(path: Path) -> tuple[np.ndarray, bool, np.ndarray] | None:
    """Return the numbers of a mask, whether it has colours, and its colours as 0xrrggbb; None if it cannot be read."""
    try:
        pixels = read_pixels(path)
        rgb = pixels.colours().astype(np.int64) if pixels.has_scale() else None
        stored = pixels.values if pixels.values.ndim > 2 else pixels.numbers()
    except (StudyError, ValueError):
        # The check of the dataset names damaged files.
        return None
    has_colours = stored.ndim > 2 and bool((stored != stored[..., :1]).any())
    numbers = np.clip(stored if stored.ndim == 2 else stored[..., 0], 0, 2**32 - 1).astype(np.uint32)
    packed = numbers if rgb is None else (rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]).astype(np.uint32)
    return numbers, has_colours, packed


def is_border(values: MaskCounts, value: int) -> bool:
    """Whether the areas of a value are nowhere wider than a drawn border."""
    from scipy.ndimage import distance_transform_edt

    areas = [array == value for array in values.arrays]
    return all(distance_transform_edt(area).max() <= _BORDER_PX for area in areas if area.any())


def most_enclosed(values: MaskCounts, others: Sequence[int]) -> tuple[int, int, float]:
    """Return the value that is most inside another one, that one, and the share of the boundary between them."""

    def contact(first: int, second: int) -> int:
        return values.contacts[min(first, second), max(first, second)]

    def boundary(value: int) -> int:
        return sum(number for pair, number in values.contacts.items() if value in pair)

    pairs = [(inner, outer) for inner in others for outer in others if inner != outer]
    shares = {(i, o): contact(i, o) / max(1, boundary(i)) for i, o in pairs}
    inner, outer = max(pairs, key=lambda pair: (shares[pair], values.pixels[pair[1]]))
    return inner, outer, shares[inner, outer]


def without_strays(values: MaskCounts, main: Sequence[int]) -> MaskCounts:
    """Return the counts with each stray pixel, and each rim of strays, as the nearest flat pixel of a main value."""
    from scipy.ndimage import distance_transform_edt

    pixels, contacts = Counter(), Counter()
    for array in values.arrays:
        keys, where = np.unique(array, return_inverse=True)
        distances = np.array([[value_distance(key, value, values.colours) for value in main] for key in keys.tolist()])
        nearest = np.array(main, np.uint32)[distances.argmin(axis=1)][where].reshape(array.shape)
        near = (distances.min(axis=1) <= _JITTER)[where].reshape(array.shape)
        rims = ~(_flat(nearest, 0) & near)
        if rims.all():
            continue
        rows, columns = distance_transform_edt(rims, return_distances=False, return_indices=True)
        clean = nearest[rows, columns]
        keys, counts = np.unique(clean, return_counts=True)
        pixels.update(dict(zip(keys.tolist(), counts.tolist(), strict=True)))
        contacts.update(_contacts(clean))
    return replace(values, pixels=pixels, contacts=contacts)


def value_distance(first: int, second: int, colours: bool) -> float:
    """Return the distance of two grey levels, or of two colours in RGB."""
    if not colours:
        return abs(first - second)
    return float(np.linalg.norm([(first >> shift & 255) - (second >> shift & 255) for shift in (16, 8, 0)]))
