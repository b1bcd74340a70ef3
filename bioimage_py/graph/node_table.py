"""The regions themselves: sizes, places, and sums of what lies in them, added up over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import fastremap
import numpy as np
import numpy.typing as npt

from .edge_table import Array, Table


@dataclass(frozen=True)
class NodeTable(Table):
    """Ids, ascending, and sums over their voxels.

    Parameters
    ----------
    ids : ndarray of uint64, (nodes,)
        Without 0.
    size : ndarray of int64, (nodes,)
        Voxels.
    places : ndarray of int64, (nodes, axes)
        Sums of the voxels' positions in the volume.
    total : ndarray of uint64, (nodes,)
        Of the boundary, in steps (`edge_table.LEVELS`).
    begin, end : ndarray of int64, (nodes, axes)
        The box around each: its first voxel, and one past its last.
    """

    ids: npt.NDArray[np.uint64]
    size: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    total: npt.NDArray[np.uint64]
    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, ndim: int) -> NodeTable:
        """A table without regions."""
        whole, wide = np.zeros(0, np.int64), np.zeros(0, np.uint64)
        rows = whole.reshape(0, ndim)
        return cls(wide, whole, rows, wide, rows, rows)

    def centers(self) -> npt.NDArray[np.float64]:
        """Mean position of each region, (nodes, axes)."""
        return self.places / np.maximum(self.size, 1)[:, None]


def nodes_of(labels: Array, boundaries: npt.NDArray[np.uint32], begin: Sequence[int]) -> NodeTable:
    """The regions of a block that begins at a position of the volume."""
    ids, local = fastremap.unique(labels, return_inverse=True)
    local = local.reshape(labels.shape)
    size = np.bincount(local.ravel(), minlength=len(ids))
    along = [_along(local, axis, start, len(ids)) for axis, start in enumerate(begin)]
    places, first, last = (np.stack(column, axis=1) for column in zip(*along, strict=True))
    total = np.bincount(local.ravel(), boundaries.ravel(), len(ids)).astype(np.uint64)  # exact below 2^53
    there = ids != 0
    return NodeTable(ids[there].astype(np.uint64), size[there], places[there], total[there], first[there], last[there])


def _along(local: Array, axis: int, start: int, n: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Sums of positions along an axis, the first, and one past the last: by how often regions occur in each plane."""
    planes = np.moveaxis(local, axis, 0)
    found, first, last = np.zeros(n, np.int64), np.full(n, start + len(planes), np.int64), np.zeros(n, np.int64)
    for at, plane in enumerate(planes, start):
        count = np.bincount(plane.ravel(), minlength=n)
        found += count * at
        last[count > 0] = at + 1
        np.minimum(first, at, out=first, where=count > 0)
    return found, first, last


def merged(tables: Sequence[NodeTable]) -> NodeTable:
    """One table of several, in which a region may occur in more than one; at least one table."""
    columns: dict[str, Any] = {
        one.name: np.concatenate([getattr(table, one.name) for table in tables]) for one in fields(NodeTable)
    }
    if not len(columns["ids"]):
        return tables[0]
    order = np.argsort(columns["ids"], kind="stable")
    ids = columns.pop("ids")[order]
    begins = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    how = {"begin": np.minimum, "end": np.maximum}
    added = {
        name: how.get(name, np.add).reduceat(column[order], begins, axis=0, dtype=column.dtype)
        for name, column in columns.items()
    }
    return NodeTable(ids=ids[begins], **added)
