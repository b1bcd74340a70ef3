"""Voxels as lazy arrays: mapped as they lie in a file, converted region by region, or decoded as a whole when read."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import FormatError
from ...sources.arrays.mapped import require_whole
from ...sources.indexing import normalize_index
from .opening import AGAIN, require_bytes, require_memory, size_in_bytes

_MOST_DEFLATED = 1040
"""Zeros take a thousandth of their size at best: 258 bytes by 2 bits."""
_PIECE = 1 << 20


def mapped(path: str, dtype: np.dtype, offset: int, shape: tuple[int, ...]) -> Any:
    """Map voxels as they lie in a file; those of the other byte order are turned when they are read.

    Parameters
    ----------
    path : str
        File.
    dtype : numpy.dtype
        Data type, with its byte order.
    offset : int
        Byte of the first voxel.
    shape : tuple of int
        Shape; the last axis is the fastest.

    Raises
    ------
    FormatError
        If the file is too short.
    """
    require_bytes(path, offset, shape, dtype)
    array: np.ndarray = np.memmap(path, dtype, "r", offset, shape)
    native = dtype.newbyteorder("=")
    return array if dtype.isnative else ConvertedArray(path, array, native, lambda region: region.astype(native))


class ConvertedArray:
    """An array whose regions are converted when they are read; any number of threads may do so.

    Parameters
    ----------
    path : str
        File that holds the voxels.
    array : array_like
        What is stored.
    dtype : numpy.dtype
        Data type of what `convert` returns.
    convert : callable
        ``convert(region)`` returns an array of the same shape, of its own memory.
    """

    thread_safe = True

    def __init__(self, path: str, array: Any, dtype: np.dtype, convert: Callable[[np.ndarray], np.ndarray]) -> None:
        self._path, self._array, self._convert = os.path.abspath(path), array, convert
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype = dtype
        self.chunks, self.streamed = getattr(array, "chunks", None), getattr(array, "streamed", False)

    def __getitem__(self, index: Any) -> np.ndarray:
        require_whole(self._array)
        return self._convert(np.asarray(self._array[index]))

    def files_of(self, roi: Sequence[slice]) -> tuple[str, ...]:
        """Return the path of the file that holds the voxels of a region."""
        return (self._path,)


class TurnedArray:
    """An array with its axes in another order; any number of threads may read it.

    Parameters
    ----------
    path : str
        File that holds the voxels.
    array : array_like
        What is stored.
    order : sequence of int
        As of ``numpy.transpose``.
    """

    thread_safe = True

    def __init__(self, path: str, array: Any, order: Sequence[int]) -> None:
        self._path, self._array, self._order = os.path.abspath(path), array, tuple(order)
        self.shape: tuple[int, ...] = tuple(array.shape[n] for n in self._order)
        self.dtype = np.dtype(array.dtype)
        chunks = getattr(array, "chunks", None)
        self.chunks = None if chunks is None else tuple(chunks[n] for n in self._order)
        self.streamed = getattr(array, "streamed", False)

    def __getitem__(self, index: Any) -> np.ndarray:
        require_whole(self._array)
        selection = normalize_index(index, self.shape)
        box: list[slice] = [slice(None)] * len(self._order)
        for part, axis in zip(selection.roi, self._order, strict=True):
            box[axis] = part
        return selection.pick(np.ascontiguousarray(np.asarray(self._array[tuple(box)]).transpose(self._order)))

    def files_of(self, roi: Sequence[slice]) -> tuple[str, ...]:
        """Return the path of the file that holds the voxels of a region."""
        return (self._path,)


class WholeArray:
    """An array that can be decoded only as a whole: it is when the first voxel is read, and kept.

    Parameters
    ----------
    path : str
        File that holds the voxels.
    shape : tuple of int
        Shape.
    dtype : numpy.dtype
        Data type.
    load : callable
        ``load()`` returns the voxels.
    """

    thread_safe = True

    def __init__(self, path: str, shape: tuple[int, ...], dtype: np.dtype, load: Callable[[], np.ndarray]) -> None:
        self._path, self._load = os.path.abspath(path), load
        self.shape, self.dtype = shape, dtype
        self._whole: np.ndarray | None = None
        self._lock = threading.Lock()

    def __getitem__(self, index: Any) -> np.ndarray:
        with self._lock:
            if self._whole is None:
                require_memory(self._path, size_in_bytes(self.shape, self.dtype))
                whole = self._load()
                if whole.shape != self.shape:
                    raise FormatError(
                        f"{self._path} holds voxels of the shape {whole.shape}, its header says {self.shape}.",
                        remedy=AGAIN,
                    )
                self._whole = np.ascontiguousarray(whole, self.dtype)
                self._whole.flags.writeable = False
            whole = self._whole
        return np.asarray(whole[index])

    def files_of(self, roi: Sequence[slice]) -> tuple[str, ...]:
        """Return the path of the file that holds the voxels of a region."""
        return (self._path,)

    def close(self) -> None:
        """Let go of the decoded voxels."""
        with self._lock:
            self._whole = None


def inflated(path: str, offset: int, shape: tuple[int, ...], dtype: np.dtype, skip: int = 0) -> WholeArray:
    """Return voxels that are deflated, with the frame of gzip or of zlib; they are decoded when one is read.

    Parameters
    ----------
    path : str
        File.
    offset : int
        Byte at which the compressed stream begins; it goes on to the end of the file.
    shape : tuple of int
        Shape; the last axis is the fastest.
    dtype : numpy.dtype
        Data type, with its byte order.
    skip : int, default 0
        Bytes in front of the first voxel, compressed with them.

    Raises
    ------
    FormatError
        If the compressed bytes cannot hold so many voxels.
    """
    needed, there = skip + size_in_bytes(shape, dtype), os.path.getsize(path) - offset
    if offset < 0 or needed > max(0, there) * _MOST_DEFLATED:
        raise FormatError(
            f"{path} announces {needed} bytes of voxels {shape} {dtype}; the {max(0, there)} compressed bytes that it"
            " has cannot hold these.",
            remedy=AGAIN,
        )

    def load() -> np.ndarray:
        voxels = inflate(path, offset, needed)[skip:]
        return voxels.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)

    return WholeArray(path, shape, dtype.newbyteorder("="), load)


def inflate(path: str, offset: int, needed: int) -> np.ndarray:
    """Return that many bytes of a deflated stream, and not one more, whatever it holds.

    Raises
    ------
    FormatError
        If it is damaged or ends before.
    """
    whole = np.empty(needed, np.uint8)
    done = 0
    with open(path, "rb") as file:
        file.seek(offset)
        stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either frame
        piece = b""
        try:
            while done < needed:
                piece = piece or stream.unconsumed_tail or file.read(_PIECE)
                if not piece and not stream.eof:
                    raise FormatError(
                        f"{path} is cut off: its compressed voxels end after {done} of {needed} bytes.", remedy=AGAIN
                    )
                if stream.eof:  # files of gzip may be several, one after the other
                    piece = stream.unused_data or piece or file.read(_PIECE)
                    if not piece:
                        raise FormatError(f"{path} holds {done} bytes of voxels, not {needed}.", remedy=AGAIN)
                    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
                found = stream.decompress(piece, min(needed - done, 16 * _PIECE))
                piece = b""
                whole[done : done + len(found)] = np.frombuffer(found, np.uint8)
                done += len(found)
        except zlib.error as error:
            raise FormatError(f"{path} has damaged compressed voxels: {error}", remedy=AGAIN) from error
    return whole
