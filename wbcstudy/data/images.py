"""Read images and instance maps of any supported format and pixel type as arrays.

`wbcstudy.data.image_files` opens the files; `wbcstudy.data.masks` reads masks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wbcstudy.data.image_files import read_orientation, read_pixels, read_shape
from wbcstudy.errors import StudyError

__all__ = ["DARK", "image_fault", "is_grey", "read_image", "read_instances", "read_orientation", "read_shape"]

# An image whose brightest value is below this is nearly black: most often 12 or 14 bits saved as 16.
DARK = 64


def read_image(path: Path) -> np.ndarray:
    """Read an image as RGB.

    Grey and 1-bit images are repeated over the three channels. Palettes, inverted scales and the EXIF orientation are
    applied. Transparent pixels are placed on white, the colour of an empty slide. Of 16 bits per channel, the high byte
    is kept (value // 256).

    Args:
        path: BMP, PNG, JPEG or TIFF file with one image.

    Returns:
        uint8 (H, W, 3), RGB, 0-255.

    Raises:
        StudyError: the file is missing, damaged, of another format, larger than Pillow's limit, or has several pages
            or pixels without a defined brightness (float, 32-bit, signed, 16 bits of which 12 are in use).
    """
    pixels = read_pixels(path)
    if not pixels.has_scale():
        raise StudyError(
            f"{path} has {pixels.description} pixels, whose brightness has no defined scale.",
            expected="8 bits per channel: RGB, grey or palette",
            fix="Save the image as 8-bit RGB, for example in ImageJ: Image > Type > RGB Color.",
        )
    if pixels.unused_bits():
        raise StudyError(
            f"{path} has 16 bits per pixel, but its brightest value is {pixels.values.max()}.",
            expected="8 bits per channel, or 16 bits in full use (0-65535)",
            fix="Save it with 8 bits per channel. The camera used fewer than 16 bits, and how many is unknown.",
        )
    # Not the decoder's own array, which is read-only.
    return np.require(pixels.on_white(), requirements=["C", "W"])


def read_instances(path: Path) -> np.ndarray:
    """Read an instance map, uint16 (H, W), from a grey file: 0 is background, k is the k-th cell.

    Raises:
        StudyError: the file cannot be read or is not grey, or has more than 65535 cells.
    """
    pixels = read_pixels(path)
    try:
        if pixels.values.ndim != 2 or pixels.bits == 1:
            raise ValueError(f"its pixels are {pixels.description}")
        # Any number: the stored numbers, also of fewer than 8 bits.
        values = pixels.numbers(listed=[1])
        if values.min(initial=0) < 0 or values.max(initial=0) > np.iinfo(np.uint16).max:
            raise ValueError(f"it has the value {values.min() if values.min() < 0 else values.max()}")
    except ValueError as error:
        raise StudyError(
            f"{path} is not an instance map: {error}.",
            expected="one whole number from 0 to 65535 per pixel: 0 for background, k for the k-th cell",
            fix="Save the map as a 16-bit grey PNG.",
        ) from None
    return values.astype(np.uint16)


def image_fault(image: np.ndarray) -> tuple[str, str] | None:
    """Return what makes an image, uint8 (H, W, 3), useless, and what may help; None if nothing does."""
    if not image.size:
        return None
    if (image == image[0, 0]).all():
        colour = bytes(image[0, 0].tolist()).hex()
        return (
            f"has one colour everywhere (#{colour})",
            "Open it in another program. If it shows an image there, transparency (an alpha channel) hides it here: "
            "save it without transparency.",
        )
    if image.max() < DARK:
        return (
            f"is nearly black: its brightest value is {image.max()} of 255",
            "If an image of 12 or 14 bits was saved as 16 bits, save it with 8 bits per channel.",
        )
    return None


def is_grey(image: np.ndarray) -> bool:
    """Whether an image, uint8 (H, W, 3), has no colour."""
    return bool((image == image[..., :1]).all())
