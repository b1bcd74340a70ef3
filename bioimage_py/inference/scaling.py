"""How voxels become what a model was trained on: from given numbers, or from those of the whole volume.

What is found of the volume is counted in whole numbers, or folded over a grid that depends on the volume's shape only,
so it is the same whatever the blocks, the region and the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..blocks import Block, to_roi
from ..sources import Source
from ..stats.block_statistics import BlockMoments, Moments, merge_moments

Pair = tuple[float, float]

_SMALL_BITS, _BITS = 15, 10
"""Binary digits of a number that are counted: of integers of 16 bits, which are exact then, and of all others."""


@dataclass(frozen=True)
class Counts:
    """How often numbers occur, by their leading digits: keys ascending as the numbers do."""

    keys: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    def value(self, percent: float, bits: int) -> float:
        """The number below or at which so many percent lie, in the middle of those with the same digits."""
        total = np.cumsum(self.counts)
        rank = max(1, int(np.ceil(percent / 100 * int(total[-1]))))
        key = int(self.keys[int(np.searchsorted(total, rank))])
        # an integer of 16 bits is the lowest number of its key, and the only one; so is 0, but for the tiniest
        exact = bits == _SMALL_BITS or key == 0
        return (_number(key, bits) + _number(key if exact else key + 1, bits)) / 2


def digits_of(dtype: np.dtype[Any]) -> int:
    """Binary digits after the first that are counted of a data type."""
    return _SMALL_BITS if dtype.kind in "bui" and dtype.itemsize <= 2 else _BITS


def count(values: np.ndarray, bits: int) -> Counts:
    """Count numbers by sign, exponent and leading digits."""
    if bits == _SMALL_BITS:
        low = int(values.min())
        there = np.bincount(values.astype(np.int32) - low)
        found = np.flatnonzero(there)
        return Counts(_keys((found + low).astype(np.float64), bits), there[found].astype(np.int64))
    keys, counts = np.unique(_keys(values.astype(np.float64), bits), return_counts=True)
    return Counts(keys, counts.astype(np.int64))


def _keys(numbers: npt.NDArray[np.float64], bits: int) -> npt.NDArray[np.int64]:
    whole = numbers.view(np.int64)
    return np.where(whole < 0, np.iinfo(np.int64).min - whole, whole) >> (52 - bits)


def _number(key: int, bits: int) -> float:
    """The lowest number of a key."""
    bound = key << (52 - bits)
    whole = np.int64(bound if bound >= 0 else int(np.iinfo(np.int64).min) - bound)
    return float(whole.view(np.float64))


def merge_counts(a: Counts, b: Counts) -> Counts:
    """Join two counts."""
    keys, where = np.unique(np.concatenate([a.keys, b.keys]), return_inverse=True)
    counts = np.zeros(keys.size, np.int64)
    np.add.at(counts, where, np.concatenate([a.counts, b.counts]))
    return Counts(keys, counts)


Found = Moments | Counts


def _merge(a: Found | None, b: Found | None) -> Found | None:
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, Counts):
        assert isinstance(b, Counts)
        return merge_counts(a, b)
    assert not isinstance(b, Counts)
    return merge_moments(a, b)


def merge_found(a: Sequence[Found | None], b: Sequence[Found | None]) -> list[Found | None]:
    """Join what two blocks have found, channel by channel."""
    return list(starmap(_merge, zip(a, b, strict=True)))


@dataclass(frozen=True)
class Measure:
    """Block function: what the scaling has to know of a block, for each input (channel)."""

    kind: Literal["standard", "percentiles"]

    def __call__(
        self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> list[Found | None] | None:
        """Moments or counts of the finite voxels inside of the mask; None where the mask leaves nothing."""
        roi = to_roi(block)
        inside = None if mask is None else mask[roi].astype(bool, copy=False)
        if inside is not None and not inside.any():
            return None
        return [self._of(source.view(roi), inside) for source in inputs]

    def _of(self, voxels: np.ndarray, inside: np.ndarray | None) -> Found | None:
        values = voxels.reshape(-1) if inside is None else voxels[inside]
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if not values.size:
            return None
        if self.kind == "standard":
            return BlockMoments()(values)
        return count(values, digits_of(voxels.dtype))


@dataclass(frozen=True)
class Scaling:
    """``(voxel - shift) / width``, with one pair for all channels or one for each, in float32.

    Parameters
    ----------
    kind : {"none", "given", "standard", "percentiles"}
    numbers : tuple
        Given pairs of shift and width; or the two percentiles.
    """

    kind: Literal["none", "given", "standard", "percentiles"] = "none"
    numbers: tuple[Any, ...] = ()

    @property
    def measure(self) -> Measure | None:
        """The block function of the first pass; None where none is needed."""
        return Measure(self.kind) if self.kind in ("standard", "percentiles") else None

    def pairs(self, found: Sequence[Found | None] | None, dtypes: Sequence[np.dtype[Any]]) -> tuple[Pair, ...] | None:
        """Shift and width of each channel, None where voxels stay as they are.

        A volume with one value only, or none, has the width 1.
        """
        if self.kind == "none":
            return None
        if self.kind == "given":
            return tuple(self.numbers) * (len(dtypes) if len(self.numbers) == 1 else 1)
        parts = [None] * len(dtypes) if found is None else found
        return tuple(map(partial(self._pair), parts, dtypes))

    def _pair(self, found: Found | None, dtype: np.dtype[Any]) -> Pair:
        if found is None:
            return 0.0, 1.0
        if isinstance(found, Counts):
            low, high = (found.value(percent, digits_of(dtype)) for percent in self.numbers)
            return low, (high - low) or 1.0
        return found.mean(), found.std() or 1.0


def scaled(voxels: np.ndarray, pair: Pair | None) -> npt.NDArray[np.float32]:
    """Voxels as a model gets them."""
    if pair is None:
        with np.errstate(over="ignore"):
            return voxels.astype(np.float32)
    # integers of more than 24 bits lose digits in float32 before the shift, not after it
    wide = voxels.dtype.itemsize > 2 or voxels.dtype.kind == "f"
    values: npt.NDArray[Any] = voxels.astype(np.float64 if wide else np.float32)
    np.subtract(values, values.dtype.type(pair[0]), out=values)
    np.divide(values, values.dtype.type(pair[1]), out=values)
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)
