"""The edges of regions that touch, and what is measured on them: tables that are added up over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..errors import ValueRangeError
from ..segmentation.superpixels.fragments import probabilities

Array = npt.NDArray[Any]

LEVELS = 2**16
"""Boundaries are counted in whole steps of 1 / LEVELS, so that sums have the same bits in any order."""

BINS = 16
"""Of the histogram of an edge, from which its quantiles come."""


class Table:
    """Columns of one length, the fields of a dataclass; the first one are ids, ascending."""

    ids: Array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(one.name for one in fields(self))  # type: ignore[arg-type]

    def column(self, name: str, chosen: Any) -> Array:
        """Some rows of a column."""
        values: Array = getattr(self, name)[chosen]
        return values

    def rows(self, chosen: Any) -> Self:
        """The table of some of its rows."""
        return type(self)(*(self.column(name, chosen) for name in self.names))


@dataclass(frozen=True)
class EdgeTable(Table):
    """Pairs of ids that touch, ascending, and sums over the pairs of voxels across which they do.

    Parameters
    ----------
    ids : ndarray of uint64, (edges, 2)
        The smaller id first.
    faces : ndarray of int64, (edges, axes)
        Pairs of voxels that share a face, by its axis; an edge of long-range affinities alone has none.
    count : ndarray of int64, (edges,)
        Pairs of voxels.
    total, squares : ndarray of uint64, (edges,)
        Of the boundary between the two voxels, in steps of ``1 / LEVELS``.
    low, high : ndarray of uint32, (edges,)
        The least and the largest, in steps.
    histogram : ndarray of uint32, (edges, BINS)
    """

    ids: npt.NDArray[np.uint64]
    faces: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    total: npt.NDArray[np.uint64]
    squares: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint32]
    high: npt.NDArray[np.uint32]
    histogram: npt.NDArray[np.uint32]

    @classmethod
    def empty(cls, ndim: int) -> EdgeTable:
        """A table without edges."""
        wide, small, whole = np.zeros(0, np.uint64), np.zeros(0, np.uint32), np.zeros(0, np.int64)
        histogram = np.zeros((0, BINS), np.uint32)
        return cls(wide.reshape(0, 2), whole.reshape(0, ndim), whole, wide, wide, small, small, histogram)


def steps(boundaries: Array, *, nan: int = 1) -> npt.NDArray[np.uint32]:
    """Boundaries, or affinities, in whole steps; see `probabilities` of superpixels for what they may be."""
    return np.asarray(np.rint(probabilities(boundaries, np.float64, nan=nan) * LEVELS), np.uint32)


@dataclass(frozen=True)
class Evidence:
    """What says whether two voxels belong together, for all pairs that lie one offset apart.

    Parameters
    ----------
    offset : tuple of int
        From a voxel to its partner.
    values : ndarray of uint32
        In `steps`, high where a boundary is.
    between : bool
        The mean of both voxels counts; else that of the first, as of affinities.
    """

    offset: tuple[int, ...]
    values: npt.NDArray[np.uint32]
    between: bool

    def of(self, here: tuple[slice, ...], there: tuple[slice, ...], pairs: Array) -> npt.NDArray[np.uint32]:
        """Of the chosen pairs of two boxes."""
        first = self.values[here][pairs]
        return (first + self.values[there][pairs]) // np.uint32(2) if self.between else first


def of_boundaries(values: npt.NDArray[np.uint32]) -> list[Evidence]:
    """Boundaries as evidence for all voxels that share a face."""
    return [Evidence(tuple(offset), values, True) for offset in np.eye(values.ndim, dtype=int).tolist()]


def edges_of(labels: Array, evidence: Sequence[Evidence], inner: Sequence[slice]) -> EdgeTable:
    """The edges that a block owns: of pairs of voxels of which the first lies in it.

    Parameters
    ----------
    labels : ndarray of unsigned int
        A block with the voxels around it that offsets reach. 0 has no edges.
    evidence : sequence of Evidence
        Of the same shape.
    inner : sequence of slice
        The block in these arrays.
    """
    parts = [found for one in evidence if len((found := _pairs(labels, one, inner))[0])]
    if not parts:
        return EdgeTable.empty(labels.ndim)
    first, second, faces, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = _order(low, high)
    return _summed(np.stack([low[order], high[order]], axis=1), faces[order], values[order])


def _pairs(
    labels: Array, evidence: Evidence, inner: Sequence[slice]
) -> tuple[Array, Array, Array, npt.NDArray[np.uint32]]:
    offset = evidence.offset
    spans = [
        (max(part.start, -step), min(part.stop, size - step))
        for part, step, size in zip(inner, offset, labels.shape, strict=True)
    ]
    here = tuple(slice(low, max(low, high)) for low, high in spans)
    there = tuple(slice(part.start + step, part.stop + step) for part, step in zip(here, offset, strict=True))
    one, other = labels[here], labels[there]
    touch = (one != other) & (one != 0) & (other != 0)
    faces = np.zeros((int(np.count_nonzero(touch)), labels.ndim), np.int64)
    if sum(map(abs, offset)) == 1:
        faces[:, np.flatnonzero(offset)] = 1
    return one[touch].astype(np.uint64), other[touch].astype(np.uint64), faces, evidence.of(here, there, touch)


def _order(low: npt.NDArray[np.uint64], high: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    """What sorts pairs; as one key where both ids fit half of it, which sorts in half of the time."""
    if high.max() < 2**32:
        return np.argsort(low << np.uint64(32) | high, kind="stable")
    return np.lexsort((high, low))


def _summed(ids: Array, faces: Array, values: npt.NDArray[np.uint32]) -> EdgeTable:
    """Pairs of voxels, sorted by their ids, as a table."""
    begins = _begins(ids)
    row = np.repeat(np.arange(len(begins)), np.diff([*begins, len(ids)]))
    wide = values.astype(np.uint64)
    bins = np.minimum(values // (LEVELS // BINS), BINS - 1)
    counts = np.bincount(row * BINS + bins, minlength=len(begins) * BINS)
    return EdgeTable(
        ids[begins],
        np.add.reduceat(faces, begins, axis=0),
        np.diff([*begins, len(ids)]),
        np.add.reduceat(wide, begins),
        np.add.reduceat(wide * wide, begins),
        np.minimum.reduceat(values, begins),
        np.maximum.reduceat(values, begins),
        counts.reshape(-1, BINS).astype(np.uint32),
    )


def merged(tables: Sequence[EdgeTable]) -> EdgeTable:
    """One table of several, in which an edge may occur in more than one of them.

    Parameters
    ----------
    tables : sequence of EdgeTable
        At least one; the result has the same bits in any order.
    """
    ids = np.concatenate([table.ids for table in tables])
    if not len(ids):
        return tables[0]
    order = _order(ids[:, 0], ids[:, 1])
    ids = ids[order]
    begins = _begins(ids)
    ids = ids[begins]
    _check_counts(tables, ids, order, begins)
    how = {"low": np.minimum, "high": np.maximum}
    added = {}
    for name in [one.name for one in fields(EdgeTable) if one.name != "ids"]:  # one at a time: they are large
        column = np.concatenate([getattr(table, name) for table in tables])[order]
        if len(begins) < len(order):
            column = how.get(name, np.add).reduceat(column, begins, axis=0, dtype=column.dtype)
        added[name] = column
    return EdgeTable(ids=ids, **added)


def _check_counts(tables: Sequence[EdgeTable], ids: Array, order: Array, begins: Array) -> None:
    """ValueRangeError where sums of squares would run over."""
    counts = np.add.reduceat(np.concatenate([table.count for table in tables])[order], begins)
    if (pairs := int(counts.max())) >= 2**32:
        raise ValueRangeError(
            f"the regions {ids[int(np.argmax(counts))].tolist()} touch in {pairs} pairs of voxels, and sums of squares"
            f" hold {2**32 - 1}",
            remedy="take labels of a coarser level",
        )


def _begins(ids: Array) -> npt.NDArray[np.intp]:
    return np.flatnonzero(np.r_[True, (ids[1:] != ids[:-1]).any(axis=1)])
