"""JPEG XL pictures (.jxl), through imagecodecs; the head, a stream of bits, is read here."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ....errors import FormatError
from ...details import Image
from ..opening import no_such
from .coded import Codec, Head, encoded, quality_of, to_encode

_NAME = "JPEG XL"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_STREAM = b"\xff\x0a"
_LONGEST = 1 << 16
_MOST_BOXES = 1000
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_ENUM = ((0, 0), (1, 0), (2, 4), (18, 6))
_SIZE = ((1, 9), (1, 13), (1, 18), (1, 30))
_ALPHA, _SPOT, _FILTER, _GREY = 0, 2, 5, 1
"""Kinds of extra channels, and the space of colours that is none."""


def construct(path: str, mode: str = "r", **kwargs: Any) -> dict[str, Any]:
    """Return the picture under the key ""."""
    return {"": open_dataset(path, None, mode, kwargs).array}


def write(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write a picture of 8 or 16 bits; without ``quality`` (1 to 100) nothing is lost."""
    import imagecodecs

    array, lost = to_encode(images, _NAME)
    quality = quality_of(options)
    how: dict[str, Any] = {"lossless": True} if quality is None else {"level": quality}
    encoded(path, lambda: bytes(imagecodecs.jpegxl_encode(array, **how)), _NAME)
    return lost


def _decode(path: str) -> np.ndarray:
    import imagecodecs

    with open(path, "rb") as file:
        return np.asarray(imagecodecs.jpegxl_decode(file.read(), index=0))


class _Bits:
    """A stream of bits, the lowest of each byte first."""

    def __init__(self, content: bytes) -> None:
        self._value, self._left = int.from_bytes(content, "little"), 8 * len(content)

    def take(self, count: int) -> int:
        """Return a number of so many bits."""
        if count > self._left:
            raise ValueError("its head is cut off")
        found = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return found

    def choice(self, *ways: tuple[int, int]) -> int:
        """Return a number in one of four ways (a constant, and bits that are added), of which two bits tell."""
        base, count = ways[self.take(2)]
        return base + self.take(count)


def _head(path: str) -> Head:
    bits = _Bits(_stream(path)[2:])
    height, width = _size(bits)
    orientation, animated, depth, floating = 1, False, 8, False
    grey, alpha, extra = False, False, 0
    if not bits.take(1):  # else all is as usual: 8 bits, colour
        if bits.take(1):
            orientation = 1 + bits.take(3)
            if bits.take(1):
                _size(bits)
            if bits.take(1):
                _preview(bits)
            if animated := bool(bits.take(1)):
                _animation(bits)
        depth, floating = _depth(bits)
        bits.take(1)
        extra = bits.choice((0, 0), (1, 0), (2, 4), (1, 12))
        alpha = _ALPHA in [_extra(bits) for _ in range(extra)]
        bits.take(1)
        if not bits.take(1):
            bits.take(1)
            grey = bits.choice(*_ENUM) == _GREY
    if orientation >= 5:
        height, width = width, height
    samples = (1 if grey else 3) + alpha
    if floating:
        dtype: np.dtype = np.dtype("f2" if depth == 16 else "f4")
    else:
        dtype = np.dtype("u1" if depth <= 8 else "u2" if depth <= 16 else "u4")
    if animated:
        warnings.warn(f"{path} is an animation, of which the first picture is read.", stacklevel=5)
    return Head(
        (height, width) if samples == 1 else (height, width, samples),
        dtype,
        depth,
        {"bits": depth, "float": floating, "animation": animated, "extra channels": extra},
        {"Orientation": orientation} if orientation > 1 else {},
    )


def _stream(path: str) -> bytes:
    """The begin of the stream, which may lie in a box, or in several."""
    with open(path, "rb") as file:
        start = file.read(len(_CONTAINER))
        if start.startswith(_STREAM):
            return start + file.read(_LONGEST)
        if start != _CONTAINER:
            raise no_such(path, _NAME, start)
        size, begin, found = file.seek(0, 2), len(_CONTAINER), b""
        for _ in range(_MOST_BOXES):
            file.seek(begin)
            header = file.read(8)
            if len(header) < 8 or len(found) >= _LONGEST:
                break
            length, kind = struct.unpack(">I4s", header)
            if length == 1:
                (length,) = struct.unpack(">Q", file.read(8))
            end = size if length == 0 else begin + length
            if end < file.tell():
                break
            if kind == b"jxlp":
                file.seek(4, 1)
            if kind in (b"jxlc", b"jxlp"):
                found += file.read(max(0, min(end - file.tell(), _LONGEST)))
            begin = end
    if not found.startswith(_STREAM):
        raise FormatError(f"{path} holds no stream of a picture.", remedy="copy the file again")
    return found


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)

    def one() -> int:
        return 8 * (1 + bits.take(5)) if small else bits.choice(*_SIZE)

    height = one()
    ratio = bits.take(3)
    if not ratio:
        return height, one()
    across, down = _RATIOS[ratio - 1]
    return height, height * across // down


def _preview(bits: _Bits) -> None:
    ways = ((16, 0), (32, 0), (1, 5), (33, 9)) if bits.take(1) else ((1, 6), (65, 8), (321, 10), (1345, 12))
    bits.choice(*ways)
    if not bits.take(3):
        bits.choice(*ways)


def _animation(bits: _Bits) -> None:
    bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
    bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
    bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
    bits.take(1)


def _depth(bits: _Bits) -> tuple[int, bool]:
    if bits.take(1):
        depth = bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
        bits.take(4)
        return depth, True
    return bits.choice((8, 0), (10, 0), (12, 0), (1, 6)), False


def _extra(bits: _Bits) -> int:
    """Return the kind of an extra channel."""
    if bits.take(1):
        return _ALPHA
    kind = bits.choice(*_ENUM)
    _depth(bits)
    bits.choice((0, 0), (3, 0), (4, 0), (1, 3))
    bits.take(8 * bits.choice((0, 0), (0, 4), (16, 5), (48, 10)))
    if kind == _ALPHA:
        bits.take(1)
    elif kind == _SPOT:
        bits.take(64)
    elif kind == _FILTER:
        bits.choice((1, 0), (0, 2), (3, 4), (19, 8))
    return kind


_CODEC = Codec(_NAME, "jpegxl", _head, _decode)
open_dataset, details = _CODEC.open_dataset, _CODEC.details
