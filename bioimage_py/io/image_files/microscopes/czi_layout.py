"""How CZI files are laid out: segments, the directory of subblocks, and how these are packed."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....errors import FormatError, StorageError
from ....extras import needing
from ..opening import AGAIN, head_of, known, no_such, require_memory, size_in_bytes

NAME = "CZI"
MAGIC = b"ZISRAWFILE"
_SEGMENT = struct.Struct("<16sqq")
_FILE = struct.Struct("<4i16s16siqqiq")
_ENTRY = struct.Struct("<2siqiiB5si")
_DIMENSION = struct.Struct("<4siifi")
_SUBBLOCK = struct.Struct("<iiq")
_MOST_DIMENSIONS = 32
_MOST_XML = 256 * 2**20

PIXELS: dict[int, tuple[np.dtype[Any], int]] = {
    0: (np.dtype("<u1"), 1),
    1: (np.dtype("<u2"), 1),
    2: (np.dtype("<f4"), 1),
    3: (np.dtype("<u1"), 3),
    4: (np.dtype("<u2"), 3),
    8: (np.dtype("<f4"), 3),
    9: (np.dtype("<u1"), 4),
    10: (np.dtype("<c8"), 1),
    12: (np.dtype("<i4"), 1),
    13: (np.dtype("<f8"), 1),
}
"""Data type and samples by the number of a pixel type."""

COMPRESSIONS = {0: None, 1: "jpeg", 2: "lzw", 4: "jpegxr", 5: "zstd", 6: "zstd"}


@dataclass(frozen=True)
class Tile:
    """One subblock, as the directory lists it.

    Parameters
    ----------
    place : int
        Where its segment begins.
    pixel, compression : int
        Numbers of its pixel type and its codec.
    start, size, stored : dict of str to int
        By dimension: first index, number of indices, and of stored pixels.
    """

    place: int
    pixel: int
    compression: int
    start: dict[str, int]
    size: dict[str, int]
    stored: dict[str, int]

    @property
    def factor(self) -> int:
        """How many pixels of the finest level one of this tile is wide; they are powers of 2 or 3, roughly."""
        return max(1, round(self.size["X"] / self.stored["X"]))


def read_directory(path: str) -> tuple[list[Tile], int]:
    """Return all tiles of a file, and where its metadata are (0 where they are not said).

    Raises
    ------
    FormatError
        If it is another file, or a damaged one, or a part of one.
    """
    found = head_of(path, _SEGMENT.size + _FILE.size)
    if not found.startswith(MAGIC) or len(found) < _SEGMENT.size + _FILE.size:
        raise no_such(path, NAME, found)
    *_, part, directory, metadata, _, _ = _FILE.unpack_from(found, _SEGMENT.size)
    size = os.path.getsize(path)
    if part:
        raise FormatError(f"{path} is part {part} of an image in several files.", remedy="open the first of them")
    with open(path, "rb") as file:
        file.seek(_inside(path, directory, size))
        head = file.read(_SEGMENT.size + 128)
        if len(head) < _SEGMENT.size + 128 or not head.startswith(b"ZISRAWDIRECTORY"):
            raise FormatError(f"{path} is cut off or damaged: no directory at byte {directory}.", remedy=AGAIN)
        (count,) = struct.unpack_from("<i", head, _SEGMENT.size)
        if not 0 < count <= size // _ENTRY.size:
            raise FormatError(f"{path} announces {count} tiles in {size} bytes.", remedy=AGAIN)
        tiles = [_tile(path, file, size) for _ in range(count)]
    return tiles, metadata


def _inside(path: str, place: int, size: int) -> int:
    if not 0 <= place < size:
        raise FormatError(f"{path} is cut off or damaged: it goes on at byte {place} of {size}.", remedy=AGAIN)
    return place


def _tile(path: str, file: Any, size: int) -> Tile:
    kind, pixel, place, _, compression, _, _, count = _ENTRY.unpack(file.read(_ENTRY.size))
    if kind != b"DV" or not 0 < count <= _MOST_DIMENSIONS:
        raise FormatError(f"{path} has a directory with the entry {kind!r} of {count} dimensions.", remedy=AGAIN)
    start, extent, stored = {}, {}, {}
    for _ in range(count):
        name, first, length, _, packed = _DIMENSION.unpack(file.read(_DIMENSION.size))
        letter = name.rstrip(b"\0").decode("ascii", "replace")
        start[letter], extent[letter], stored[letter] = first, length, packed or length
    sizes = [*extent.values(), *stored.values()]
    if not {"X", "Y"} <= set(extent) or min(sizes) < 1:
        raise FormatError(f"{path} has a tile of {extent} pixels, stored as {stored}.", remedy=AGAIN)
    known(path, "pixel type", pixel, PIXELS)
    known(path, "compression", compression, COMPRESSIONS)
    return Tile(_inside(path, place, size), pixel, compression, start, extent, stored)


def read_metadata(path: str, place: int) -> bytes:
    """Return the XML of a file, nothing where there is none."""
    if not place:
        return b""
    with open(path, "rb") as file:
        file.seek(_inside(path, place, os.path.getsize(path)))
        head = file.read(_SEGMENT.size + 256)
        if len(head) < _SEGMENT.size + 256 or not head.startswith(b"ZISRAWMETADATA"):
            raise FormatError(f"{path} has no metadata at byte {place}.", remedy=AGAIN)
        (count,) = struct.unpack_from("<i", head, _SEGMENT.size)
        return file.read(min(max(0, count), _MOST_XML))


def read_tile(path: str, tile: Tile) -> np.ndarray:
    """Return the stored pixels of a tile, ``(y, x, samples)``, red before blue.

    Raises
    ------
    StorageError
        If they are damaged.
    """
    dtype, samples = PIXELS[tile.pixel]
    shape = (tile.stored["Y"], tile.stored["X"], samples)
    needed = size_in_bytes(shape, dtype)
    require_memory(path, needed)
    with open(path, "rb") as file:
        file.seek(tile.place)
        head = file.read(_SEGMENT.size + _SUBBLOCK.size + _ENTRY.size)
        if len(head) < _SEGMENT.size + _SUBBLOCK.size + _ENTRY.size or not head.startswith(b"ZISRAWSUBBLOCK"):
            raise _damaged(path, tile, "no tile begins there")
        about, _, count = _SUBBLOCK.unpack_from(head, _SEGMENT.size)
        *_, dimensions = _ENTRY.unpack_from(head, _SEGMENT.size + _SUBBLOCK.size)
        entry = _ENTRY.size + _DIMENSION.size * max(0, min(dimensions, _MOST_DIMENSIONS))
        file.seek(tile.place + _SEGMENT.size + _SUBBLOCK.size + max(240, entry) + max(0, about))
        if not 0 <= count <= os.path.getsize(path):
            raise _damaged(path, tile, f"it has {count} bytes")
        stored = file.read(count)
    if len(stored) < count:
        raise _damaged(path, tile, "the file is cut off")
    pixels = _unpacked(path, tile, stored, needed)
    if pixels.nbytes < needed:
        raise _damaged(path, tile, f"{pixels.nbytes} bytes of pixels in place of {needed}")
    found = np.asarray(pixels.reshape(-1).view(np.uint8)[:needed].view(dtype).reshape(shape))
    if samples == 1 or tile.compression in (1, 4):
        return found
    return found[..., [2, 1, 0, 3][:samples]]


def _unpacked(path: str, tile: Tile, stored: bytes, needed: int) -> np.ndarray:
    if tile.compression == 0:
        return np.frombuffer(stored, np.uint8)
    with needing("imagecodecs", f"The compression of {path}"):
        import imagecodecs
    try:
        if tile.compression == 1:
            return np.ascontiguousarray(imagecodecs.jpeg8_decode(stored))
        if tile.compression == 4:
            return np.ascontiguousarray(imagecodecs.jpegxr_decode(stored))
        if tile.compression == 2:
            return np.frombuffer(imagecodecs.lzw_decode(stored, out=needed), np.uint8)
        # the second form has a head: its size, and whether low and high bytes are apart
        head = stored[0] if tile.compression == 6 else 0
        found = np.frombuffer(imagecodecs.zstd_decode(stored[head:], out=needed), np.uint8)
        if head >= 3 and stored[1] == 1 and stored[2] & 1:
            found = np.ascontiguousarray(found.reshape(2, -1).T).reshape(-1)
        return found
    except Exception as error:
        raise _damaged(path, tile, f"{type(error).__name__}: {error}") from error


def _damaged(path: str, tile: Tile, what: str) -> StorageError:
    return StorageError(f"The tile at byte {tile.place} of {path} is damaged: {what}.", remedy=AGAIN)
