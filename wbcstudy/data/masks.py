"""Read masks: the stored numbers or the colours of a file become labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageColor

from wbcstudy.data.image_files import read_pixels
from wbcstudy.data.pixels import OPAQUE, Pixels, pack_colours, unique_values
from wbcstudy.errors import StudyError
from wbcstudy.labels import LABELS

if TYPE_CHECKING:
    from wbcstudy.data.spec import DatasetSpec


def read_mask(path: Path, spec: DatasetSpec) -> tuple[np.ndarray, int]:
    """Read a mask and convert its values or colours to labels.

    Labels given as numbers match the numbers that the file stores: grey levels (an RGB file must be grey) or palette
    *indices*, whatever a viewer shows. Labels given as '#rrggbb' match the colours that a viewer shows, including those
    of a palette. In a 1-bit file white is 1 if 1 is a listed value, else 255; likewise for 2 and 4 bits. Alpha is
    ignored, but must be opaque everywhere.

    A stray pixel, whose value is not listed, gets the label of the nearest listed value (grey difference, or Euclidean
    distance in RGB; at equal distance the first of background, cytoplasm, nucleus) within `spec.tolerance`.

    Args:
        path: BMP, PNG, JPEG or TIFF file with one page.
        spec: the dataset's `labels` and `tolerance`.

    Returns:
        uint8 (H, W) of `wbcstudy.labels.LABELS`, and the number of stray pixels.

    Raises:
        StudyError: as for `read_pixels`; transparent pixels; numbers that are not whole; a value farther than the
            tolerance from every listed value. The message names file and pixel (row and column, from 0).
    """
    path = Path(path)
    pixels = read_pixels(path)
    _check_opaque(pixels, path)
    listed = [(value, label) for name, label in LABELS.items() for value in spec.labels[name]]
    if spec.uses_colours:
        values = _colours(pixels, path)
        points = np.array([ImageColor.getrgb(value) for value, _ in listed], float)
        keys, where = unique_values(values)
        channels = np.stack([keys >> 16, keys >> 8 & 255, keys & 255], axis=1).astype(float)
        distances = np.sqrt(((channels[:, None, :] - points[None, :, :]) ** 2).sum(axis=2))
    else:
        values = _numbers(pixels, path, [value for value, _ in listed])
        keys, where = unique_values(values)
        distances = np.abs(keys[:, None].astype(float) - np.array([value for value, _ in listed], float)[None, :])
    nearest = distances.argmin(axis=1)
    off = distances[np.arange(len(keys)), nearest]
    if (off > spec.tolerance).any():
        raise _unlisted(path, pixels, values, (off > spec.tolerance)[where], spec)
    table = np.array([label for _, label in listed], np.uint8)[nearest]
    return table[where], int((off > 0)[where].sum())


def _check_opaque(pixels: Pixels, path: Path) -> None:
    if pixels.alpha is None or (pixels.alpha == OPAQUE).all():
        return
    row, column = np.argwhere(pixels.alpha != OPAQUE)[0]
    raise StudyError(
        f"Mask {path} is transparent at row {row}, column {column} (alpha {pixels.alpha[row, column]}).",
        expected="an opaque mask, since transparent pixels have no colour that a label could match",
        fix="Flatten the mask (ImageMagick: convert in.png -background black -alpha remove -alpha off out.png).",
    )


def _numbers(pixels: Pixels, path: Path, listed: list[int]) -> np.ndarray:
    """Return grey levels or palette indices, int32 or int64 (H, W)."""
    values = pixels.values
    if values.ndim > 2:
        coloured = (values != values[..., :1]).any(axis=2)
        if coloured.any():
            row, column = np.argwhere(coloured)[0]
            shown = _hex(pixels.colours()[row, column]) if pixels.has_scale() else values[row, column].tolist()
            raise StudyError(
                f"Mask {path} has colours: {shown} at row {row}, column {column}.",
                expected="grey levels, since the labels in dataset.yaml are numbers",
                fix="Give the labels in dataset.yaml as colours, for example nucleus: '#ff0000'.",
            )
        pixels = Pixels(values[..., 0], pixels.bits)
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
    """Return the error for unlisted values: the first such pixel, and the most frequent of these values."""
    row, column = np.argwhere(bad)[0]
    write = (lambda key: f"'#{key:06x}'") if spec.uses_colours else str
    value = write(int(values[row, column]))
    more = ""
    if pixels.palette is not None and not spec.uses_colours:
        more = f" (a palette index; its colour is {_hex(pixels.colours()[row, column])})"
    counts = Counter(values[bad].tolist()).most_common()
    frequent = ", ".join(f"{write(key)} ({n} px)" for key, n in counts[:6]) + (", ..." if len(counts) > 6 else "")
    listed = "; ".join(f"{label}: {', '.join(map(str, label_values))}" for label, label_values in spec.labels.items())
    return StudyError(
        f"Mask {path} has the value {value}{more} at row {row}, column {column}, which is not listed under `labels`. "
        f"Unlisted values: {frequent}.",
        expected=f"values within {spec.tolerance:g} of {listed}",
        fix=f"Add {value} to its label under `labels` in dataset.yaml, or raise `tolerance` to give stray pixels the "
        "nearest label.",
    )


def _hex(rgb: np.ndarray) -> str:
    return f"'#{bytes(rgb.tolist()).hex()}'"
