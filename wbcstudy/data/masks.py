"""Read masks: the stored numbers or the colours of a file become labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wbcstudy.data.image_files import read_pixels
from wbcstudy.data.mask_values import colour_points, has_colours, instances_label, number_ranges
from wbcstudy.data.pixels import OPAQUE, Pixels, pack_colours, unique_values
from wbcstudy.data.unlisted import UnlistedValues, UnlistedValuesError
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, IGNORED, LABELS

if TYPE_CHECKING:
    from wbcstudy.data.spec import Case, DatasetSpec

# Pixels around a stray pixel in which its label should occur.
_RIM_PX = 5


@dataclass(frozen=True)
class ReadMask:
    """A mask and the pixels whose values are not listed.

    Args:
        labels: uint8 (H, W) of `LABELS` and `IGNORED`.
        strays: value as in dataset.yaml -> number of pixels.
        rims: label name -> number of stray pixels that got this label where only other labels are around.
    """

    labels: np.ndarray
    strays: Counter[str]
    rims: Counter[str]


def read_mask(path: Path, spec: DatasetSpec) -> tuple[np.ndarray, int]:
    """Read a mask and convert its values or colours to labels.

    Labels given as numbers match the numbers that the file stores: grey levels (an RGB file must be grey) or palette
    *indices*, whatever a viewer shows. Labels given as '#rrggbb' match the colours that a viewer shows, including those
    of a palette. In a 1-bit file white is 1 if 1 is a listed value, else 255; likewise for 2 and 4 bits. Alpha is
    ignored, but must be opaque everywhere.

    A stray pixel, whose value is not listed, gets the label of the nearest listed value (grey difference, or Euclidean
    distance in RGB; at equal distance the first of background, cytoplasm, nucleus) within `spec.tolerance`. The
    tolerance does not hold for palette indices, whose distance means nothing.

    Args:
        path: BMP, PNG, JPEG or TIFF file with one page.
        spec: the dataset's `labels`, `ignore` and `tolerance`.

    Returns:
        uint8 (H, W) of `wbcstudy.labels.LABELS`, and `IGNORED` where the value is ignored; the number of stray pixels.

    Raises:
        StudyError: as for `read_pixels`; transparent pixels; numbers that are not whole; a value farther than the
            tolerance from every listed value. The message names file and pixel (row and column, from 0).
    """
    keyed = _label(Path(path), spec)
    return keyed.labels[keyed.where], int((keyed.off > 0)[keyed.where].sum())


def examine_mask(path: Path, spec: DatasetSpec) -> ReadMask:
    """Read a mask, and list its stray pixels by value and by place; arguments and errors as `read_mask`."""
    keyed = _label(Path(path), spec)
    labels = keyed.labels[keyed.where]
    if not (keyed.off > 0).any():
        return ReadMask(labels, Counter(), Counter())
    pixels = np.bincount(keyed.where.ravel(), minlength=len(keyed.keys))
    strays = zip(keyed.keys.tolist(), pixels.tolist(), keyed.off.tolist(), strict=True)
    counts = Counter({_write(value, spec): n for value, n, off in strays if off > 0})
    return ReadMask(labels, counts, _find_rims(labels, (keyed.off > 0)[keyed.where]))


def examine_case_mask(case: Case, spec: DatasetSpec) -> ReadMask:
    """Read the mask of a case: one file, or nuclei and whole cells from two files.

    In the second file everything but background and ignored is cell; where the first file has background there, it is
    cytoplasm.

    Raises:
        StudyError: as `read_mask`; the files differ in size.
    """
    mask = examine_mask(case.mask_path, spec)
    if case.cell_mask_path is None:
        return mask
    cells = examine_mask(case.cell_mask_path, spec)
    labels = _combine(case, mask.labels, cells.labels)
    return ReadMask(labels, mask.strays + cells.strays, mask.rims + cells.rims)


def read_case_mask(case: Case, spec: DatasetSpec) -> np.ndarray:
    """Read the mask of a case without counting stray pixels, uint8 (H, W) of labels; errors as `examine_case_mask`."""
    mask, _ = read_mask(case.mask_path, spec)
    if case.cell_mask_path is None:
        return mask
    return _combine(case, mask, read_mask(case.cell_mask_path, spec)[0])


def _combine(case: Case, nuclei: np.ndarray, cells: np.ndarray) -> np.ndarray:
    if cells.shape != nuclei.shape:
        sizes = [f"{array.shape[1]}x{array.shape[0]} px" for array in (nuclei, cells)]
        raise StudyError(
            f"Mask {case.mask_path} is {sizes[0]}, {case.cell_mask_path} is {sizes[1]}.",
            expected="two masks of the size of their image",
            fix="Export both masks at the size of the image.",
        )
    return combine_masks(nuclei, cells)


def combine_masks(nuclei: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Combine a mask of nuclei and a mask of whole cells, uint8 (H, W) of labels."""
    combined = np.where((nuclei == BACKGROUND) & (cells != BACKGROUND), np.uint8(CYTOPLASM), nuclei)
    return np.where((cells == IGNORED) | (nuclei == IGNORED), np.uint8(IGNORED), combined)


class _Keyed(NamedTuple):
    """The distinct values of a mask, label and distance to the nearest listed value of each, and where it is."""

    keys: np.ndarray
    labels: np.ndarray
    off: np.ndarray
    where: np.ndarray


def _label(path: Path, spec: DatasetSpec) -> _Keyed:
    pixels = read_pixels(path)
    _check_opaque(pixels, path)
    if has_colours(spec.labels):
        values = _colours(pixels, path)
        keys, where = unique_values(values)
        labels, off = _nearest_colours(keys, spec)
    else:
        values = _numbers(pixels, path, spec)
        keys, where = unique_values(values)
        labels, off = _nearest_numbers(keys, spec)
    tolerance = 0 if _is_index(pixels) and not has_colours(spec.labels) else spec.tolerance
    if (off > tolerance).any():
        raise _unlisted(path, pixels, values, (off > tolerance)[where], spec)
    return _Keyed(keys, labels, off, where)


def _nearest_colours(keys: np.ndarray, spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return label and distance of the nearest listed colour, of colours packed as 0xrrggbb."""
    points = colour_points(spec)
    channels = np.stack([keys >> 16, keys >> 8 & 255, keys & 255], axis=1).astype(float)
    corners = np.array([rgb for rgb, _ in points], float)
    distances = np.sqrt(((channels[:, None, :] - corners[None, :, :]) ** 2).sum(axis=2))
    nearest = distances.argmin(axis=1)
    return np.array([label for _, label in points], np.uint8)[nearest], distances[np.arange(len(keys)), nearest]


def _nearest_numbers(keys: np.ndarray, spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return label and distance of the nearest listed number."""
    first, last, label = np.array(number_ranges(spec), np.int64).T
    keys = keys.astype(np.int64)
    below = np.clip(np.searchsorted(first, keys, side="right") - 1, 0, None)
    above = np.minimum(below + 1, len(first) - 1)
    distances = [np.maximum(np.maximum(keys - last[index], first[index] - keys), 0) for index in (below, above)]
    upper = (distances[1] < distances[0]) | ((distances[1] == distances[0]) & (label[above] < label[below]))
    labels, off = np.where(upper, label[above], label[below]), np.minimum(*distances)
    cell = instances_label(spec)
    if cell is not None:
        numbered = (off > 0) & (keys > 0)
        labels, off = np.where(numbered, cell, labels), np.where(numbered, 0, off)
    return labels.astype(np.uint8), off


def _find_rims(labels: np.ndarray, stray: np.ndarray) -> Counter[str]:
    """Count stray pixels whose label does not occur around them, while at least two others do.

    Between background and cytoplasm, an anti-aliased mask has values that mean nucleus, if that is between them.
    """
    from scipy.ndimage import maximum_filter

    around = {label: maximum_filter((labels == label) & ~stray, size=_RIM_PX) for label in LABELS.values()}
    present = sum(mask.astype(int) for mask in around.values())
    rims = Counter()
    for name, label in LABELS.items():
        false = stray & (labels == label) & ~around[label] & (present >= 2)
        if false.any():
            rims[name] = int(false.sum())
    return rims


def _is_index(pixels: Pixels) -> bool:
    """Whether the numbers are palette indices, which are no grey levels."""
    if pixels.palette is None:
        return False
    levels = np.repeat(np.arange(len(pixels.palette))[:, None], 3, axis=1)
    return bool((pixels.palette != levels).any())


def _check_opaque(pixels: Pixels, path: Path) -> None:
    if pixels.alpha is None or (pixels.alpha == OPAQUE).all():
        return
    row, column = np.argwhere(pixels.alpha != OPAQUE)[0]
    raise StudyError(
        f"Mask {path} is transparent at row {row}, column {column} (alpha {pixels.alpha[row, column]}).",
        expected="an opaque mask, since transparent pixels have no colour that a label could match",
        fix="Flatten the mask (ImageMagick: convert in.png -background black -alpha remove -alpha off out.png).",
    )


def _numbers(pixels: Pixels, path: Path, spec: DatasetSpec) -> np.ndarray:
    """Return grey levels or palette indices, int32 or int64 (H, W)."""
    values = pixels.values
    if values.ndim > 2:
        coloured = (values != values[..., :1]).any(axis=2)
        if coloured.any():
            row, column = np.argwhere(coloured)[0].tolist()
            raise _coloured(path, pixels, row, column, spec)
        pixels = Pixels(values[..., 0], pixels.bits)
    # Of a range, its ends; "instances" begins with 1.
    listed = [number for first, last, _ in number_ranges(spec) for number in (first, last)]
    listed += [1] if instances_label(spec) is not None else []
    try:
        return pixels.numbers(listed)
    except ValueError as error:
        raise StudyError(
            f"Mask {path} has {pixels.description} pixels with {error}.",
            expected="whole numbers",
            fix="If these are probabilities, save a mask of labels (0, 1, 2) as an 8-bit PNG instead.",
        ) from None


def _colours(pixels: Pixels, path: Path) -> np.ndarray:
    """Return colours packed as 0xrrggbb, int32 (H, W)."""
    if not pixels.has_scale() or (pixels.bits > 8 and not _is_eight_bits(pixels.values)):
        raise StudyError(
            f"Mask {path} has {pixels.description} pixels, whose values are not 8-bit colours.",
            expected="8 bits per channel, since the labels in dataset.yaml are colours",
            fix="Save the mask as an 8-bit PNG, or give the labels in dataset.yaml as numbers.",
        )
    return pack_colours(pixels.colours())


def _is_eight_bits(values: np.ndarray) -> bool:
    """Whether 16-bit values are 8-bit values times 257 or 256, as programs convert them."""
    high, low = values >> 8, values & 255
    return bool(((low == 0) | (low == high)).all())


def _unlisted(path: Path, pixels: Pixels, values: np.ndarray, bad: np.ndarray, spec: DatasetSpec) -> StudyError:
    """Return the error for unlisted values."""
    row, column = np.argwhere(bad)[0].tolist()
    value, indices = _write(int(values[row, column]), spec), _is_index(pixels) and not has_colours(spec.labels)
    if indices:
        value += f" (a palette index; its colour is {_hex(pixels.colours()[row, column])})"
    counts = Counter({_write(key, spec): n for key, n in Counter(values[bad].tolist()).items()})
    return UnlistedValuesError([UnlistedValues(path, row, column, value, counts, bad.size, indices)], spec)


def _coloured(path: Path, pixels: Pixels, row: int, column: int, spec: DatasetSpec) -> StudyError:
    """Return the error for a mask with colours where numbers are listed."""
    if not pixels.has_scale():
        return StudyError(
            f"Mask {path} has colours: {pixels.values[row, column].tolist()} at row {row}, column {column}.",
            expected="grey levels, since the labels in dataset.yaml are numbers",
            fix="Save the mask as an 8-bit PNG, and give the labels in dataset.yaml as colours.",
        )
    colours = pixels.colours()
    keys, where = unique_values(pack_colours(colours))
    numbers = np.bincount(where.ravel(), minlength=len(keys)).tolist()
    counts = Counter({f"'#{key:06x}'": n for key, n in zip(keys.tolist(), numbers, strict=True)})
    unlisted = UnlistedValues(path, row, column, _hex(colours[row, column]), counts, where.size, colours=True)
    return UnlistedValuesError([unlisted], spec)


def _write(value: int, spec: DatasetSpec) -> str:
    """Return a value as dataset.yaml lists it."""
    return f"'#{value:06x}'" if has_colours(spec.labels) else str(value)


def _hex(rgb: np.ndarray) -> str:
    return f"'#{bytes(rgb.tolist()).hex()}'"
