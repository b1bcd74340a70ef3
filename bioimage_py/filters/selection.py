"""The k-th smallest of the values around every voxel, by networks of comparators on whole arrays.

A comparator is a minimum and a maximum of two arrays, which vector instructions do for any type and without rounding.
Where the neighbourhood is a box, what was sorted along one axis is shared by all neighbours along the next one, and
only what the wanted value depends on is computed: for the median of 3 x 3 x 3 voxels 76 comparators, where a network of
27 values takes 125.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

CHUNK_BYTES, LIVE_BYTES = 1 << 15, 1 << 25
"""Of an array at a time, some dozen of which stay in the cache; and of all of them."""


@dataclass(frozen=True)
class Network:
    """Comparators that merge sorted lists.

    Parameters
    ----------
    steps : tuple of (int, int, int or None, int or None, tuple of int)
        Two wires, the wires of their minimum and maximum (None where it isn't needed), and the wires that no later step
        needs. The first wires are the entries of the lists, one list after the other.
    outputs : tuple of int
        Wires of the wanted entries of the merged list.
    """

    steps: tuple[tuple[int, int, int | None, int | None, tuple[int, ...]], ...]
    outputs: tuple[int, ...]

    @property
    def inputs(self) -> set[int]:
        """Wires that some step or output needs."""
        made = {wire for step in self.steps for wire in step[2:4]}
        return ({wire for step in self.steps for wire in step[:2]} | set(self.outputs)) - made


@lru_cache(maxsize=64)
def network(n_lists: int, length: int, wanted: tuple[int, ...]) -> Network:
    """The network for so many sorted lists of one length, by odd-even merging (Batcher 1968)."""
    steps: list[tuple[int, int, int, int]] = []
    count = n_lists * length

    def compared(a: int, b: int) -> tuple[int, int]:
        nonlocal count
        steps.append((a, b, count, count + 1))
        count += 2
        return count - 2, count - 1

    def merged(a: list[int], b: list[int]) -> list[int]:
        if not a or not b:
            return a or b
        if len(a) == len(b) == 1:
            return list(compared(a[0], b[0]))
        even, odd = merged(a[::2], b[::2]), merged(a[1::2], b[1::2])
        found = even[:1]
        for low, high in zip(odd, even[1:], strict=False):
            found += compared(low, high)
        return found + odd[len(even) - 1 :] + even[len(odd) + 1 :]

    lists = [list(range(start, start + length)) for start in range(0, count, length)]
    while len(lists) > 1:
        lists.sort(key=len)
        lists = [*lists[2:], merged(lists[0], lists[1])]
    outputs = tuple(lists[0][index] for index in wanted)
    return Network(_needed(steps, outputs), outputs)


def _needed(steps: Sequence[tuple[int, int, int, int]], outputs: tuple[int, ...]) -> Any:
    """The steps that the outputs depend on, with what is free after each."""
    needed, kept = set(outputs), []
    for a, b, low, high in reversed(steps):
        results = [wire if wire in needed else None for wire in (low, high)]
        if results != [None, None]:
            kept.append((a, b, *results, tuple(wire for wire in {a, b} if wire not in needed)))
            needed |= {a, b}
    return tuple(reversed(kept))


def select(padded: np.ndarray, size: Sequence[int], rank: int) -> np.ndarray:
    """The value of that rank (0 for the smallest) in every box that lies inside of an array; NaN counts as the largest.

    Parameters
    ----------
    padded : ndarray
        C-contiguous, in native byte order.
    size : sequence of int
        Of the box.
    rank : int

    Returns
    -------
    ndarray
        Of the shape of `padded`; entry ``x`` is for the box that begins at ``x``, and undefined where that isn't
        inside.
    """
    steps = [stride // padded.itemsize for stride in padded.strides]
    length = math.prod(size)
    index, down = _from_below(rank, length)
    if index == 0:
        return _extreme(padded, size, steps, down=down)
    levels = []
    wanted: tuple[int, ...] = (index,)
    for axis in [axis for axis in range(padded.ndim) if size[axis] > 1]:
        length //= size[axis]
        found = network(size[axis], length, wanted)
        levels.append((found, length, [step * steps[axis] for step in range(size[axis])], wanted))
        wanted = tuple(sorted({wire % length for wire in found.inputs}))
    lists = {0: padded.reshape(-1)}
    for found, length, shifts, wanted in reversed(levels):
        lists = _evaluated(found, lists, length, shifts, wanted, down=down)
    return lists[min(lists)].reshape(padded.shape)


def select_at(padded: np.ndarray, offsets: Sequence[Sequence[int]], rank: int) -> np.ndarray:
    """As `select`, of the voxels at these offsets (0 or above) from each."""
    steps = [stride // padded.itemsize for stride in padded.strides]
    shifts = [sum(step * offset for step, offset in zip(steps, one, strict=True)) for one in offsets]
    index, down = _from_below(rank, len(shifts))
    found = network(len(shifts), 1, (index,))
    lists = _evaluated(found, {0: padded.reshape(-1)}, 1, shifts, (index,), down=down)
    return lists[index].reshape(padded.shape)


def _extreme(padded: np.ndarray, size: Sequence[int], steps: Sequence[int], *, down: bool) -> np.ndarray:
    """The smallest (or largest) values of boxes: a window is made of two that overlap, each half as long."""
    lists = {0: padded.reshape(-1)}
    for axis, width in enumerate(size):
        span = 1
        while span < width:
            step = min(span, width - span)
            lists = _evaluated(network(2, 1, (0,)), lists, 1, (0, step * steps[axis]), (0,), down=down)
            span += step
    return lists[0].reshape(padded.shape)


def select_sorting(padded: np.ndarray, footprint: np.ndarray, rank: int) -> np.ndarray:
    """As `select`, for a footprint of so many voxels that scipy, which sorts those of each, is faster.

    It takes values through float64: what that cannot hold, or not sort, is replaced by its place among all values.
    """
    from scipy import ndimage

    values, kind = None, padded.dtype.kind
    if kind == "b":
        padded = padded.view(np.uint8)
    elif (kind in "iu" and padded.itemsize == 8) or (kind == "f" and np.isnan(padded).any()):
        values = np.unique(padded)
        padded = np.searchsorted(values, padded)
    # of one axis it ignores which voxels of the footprint count (scipy 1.17.1)
    found = ndimage.rank_filter(padded[np.newaxis], rank, footprint=footprint[np.newaxis])[0]
    ahead = tuple(slice(size // 2, None) for size in footprint.shape)
    return np.asarray(found[ahead] if values is None else values[found[ahead]])


def _from_below(rank: int, length: int) -> tuple[int, bool]:
    """Place in the sorted list, and whether that is sorted downwards: networks for the lower half are smaller."""
    return (rank, False) if 2 * rank < length else (length - 1 - rank, True)


def _evaluated(
    network: Network,
    lists: dict[int, np.ndarray],
    length: int,
    shifts: Sequence[int],
    wanted: tuple[int, ...],
    *,
    down: bool,
) -> dict[int, np.ndarray]:
    """Merge copies of sorted lists, each shifted by so many entries; the wanted entries of the merged one."""
    first = next(iter(lists.values()))
    smaller = np.fmin if first.dtype.kind == "f" else np.minimum
    earlier, later = (np.maximum, smaller) if down else (smaller, np.maximum)
    results = {index: np.empty_like(first) for index in wanted}
    leaves = [(wire, lists[wire % length], shifts[wire // length]) for wire in network.inputs]
    n = first.size - max(shifts)
    chunk = max(512, min(CHUNK_BYTES, LIVE_BYTES // len(leaves)) // first.itemsize)
    for begin in range(0, n, chunk):
        end = min(n, begin + chunk)
        wires = {wire: values[begin + shift : end + shift] for wire, values, shift in leaves}
        for a, b, low, high, free in network.steps:
            x, y = wires[a], wires[b]
            if low is not None:
                wires[low] = earlier(x, y)
            if high is not None:
                wires[high] = later(x, y)
            for wire in free:
                del wires[wire]
        for index, wire in zip(wanted, network.outputs, strict=True):
            results[index][begin:end] = wires[wire]
    for values in results.values():
        values[n:] = 0
    return results
