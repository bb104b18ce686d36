"""Read image and mask files of any supported format and pixel type as arrays.

Supported are BMP, PNG, JPEG and TIFF. A file of another format is refused even if its name ends in .png, since Pillow
has decoders for many formats that are not tested here.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, ImageColor, ImageOps

from wbcstudy.errors import StudyError
from wbcstudy.files import check_file
from wbcstudy.labels import LABELS

if TYPE_CHECKING:
    from wbcstudy.data.spec import DatasetSpec

_FORMATS = ("BMP", "DIB", "PNG", "JPEG", "TIFF")
# Exceptions of Pillow on damaged files; each was observed with truncated files and flipped bytes.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, struct.error, zlib.error)
_DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N")
_WHITE = 255
# The largest file, in bytes: more than an uncompressed image with Pillow's largest number of pixels needs.
_MAX_BYTES = 3_000_000_000
# EXIF orientations from this one on exchange height and width.
_TRANSPOSED = 5
# An image whose brightest value is below this is nearly black: most often 12 or 14 bits saved as 16.
DARK = 64
# 16-bit grey values below this come from a 12-bit camera; their high byte would be nearly black.
_TWELVE_BITS = 4096


def read_image(path: Path) -> np.ndarray:
    """Read an image as RGB.

    Grey and 1-bit images are repeated over the three channels. Palettes and the EXIF orientation are applied.
    Transparent pixels are placed on white, the colour of an empty slide. Of 16 bits per channel, the high byte is kept
    (value // 256).

    Args:
        path: BMP, PNG, JPEG or TIFF file with one page.

    Returns:
        uint8 (H, W, 3), RGB, 0-255.

    Raises:
        StudyError: the file is missing, damaged, of another format, larger than Pillow's limit, or has several pages
            or a pixel type without a defined brightness (float, 32-bit, Lab, 16-bit grey with 12 bits in use).
    """
    image = _open(Path(path))
    if image.mode in _DEEP_GREY:
        values = np.asarray(image).astype(np.uint16)
        if 0 < values.max() < _TWELVE_BITS:
            raise StudyError(
                f"{path} has 16 bits per pixel, but its brightest value is {values.max()}.",
                expected="8 bits per channel, or 16 bits in full use (0-65535)",
                fix="Save it with 8 bits per channel. The camera used fewer than 16 bits, and how many is unknown.",
            )
        return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode not in ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LA", "PA", "RGBA", "La", "RGBa"):
        raise StudyError(
            f"{path} has pixels of type {image.mode!r}, whose brightness has no defined scale.",
            expected="8 bits per channel: RGB, grey or palette",
            fix="Save the image as 8-bit RGB, for example in ImageJ: Image > Type > RGB Color.",
        )
    if _has_alpha(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (_WHITE,) * 4), image)
    return np.array(image.convert("RGB"))


def read_mask(path: Path, spec: DatasetSpec) -> tuple[np.ndarray, int]:
    """Read a mask and convert its values or colours to labels.

    Labels given as numbers match grey levels (8 or 16 bits; an RGB file must be grey) or, in a file with a palette,
    palette *indices*. Labels given as '#rrggbb' match colours, including those of a palette. In a 1-bit file white is 1
    if 1 is a listed value, else 255. Alpha is ignored, but must be opaque everywhere.

    A stray pixel, whose value is not listed, gets the label of the nearest listed value (grey difference, or Euclidean
    distance in RGB; at equal distance the first of background, cytoplasm, nucleus) within `spec.tolerance`.

    Args:
        path: BMP, PNG, JPEG or TIFF file with one page.
        spec: the dataset's `labels` and `tolerance`.

    Returns:
        uint8 (H, W) of `wbcstudy.labels.LABELS`, and the number of stray pixels.

    Raises:
        StudyError: as for `read_image`; transparent pixels; a value farther than the tolerance from every listed
            value. The message names file and pixel (row and column, from 0).
    """
    path = Path(path)
    image = _open(path)
    if _has_alpha(image):
        image = _without_alpha(image, path)
    listed = [(value, label) for name, label in LABELS.items() for value in spec.labels[name]]
    if spec.uses_colours:
        values = _colours(image, path)
        points = np.array([ImageColor.getrgb(value) for value, _ in listed], float)
        keys, where = np.unique(values, return_inverse=True)
        channels = np.stack([keys >> 16, keys >> 8 & 255, keys & 255], axis=1).astype(float)
        distances = np.sqrt(((channels[:, None, :] - points[None, :, :]) ** 2).sum(axis=2))
    else:
        values = _numbers(image, path, white=1 if any(value == 1 for value, _ in listed) else _WHITE)
        keys, where = np.unique(values, return_inverse=True)
        distances = np.abs(keys[:, None].astype(float) - np.array([value for value, _ in listed], float)[None, :])
    nearest = distances.argmin(axis=1)
    off = distances[np.arange(len(keys)), nearest]
    where = where.reshape(values.shape)
    if (off > spec.tolerance).any():
        raise _unlisted(path, image, values, (off > spec.tolerance)[where], spec)
    table = np.array([label for _, label in listed], np.uint8)[nearest]
    return table[where], int((off > 0)[where].sum())


def read_instances(path: Path) -> np.ndarray:
    """Read an instance map, uint16 (H, W), from an 8- or 16-bit grey file: 0 is background, k is the k-th cell.

    Raises:
        StudyError: the file cannot be read or is not grey.
    """
    image = _open(Path(path))
    values = np.asarray(image)
    if values.ndim != 2 or image.mode in ("1", "F") or values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise StudyError(
            f"{path} is not an instance map: its pixels have type {image.mode!r}.",
            expected="one grey value of 8 or 16 bits per pixel: 0 for background, k for the k-th cell",
            fix="Save the map as a 16-bit grey PNG.",
        )
    return values.astype(np.uint16)


def read_orientation(path: Path) -> int:
    """Return the EXIF orientation of a readable image, 1 to 8; 1 is upright, or no orientation."""
    with Image.open(path, formats=_FORMATS) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    return orientation if orientation in range(1, 9) else 1


def read_shape(path: Path) -> tuple[int, int]:
    """Return height and width of an image, in px, after its EXIF orientation, without decoding it.

    Raises:
        StudyError: the file cannot be read.
    """
    try:
        check_file(path, _MAX_BYTES)
        with Image.open(path, formats=_FORMATS) as image:
            height, width = image.height, image.width
        return (width, height) if read_orientation(path) >= _TRANSPOSED else (height, width)
    except (Image.DecompressionBombError, *_DAMAGED):
        return _open(path).size[::-1]


def _open(path: Path) -> Image.Image:
    """Decode a whole file and apply its EXIF orientation."""
    try:
        check_file(path, _MAX_BYTES)
        with Image.open(path, formats=_FORMATS) as image:
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                # Pillow only warns up to twice its limit; one limit is easier to explain.
                raise Image.DecompressionBombError
            if image.format == "TIFF" and _has_second_page(image):
                raise StudyError(
                    f"{path} has more than one page.",
                    expected="one image per file",
                    fix="Save the page you need as a separate file.",
                )
            image.load()
            return ImageOps.exif_transpose(image)
    except (Image.DecompressionBombError, MemoryError):
        raise StudyError(
            f"{path} has more pixels than can be decoded safely.",
            expected=f"at most {Image.MAX_IMAGE_PIXELS or 0:,} pixels",
            fix="Crop or shrink the image. Remove the file if you do not know its origin: it may be an attack.",
        ) from None
    except FileNotFoundError:
        raise StudyError(
            f"{path} does not exist.", expected="an image file", fix="Check the path and the patterns in dataset.yaml."
        ) from None
    except _DAMAGED as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        elif isinstance(error, Image.UnidentifiedImageError):
            reason = "it is not a BMP, PNG, JPEG or TIFF file, or its beginning is damaged"
        raise StudyError(
            f"{path} cannot be read: {reason}.",
            expected="a complete BMP, PNG, JPEG or TIFF file",
            fix="Copy the file again from its source, or remove both files of this case.",
        ) from None


def _has_second_page(image: Image.Image) -> bool:
    # Not `n_frames`, which reads the tags of all pages: a file can have a million.
    try:
        image.seek(1)
    except EOFError:
        return False
    image.seek(0)
    return True


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _without_alpha(image: Image.Image, path: Path) -> Image.Image:
    """Remove the alpha channel of a mask, which must be opaque."""
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    if (alpha != _WHITE).any():
        row, column = np.argwhere(alpha != _WHITE)[0]
        raise StudyError(
            f"Mask {path} is transparent at row {row}, column {column} (alpha {alpha[row, column]}).",
            expected="an opaque mask, since transparent pixels have no colour that a label could match",
            fix="Flatten the mask (ImageMagick: convert in.png -background black -alpha remove -alpha off out.png).",
        )
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return image.convert("RGBA").convert("RGB")
    image = image.copy()
    image.info.pop("transparency", None)
    return image


def _numbers(image: Image.Image, path: Path, white: int) -> np.ndarray:
    """Return grey levels or palette indices, int64 (H, W)."""
    if image.mode == "1":
        return np.asarray(image).astype(np.int64) * white
    values = np.asarray(image)
    if image.mode in ("L", "P", "I", *_DEEP_GREY):
        return values.astype(np.int64)
    if image.mode == "RGB":
        coloured = (values != values[..., :1]).any(axis=2)
        if not coloured.any():
            return values[..., 0].astype(np.int64)
        row, column = np.argwhere(coloured)[0]
        raise StudyError(
            f"Mask {path} has colours: {_hex(values[row, column])} at row {row}, column {column}.",
            expected="grey levels, since the labels in dataset.yaml are numbers",
            fix="Give the labels in dataset.yaml as colours, for example nucleus: '#ff0000'.",
        )
    raise _wrong_type(image, path)


def _colours(image: Image.Image, path: Path) -> np.ndarray:
    """Return colours packed as 0xrrggbb, int64 (H, W)."""
    if image.mode not in ("1", "L", "P", "RGB"):
        raise _wrong_type(image, path)
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int64), 2, 0)
    return red << 16 | green << 8 | blue


def _wrong_type(image: Image.Image, path: Path) -> StudyError:
    return StudyError(
        f"Mask {path} has pixels of type {image.mode!r}.",
        expected="grey (8 or 16 bits), palette, RGB or 1 bit; 16-bit grey only if the labels are numbers",
        fix="Save the mask as an 8-bit PNG.",
    )


def _unlisted(path, image, values, bad, spec) -> StudyError:
    """Return the error for unlisted values: the first such pixel, and the most frequent of these values."""
    row, column = np.argwhere(bad)[0]
    write = (lambda key: f"'#{key:06x}'") if spec.uses_colours else str
    value = write(int(values[row, column]))
    more = ""
    if image.mode == "P" and not spec.uses_colours:
        more = f" (a palette index; its colour is {_hex(np.asarray(image.convert('RGB'))[row, column])})"
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
