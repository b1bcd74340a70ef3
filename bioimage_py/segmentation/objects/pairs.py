"""Which labels of two arrays meet, and in how many voxels: pairs of 64-bit ids, counted exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...errors import ParameterError

# voxels looked at in one go: the temporaries stay in the cache
_PIECE = 1 << 20

Overlaps = tuple[np.ndarray, np.ndarray]


def changes(*columns: np.ndarray) -> np.ndarray:
    """True where a value differs from the one before it in any column."""
    new = np.ones(columns[0].size, bool)
    if columns[0].size:
        new[1:] = columns[0][1:] != columns[0][:-1]
        for column in columns[1:]:
            new[1:] |= column[1:] != column[:-1]
    return new


@dataclass(frozen=True)
class OverlapCounts:
    """Kernel: the pairs of labels in two blocks of the same shape and how often each occurs; exact for 64-bit ids."""

    def __call__(self, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> Overlaps | None:
        """((n, 2) uint64 sorted pairs, int64 counts), None where nothing is inside the mask.

        Raises
        ------
        ParameterError
            If a label is negative.
        """
        if mask is not None:
            inside = mask.astype(bool, copy=False)
            a, b = a[inside], b[inside]
        if a.size == 0:
            return None
        found = [_count(first, second) for first, second in _pieces(_unsigned(a, "first"), _unsigned(b, "second"))]
        if len(found) == 1:
            return found[0]
        return sum_pairs(np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found]))


def merge_overlaps(a: Overlaps, b: Overlaps) -> Overlaps:
    """Join two results of `OverlapCounts`."""
    return sum_pairs(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]]))


def sum_pairs(pairs: np.ndarray, counts: np.ndarray) -> Overlaps:
    """Sorted different `pairs` (n, 2) with their summed `counts`."""
    if len(pairs) == 0:
        return pairs, counts
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    pairs, counts = pairs[order], counts[order]
    starts = np.flatnonzero(changes(pairs[:, 0], pairs[:, 1]))
    return pairs[starts], np.add.reduceat(counts, starts)


def _pieces(a: np.ndarray, b: np.ndarray) -> Iterator[Overlaps]:
    for start in range(0, a.size, _PIECE):
        yield a[start : start + _PIECE], b[start : start + _PIECE]


def _unsigned(labels: np.ndarray, name: str) -> np.ndarray:
    flat = labels.reshape(-1)
    if flat.dtype.kind == "i" and flat.min() < 0:
        raise ParameterError(
            f"The {name} segmentation has the negative label {flat.min()}; labels must not be negative.",
            remedy="relabel it, or shift the values with bioimage_py.operations.add",
        )
    return flat.view(np.uint8) if flat.dtype.kind == "b" else flat.astype(flat.dtype.newbyteorder("="), copy=False)


def _count(a: np.ndarray, b: np.ndarray) -> Overlaps:
    # labels come in runs, and there are far fewer runs than voxels to sort
    starts = np.flatnonzero(changes(a, b))
    lengths = np.diff(starts, append=a.size)
    a, b = a[starts].astype(np.uint64), b[starts].astype(np.uint64)
    # two compact ids fit one key; ids that are large as they stand are numbered first
    values_a = values_b = None
    if int(a.max()) >= 1 << 32:
        values_a, a = _numbered(a)
    if int(b.max()) >= 1 << 32:
        values_b, b = _numbered(b)
    width = int(b.max()) + 1
    if (int(a.max()) + 1) * width <= 1 << 18:
        # float64 weights are exact: no count reaches 2**53
        table = np.bincount((a * np.uint64(width) + b).astype(np.int64), weights=lengths)
        keys = np.flatnonzero(table)
        counts, a, b = table[keys].astype(np.int64), (keys // width).astype(np.uint64), (keys % width).astype(np.uint64)
    else:
        keys = (a << np.uint64(32)) | b
        order = np.argsort(keys, kind="stable")
        keys, lengths = keys[order], lengths[order]
        starts = np.flatnonzero(changes(keys))
        keys, counts = keys[starts], np.add.reduceat(lengths, starts).astype(np.int64, copy=False)
        a, b = keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF)
    pairs = np.stack([a if values_a is None else values_a[a], b if values_b is None else values_b[b]], axis=1)
    return pairs, counts


def _numbered(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, inverse = np.unique(labels, return_inverse=True)
    return values, inverse.astype(np.uint64)
