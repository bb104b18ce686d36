"""The pixels of a file as they are stored, and the numbers or colours that they mean.

Numbers are those that the file stores: grey levels, palette indices, bits. Colours are those that a viewer shows: a
palette or an inverted scale (WhiteIsZero) is applied. Masks with labels as numbers need the first, images the second.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

OPAQUE = 255
_BYTE = 8
_WORD = 16
# 16-bit values below this come from a 12-bit camera; their high byte would be nearly black.
_TWELVE_BITS = 4096
# Pixels of a mask that are sorted at once.
_PART = 2**20

# EXIF orientation -> how to turn the stored array upright.
_UPRIGHT: Mapping[int, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {
        2: lambda array: array[:, ::-1],
        3: lambda array: array[::-1, ::-1],
        4: lambda array: array[::-1],
        5: lambda array: array.swapaxes(0, 1),
        6: lambda array: array.swapaxes(0, 1)[:, ::-1],
        7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
        8: lambda array: array.swapaxes(0, 1)[::-1],
    }
)


@dataclass(frozen=True)
class Pixels:
    """The pixels of a file.

    Args:
        values: the stored numbers, bool, integer or float: (H, W) grey levels or palette indices, (H, W, 3) RGB.
        bits: bits of one number in the file.
        palette: uint8 (n, 3), the colours of the indices; None without a palette.
        alpha: uint8 (H, W), 255 is opaque; None without transparency.
        premultiplied: whether the colours are multiplied with alpha.
        white_is_zero: whether a grey level of 0 is shown as white.
    """

    values: np.ndarray
    bits: int = _BYTE
    palette: np.ndarray | None = None
    alpha: np.ndarray | None = None
    premultiplied: bool = False
    white_is_zero: bool = False

    @property
    def description(self) -> str:
        """The type of the pixels, for messages: "16-bit grey"."""
        if self.palette is not None:
            return f"{self.bits}-bit palette"
        kind = {"f": "floating point ", "i": "signed ", "c": "complex "}.get(self.values.dtype.kind, "")
        return f"{self.bits}-bit {kind}{'grey' if self.values.ndim == 2 else 'RGB'}"

    def upright(self, orientation: int) -> Pixels:
        """Apply an EXIF orientation, 1 to 8."""
        turn = _UPRIGHT.get(orientation)
        if turn is None:
            return self
        alpha = None if self.alpha is None else turn(self.alpha)
        return replace(self, values=turn(self.values), alpha=alpha)

    def has_scale(self) -> bool:
        """Whether the numbers have a defined brightness: black and white are known."""
        return self.palette is not None or (self.values.dtype.kind in "bu" and self.bits <= _WORD)

    def unused_bits(self) -> bool:
        """Whether the numbers have 16 bits, but use 12 or fewer of them."""
        if self.palette is not None or self.bits != _WORD:
            return False
        return 0 < int(self.values.max(initial=0)) < _TWELVE_BITS

    def colours(self) -> np.ndarray:
        """Return the colours as shown, without transparency: uint8 (H, W, 3).

        Of more than 8 bits, the highest 8 are kept.

        Raises:
            ValueError: the numbers have no defined brightness.
        """
        if not self.has_scale():
            raise ValueError(self.description)
        if self.palette is not None:
            table = np.zeros((max(2**self.bits, len(self.palette)), 3), np.uint8)
            table[: len(self.palette)] = self.palette
            return table[self.values.astype(np.uint8) if self.values.dtype == bool else self.values]
        largest = 2**self.bits - 1
        # Of 8 bits nothing is calculated: an image of 90 megapixels would need three times its memory.
        values = self.values if self.values.dtype == np.uint8 and self.bits == _BYTE else self.values.astype(np.uint16)
        if self.white_is_zero:
            values = (largest - values).astype(values.dtype)
        if self.bits < _BYTE:
            values = (values * OPAQUE + largest // 2) // largest
        values = (values >> (self.bits - _BYTE) if self.bits > _BYTE else values).astype(np.uint8, copy=False)
        return values if values.ndim > 2 else np.repeat(values[..., None], 3, axis=2)

    def on_white(self) -> np.ndarray:
        """Return the colours as shown on white, the colour of an empty slide: uint8 (H, W, 3)."""
        colours = self.colours()
        if self.alpha is None or (self.alpha == OPAQUE).all():
            return colours
        alpha = self.alpha[..., None].astype(np.uint32)
        front = colours.astype(np.uint32) * (OPAQUE if self.premultiplied else alpha)
        return np.minimum((front + (OPAQUE - alpha) * OPAQUE + OPAQUE // 2) // OPAQUE, OPAQUE).astype(np.uint8)

    def numbers(self, listed: Collection[int] = ()) -> np.ndarray:
        """Return the stored numbers of a grey or palette file, int32 or, of more than 16 bits, int64 (H, W).

        Grey levels of fewer than 8 bits are the stored numbers (0 to 15 for 4 bits) if one of these, except 0, is in
        `listed`, else they are spread over 0 to 255.

        Args:
            listed: the numbers that a mask is expected to have.

        Raises:
            ValueError: a number is not whole.
        """
        values = self.values
        if values.dtype.kind == "c":
            raise ValueError("complex numbers")
        if values.dtype.kind == "f":
            if not np.isfinite(values).all():
                raise ValueError("a value that is infinite or no number (NaN)")
            whole = np.rint(values)
            if (whole != values).any():
                raise ValueError(f"the value {values[whole != values][0]:g}, which is no whole number")
            values = np.clip(whole.astype(np.float64), -(2.0**62), 2.0**62)
        elif values.dtype == np.uint64:
            values = np.minimum(values, 2**62)
        values = values.astype(np.int32 if values.dtype.kind in "bui" and values.dtype.itemsize <= 2 else np.int64)
        largest = 2**self.bits - 1
        if self.palette is None and self.bits < _BYTE and not any(0 < number <= largest for number in listed):
            values = values * OPAQUE // largest
        return values


def unique_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted unique values, and the index (H, W) of each value among them, as `np.unique` does.

    A part of the array is sorted at a time: `np.unique` needs ten times the memory of a mask.
    """
    flat = values.reshape(-1)
    parts = [slice(start, start + _PART) for start in range(0, flat.size, _PART)]
    keys = np.unique(np.concatenate([flat[:0], *(np.unique(flat[part]) for part in parts)]))
    where = np.empty(flat.size, np.min_scalar_type(max(len(keys) - 1, 0)))
    for part in parts:
        where[part] = np.searchsorted(keys, flat[part])
    return keys, where.reshape(values.shape)


def pack_colours(colours: np.ndarray) -> np.ndarray:
    """Return colours, uint8 (H, W, 3), packed as 0xrrggbb, int32 (H, W)."""
    packed = colours[..., 0].astype(np.int32)
    for channel in (1, 2):
        packed <<= 8
        packed |= colours[..., channel]
    return packed
