"""A table of new ids that lies in a file: workers map it, so that only what is looked up is read."""

from __future__ import annotations

import functools
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FormatError, IndexingError, ShapeError, SourceNotFoundError
from . import tables

Array = npt.NDArray[Any]

_PIECE = 2**22
"""Entries that are looked at at once where all of them are."""


@dataclass(frozen=True)
class MappedTable:
    """Maps id i to entry i of an array in a file.

    Parameters
    ----------
    path : str
    offset : int
        Byte at which the array begins.
    dtype : str
    size : int
        Number of entries.
    state : tuple of int
        Size, time of the last change and inode of the file: a table that was changed is another one.
    """

    path: str
    offset: int
    dtype: str
    size: int
    state: tuple[int, int, int]

    @classmethod
    def of(cls, labeling: Any) -> MappedTable | None:
        """The table of a mapped array of one axis, or of the path of a ``.npy`` file; None for anything else.

        Raises
        ------
        SourceNotFoundError, FormatError, ShapeError, DtypeError
            The file is not there, is no array of numpy, or holds something else than integers along one axis.
        """
        if isinstance(labeling, os.PathLike) and Path(labeling).suffix == ".npy":
            labeling = _opened(Path(labeling))
        elif not isinstance(labeling, np.memmap) or _place(labeling) is None:
            return None
        if labeling.ndim != 1:
            raise ShapeError(
                f"a dense labeling has one axis (new id by old id), got shape {labeling.shape}",
                remedy="save an array of shape (highest id + 1,)",
            )
        tables.check_label_dtype(labeling.dtype, "a labeling")
        place = _place(labeling)
        if place is None:  # an empty array has no bytes to map
            return None
        if labeling.flags.writeable:
            labeling.flush()
        found = os.stat(place[0])
        state = (found.st_size, found.st_mtime_ns, found.st_ino)
        return cls(place[0], place[1], labeling.dtype.str, labeling.size, state)

    @property
    def values(self) -> Array:
        """The array, mapped."""
        return _mapped(self)

    def __call__(self, labels: Array) -> Array:
        """Apply to labels of any shape; raises IndexingError naming an id without an entry."""
        flat = np.ascontiguousarray(labels).reshape(-1)
        starts, lengths = tables.runs(flat)
        ids = flat[starts]
        ids = ids.view(np.uint8) if ids.dtype.kind == "b" else ids
        native = np.dtype(self.dtype).newbyteorder("=")
        if not len(ids):
            return np.empty(labels.shape, native)
        for label in (int(ids.min()), int(ids.max())):
            if not 0 <= label < self.size:
                raise IndexingError(
                    f"id {label} occurs in the labels but not in the labeling, which has {self.size} entries",
                    remedy=f"save an array with an entry for every id, here at least {max(0, label) + 1}",
                )
        new = self.values[ids.astype(np.int64)].astype(native, copy=False)
        return np.repeat(new, lengths).reshape(labels.shape)

    def narrowed(self, dtype: np.dtype[Any]) -> MappedTable:
        """Itself: what it holds is checked as it is written."""
        return self

    def check_fits(self, dtype: np.dtype[Any]) -> None:
        """ValueRangeError where a new id does not fit a type; reads the file once, piece by piece."""
        for begin in range(0, self.size, _PIECE):
            count = min(_PIECE, self.size - begin)
            where = self.offset + begin * np.dtype(self.dtype).itemsize
            piece = np.fromfile(self.path, self.dtype, count, offset=where)
            tables.check_fits(tables.DenseTable(piece), dtype, first=begin)


@functools.lru_cache(maxsize=8)
def _mapped(table: MappedTable) -> Array:
    return np.memmap(table.path, table.dtype, "r", table.offset, (table.size,))


def _opened(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise SourceNotFoundError(f"there is no file {str(path)!r}", remedy="numpy.save(path, table)") from None
    except ValueError as error:
        raise FormatError(f"{str(path)!r} is no array that can be mapped: {error}", remedy="numpy.save") from error


def _place(array: Any) -> tuple[str, int] | None:
    """File and byte at which a mapped array begins; None where it is not what lies there."""
    mapped = getattr(array, "_mmap", None)
    contiguous = array.flags.c_contiguous and array.size
    if mapped is None or array.filename is None or array.mode == "c" or not contiguous:
        return None
    # a slice keeps the offset of the array that it is cut of
    start = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    whole = np.frombuffer(mapped, np.uint8)
    position = array.ctypes.data - whole.ctypes.data
    return (str(array.filename), start + position) if 0 <= position < whole.size else None
