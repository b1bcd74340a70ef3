"""Regions of a deflated stream (gzip, zlib) without all of it: the decoder's state is kept at points along the way."""

from __future__ import annotations

import bisect
import math
import os
import threading
import zlib
from typing import Any

import numpy as np

from ...errors import FormatError
from ..tif.pages import Pages
from .opening import AGAIN, require_memory
from .voxels import inflated

WHOLE_BYTES = 1 << 26
"""An image up to here is decoded at once and kept."""
_PIECE = 1 << 18
_READ = 1 << 15
"""Compressed bytes at a time, of which a point keeps what was left over."""
_SPACING = 1 << 22
"""Bytes of voxels from one point to the next; more where that would be more than so many points."""
_MOST_POINTS = 512
_MOST_CURSORS = 16


def deflated(path: str, offset: int, shape: tuple[int, ...], dtype: np.dtype, skip: int = 0) -> Any:
    """Return voxels that are deflated, by plane where they are many; parameters and errors are those of `inflated`."""
    whole = inflated(path, offset, shape, dtype, skip)
    if math.prod(shape) * dtype.itemsize <= WHOLE_BYTES or len(shape) < 3:
        return whole
    colours = len(shape) > 3 and shape[-1] <= 4
    lead, page = shape[: -2 - colours], shape[-2 - colours :]
    nbytes = math.prod(page) * dtype.itemsize
    stream = Inflater(path, offset, skip + math.prod(shape) * dtype.itemsize)

    def load(number: int) -> np.ndarray:
        require_memory(path, nbytes)
        voxels = stream.read(skip + number * nbytes, nbytes)
        return voxels.view(dtype).reshape(page).astype(dtype.newbyteorder("="), copy=False)

    pages = Pages(lead, page, dtype.newbyteorder("="), load, lambda: None, lambda number: os.path.abspath(path))
    pages.streamed = True
    return pages


class _Cursor:
    """A decoder, and where it stands in what it reads and in what it gives."""

    def __init__(self, decoder: Any, read: int, given: int) -> None:
        self.decoder, self.read, self.given = decoder, read, given
        self.ended = False
        """Whether it stands behind a stream, whose checksum was right."""

    def copy(self) -> _Cursor:
        return _Cursor(self.decoder.copy(), self.read, self.given)


class Inflater:
    """A deflated stream that is read anywhere; any number of threads may do so.

    Parameters
    ----------
    path : str
        File.
    offset : int
        Byte at which the stream begins; several of gzip may follow each other.
    size : int
        Bytes that it should give.
    """

    def __init__(self, path: str, offset: int, size: int) -> None:
        self._path, self._size = path, size
        self._spacing = max(_SPACING, -(-size // _MOST_POINTS))
        self._points = [_Cursor(_decoder(), offset, 0)]
        self._cursors: list[_Cursor] = []
        self._lock = threading.Lock()

    def read(self, begin: int, count: int) -> np.ndarray:
        """Return some of its bytes.

        Raises
        ------
        FormatError
            If it is damaged or ends before.
        """
        found = np.empty(count, np.uint8)
        cursor = self._nearest(begin)
        try:
            with open(self._path, "rb") as file:
                while cursor.given < begin + count:
                    at = cursor.given
                    content = memoryview(self._step(cursor, file, min(_PIECE, begin + count - at)))
                    wanted = content[max(0, begin - at) :]
                    start = max(0, at - begin)
                    found[start : start + len(wanted)] = np.frombuffer(wanted, np.uint8)
                    self._note(cursor)
                if cursor.given == self._size and not cursor.ended:
                    file.seek(cursor.read)
                    cursor.decoder.decompress(file.read(_READ), 1)  # which compares the checksum
        except zlib.error as error:
            raise FormatError(f"{self._path} has damaged compressed voxels: {error}", remedy=AGAIN) from error
        with self._lock:
            self._cursors = [*self._cursors[1 - _MOST_CURSORS :], cursor]
        return found

    def _step(self, cursor: _Cursor, file: Any, most: int) -> bytes:
        file.seek(cursor.read)
        piece = file.read(_READ)
        if not piece:
            raise FormatError(
                f"{self._path} is cut off: its compressed voxels end after {cursor.given} of {self._size} bytes.",
                remedy=AGAIN,
            )
        found: bytes = cursor.decoder.decompress(piece, most)
        left = cursor.decoder.unused_data if cursor.decoder.eof else cursor.decoder.unconsumed_tail
        cursor.read += len(piece) - len(left)
        cursor.given += len(found)
        cursor.ended = bool(cursor.decoder.eof)
        if cursor.ended:
            cursor.decoder = _decoder()
        return found

    def _nearest(self, begin: int) -> _Cursor:
        """The decoder that is nearest before a byte: one that stands there, or the copy of a point."""
        with self._lock:
            point = self._points[bisect.bisect_right(self._points, begin, key=lambda one: one.given) - 1]
            ahead = [one for one in self._cursors if point.given <= one.given <= begin]
            if not ahead:
                return point.copy()
            best = max(ahead, key=lambda one: one.given)
            self._cursors.remove(best)
            return best

    def _note(self, cursor: _Cursor) -> None:
        """Make a point of where a decoder stands, if there is none about."""
        with self._lock:
            if cursor.given >= self._points[-1].given + self._spacing:
                self._points.append(cursor.copy())


def _decoder() -> Any:
    return zlib.decompressobj(zlib.MAX_WBITS | 32)
