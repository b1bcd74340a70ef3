"""Reading a source into memory, by as many threads as pay."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ...errors import DtypeError, ShapeError
from ...sources.arrays.backing import ForeignBacking, NumpyBacking
from ...sources.base import Source
from ...system.threads import usable_cores

_SHARED_BYTES = 8 * 2**20
"""A thread that reads less than this costs more than it saves."""


def read_box(source: Source, box: tuple[slice, ...], out: np.ndarray | None = None) -> np.ndarray:
    """Return a box of a source, in `out` where one is given.

    Parameters
    ----------
    source : Source
        What to read.
    box : tuple of slice
        With both ends, of step 1.
    out : numpy.ndarray, optional
        Of the shape of the box and the data type of the source.
    """
    shape = tuple(part.stop - part.start for part in box)
    if out is None:
        mapped = _mapped(source, box)
        if mapped is not None:
            return mapped
    pieces = _pieces(source, box, shape)
    if out is None and len(pieces) == 1:
        return source.read(box)
    region = np.empty(shape, source.dtype) if out is None else out
    if len(pieces) == 1:
        region[...] = source.view(box)
        return region

    into = getattr(_held(source), "read_into", None)

    def read(piece: slice) -> None:
        at = slice(box[0].start + piece.start, box[0].start + piece.stop)
        if into is not None:
            into((at, *box[1:]), region[piece])
        else:
            region[piece] = source.view((at, *box[1:]))

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(read, pieces))
    return region


def checked_out(out: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array that an image is read into; ShapeError or DtypeError where it does not fit."""
    if not isinstance(out, np.ndarray) or out.shape != shape:
        found = getattr(out, "shape", type(out).__name__)
        raise ShapeError(f"out is {found}, the image {shape}.", remedy=f"out=numpy.empty({shape}, {dtype.name!r})")
    if out.dtype != dtype or not out.flags.writeable:
        raise DtypeError(
            f"out has the data type {out.dtype} (writeable: {out.flags.writeable}), the image {dtype}.",
            remedy=f"out=numpy.empty({shape}, {dtype.name!r})",
        )
    return out


def _held(source: Source) -> Any:
    """The array that a source reads from; None where one would be opened by another library to be looked at."""
    backing = getattr(source, "_backing", None)
    return backing.native if isinstance(backing, NumpyBacking | ForeignBacking) else None


def _mapped(source: Source, box: tuple[slice, ...]) -> np.ndarray | None:
    """A box that lies in one piece of a file: reading is faster than copying what is mapped."""
    backing = getattr(source, "_backing", None)
    path = backing.file if isinstance(backing, NumpyBacking) else None
    array: Any = _held(source)
    if path is None or not array.flags.c_contiguous or not array.ndim:
        return None
    shape = tuple(part.stop - part.start for part in box)
    long = [axis for axis, size in enumerate(shape) if size > 1]
    if long and shape[long[0] + 1 :] != array.shape[long[0] + 1 :]:
        return None
    start = int(np.ravel_multi_index([part.start for part in box], array.shape))
    size, count = array.dtype.itemsize, math.prod(shape)
    begin = array.offset + start * size
    if os.path.getsize(path) < begin + count * size or array.dtype != source.dtype:
        return None
    found = np.fromfile(path, array.dtype, count, offset=begin)
    return found.reshape(shape) if found.size == count else None


def _pieces(source: Source, box: tuple[slice, ...], shape: tuple[int, ...]) -> list[slice]:
    """Cut the first axis between chunks, a piece for each core."""
    nbytes = math.prod(shape) * source.dtype.itemsize
    count = min(4 * usable_cores(), nbytes // _SHARED_BYTES)
    step = source.chunks[0] if source.chunks else 1
    if not shape or usable_cores() < 2 or count < 2 or shape[0] < 2 * step or not getattr(source, "_backing", None):
        return [slice(0, shape[0] if shape else 0)]
    start = box[0].start
    cuts = [0]
    for number in range(1, count):
        cut = (start + shape[0] * number // count) // step * step - start
        if cuts[-1] < cut < shape[0]:
            cuts.append(cut)
    return [slice(a, b) for a, b in zip(cuts, [*cuts[1:], shape[0]], strict=True)]
