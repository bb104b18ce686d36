"""Read TIFF files with tifffile, which returns the stored numbers; imagecodecs decompresses them.

Pillow inverts WhiteIsZero, misreads 16-bit files whose colours are stored one after another, and lacks JPEG-2000, WebP,
64 bits and floats of 16 or 64 bits. Only the first page and the number of its successors that matters are read: a file
may claim a million pages.
"""

from __future__ import annotations

import contextlib
import logging
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from wbcstudy.data.pixels import OPAQUE, Pixels

if TYPE_CHECKING:
    import tifffile

SUFFIXES = (".tif", ".tiff")
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Values of the tag PhotometricInterpretation.
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
# Values of the tag ExtraSamples; 999 is written by Corel Draw.
_PREMULTIPLIED, _ALPHA = 1, (2, 999)
_JPEG = (6, 7, 34892, 33007)
_ORIENTATION = 274
# Tags from this one on are private; their data do not matter here.
_PRIVATE = 32768
# Bytes of one value by the type of a tag.
_TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)
_CHANNELS = 3
# Colours of the channels in OME-XML: red, green, blue as signed RGBA.
_OME_COLOURS = (-16776961, 16711935, 65535)
# tifffile and its decoders report damage by many kinds of exceptions; each was seen with flipped bytes.
_ANY_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    UnicodeError,
    ValueError,
    struct.error,
    ElementTree.ParseError,
)


class UnsupportedError(Exception):
    """A sound file that cannot be used: the reason, and what the user can do.

    Args:
        reason: the end of the sentence "<file> ...".
        fix: what the user can do.
    """

    def __init__(self, reason: str, fix: str) -> None:
        self.reason, self.fix = reason, fix
        super().__init__(reason)


class TooLargeError(Exception):
    """A file with more pixels than allowed."""


def read_tiff(path: Path, max_pixels: int | None) -> tuple[Pixels, int]:
    """Read the image of a TIFF file as stored, and its orientation, 1 to 8.

    Three grey pages that are the channels of one image, or three samples per pixel, are red, green and blue.

    Args:
        path: the file.
        max_pixels: the largest number of pixels to decode, or None.

    Raises:
        UnsupportedError: several pages, or a kind of pixels that has no meaning here.
        TooLargeError: more than `max_pixels` pixels.
        ValueError: the file is damaged.
        OSError: the file cannot be opened.
    """
    with _open(path) as file:
        page = file.pages[0]
        _check_page(page, max_pixels)
        planes = _count_planes(file, page)
        if planes == 1:
            pixels = _page_pixels(page)
        else:
            pages = [file.pages[index] for index in range(_CHANNELS)] if file.pages.is_multipage else [page]
            if len({(p.shape, p.dtype, p.photometric) for p in pages}) > 1:
                raise UnsupportedError(f"has {planes} pages of different sizes or types.", _SEPARATE)
            for p in pages:
                _check_page(p, max_pixels)
            values = np.stack([p.asarray() for p in pages]) if len(pages) > 1 else file.asarray(series=0)
            pixels = Pixels(np.moveaxis(values.reshape(_CHANNELS, *page.shape), 0, 2), page.bitspersample)
        return pixels, _orientation(page)


def tiff_header(path: Path) -> tuple[int, int, int]:
    """Return height, width and orientation of a TIFF file's first page, without decoding it; errors as `read_tiff`."""
    with _open(path) as file:
        page = file.pages[0]
        return page.imagelength, page.imagewidth, _orientation(page)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF file; every sign of damage becomes a ValueError."""
    import tifffile

    # Its warnings about damaged files would go to standard error; the error says what matters.
    logger = logging.getLogger("tifffile")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with tifffile.TiffFile(path) as file:
            _check_directory(file)
            yield file
    except _ANY_DAMAGE as error:
        raise ValueError(f"{_plain(error)}") from None
    finally:
        logger.setLevel(level)


def _check_directory(file: tifffile.TiffFile) -> None:
    """Raise ValueError if facts about the first page, or the next page, are beyond the end of the file.

    tifffile leaves them out: a file of three channels that was cut off would be a grey image.
    """
    tiff, handle = file.tiff, file.filehandle
    handle.seek(file.pages[0].offset)
    number = struct.unpack(tiff.tagnoformat, handle.read(tiff.tagnosize))[0]
    tags = handle.read(number * tiff.tagsize)
    (next_page,) = struct.unpack(tiff.offsetformat, handle.read(tiff.offsetsize))
    for start in range(0, len(tags), tiff.tagsize):
        code, kind = struct.unpack_from(f"{tiff.byteorder}HH", tags, start)
        count, offset = struct.unpack_from(f"{tiff.byteorder}2{tiff.offsetformat[-1]}", tags, start + 4)
        size = count * (_TYPE_BYTES[kind] if kind < len(_TYPE_BYTES) else 0)
        if code < _PRIVATE and size > tiff.offsetsize and offset + size > handle.size:
            raise ValueError("it ends too early")
    if next_page and not file.pages.is_multipage:
        raise ValueError("its second page is missing")


def _plain(error: BaseException) -> str:
    """Return what is damaged."""
    text = " ".join(str(error).split())
    return "its pixels are damaged or cut off" + (f" ({text[:120]})" if text and "<" not in text else "")


_SEPARATE = "Save the page you need as a separate file."
_CONVERT = "Open the file in ImageJ or QuPath and save it as 8-bit TIFF or PNG."
_TO_RGB = (
    "Convert it to RGB (in ImageJ: Image > Type > RGB Color) and save it again, instead of saving one of the pages: "
    "a single page is one colour only."
)


def _check_page(page: Any, max_pixels: int | None) -> None:
    """Raise for a page that cannot be decoded, or of which parts are missing."""
    import tifffile

    if max_pixels and page.imagewidth * page.imagelength > max_pixels:
        raise TooLargeError
    if page.compression != 1:
        try:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
        except KeyError:
            raise UnsupportedError(
                f"is compressed in a way that cannot be read ({page.compression}).", _CONVERT
            ) from None
    if page.dtype is None:
        raise UnsupportedError(f"has {page.bitspersample} bits per value of a kind that cannot be read.", _CONVERT)
    if page.is_subsampled and page.compression not in _JPEG:
        raise UnsupportedError("stores its colours at a lower resolution (subsampled YCbCr) without JPEG.", _CONVERT)
    if page.ndim > _CHANNELS or page.imagedepth > 1:
        raise UnsupportedError(f"has {page.imagedepth} planes per page.", _SEPARATE)
    if 0 in page.shaped:
        raise ValueError("it has no pixels")
    if page.is_reduced:
        raise UnsupportedError("has a thumbnail as its first image, as raw files of cameras do.", _CONVERT)
    offsets, counts = page.dataoffsets, page.databytecounts
    size = page.parent.filehandle.size
    if page.is_contiguous:
        complete = offsets[0] > 0 and offsets[0] + page.nbytes <= size
    else:
        segments = prod(page.chunked)
        complete = len(offsets) >= segments and len(counts) >= segments
        complete = complete and all(o > 0 and 0 < n <= size - o for o, n in zip(offsets, counts, strict=False))
    if not complete:
        raise ValueError("parts of its pixels are missing")


def _count_planes(file: tifffile.TiffFile, page: Any) -> int:
    """Return 1 for a file with one image, or 3 for one whose channels are red, green and blue.

    Raises:
        UnsupportedError: the file has more images.
    """
    axes = _described_planes(file, page)
    pages = _count_pages(file, most=_CHANNELS + 1)
    total = prod(axes.values())
    if pages == 1 and total == 1:
        return 1
    grey = page.samplesperpixel == 1 and page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
    channels = axes.get("C", 1)
    if grey and channels == total == _CHANNELS and pages in (1, _CHANNELS):
        if pages == 1 and not (page.is_contiguous and file.is_imagej):
            raise UnsupportedError("has one of three colours; the others are in other files.", _TO_RGB)
        return _CHANNELS
    if pages > _CHANNELS and total <= pages:
        shown = str(total) if total > 1 else f"more than {_CHANNELS}"
    else:
        shown = str(max(pages, total))
    if channels > 1:
        raise UnsupportedError(f"has {shown} pages, which are {channels} channels of one image.", _TO_RGB)
    raise UnsupportedError(f"has {shown} pages.", _SEPARATE)


def _count_pages(file: tifffile.TiffFile, most: int) -> int:
    """Count pages up to a number: a damaged or hostile file may have millions."""
    for index in range(1, most):
        try:
            file.pages[index]
        except IndexError:
            return index
    return most


def _described_planes(file: tifffile.TiffFile, page: Any) -> dict[str, int]:
    """Return how many planes of each kind (C channels, Z, T, ...) the file says to have, from its description.

    Raises:
        UnsupportedError: the channels have other colours than red, green, blue in this order.
    """
    if file.is_ome:
        image = ElementTree.fromstring(file.ome_metadata or "").find("{*}Image/{*}Pixels")
        if image is None:
            return {}
        axes = {axis: int(image.get(f"Size{axis}", 1)) for axis in "CZT"}
        colours = [channel.get("Color") for channel in image.findall("{*}Channel")]
        _check_order(
            axes,
            [None if colour is None else int(colour) & 0xFFFFFF00 for colour in colours],
            [colour & 0xFFFFFF00 for colour in _OME_COLOURS],
        )
        axes["C"] = max(1, axes["C"] // page.samplesperpixel)
        return axes
    if file.is_imagej:
        facts = file.imagej_metadata or {}
        axes = {axis: int(facts.get(key, 1)) for axis, key in zip("CZT", ("channels", "slices", "frames"), strict=True)}
        shown = [_brightest(table) for table in facts.get("LUTs", [])]
        _check_order(axes, shown, ["red", "green", "blue"])
        axes["C"] = max(1, axes["C"] // page.samplesperpixel)
        missing = int(facts.get("images", 1)) // max(1, prod(axes.values()))
        return axes | ({"images": missing} if missing > 1 else {})
    if file.is_shaped:
        facts = (file.shaped_metadata or ({},))[0]
        shape, names = facts.get("shape", ()), facts.get("axes", "")
        planes = prod(shape) // max(1, prod(page.shape))
        if planes > 1:
            kind = names[0] if len(names) == len(shape) and shape[0] == planes else "images"
            return {"C" if kind in "CS" else kind: planes}
        return {}
    if file.is_stk or file.is_lsm:
        return {"images": len(file.series[0].pages)}
    return {}


def _check_order(axes: dict[str, int], given: list, expected: list) -> None:
    """Raise if three channels have colours, but not these in this order."""
    if axes["C"] != _CHANNELS or len(given) != _CHANNELS or None in given:
        return
    if given != expected:
        raise UnsupportedError("has three channels whose colours are not red, green and blue in this order.", _TO_RGB)


def _brightest(table: np.ndarray) -> str | None:
    """Return the colour of the brightest entry of an ImageJ colour table, (3, 256), if it is red, green or blue."""
    colour = (np.asarray(table)[:, -1] > OPAQUE // 2).tolist()
    names = {(True, False, False): "red", (False, True, False): "green", (False, False, True): "blue"}
    return names.get(tuple(colour), "other")


def _page_pixels(page: Any) -> Pixels:
    """Decode a page and take colours, palette and alpha apart."""
    values, photometric = page.asarray(), page.photometric
    samples = page.samplesperpixel
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, 2)
    values = values.reshape(page.imagelength, page.imagewidth, samples)
    bits, extra = page.bitspersample, tuple(page.extrasamples)
    colours = samples - len(extra)
    if photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) and samples == _CHANNELS and not {1, 2} & set(extra):
        # OME-TIFF and ImageJ write the channels of a colour image as three grey samples.
        return Pixels(values, bits)
    if photometric == _YCBCR and page.compression not in _JPEG:
        values, photometric = _convert(values, "YCbCr"), _RGB
    elif photometric == _YCBCR:
        photometric = _RGB
    elif photometric == _CMYK and samples == 4 and bits == 8:
        return Pixels(_convert(values, "CMYK"))
    expected = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1}.get(photometric)
    if expected is None:
        raise UnsupportedError(
            "stores its colours in a way that cannot be read (neither grey, palette nor RGB).", _CONVERT
        )
    # Further values of an RGB pixel may be anything; those of a grey pixel are channels of their own.
    if colours != expected or (expected == 1 and not set(extra) <= {_PREMULTIPLIED, *_ALPHA}):
        raise UnsupportedError(
            f"has {samples} values per pixel, which are neither grey nor RGB.",
            "If these are fluorescence channels, merge them: in ImageJ Image > Type > RGB Color.",
        )
    alpha, premultiplied = None, False
    for index, kind in enumerate(extra, start=expected):
        if kind == _PREMULTIPLIED or kind in _ALPHA:
            alpha, premultiplied = _alpha(values[..., index], bits), kind == _PREMULTIPLIED
            break
    values = values[..., 0] if expected == 1 else values[..., :expected]
    if photometric != _PALETTE:
        return Pixels(values, bits, None, alpha, premultiplied, photometric == _WHITE_IS_ZERO)
    table = page.colormap
    if table is None or values.dtype.kind not in "bu" or table.shape[1] < 2**bits:
        raise ValueError("its palette is missing")
    # 16 bits by the standard; some programs write 8.
    palette = (table.T if table.max() < 256 else table.T >> 8).astype(np.uint8)
    return Pixels(values, bits, palette, alpha, premultiplied)


def _convert(values: np.ndarray, mode: str) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(values), mode).convert("RGB"))


def _alpha(values: np.ndarray, bits: int) -> np.ndarray:
    """Return alpha of any number of bits as uint8, where only the largest value is opaque."""
    return (values.astype(np.uint64) * OPAQUE // (2**bits - 1)).astype(np.uint8)


def _orientation(page: Any) -> int:
    orientation = page.tags.valueof(_ORIENTATION)
    return int(orientation) if orientation in range(1, 9) else 1
