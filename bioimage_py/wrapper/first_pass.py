"""Values of a whole source that a lazy transform needs, from passes over its data, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import DtypeError, ParameterError
from ..sources.base import Source
from ..sources.indexing import Roi

BLOCK_VOXELS = 1 << 22
_DIGITS = 16


def blocks(source: Source) -> Iterator[Roi]:
    """Boxes of whole chunks that cover a source, of about `BLOCK_VOXELS` voxels."""
    chunks = source.chunks or (1,) * source.ndim
    sizes = [min(size, chunk) for size, chunk in zip(source.shape, chunks, strict=True)]
    for axis in reversed(range(source.ndim)):
        room = max(1, BLOCK_VOXELS // max(1, math.prod(sizes)))
        sizes[axis] = min(source.shape[axis], sizes[axis] * room)
    counts = [-(-n // max(1, size)) for n, size in zip(source.shape, sizes, strict=True)]
    for position in np.ndindex(*counts):
        where = zip(position, sizes, source.shape, strict=True)
        yield tuple(slice(i * size, min((i + 1) * size, n)) for i, size, n in where)


def value_range(source: Source) -> tuple[Any, Any]:
    """Smallest and largest finite voxel; (0, 0) where there is none."""
    low = high = None
    for roi in blocks(source):
        block = _numbers(source._viewitem(roi))
        if block.size:
            low = block.min() if low is None else min(low, block.min())
            high = block.max() if high is None else max(high, block.max())
    return (0, 0) if low is None or high is None else (low.item(), high.item())


def percentiles(source: Source, wanted: Sequence[float]) -> list[Any]:
    """Exact percentiles of the finite voxels: values that occur, as ``numpy.percentile(..., method="inverted_cdf")``.

    The digits of the voxels are counted from the highest, 16 bits a pass: one pass for 8 and 16 bit data, two for 32
    bit, four for 64 bit, with memory for a table of counts for each percentile.

    Raises
    ------
    ParameterError
        For percentiles outside of 0 to 100.
    DtypeError
        For data that has no order, such as complex numbers.
    """
    if any(not 0 <= float(one) <= 100 for one in wanted):
        raise ParameterError(f"percentiles {list(wanted)!r} are not within 0 and 100.", remedy="percentiles=(1, 99)")
    bits = 8 * _keys(np.zeros(1, source.dtype)).itemsize
    prefixes, ranks = [0] * len(wanted), [0] * len(wanted)
    for shift in range(bits - min(_DIGITS, bits), -1, -_DIGITS):
        counts = np.zeros((len(wanted), 1 << min(_DIGITS, bits)), np.int64)
        for roi in blocks(source):
            _count(counts, _keys(_numbers(source._viewitem(roi)).ravel()), prefixes, shift)
        if shift + _DIGITS >= bits:  # the first pass sees all voxels
            total = int(counts[0].sum())
            ranks = [max(0, math.ceil(float(one) / 100 * total) - 1) for one in wanted]
            if not total:
                return [0] * len(wanted)
        for i, row in enumerate(counts):
            below = np.cumsum(row)
            digit = int(np.searchsorted(below, ranks[i], side="right"))
            ranks[i] -= int(below[digit - 1]) if digit else 0
            prefixes[i] = prefixes[i] << min(_DIGITS, bits) | digit
    return [_value(prefix, source.dtype) for prefix in prefixes]


def mean_and_std(source: Source) -> tuple[float, float]:
    """Mean and standard deviation of the finite voxels in float64, merged block by block (Chan et al. 1983)."""
    count, mean, squares = 0, 0.0, 0.0
    for roi in blocks(source):
        block = _numbers(source._viewitem(roi))
        if not block.size:
            continue
        own = float(block.mean(dtype=np.float64))
        delta, total = own - mean, count + block.size
        squares += (
            float(np.square(np.subtract(block, own, dtype=np.float64)).sum()) + delta**2 * count * block.size / total
        )
        mean += delta * block.size / total
        count = total
    return mean, math.sqrt(squares / count) if count else 0.0


def _numbers(block: np.ndarray) -> np.ndarray:
    if block.dtype.kind == "f" and not (finite := np.isfinite(block)).all():
        return np.asarray(block[finite])
    return block


def _count(counts: np.ndarray, keys: np.ndarray, prefixes: Sequence[int], shift: int) -> None:
    """Count the digit at a shift of the keys that begin with each prefix."""
    width = counts.shape[1]
    first = shift + _DIGITS >= 8 * keys.itemsize
    digits = (keys >> keys.dtype.type(shift)) & keys.dtype.type(width - 1)
    above = None if first else keys >> keys.dtype.type(shift + _DIGITS)
    seen: dict[int, np.ndarray] = {}
    for row, prefix in enumerate(prefixes):
        if prefix not in seen:
            chosen = digits if above is None else digits[above == keys.dtype.type(prefix)]
            seen[prefix] = np.bincount(chosen, minlength=width)
        counts[row] += seen[prefix]


def _keys(values: np.ndarray) -> np.ndarray:
    """Unsigned integers in the order of the values (the bits of a negative float turned round, IEEE 754)."""
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise DtypeError(f"Voxels of dtype {values.dtype} have no percentiles.", remedy="give the range: range=(0, 1)")
    bits = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
    top = bits.dtype.type(1 << (8 * bits.itemsize - 1))
    if values.dtype.kind == "f":
        # -0.0 and 0.0 are one value
        bits = np.where(values == 0, bits.dtype.type(0), bits)
        return np.where(bits & top, ~bits, bits | top)
    return bits ^ top if values.dtype.kind == "i" else bits


def _value(key: int, dtype: np.dtype) -> Any:
    """Return the value of a key."""
    bits = np.array([key], f"u{dtype.itemsize}")
    top = bits.dtype.type(1 << (8 * bits.itemsize - 1))
    if dtype.kind == "f":
        bits = np.where(bits & top, bits ^ top, ~bits)
    elif dtype.kind == "i":
        bits = bits ^ top
    return bits.view(dtype)[0].item()
