"""Open BMP, PNG, JPEG and TIFF files, and say why another file cannot be read.

A file of another format is refused even if its name ends in .png, since Pillow has decoders for many formats that are
not tested here. docs/reference/formats.md lists what is read, by which library, and what is tested.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from wbcstudy.data.pixels import OPAQUE, Pixels
from wbcstudy.data.tiff import SIGNATURES, TooLargeError, UnsupportedError, read_tiff, tiff_header
from wbcstudy.errors import StudyError
from wbcstudy.files import check_file

_PILLOW_FORMATS = ("BMP", "DIB", "PNG", "JPEG")
# Exceptions of Pillow on damaged files; each was observed with truncated files and flipped bytes.
_DAMAGED = (
    OSError,
    RuntimeError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    IndexError,
    KeyError,
    struct.error,
    zlib.error,
)
# The largest file, in bytes: more than an uncompressed image with Pillow's largest number of pixels needs.
_MAX_BYTES = 3_000_000_000
# Offset of bit depth and colour type in a PNG file.
_PNG_DEPTH = 24
_WORD = 16
# EXIF orientations from this one on exchange height and width.
_TRANSPOSED = 5
_FORMATS = "BMP, PNG, JPEG or TIFF"
# What other files begin with -> what they are, and what to do with them.
_SAVE = "Open it in the program that made it and save the image as PNG or TIFF."
_OTHER_CONTENT = (
    (b"GIF8", 0, "a GIF image", _SAVE),
    (b"WEBP", 8, "a WebP image", _SAVE),
    (b"ftypavif", 4, "an AVIF image", _SAVE),
    (b"ftyp", 4, "a HEIC image or a film", _SAVE),
    (b"\0\0\0\x0cjP  ", 0, "a JPEG-2000 image", _SAVE),
    (b"\xff\x4f\xff\x51", 0, "a JPEG-2000 image", _SAVE),
    (b"8BPS", 0, "a Photoshop document", _SAVE),
    (b"gimp xcf", 0, "a GIMP document", _SAVE),
    (b"%PDF", 0, "a PDF document", _SAVE),
    (b"DICM", 128, "a DICOM file", _SAVE),
    (b"ZISRAWFILE", 0, "a Zeiss CZI file", _SAVE),
    (b"\xda\xce\xbe\x0a", 0, "a Nikon ND2 file", _SAVE),
    (b"\x89HDF", 0, "an HDF5 file", _SAVE),
    (b"\x93NUMPY", 0, "a NumPy array", _SAVE),
    (
        b"PK\x03\x04",
        0,
        "a ZIP archive",
        "Unpack it. Draw masks from outlines of ImageJ with `wbcstudy data import imagej`.",
    ),
    (b"{", 0, "a JSON file, as annotation tools write", "Draw masks from its outlines with `wbcstudy data import`."),
    (b"<", 0, "an XML, SVG or HTML file", "Download the image itself again, or export masks as PNG."),
    (b"version https://git-lfs", 0, "a placeholder of Git LFS, not the image", "Run `git lfs pull` in its folder."),
)


def read_pixels(path: Path) -> Pixels:
    """Read a file as stored, turned upright by its EXIF orientation.

    Alpha that is 0 everywhere in a BMP file is left out: Windows programs write it for images without transparency.

    Raises:
        StudyError: the file is missing, damaged, of another format or kind, has several pages, or has more pixels than
            Pillow's limit.
    """
    path = Path(path)
    try:
        if _signature(path) in SIGNATURES:
            pixels, orientation = read_tiff(path, Image.MAX_IMAGE_PIXELS)
        else:
            pixels, orientation = _read_by_pillow(path)
        return pixels.upright(orientation)
    except (Image.DecompressionBombError, TooLargeError, MemoryError):
        raise StudyError(
            f"{path} has more pixels than can be decoded safely.",
            expected=f"at most {Image.MAX_IMAGE_PIXELS or 0:,} pixels",
            fix="Crop or shrink the image. Remove the file if you do not know its origin: it may be an attack.",
        ) from None
    except UnsupportedError as error:
        raise StudyError(f"{path} {error.reason}", expected=_EXPECTED, fix=error.fix) from None
    except _DAMAGED as error:
        raise _cannot_read(path, error) from None


def read_orientation(path: Path) -> int:
    """Return the EXIF orientation of a readable image, 1 to 8; 1 is upright, or no orientation."""
    if _signature(path) in SIGNATURES:
        return tiff_header(path)[2]
    with Image.open(path, formats=_PILLOW_FORMATS) as image:
        return _orientation(image)


def read_shape(path: Path) -> tuple[int, int]:
    """Return height and width of an image, in px, after its EXIF orientation, without decoding it.

    Raises:
        StudyError: the file cannot be read.
    """
    try:
        if _signature(path) in SIGNATURES:
            height, width, orientation = tiff_header(path)
        else:
            with Image.open(path, formats=_PILLOW_FORMATS) as image:
                height, width, orientation = image.height, image.width, _orientation(image)
        return (width, height) if orientation >= _TRANSPOSED else (height, width)
    except (Image.DecompressionBombError, *_DAMAGED):
        return read_pixels(path).values.shape[:2]


_EXPECTED = f"one image per file, in {_FORMATS}: grey, palette or RGB"


def _signature(path: Path) -> bytes:
    """Return the first bytes of a regular file; a pipe would never end."""
    check_file(Path(path), _MAX_BYTES)
    with Path(path).open("rb") as file:
        return file.read(4)


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    return orientation if orientation in range(1, 9) else 1


def _read_by_pillow(path: Path) -> tuple[Pixels, int]:
    with Image.open(path, formats=_PILLOW_FORMATS) as image:
        if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            # Pillow only warns up to twice its limit; one limit is easier to explain.
            raise Image.DecompressionBombError
        if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
            raise UnsupportedError(f"is an animation of {image.n_frames} images.", "Save the image you need as PNG.")
        image.load()
        return _decoded_pixels(image, path), _orientation(image)


def _decoded_pixels(image: Image.Image, path: Path) -> Pixels:
    depth = _png_depth(path) if image.format == "PNG" else 8
    transparent = image.info.get("transparency")
    if depth == _WORD:
        return _deep_png(path)
    if image.mode in ("1", "L", "P"):
        values = np.asarray(image)
        if image.mode == "1":
            depth = 1
        elif image.mode == "L" and depth < 8:
            # Pillow spreads them over 0 to 255.
            values = values // (OPAQUE // (2**depth - 1))
        palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3) if image.mode == "P" else None
        return Pixels(values, min(depth, 8), palette, _transparent_values(values, transparent))
    if image.mode in ("RGB", "CMYK"):
        # `convert` would copy an RGB image, too.
        values = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        return Pixels(values, alpha=_transparent_values(values, transparent))
    if image.mode in ("RGBA", "LA"):
        values = np.asarray(image)
        alpha = values[..., -1]
        if image.format != "PNG" and not alpha.any():
            alpha = None
        return Pixels(values[..., 0] if image.mode == "LA" else values[..., :3], alpha=alpha)
    raise UnsupportedError(f"has pixels of type {image.mode}.", "Save it as 8-bit RGB.")


def _transparent_values(values: np.ndarray, transparent: bytes | int | tuple[int, ...] | None) -> np.ndarray | None:
    """Return alpha of a file that lists which values are transparent: a table by index, or one value."""
    if transparent is None:
        return None
    if isinstance(transparent, bytes):
        table = np.full(256, OPAQUE, np.uint8)
        table[: len(transparent)] = np.frombuffer(transparent, np.uint8)[:256]
        return table[values]
    same = values == np.asarray(transparent)
    return np.where(same.all(axis=2) if same.ndim > 2 else same, 0, OPAQUE).astype(np.uint8)


def _png_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(_PNG_DEPTH + 1)[_PNG_DEPTH]


def _deep_png(path: Path) -> Pixels:
    """Read a PNG file of 16 bits, of which Pillow would keep 8."""
    from imagecodecs import png_decode

    values = png_decode(path.read_bytes())
    values = values[..., None] if values.ndim == 2 else values
    colours = values.shape[2] - (values.shape[2] % 2 == 0)
    alpha = (
        (values[..., -1].astype(np.uint32) * OPAQUE // 65535).astype(np.uint8) if colours < values.shape[2] else None
    )
    return Pixels(values[..., 0] if colours == 1 else values[..., :colours], _WORD, alpha=alpha)


def _cannot_read(path: Path, error: Exception) -> StudyError:
    """Return the error for a file that is missing, forbidden, of another format, or damaged."""
    if isinstance(error, FileNotFoundError):
        return StudyError(
            f"{path} does not exist.", expected="an image file", fix="Check the path and the patterns in dataset.yaml."
        )
    if isinstance(error, PermissionError):
        fix = "Ask its owner for the right to read it, or copy it to a folder of your own."
        return StudyError(f"{path} cannot be read: you have no permission.", expected="a readable file", fix=fix)
    if isinstance(error, IsADirectoryError):
        return StudyError(f"{path} is a folder.", expected="an image file", fix="Pass the files in it.")
    if isinstance(error, Image.UnidentifiedImageError):
        return _other_content(path)
    reason = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        fix = "Try again. If it stays, copy the file again from its source."
        return StudyError(f"{path} cannot be read: {error.strerror}.", expected="a readable file", fix=fix)
    if "nsupported" in reason or "not implemented" in reason.lower():
        return StudyError(
            f"{path} cannot be read: it uses a rare variant of its format ({reason}).", expected=_EXPECTED, fix=_SAVE
        )
    return StudyError(
        f"{path} cannot be read: {reason}.",
        expected=f"a complete {_FORMATS} file",
        fix="Copy the file again from its source, or remove both files of this case.",
    )


def _other_content(path: Path) -> StudyError:
    """Return the error for a file that is no BMP, PNG, JPEG or TIFF."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError:
        start = b""
    # Text may begin with a byte order mark and blanks.
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    reason, fix = "its beginning is damaged, or it is of another kind", "Copy the file again from its source."
    if not start:
        reason, fix = "it is empty", "Copy the file again from its source, or remove both files of this case."
    for signature, offset, name, advice in _OTHER_CONTENT:
        if (text if signature in (b"{", b"<") else start)[offset:].startswith(signature):
            reason, fix = f"it is {name}", advice
            break
    return StudyError(
        f"{path} cannot be read: it is not a {_FORMATS} file; {reason}.",
        expected=f"a complete {_FORMATS} file",
        fix=fix,
    )
