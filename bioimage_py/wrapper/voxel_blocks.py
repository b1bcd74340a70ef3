"""Blocks of voxels that become one voxel: their mean, or their most frequent value."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..sources.indexing import Roi

# voxels whose mode is sorted out at once: what fits the cache
_MODE_VOXELS = 1 << 17

# blocks up to this size are compared voxel by voxel, ten times faster than sorting each of them
_PAIRWISE = 27

Region = tuple[Roi, Roi, tuple[int, ...]]


def _regions(shape: Sequence[int], factors: Sequence[int]) -> Iterator[Region]:
    """(region of the result, region of the array, factors there): apart from the whole blocks one for every edge."""
    per_axis = []
    for size, factor in zip(shape, factors, strict=True):
        whole, rest = divmod(size, factor)
        parts = [(slice(0, whole), slice(0, whole * factor), factor)] if whole else []
        if rest:
            parts.append((slice(whole, whole + 1), slice(whole * factor, size), rest))
        per_axis.append(parts)
    for combination in itertools.product(*per_axis):
        yield (
            tuple(part[0] for part in combination),
            tuple(part[1] for part in combination),
            tuple(part[2] for part in combination),
        )


def _blockwise(
    function: Callable[[np.ndarray, Sequence[int]], np.ndarray], array: np.ndarray, factors: Sequence[int]
) -> np.ndarray:
    """Apply a function of whole blocks to an array that may end within a block."""
    result = np.empty([-(-size // factor) for size, factor in zip(array.shape, factors, strict=True)], array.dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        for target, region, sizes in _regions(array.shape, factors):
            result[target] = function(array[region], sizes)
    return result


def mean_blocks(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Mean of every block of `factors` voxels, in the dtype of `array`.

    Parameters
    ----------
    array : numpy.ndarray
        Booleans, integers (summed exactly, rounded to the nearest, halves to even) or floats (summed in float64).
    factors : sequence of int
        Voxels of a block per axis; blocks at the end may be smaller and are averaged over what they have.

    Returns
    -------
    numpy.ndarray
        Shape ``ceil(shape / factors)``.
    """
    if array.dtype.kind == "b":
        return mean_blocks(array.view(np.uint8), factors).view(bool)
    return _blockwise(_mean, array, factors)


def mode_blocks(array: np.ndarray, factors: Sequence[int], *, nonzero: bool = False) -> np.ndarray:
    """Most frequent value of every block of `factors` voxels, the smallest of those that tie.

    Parameters
    ----------
    array : numpy.ndarray
        Booleans or integers; 64-bit ids are exact.
    factors : sequence of int
        Voxels of a block per axis; blocks at the end may be smaller.
    nonzero : bool, default False
        0 counts only where the whole block is 0.

    Returns
    -------
    numpy.ndarray
        Shape ``ceil(shape / factors)``, dtype of `array`.
    """
    return _blockwise(partial(_mode, nonzero=nonzero), array, factors)


def _reduce(ufunc: np.ufunc, array: np.ndarray, factors: Sequence[int], dtype: Any = None) -> np.ndarray:
    """Reduce whole blocks axis by axis; the first axes first, where rows are contiguous and vectorised."""
    result = array
    for axis, factor in enumerate(factors):
        if factor == 1:
            continue
        parts = [result[(slice(None),) * axis + (slice(i, None, factor),)] for i in range(factor)]
        result = ufunc(parts[0], parts[1], dtype=dtype, casting="unsafe")
        for part in parts[2:]:
            ufunc(result, part, out=result, dtype=dtype, casting="unsafe")
    return result


def _mean(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    n = math.prod(factors)
    if n == 1:
        return array
    if array.dtype.kind == "f":
        return _reduce(np.add, array, factors, np.float64) / n
    info, last = np.iinfo(array.dtype), n // 2
    wide = _wide_type(int(info.min) * n, int(info.max) * n + last)
    if wide != np.uint16:  # of bytes, which often have all values there are, the look at them costs more than it saves
        low, high = 0 if array.dtype.kind == "u" else int(array.min()), int(array.max())
        if int(info.min) <= low * n and high * n + last <= int(info.max):
            return _rounded(_narrow_sums(array, factors), n)
    if wide is not None:
        return _rounded(_sums(array, factors, wide), n)
    # 64 bit: the quotients sum without overflow, the remainders stay small
    quotient = array // array.dtype.type(n)
    remainder = array - quotient * array.dtype.type(n)
    rest, remainder = np.divmod(_reduce(np.add, remainder, factors, np.int64), n)
    mean: np.ndarray = _reduce(np.add, quotient, factors) + rest.astype(array.dtype)
    return _to_even(mean, remainder, n)


def _narrow_sums(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Sums that fit the type of the array."""
    total = _reduce(np.add, array, (*factors[:-1], 1))
    words = _words(total, factors[-1])
    if words is None:
        return _reduce(np.add, total, (*(1,) * (array.ndim - 1), factors[-1]))
    return _halves_of(words, total.dtype)


def _words(array: np.ndarray, factor: int) -> np.ndarray | None:
    """Two neighbours of a row as one word, where they are to be summed: its halves are had without strides."""
    kind = array.dtype
    if kind not in (np.uint8, np.uint16) or not kind.isnative or factor != 2 or array.strides[-1] != kind.itemsize:
        return None
    return array.view(f"u{2 * kind.itemsize}")


def _halves_of(words: np.ndarray, kind: np.dtype[Any]) -> np.ndarray:
    """Sum of the two numbers of a type in each word."""
    total: np.ndarray = words & words.dtype.type(np.iinfo(kind).max)
    total += words >> words.dtype.type(8 * kind.itemsize)
    return total


def _sums(array: np.ndarray, factors: Sequence[int], wide: np.dtype[Any]) -> np.ndarray:
    words = _words(array, factors[-1]) if array.ndim > 1 and 2 * array.itemsize == wide.itemsize else None
    if words is None:
        return _reduce(np.add, array, factors, wide)
    # halves of words need not be widened to be summed
    lower, upper, step = wide.type(np.iinfo(array.dtype).max), wide.type(8 * array.itemsize), factors[0]
    total, part = words[::step] & lower, words[::step] >> upper
    total += part
    for i in range(1, step):
        total += np.bitwise_and(words[i::step], lower, out=part)
        total += np.right_shift(words[i::step], upper, out=part)
    return _reduce(np.add, total, (1, *factors[1:-1], 1))


def _wide_type(low: int, high: int) -> np.dtype[Any] | None:
    for name in ("u2", "u4", "u8") if low >= 0 else ("i2", "i4", "i8"):
        info = np.iinfo(name)
        if int(info.min) <= low and high <= int(info.max):
            return np.dtype(name)
    return None


def _rounded(total: np.ndarray, n: int) -> np.ndarray:
    """``total / n`` to the nearest, halves to even: a pyramid of many levels would brighten if they always went up."""
    kind = total.dtype.type
    if n & (n - 1):
        quotient, rest = np.divmod(total, kind(n))
        return _to_even(quotient, rest, n)
    shift = kind(n.bit_length() - 1)
    odd = (total >> shift) & kind(1)
    odd += kind(n // 2 - 1)
    total += odd
    total >>= shift
    return total


def _to_even(quotient: np.ndarray, rest: np.ndarray, n: int) -> np.ndarray:
    """Round up where the rest of a division by `n` is more than a half, or a half of an odd quotient."""
    up = rest > n // 2
    if n % 2 == 0:
        up |= (rest == n // 2) & (quotient & quotient.dtype.type(1)).astype(bool)
    quotient += up.view(np.uint8).astype(quotient.dtype)
    return quotient


def _mode(array: np.ndarray, factors: Sequence[int], *, nonzero: bool) -> np.ndarray:
    if math.prod(factors) == 1:
        return array
    result = array[tuple(slice(None, None, factor) for factor in factors)].copy()
    # inside of objects all voxels of a block agree, which costs no sorting to see
    mixed = np.flatnonzero(_differ(array, factors))
    if mixed.size == 0:
        return result
    values, modes = np.ascontiguousarray(array).reshape(-1), result.reshape(-1)
    steps = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
    offsets = [sum(map(operator.mul, place, steps)) for place in np.ndindex(*factors)]
    count = max(1, _MODE_VOXELS // len(offsets))
    for begin in range(0, mixed.size, count):
        part = mixed[begin : begin + count]
        first = np.zeros_like(part)
        for index, factor, step in zip(np.unravel_index(part, result.shape), factors, steps, strict=True):
            first += index * (factor * step)
        members = [values.take(first + offset) for offset in offsets]
        modes[part] = (
            _pairwise_mode(members, nonzero)
            if len(members) <= _PAIRWISE
            else _sorted_mode(np.stack(members, axis=1), nonzero)
        )
    return result


def _differ(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Whether the voxels of a block are not all equal; the first axes first, where rows are contiguous."""
    first, differ = array, np.zeros((1,) * array.ndim, bool)
    for axis, factor in enumerate(factors):
        if factor == 1:
            continue
        parts = [(slice(None),) * axis + (slice(i, None, factor),) for i in range(factor)]
        found = np.zeros(first[parts[0]].shape, bool)
        for part in parts[1:]:
            found |= first[parts[0]] != first[part]
        for part in parts if differ.shape == first.shape else ():
            found |= differ[part]
        first, differ = first[parts[0]], found
    return differ


def _pairwise_mode(members: Sequence[np.ndarray], nonzero: bool) -> np.ndarray:
    """Most frequent of the values at each position, the smallest of those that tie, by comparing all pairs."""
    # only later voxels are counted: the first one of a value has its full count, and the others have less
    # and 0, where it gives way to every other value, is beaten by those that occur once
    counts = [(member != 0).view(np.uint8) if nonzero else np.zeros(member.size, np.uint8) for member in members]
    for i, j in itertools.combinations(range(len(members)), 2):
        same = members[i] == members[j]
        counts[i] += (same & (members[i] != 0) if nonzero else same).view(np.uint8)
    best, most = members[0], counts[0]
    for member, count in zip(members[1:], counts[1:], strict=True):
        better = (count > most) | ((count == most) & (member < best))
        best = np.where(better, member, best)
        most = np.maximum(count, most)
    return best


def _sorted_mode(rows: np.ndarray, nonzero: bool) -> np.ndarray:
    """Most frequent value of each row, the smallest of those that tie."""
    rows = np.sort(rows, axis=1)
    new = np.ones(rows.shape, bool)
    new[:, 1:] = rows[:, 1:] != rows[:, :-1]
    runs = np.flatnonzero(new)
    lengths = np.diff(runs, append=rows.size)
    if nonzero:
        lengths[rows.reshape(-1)[runs] == 0] = 0
    row = runs // rows.shape[1]
    first = np.searchsorted(row, np.arange(len(rows)))
    longest = np.flatnonzero(lengths == np.maximum.reduceat(lengths, first)[row])
    # runs are in the order of rows and values: the first longest run of a row has its smallest value
    winners = longest[np.searchsorted(row[longest], np.arange(len(rows)))]
    return rows.reshape(-1)[runs[winners]]
