"""Write image and mask files of every supported format, depth, layout, photometric interpretation and compression.

Each file comes with the array that it must be read as: `labels` for masks, `shown` for images. Neither uses the readers
of the package. Writers are tifffile, Pillow, OpenCV, and a few lines for what these cannot write.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

# An odd size, so that rows of fewer than 8 bits and of BMP need padding, and tiles are not full.
SHAPE = (37, 29)
COMPRESSIONS = (None, "lzw", "adobe_deflate", "zstd", "packbits", "lzma", "jpeg2000")
GREY = np.array([0, 128, 255])


@dataclass(frozen=True)
class Written:
    """A file and what it holds.

    Args:
        path: the file.
        labels: for a mask, its labels, uint8 (H, W).
        values: for a mask, the stored number of each label.
        shown: for an image, its colours, uint8 (H, W, 3).
        tolerance: largest difference of a colour; 0 except for lossy JPEG.
        refused: whether it must be refused: a kind whose meaning is not defined.
    """

    path: Path
    labels: np.ndarray | None = None
    values: tuple[int, ...] = ()
    shown: np.ndarray | None = None
    tolerance: int = 0
    refused: bool = False


def write_files(folder: Path) -> Iterator[Written]:
    """Write all files into a folder, one after another."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, SHAPE).astype(np.uint8)
    smooth = cv2.GaussianBlur(draw.integers(0, 256, (*SHAPE, 3)).astype(np.uint8), (0, 0), 4)
    noise = draw.integers(0, 256, (*SHAPE, 3)).astype(np.uint8)
    for make in (
        _tiff_masks,
        _tiff_bits,
        _tiff_images,
        _tiff_stacks,
        _png_files,
        _bmp_files,
        _jpeg_files,
        _pillow_tiff,
    ):
        for number, written in enumerate(make(folder, labels, noise, smooth)):
            name = f"{make.__name__.strip('_')}_{number:03}{written.path.suffix}"
            yield Written(**{**vars(written), "path": written.path.rename(folder / name)})


def wide(image: np.ndarray, kind: str = "u2") -> np.ndarray:
    """Spread 8 bits over 16, with a low byte that differs from the high byte."""
    return (image.astype(np.uint16) * 256 + (255 - image)).astype(kind)


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def _tiff_masks(folder, labels, noise, smooth):
    """Write label masks of every number type, byte order, compression and layout."""
    kinds = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
    layouts = ({}, {"rowsperstrip": 5}, {"tile": (16, 16)})
    path = folder / "a.tif"
    for kind, order, compression in itertools.product(kinds, "<>", (None, "lzw", "adobe_deflate", "zstd")):
        layout = layouts[(kinds.index(kind) + len(compression or "")) % 3]
        values = (0, 1, 2) if kind == "i1" else (0, 77, 250) if kind in ("u1", "f2") else (0, 300, 1000)
        stored = np.array(values)[labels].astype(kind)
        tifffile.imwrite(path, stored, byteorder=order, compression=compression, **layout)
        yield Written(path, labels, values)
    for kind, order, layout, compression in itertools.product(("u1", "u2"), "<>", layouts, (None, "zstd", "jpeg2000")):
        values = (0, 77, 250) if kind == "u1" else (0, 300, 65535)
        if (order, compression) == (">", "jpeg2000"):
            continue  # tifffile 2026.3 writes exchanged bytes for these two
        stored = np.array(values)[labels].astype(kind)
        tifffile.imwrite(path, stored, photometric="miniswhite", byteorder=order, compression=compression, **layout)
        yield Written(path, labels, values)
    for predictor, kind in ((2, "u1"), (2, "u2"), (2, "u4"), (3, "f4"), (3, "f8")):
        tifffile.imwrite(path, labels.astype(kind), compression="zlib", predictor=predictor)
        yield Written(path, labels, (0, 1, 2))
    for bad in (labels + 0.5, np.where(labels == 1, np.nan, labels.astype(float))):
        tifffile.imwrite(path, bad.astype("f4"))
        yield Written(path, labels, (0, 1, 2), refused=True)


def _tiff_bits(folder, labels, noise, smooth):
    """Write masks of 1, 2, 4 bits, and palettes."""
    path = folder / "a.tif"
    for photometric, compression, order in itertools.product(
        ("minisblack", "miniswhite"), (None, "packbits", "adobe_deflate", "ccitt_t6"), "<>"
    ):
        if compression == "ccitt_t6":
            Image.fromarray(labels == 2).save(path, compression="group4")
            if photometric == "miniswhite":
                Image.fromarray(labels == 2).save(path, compression="group3")
        else:
            tifffile.imwrite(path, labels == 2, photometric=photometric, compression=compression, byteorder=order)
        yield Written(path, np.where(labels == 2, 2, 0).astype(np.uint8), (0, 9, 1))
    for bits, photometric in itertools.product((2, 4), ("minisblack", "miniswhite")):
        _write_packed(path, labels, bits, photometric)
        yield Written(path, labels, (0, 1, 2))
        _write_packed(path, np.array([0, 1, 2**bits - 1])[labels], bits, photometric)
        yield Written(path, labels, (0, 1, 2**bits - 1))
    table = np.random.default_rng(1).integers(0, 65536, (3, 256)).astype(np.uint16)
    for compression, order in itertools.product(COMPRESSIONS[:-1], "<>"):
        tifffile.imwrite(path, labels, photometric="palette", colormap=table, compression=compression, byteorder=order)
        yield Written(path, labels, (0, 1, 2))
        index = noise[..., 0]
        tifffile.imwrite(path, index, photometric="palette", colormap=table, compression=compression, byteorder=order)
        yield Written(path, shown=(table >> 8).astype(np.uint8).T[index])


def _tiff_images(folder, labels, noise, smooth):
    """Write grey and RGB images of 8 and 16 bits in every layout."""
    path = folder / "a.tif"
    layouts = ({}, {"rowsperstrip": 5}, {"tile": (16, 16)})
    for bits, planar, order, compression in itertools.product((8, 16), ("contig", "separate"), "<>", COMPRESSIONS):
        layout = layouts[(bits + len(compression or "")) % 3]
        if (order, compression) == (">", "jpeg2000"):
            continue  # tifffile 2026.3 writes exchanged bytes for these two
        stored = noise if bits == 8 else wide(noise)
        stored = stored if planar == "contig" else np.moveaxis(stored, 2, 0)
        options = {"photometric": "rgb", "planarconfig": planar, "byteorder": order, "compression": compression}
        tifffile.imwrite(path, stored, **options, **layout)
        yield Written(path, shown=noise)
    for layout in layouts:
        tifffile.imwrite(path, noise, photometric="rgb", compression="webp", compressionargs={"level": 101}, **layout)
        yield Written(path, shown=noise)
        tifffile.imwrite(path, smooth, photometric="rgb", compression="jpeg", compressionargs={"level": 95}, **layout)
        yield Written(path, shown=smooth, tolerance=8)
        tifffile.imwrite(path, noise, photometric="rgb", bigtiff=True, **layout)
        yield Written(path, shown=noise)
    for bits, photometric, order in itertools.product((8, 16), ("minisblack", "miniswhite"), "<>"):
        grey = noise[..., 0]
        stored = grey if bits == 8 else wide(grey)
        tifffile.imwrite(path, stored, photometric=photometric, byteorder=order)
        yield Written(path, shown=as_rgb(255 - grey if photometric == "miniswhite" else grey))
    # The pixel under an opaque alpha is kept, a transparent one is white.
    alpha = np.where(labels == 2, 0, 255).astype(np.uint8)
    white = np.where(labels[..., None] == 2, 255, noise).astype(np.uint8)
    for bits, planar in itertools.product((8, 16), ("contig", "separate")):
        stored = np.dstack([noise, alpha]) if bits == 8 else np.dstack([wide(noise), alpha.astype(np.uint16) * 257])
        stored = stored if planar == "contig" else np.moveaxis(stored, 2, 0)
        options = {"photometric": "rgb", "planarconfig": planar}
        tifffile.imwrite(path, stored, extrasamples=["unassalpha"], **options)
        yield Written(path, shown=white)
        tifffile.imwrite(path, stored, extrasamples=["unspecified"], **options)
        yield Written(path, shown=noise)
    tifffile.imwrite(
        path,
        np.dstack([np.where(labels[..., None] == 2, 0, noise), alpha]).astype(np.uint8),
        photometric="rgb",
        extrasamples=["assocalpha"],
    )
    yield Written(path, shown=white)
    for kind in ("f4", "f8", "u4", "i2"):
        tifffile.imwrite(path, noise.astype(kind), photometric="rgb")
        yield Written(path, shown=noise, refused=True)
    tifffile.imwrite(path, (wide(noise) >> 4), photometric="rgb")  # 12 of 16 bits
    yield Written(path, shown=noise, refused=True)
    tifffile.imwrite(path, np.dstack([noise, noise[..., :1]]), photometric="minisblack", planarconfig="contig")
    yield Written(path, shown=noise, refused=True)


def _tiff_stacks(folder, labels, noise, smooth):
    """Write colours as three channels, and stacks that are no colours."""
    path, stack = folder / "a.tif", np.moveaxis(noise, 2, 0)
    for stored in (stack, wide(stack), wide(stack, ">u2")):
        order = stored.dtype.byteorder if stored.dtype.byteorder == ">" else "<"
        tifffile.imwrite(path, stored, photometric="minisblack", ome=True, metadata={"axes": "CYX"}, byteorder=order)
        yield Written(path, shown=noise)
        tifffile.imwrite(path, stored, photometric="minisblack", metadata={"axes": "CYX"}, byteorder=order)
        yield Written(path, shown=noise)
    for stored in (stack, wide(stack)):
        for mode in ("composite", "color"):
            tifffile.imwrite(path, stored, imagej=True, metadata={"axes": "CYX", "mode": mode})
            yield Written(path, shown=noise)
    tifffile.imwrite(path, stack, photometric="minisblack", ome=True, metadata={"axes": "CYX"}, compression="zlib")
    yield Written(path, shown=noise)
    tifffile.imwrite(path, noise, photometric="rgb", ome=True, metadata={"axes": "YXS"})
    yield Written(path, shown=noise)
    tifffile.imwrite(path, noise, imagej=True, metadata={"axes": "YXS"})
    yield Written(path, shown=noise)
    tifffile.imwrite(path, noise, photometric="minisblack", planarconfig="contig")
    yield Written(path, shown=noise)
    for axes, shape in (("ZYX", 3), ("TYX", 3), ("CYX", 2), ("CYX", 4), ("CYX", 5), ("ZYX", 20)):
        many = np.resize(stack, (shape, *SHAPE))
        tifffile.imwrite(path, many, photometric="minisblack", ome=True, metadata={"axes": axes})
        yield Written(path, shown=noise, refused=True)
        tifffile.imwrite(path, many, imagej=True, metadata={"axes": axes})
        yield Written(path, shown=noise, refused=True)
    tifffile.imwrite(path, stack, photometric="minisblack", metadata=None)
    yield Written(path, shown=noise, refused=True)
    tifffile.imwrite(path, np.resize(stack, (6, *SHAPE)), photometric="minisblack", truncate=True)
    yield Written(path, shown=noise, refused=True)
    for mode, names in (("order", [0xFF, 0xFF00, 0xFF0000]), ("grey", [0xFFFFFF] * 3)):
        colours = [struct.unpack(">i", struct.pack(">I", name << 8 | 0xFF))[0] for name in names]
        metadata = {"axes": "CYX", "Channel": {"Name": ["x", "y", mode], "Color": colours}}
        tifffile.imwrite(path, stack, photometric="minisblack", ome=True, metadata=metadata)
        yield Written(path, shown=noise, refused=True)


def _png_files(folder, labels, noise, smooth):
    """Write PNG files of every colour type and depth, also interlaced."""
    path = folder / "a.png"
    for bits, interlaced in itertools.product((1, 2, 4, 8, 16), (False, True)):
        values = (0, 1, 1) if bits == 1 else (0, 1, 2)
        two = np.where(labels == 2, 2, 0) if bits == 1 else labels
        _write_png(path, np.array(values)[two], bits, 0, interlaced)
        yield Written(path, two.astype(np.uint8), (0, 9, 1) if bits == 1 else values)
        largest = 2**bits - 1
        grey = np.random.default_rng(bits).integers(0, largest + 1, SHAPE)
        grey[0, :2] = 0, largest
        _write_png(path, grey, bits, 0, interlaced)
        eight = grey * 255 // largest if bits <= 8 else grey >> 8
        yield Written(path, shown=as_rgb(eight.astype(np.uint8)))
        if bits <= 8:
            table = np.random.default_rng(2).integers(0, 256, (2**bits, 3)).astype(np.uint8)
            _write_png(path, np.array(values)[two], bits, 3, interlaced, table)
            yield Written(path, two.astype(np.uint8), (0, 9, 1) if bits == 1 else values)
            _write_png(path, grey, bits, 3, interlaced, table)
            yield Written(path, shown=table[grey])
    for interlaced in (False, True):
        for colour_type, stored in ((2, noise), (2, wide(noise)), (6, noise), (6, wide(noise))):
            bits = stored.dtype.itemsize * 8
            opaque = np.full((*SHAPE, 1), 2**bits - 1)
            _write_png(path, np.dstack([stored, opaque]) if colour_type == 6 else stored, bits, colour_type, interlaced)
            yield Written(path, shown=noise)
        for bits, values in ((8, (0, 77, 250)), (16, (0, 300, 65535))):
            stored = np.array(values)[labels]
            _write_png(path, np.dstack([stored, np.full(SHAPE, 2**bits - 1)]), bits, 4, interlaced)
            yield Written(path, labels, values)
            _write_png(path, as_rgb(stored), bits, 2, interlaced)
            yield Written(path, labels, values)
    cv2.imwrite(str(path), wide(noise)[..., ::-1])
    yield Written(path, shown=noise)
    Image.fromarray(noise).save(path, save_all=True, append_images=[Image.fromarray(smooth)])
    yield Written(path, shown=noise, refused=True)


def _bmp_files(folder, labels, noise, smooth):
    """Write BMP files of every depth."""
    path = folder / "a.bmp"
    table = np.random.default_rng(3).integers(0, 256, (256, 3)).astype(np.uint8)
    for bits, top_down in itertools.product((1, 4, 8), (False, True)):
        two = np.where(labels == 2, 2, 0) if bits == 1 else labels
        values = np.array([0, 9, 1] if bits == 1 else [0, 1, 2])
        _write_bmp(path, values[two], bits, table[: 2**bits], top_down)
        yield Written(path, two.astype(np.uint8), tuple(values.tolist()))
        index = np.random.default_rng(bits).integers(0, 2**bits, SHAPE)
        _write_bmp(path, index, bits, table[: 2**bits], top_down)
        yield Written(path, shown=table[index])
    inverted = np.array([[255] * 3, [0] * 3], np.uint8)  # white first
    _write_bmp(path, (labels == 2).astype(int), 1, inverted)
    yield Written(path, np.where(labels == 2, 2, 0).astype(np.uint8), (0, 9, 1))
    _write_bmp(path, (labels == 2).astype(int), 1, inverted)
    yield Written(path, shown=inverted[(labels == 2).astype(int)])
    for top_down in (False, True):
        _write_bmp(path, noise[..., ::-1], 24, None, top_down)
        yield Written(path, shown=noise)
        _write_bmp(path, np.dstack([noise[..., ::-1], np.zeros(SHAPE, np.uint8)]), 32, None, top_down)
        yield Written(path, shown=noise)
    for alpha in (0, 255):
        _write_bmp(path, np.dstack([noise[..., ::-1], np.full(SHAPE, alpha, np.uint8)]), 32, None, masks=True)
        yield Written(path, shown=noise)
        three = as_rgb(np.array([0, 77, 250], np.uint8)[labels])
        _write_bmp(path, np.dstack([three, np.full(SHAPE, alpha, np.uint8)]), 32, None, masks=True)
        yield Written(path, labels, (0, 77, 250))
    Image.fromarray(GREY.astype(np.uint8)[labels]).save(path)
    yield Written(path, labels, tuple(GREY.tolist()))
    cv2.imwrite(str(path), noise[..., ::-1])
    yield Written(path, shown=noise)


def _jpeg_files(folder, labels, noise, smooth):
    """Write JPEG files, which are lossy."""
    path, image = folder / "a.jpg", Image.fromarray(smooth)
    for progressive, subsampling in itertools.product((False, True), (0, 2)):
        image.save(path, quality=97, progressive=progressive, subsampling=subsampling)
        yield Written(path, shown=smooth, tolerance=12)
    image.convert("L").save(path, quality=97)
    yield Written(path, shown=as_rgb(np.asarray(image.convert("L"))), tolerance=8)
    image.convert("CMYK").save(path, quality=97)
    yield Written(path, shown=np.asarray(image.convert("CMYK").convert("RGB")), tolerance=12)


def _pillow_tiff(folder, labels, noise, smooth):
    """Write TIFF files by Pillow and OpenCV, as other programs do."""
    path, image = folder / "a.tif", Image.fromarray(noise)
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        image.save(path, compression=compression)
        yield Written(path, shown=noise)
        Image.fromarray(GREY.astype(np.uint8)[labels]).save(path, compression=compression)
        yield Written(path, labels, tuple(GREY.tolist()))
        two = image.convert("P", palette=Image.Palette.ADAPTIVE)
        two.save(path, compression=compression)
        yield Written(path, shown=np.asarray(two.convert("RGB")))
    image.convert("CMYK").save(path)
    yield Written(path, shown=np.asarray(image.convert("CMYK").convert("RGB")))
    image.convert("YCbCr").save(path)
    yield Written(path, shown=np.asarray(image.convert("YCbCr").convert("RGB")), tolerance=1)
    image.convert("LAB").save(path)
    yield Written(path, shown=noise, refused=True)
    cv2.imwrite(str(path), wide(noise)[..., ::-1])
    yield Written(path, shown=noise)


def _write_packed(path: Path, values: np.ndarray, bits: int, photometric: str) -> None:
    """Write a TIFF file of 2 or 4 bits in one strip."""
    height, width = values.shape
    data = b"".join(_packed(row, bits) for row in values)
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, int(photometric == "minisblack")),
        (273, 4, 8 + 2 + 9 * 12 + 4), (277, 3, 1), (278, 4, height), (279, 4, len(data)),
    ]  # fmt: skip
    body = struct.pack("<H", len(tags))
    body += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags) + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + body + data)


def _packed(row: np.ndarray, bits: int) -> bytes:
    """Pack the values of a row, highest bits first, and fill the last byte with zeros."""
    unpacked = (row[:, None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(unpacked.ravel().astype(np.uint8)).tobytes()


def _write_png(
    path: Path, values: np.ndarray, bits: int, colour_type: int, interlaced: bool, table: np.ndarray | None = None
) -> None:
    """Write a PNG file; interlaced by Adam7."""
    height, width = values.shape[:2]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [values[r::down, c::right] for r, c, down, right in passes] if interlaced else [values]
    rows = [b"\0" + _png_row(row, bits) for part in parts if part.size for row in part]
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, int(interlaced))
    chunks = [(b"IHDR", header)]
    if table is not None:
        chunks.append((b"PLTE", table.tobytes()))
    chunks += [(b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in chunks:
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))


def _png_row(row: np.ndarray, bits: int) -> bytes:
    if bits < 8:
        return _packed(row, bits)
    return row.astype("u1" if bits == 8 else ">u2").tobytes()


def _write_bmp(
    path: Path, values: np.ndarray, bits: int, table: np.ndarray | None, top_down: bool = False, masks: bool = False
) -> None:
    """Write a BMP file; `masks` for the V4 header with an alpha channel."""
    height, width = values.shape[:2]
    order = values if top_down else values[::-1]
    rows = [_packed(row, bits) if bits < 8 else row.astype(np.uint8).tobytes() for row in order]
    data = b"".join(row + bytes(-len(row) % 4) for row in rows)
    size = 108 if masks else 40
    colours = b"" if table is None else np.dstack([table[None, :, ::-1], np.zeros((1, len(table)), np.uint8)]).tobytes()
    info = struct.pack("<IiiHHIIiiII", size, width, -height if top_down else height, 1, bits, 3 if masks else 0,
                       len(data), 2835, 2835, 0 if table is None else len(table), 0)  # fmt: skip
    if masks:
        info += struct.pack("<IIIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, 0x73524742) + bytes(48)
    start = 14 + len(info) + len(colours)
    path.write_bytes(struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + info + colours + data)
