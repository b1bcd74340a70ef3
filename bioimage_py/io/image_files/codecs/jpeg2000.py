"""JPEG 2000 pictures (.jp2, and bare streams .j2k), through imagecodecs; the head is read here."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from ....errors import FormatError
from ...details import Image
from ..opening import head_of, no_such
from .coded import Codec, Head, encoded, quality_of, to_encode

_NAME = "JPEG 2000"
_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_STREAM = b"\xff\x4f\xff\x51"
_MOST_BOXES = 1000
_COLOURS = {16: "sRGB", 17: "grey", 18: "sYCC"}


def construct(path: str, mode: str = "r", **kwargs: Any) -> dict[str, Any]:
    """Return the picture under the key ""."""
    return {"": open_dataset(path, None, mode, kwargs).array}


def write(path: str, images: Sequence[Image], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write a picture of 8 or 16 bits; without ``quality`` (1 to 100, in dB of signal to noise) nothing is lost."""
    import imagecodecs

    array, lost = to_encode(images, _NAME)
    quality = quality_of(options)
    form = "jp2" if path.lower().endswith(".jp2") else "j2k"
    encoded(
        path,
        lambda: bytes(
            imagecodecs.jpeg2k_encode(array, level=quality or 0, reversible=quality is None, codecformat=form)
        ),
        _NAME,
    )
    return lost


def _decode(path: str) -> np.ndarray:
    import imagecodecs

    with open(path, "rb") as file:
        return np.asarray(imagecodecs.jpeg2k_decode(file.read()))


def _head(path: str) -> Head:
    start = head_of(path, len(_SIGNATURE))
    with open(path, "rb") as file:
        if start.startswith(_STREAM):
            return _of_stream(path, file, {}, None)
        if start != _SIGNATURE:
            raise no_such(path, _NAME, start)
        palette: tuple[int, int] | None = None
        raw: dict[str, Any] = {}
        for kind, end in _boxes(file):
            if kind == b"jp2h":
                palette, raw = _of_header(file.read(min(end - file.tell(), 1 << 20)))
            elif kind == b"jp2c":
                return _of_stream(path, file, raw, palette)
    raise FormatError(f"{path} holds no picture.", remedy="copy the file again")


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The boxes of a file: kind and end; the file stands at the content of each."""
    size, begin = file.seek(0, 2), 0
    for _ in range(_MOST_BOXES):
        file.seek(begin)
        header = file.read(8)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header)
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        end = size if length == 0 else begin + length
        if end < file.tell():
            return
        yield kind, end
        begin = end


def _of_header(content: bytes) -> tuple[tuple[int, int] | None, dict[str, Any]]:
    """Columns and bits of a palette, if there is one, and the space of colours."""
    palette: tuple[int, int] | None = None
    raw: dict[str, Any] = {}
    inner = io.BytesIO(content)
    for kind, end in _boxes(inner):
        found = inner.read(min(end - inner.tell(), 4096))
        if kind == b"pclr":
            palette = found[2], (found[3] & 0x7F) + 1
        elif kind == b"colr" and found[0] == 1:
            (number,) = struct.unpack(">I", found[3:7])
            raw["colour space"] = _COLOURS.get(number, str(number))
    return palette, raw


def _of_stream(path: str, file: BinaryIO, raw: Mapping[str, Any], palette: tuple[int, int] | None) -> Head:
    content = file.read(42)
    if not content.startswith(_STREAM):
        raise FormatError(f"{path} has a stream that begins with {content[:4]!r}.", remedy="copy the file again")
    right, bottom, left, top, tile_x, tile_y = struct.unpack(">6I", content[8:32])
    (count,) = struct.unpack(">H", content[40:42])
    parts = file.read(3 * count)
    if not count or len(parts) < 3 * count or not tile_x or not tile_y or min(parts[1::3]) < 1 or min(parts[2::3]) < 1:
        raise FormatError(f"{path} is cut off, or its head is damaged.", remedy="copy the file again")
    kinds = {(parts[n], parts[n + 1], parts[n + 2]) for n in range(0, 3 * count, 3)}
    if len(kinds) > 1 or next(iter(kinds))[1:] != (1, 1):
        raise FormatError(
            f"{path} has samples of several kinds (bits, steps of x and y): {sorted(kinds)}.",
            remedy="convert it to tif with another program",
        )
    depth = next(iter(kinds))[0]
    signed, bits = depth >> 7, (depth & 0x7F) + 1
    if palette is not None:
        count, bits, signed = palette[0], palette[1], 0
    size = 1 if bits <= 8 else 2 if bits <= 16 else 4
    shape = (bottom - top, right - left)
    known = {**raw, "tile": [tile_y, tile_x], "samples": count, "bits": bits}
    applied = {"palette": True} if palette else {}
    return Head(
        shape if count == 1 else (*shape, count), np.dtype(f"{'i' if signed else 'u'}{size}"), bits, known, applied
    )


_CODEC = Codec(_NAME, "jpeg2000", _head, _decode)
open_dataset, details = _CODEC.open_dataset, _CODEC.details
