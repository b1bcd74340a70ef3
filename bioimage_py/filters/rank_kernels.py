"""Kernels on numpy arrays that pick values of a neighbourhood: ranks, and what is made of smallest and largest ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .footprints import Footprint
from .selection import select, select_at, select_sorting

SLAB_BYTES = 1 << 22
"""Of all that is made at a time of a part of a block."""
LARGE_BYTES = 1 << 13
"""Of the values around a voxel: networks for more are slower than scipy, which sorts them."""


@dataclass(frozen=True)
class Rank:
    """Kernel: the value of one rank around every voxel.

    Parameters
    ----------
    footprint : Footprint
        Which voxels count. Beyond the array the values are mirrored at its border (``c b a | a b c d | d c b``; scipy
        calls it ``"reflect"``).
    rank : int
        0 for the smallest value, ``len(footprint) - 1`` for the largest. NaN counts as larger than all others.
    mirrored : bool, default False
        The footprint is taken point-mirrored.
    """

    footprint: Footprint
    rank: int
    mirrored: bool = False

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Filter `array`: a new array of its shape and type, in native byte order."""
        dtype = array.dtype.newbyteorder("=")
        if not array.size or not array.ndim:
            return array.astype(dtype)
        # half precision is slow, and a negative zero could end up as either
        data = np.add(array, 0.0, dtype=np.float32 if dtype == np.float16 else dtype) if dtype.kind == "f" else array
        size = self.footprint.size
        before = [(one - 1) // 2 if self.mirrored else one // 2 for one in size]
        width = [(begin, one - 1 - begin) for begin, one in zip(before, size, strict=True)]
        padded = np.ascontiguousarray(np.pad(data, width, mode="symmetric"), data.dtype.newbyteorder("="))
        if self._large(data.dtype):
            return self._cropped(select_sorting(padded, self._inside(), self.rank), array.shape).astype(dtype)
        result = np.empty(array.shape, dtype)
        kept = 1 if self._extreme else math.prod(size[1:])
        planes = max(1, SLAB_BYTES // (padded[0].nbytes * kept))
        for begin in range(0, len(result), planes):
            part = result[begin : begin + planes]
            part[...] = self._cropped(self._selected(padded[begin : begin + len(part) + size[0] - 1]), part.shape)
        return result

    @property
    def _extreme(self) -> bool:
        return self.rank in (0, len(self.footprint) - 1)

    def _large(self, dtype: np.dtype[Any]) -> bool:
        """Whether sorting the values of each voxel is faster than a network."""
        return not self._extreme and len(self.footprint) * dtype.itemsize > LARGE_BYTES

    def _inside(self) -> np.ndarray:
        inside = self.footprint.array
        return inside[(slice(None, None, -1),) * inside.ndim] if self.mirrored else inside

    def _selected(self, padded: np.ndarray) -> np.ndarray:
        if self.footprint.inside is None:
            return select(padded, self.footprint.size, self.rank)
        return select_at(padded, np.argwhere(self._inside()).tolist(), self.rank)

    @staticmethod
    def _cropped(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return found[tuple(slice(0, extent) for extent in shape)]


def tophat_dtype(dtype: Any) -> np.dtype[Any]:
    """Of differences of two values: it holds that of the smallest and the largest."""
    kind = np.dtype(dtype)
    if kind.kind == "i":
        return np.dtype(f"u{kind.itemsize}")
    return np.dtype(np.float32) if kind == np.float16 else kind.newbyteorder("=")


@dataclass(frozen=True)
class TopHat:
    """Kernel: what an opening removes (`white`), or what a closing adds.

    Parameters
    ----------
    footprint : Footprint
    white : bool
    """

    footprint: Footprint
    white: bool

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels needed around a block, per axis: those of two filters, one the mirror image of the other."""
        return tuple(one - 1 for one in self.footprint.size)

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Filter `array`: a new array of its shape, of the type `tophat_dtype`."""
        erosion = Rank(self.footprint, 0)
        dilation = Rank(self.footprint, len(self.footprint) - 1, mirrored=True)
        second = dilation(erosion(array)) if self.white else erosion(dilation(array))
        high, low = (array, second) if self.white else (second, array)
        # at the border of the array an opening with a lopsided footprint may be above the input
        high = np.maximum(high, low)
        dtype = tophat_dtype(array.dtype)
        if dtype.kind == "b":
            return np.asarray(high & ~low)
        if array.dtype.kind == "i":
            # two's complement: the difference of the bits is that of the values
            high, low = (one.astype(one.dtype.newbyteorder("=")).view(dtype) for one in (high, low))
        with np.errstate(invalid="ignore"):
            return np.asarray(np.subtract(high, low, dtype=dtype))
