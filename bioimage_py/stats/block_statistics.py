"""Statistics of one numpy block, and how the results of two blocks become one.

A partial result of integer data holds Python integers, so nothing is rounded however large the volume or the values;
the value is the same for every grid of blocks. Floats are combined in float64. A block without any voxel (inside the
mask) gives None, which the fold leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DtypeError

# what fits the cache; products of 16 bit numbers summed over this many stay below 2**53, exact in float64
_PIECE = 1 << 16

# a row of a matrix of opencv, which some processors sum in 32 bits, and the voxels of a matrix, whose rows are an int32
_ROW, _WIDE_PIECE = 1 << 12, 1 << 24


def check_dtype(dtype: Any, name: str) -> None:
    """Refuse what has no order or no mean.

    Raises
    ------
    DtypeError
        For data that are not boolean, integer or real floating point.
    """
    if np.dtype(dtype).kind not in "buif":
        raise DtypeError(
            f"stats.{name} cannot use dtype {np.dtype(dtype)}",
            remedy="pass boolean, integer or real floating point data, for example array.real",
        )


def _inside(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The voxels to look at as one axis, booleans as 0 and 1, in native byte order."""
    values = array.reshape(-1) if mask is None else array[mask.astype(bool, copy=False)]
    if values.dtype.kind == "b":
        return values.view(np.uint8)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _pieces(values: np.ndarray, size: int = _PIECE) -> Iterator[np.ndarray]:
    for start in range(0, values.size, size):
        yield values[start : start + size]


# -- minimum and maximum -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extrema:
    """Kernel: smallest and largest value of a block as Python numbers, NaN if any value is NaN (as numpy).

    Parameters
    ----------
    smallest, largest : bool
        Which of the two to look for; the other is None.
    """

    smallest: bool = True
    largest: bool = True

    def __call__(self, array: np.ndarray, mask: np.ndarray | None = None) -> tuple[Any, Any] | None:
        """(smallest, largest), None where nothing is inside the mask."""
        values = _inside(array, mask)
        if values.size == 0:
            return None
        return values.min().item() if self.smallest else None, values.max().item() if self.largest else None


def merge_extrema(a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[Any, Any]:
    """Join two results of `Extrema`."""
    return _pick(a[0], b[0], min), _pick(a[1], b[1], max)


def _pick(a: Any, b: Any, choose: Any) -> Any:
    # min(1.0, nan) is 1.0 in Python, min(nan, 1.0) is nan: NaN is looked for first
    return a if a is None or a != a else b if b != b else choose(a, b)


# -- mean and standard deviation ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IntegerMoments:
    """Number, sum and sum of squares of integers: exact."""

    count: int
    total: int
    squares: int

    def mean(self) -> float:
        """The mean, correctly rounded."""
        return self.total / self.count

    def std(self) -> float:
        """Standard deviation with divisor n, from an exact variance."""
        return math.sqrt((self.count * self.squares - self.total * self.total) / (self.count * self.count))


@dataclass(frozen=True)
class FloatMoments:
    """Number, mean and sum of squared differences from the mean of floats, in float64."""

    count: int
    average: float
    scatter: float

    def mean(self) -> float:
        """The mean."""
        return self.average

    def std(self) -> float:
        """Standard deviation with divisor n."""
        return math.sqrt(self.scatter / self.count)


Moments = IntegerMoments | FloatMoments


@dataclass(frozen=True)
class BlockMoments:
    """Kernel: what mean and standard deviation need of a block.

    Parameters
    ----------
    spread : bool
        False leaves out the second moment (zero), which the mean alone does not need.
    """

    spread: bool = True

    def __call__(self, array: np.ndarray, mask: np.ndarray | None = None) -> Moments | None:
        """The moments, None where nothing is inside the mask."""
        values = _inside(array, mask)
        if values.size == 0:
            return None
        if values.dtype.kind == "f":
            return _float_moments(values, self.spread)
        return IntegerMoments(values.size, _integer_sum(values), _integer_squares(values) if self.spread else 0)


def merge_moments(a: Moments, b: Moments) -> Moments:
    """Join two results of `BlockMoments`: exact for integers, else the formula of Chan, Golub and LeVeque (1979)."""
    if isinstance(a, IntegerMoments) and isinstance(b, IntegerMoments):
        return IntegerMoments(a.count + b.count, a.total + b.total, a.squares + b.squares)
    assert isinstance(a, FloatMoments)
    assert isinstance(b, FloatMoments)
    count = a.count + b.count
    if not (math.isfinite(a.average) and math.isfinite(b.average)):
        return FloatMoments(count, a.average + b.average, math.nan)  # as numpy: infinite, or NaN; and no spread
    difference = b.average - a.average
    average = a.average + difference * (b.count / count)
    return FloatMoments(count, average, a.scatter + b.scatter + difference * difference * (a.count * b.count / count))


def _float_moments(values: np.ndarray, spread: bool) -> FloatMoments:
    result: Moments | None = None
    with np.errstate(invalid="ignore", over="ignore"):
        for piece in _pieces(values):
            numbers = piece.astype(np.float64)
            average = float(numbers.mean())
            scatter = 0.0
            if spread:
                numbers -= average
                scatter = float(np.dot(numbers, numbers))
            part = FloatMoments(piece.size, average, scatter)
            result = part if result is None else merge_moments(result, part)
    assert isinstance(result, FloatMoments)
    return result


def _integer_sum(values: np.ndarray) -> int:
    if values.dtype.itemsize <= 2:
        import cv2

        # whole numbers far below 2**53, which opencv adds exactly, and several times faster than numpy
        whole = values.size - values.size % _ROW
        rows = (piece.reshape(-1, _ROW) for piece in _pieces(values[:whole], _WIDE_PIECE))
        return sum(int(cv2.sumElems(piece)[0]) for piece in rows) + int(values[whole:].sum(dtype=np.int64))
    bound = 1 << 8 * values.dtype.itemsize
    if values.dtype.itemsize == 8:
        bound = max(-int(values.min()), int(values.max()))
    if values.dtype.itemsize < 8 and bound * values.size >= 1 << 63:
        return sum(map(_integer_sum, _pieces(values, 1 << 30)))
    if bound * values.size < 1 << 63:
        return int(values.sum(dtype=np.uint64 if values.dtype.kind == "u" else np.int64))
    low, high = values & values.dtype.type(0xFFFFFFFF), values >> values.dtype.type(32)
    return int(low.sum(dtype=np.uint64)) + (int(high.sum()) << 32)


def _integer_squares(values: np.ndarray) -> int:
    """Exact sum of squares: numbers are cut into 16 bit limbs, whose products a float64 dot product sums exactly."""
    if values.dtype.itemsize == 1:
        import cv2

        # opencv squares the root of an exact sum below 2**32, which rounding undoes
        return sum(round(cv2.norm(piece, cv2.NORM_L2SQR)) for piece in _pieces(values))
    low, high = int(values.min()), int(values.max())
    one = max(-low, high) < 1 << 17
    limbs = 1 if one else values.dtype.itemsize // 2
    total = 0
    for piece in _pieces(values):
        parts = piece.astype(np.float64)[np.newaxis] if one else _limbs(piece, limbs)
        products = parts @ parts.T
        total += sum(int(products[i, j]) << 16 * (i + j) for i in range(limbs) for j in range(limbs))
    return total


def _limbs(piece: np.ndarray, limbs: int) -> np.ndarray:
    """(limbs, n) float64; the last limb keeps the sign."""
    kind = piece.dtype.type
    parts = np.empty((limbs, piece.size))
    for i in range(limbs):
        shifted = piece >> kind(16 * i)
        parts[i] = shifted if i == limbs - 1 else shifted & kind(0xFFFF)
    return parts


# -- all of them -------------------------------------------------------------------------------------------------------

Summarized = tuple[tuple[Any, Any], Moments]


@dataclass(frozen=True)
class BlockSummary:
    """Kernel: extrema and moments of a block in one pass."""

    def __call__(self, array: np.ndarray, mask: np.ndarray | None = None) -> Summarized | None:
        """(extrema, moments), None where nothing is inside the mask."""
        values = _inside(array, mask)
        extrema, moments = Extrema()(values), BlockMoments()(values)
        return None if extrema is None or moments is None else (extrema, moments)


def merge_summaries(a: Summarized, b: Summarized) -> Summarized:
    """Join two results of `BlockSummary`."""
    return merge_extrema(a[0], b[0]), merge_moments(a[1], b[1])


# -- unique values -----------------------------------------------------------------------------------------------------

Unique = tuple[np.ndarray, np.ndarray]

_UNIQUE_PIECE = 1 << 21
_SMALL = 1 << 16
"""Values that are counted one by one in any case, whatever lies between them."""
_RUN_COST = 16
"""Sorting a run of equal values takes as long as counting so many voxels."""


@dataclass(frozen=True)
class UniqueValues:
    """Kernel: sorted different values of a block in its own dtype, and how often each occurs (int64)."""

    def __call__(self, array: np.ndarray, mask: np.ndarray | None = None) -> Unique | None:
        """(values, counts), None where nothing is inside the mask."""
        values = _inside(array, mask)
        if values.size == 0:
            return None
        result: Unique | None = None
        for piece in _pieces(values, _UNIQUE_PIECE):
            part = _unique(piece)
            result = part if result is None else merge_unique(result, part)
        assert result is not None
        return result[0].astype(array.dtype.newbyteorder("="), copy=False), result[1]


def merge_unique(a: Unique, b: Unique) -> Unique:
    """Join two results of `UniqueValues`."""
    if a[0].size == b[0].size and np.array_equal(a[0], b[0]):
        return a[0], a[1] + b[1]
    return sum_by_value(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]]))


def sum_by_value(values: np.ndarray, counts: np.ndarray) -> Unique:
    """Sorted different `values` with their summed `counts` (int64, exact); NaN is one value."""
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[order]
    new = np.empty(values.size, bool)
    new[:1] = True
    new[1:] = values[1:] != values[:-1]
    if values.dtype.kind == "f":
        new[1:] &= ~(np.isnan(values[1:]) & np.isnan(values[:-1]))
    starts = np.flatnonzero(new)
    return values[starts], np.add.reduceat(counts, starts).astype(np.int64, copy=False)


def _unique(piece: np.ndarray) -> Unique:
    low, span = _range(piece)
    if span is not None and span < _SMALL:
        return _tally(piece, low)
    changes = piece[1:] != piece[:-1]
    n_runs = np.count_nonzero(changes) + 1
    if span is not None and span < piece.size // 2 and span + piece.size < _RUN_COST * n_runs:
        return _tally(piece, low)
    if n_runs > piece.size // 2:
        values, counts = np.unique(piece, return_counts=True)
        return values, counts.astype(np.int64, copy=False)
    # labels come in runs: sorting the runs is cheaper than sorting the voxels
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    return sum_by_value(piece[starts], np.diff(starts, append=piece.size))


def _range(piece: np.ndarray) -> tuple[int, int | None]:
    """Where to begin counting and how far to go: from 0 where that is little further; None for floats."""
    if piece.dtype.kind == "f":
        return 0, None
    low, high = int(piece.min()), int(piece.max())
    if low >= 0 and high < max(_SMALL, piece.size // 2):
        low = 0
    return low, high - low


def _tally(piece: np.ndarray, low: int) -> Unique:
    """Count integers that span a small range above `low`."""
    # differences in the unsigned type of the same width cannot overflow
    unsigned = np.dtype(f"u{piece.dtype.itemsize}")
    offsets = piece.view(unsigned)
    if low != 0:
        offsets = offsets - np.array(low, piece.dtype).view(unsigned)
    counts = np.bincount(offsets.view(np.int64) if unsigned.itemsize == 8 else offsets)
    present = np.flatnonzero(counts != 0)  # nine times faster than of the counts themselves
    values = present.astype(piece.dtype) + piece.dtype.type(low)
    return values, counts[present].astype(np.int64, copy=False)
