"""Where the values of a label map lie: for every chunk and value a tight box, found by one pass over the chunks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ...blocks import Grid, to_roi
from ...sources import Source
from ..opening.handles import read_from

_VOXELS = 128**3
"""Of a part that is looked at at once, where an array has no chunks."""


@dataclass(frozen=True)
class LabelIndex:
    """Boxes of the values of a label map, in its own axes.

    Parameters
    ----------
    values : ndarray (m,)
        Sorted; a value occurs once for every chunk that holds it. 0 is none.
    low, high : ndarray of int64 (m, ndim)
        First index, and the one after the last.
    counts : ndarray of int64 (m,)
        Voxels.
    """

    values: npt.NDArray[Any]
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    def unique(self) -> list[int]:
        """Values that occur."""
        return [int(value) for value in np.unique(self.values)]

    def rows(self, value: int) -> slice:
        """Rows of a value."""
        if not len(self.values) or not 0 <= value <= np.iinfo(self.values.dtype).max:
            return slice(0, 0)
        key = self.values.dtype.type(value)
        begin, end = np.searchsorted(self.values, key, "left"), np.searchsorted(self.values, key, "right")
        return slice(int(begin), int(end))

    def box(self, value: int) -> tuple[slice, ...] | None:
        """The box of a value; None where it does not occur."""
        rows = self.rows(value)
        if rows.start == rows.stop:
            return None
        low, high = self.low[rows].min(axis=0), self.high[rows].max(axis=0)
        return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def made(source: Source) -> LabelIndex:
    """Look at every chunk of a label map once."""
    ndim = source.ndim
    unit = source.chunks or _blocks(source.shape)
    grid = Grid(source.shape, unit)
    values: list[npt.NDArray[Any]] = []
    boxes: list[tuple[list[int], list[int], int]] = []
    for number in range(grid.n_blocks) if source.size else ():
        roi = to_roi(grid[number])
        block = source.view(roi)
        if not block.any():
            continue
        found, numbers = np.unique(block, return_inverse=True)
        numbers = numbers.reshape(block.shape)
        counts = np.bincount(numbers.ravel(), minlength=len(found))
        for place, inside in enumerate(ndimage.find_objects(numbers + 1)):
            if found[place] and inside is not None:
                low = [part.start + whole.start for part, whole in zip(inside, roi, strict=True)]
                high = [part.stop + whole.start for part, whole in zip(inside, roi, strict=True)]
                values.append(found[place : place + 1])
                boxes.append((low, high, int(counts[place])))
    if not values:
        none = np.zeros((0, ndim), np.int64)
        return LabelIndex(np.zeros(0, source.dtype), none, none, np.zeros(0, np.int64))
    order = np.argsort(np.concatenate(values), kind="stable")
    lows, highs, sizes = (np.array(part, np.int64)[order] for part in zip(*boxes, strict=True))
    return LabelIndex(np.concatenate(values)[order], lows, highs, sizes)


def _blocks(shape: tuple[int, ...]) -> tuple[int, ...]:
    side = max(1, int(_VOXELS ** (1 / max(1, len(shape)))))
    return tuple(max(1, min(size, side)) for size in shape)


class _Opener:
    """What opens a label map; equal for all of one key, so that its index is made once."""

    def __init__(self, key: Hashable, open_it: Callable[[], Source]) -> None:
        self.key, self.open_it = key, open_it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Opener) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


@functools.lru_cache(maxsize=1024)
def _kept(opener: _Opener) -> LabelIndex:
    return read_from(opener.key, opener.open_it, made)


def label_index(key: Hashable, open_it: Callable[[], Source]) -> LabelIndex:
    """Return the index of a label map that never changes, made once in a process."""
    return _kept(_Opener(key, open_it))
