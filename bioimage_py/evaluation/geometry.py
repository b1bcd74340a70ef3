"""Where the objects of a block are: their numbers of voxels, sums of coordinates, and boxes. Exact whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..blocks import Block, to_roi
from ..sources import Source

Array = npt.NDArray[Any]


class Geometry(NamedTuple):
    """What is known of objects, sorted by id.

    Attributes
    ----------
    ids : ndarray of integers, shape (n,)
    sizes : ndarray of int64, shape (n,)
    sums : ndarray of int64, shape (n, axes)
        Sums of the coordinates of their voxels.
    begins, ends : ndarray of int64, shape (n, axes)
        Their boxes.
    """

    ids: Array
    sizes: Array
    sums: Array
    begins: Array
    ends: Array

    @property
    def centroids(self) -> npt.NDArray[np.float64]:
        """Means of the coordinates."""
        means: npt.NDArray[np.float64] = self.sums / self.sizes[:, np.newaxis]
        return means

    def without(self, label: int | None) -> Geometry:
        """All but one id."""
        if label is None or not len(self.ids):
            return self
        keep = np.array([int(one) != label for one in self.ids.tolist()], np.bool_)
        return Geometry(*(column[keep] for column in self))


def geometry_of(labels: Array, begin: Sequence[int], inside: Array | None = None) -> Geometry:
    """Geometry of the labels of an array that begins at a voxel of a volume; of the voxels inside a mask."""
    ndim = labels.ndim
    flat = np.ascontiguousarray(labels, labels.dtype.newbyteorder("=")).reshape(-1)
    flat = flat.view(np.uint8) if flat.dtype.kind == "b" else flat
    starts = np.zeros(flat.size, np.bool_)
    starts[:: max(1, labels.shape[-1])] = True
    starts[1:] |= flat[1:] != flat[:-1]
    where = None if inside is None else np.ascontiguousarray(inside, np.bool_).reshape(-1)
    if where is not None:
        starts[1:] |= where[1:] != where[:-1]
    at = np.flatnonzero(starts)
    lengths = np.diff(at, append=flat.size)
    if where is not None:
        at, lengths = at[where[at]], lengths[where[at]]
    first = np.stack(np.unravel_index(at, labels.shape), axis=1) + np.asarray(begin, np.int64)
    last = first.copy()
    last[:, -1] += lengths - 1
    sums = first * lengths[:, np.newaxis]
    sums[:, -1] += lengths * (lengths - 1) // 2
    return _merged(Geometry(flat[at], lengths, sums, first, last + 1), ndim)


def _merged(found: Geometry, ndim: int) -> Geometry:
    if not len(found.ids):
        empty = np.empty((0, ndim), np.int64)
        return Geometry(found.ids, np.empty(0, np.int64), empty, empty, empty)
    order = np.argsort(found.ids, kind="stable")
    ids, sizes, sums, begins, ends = (column[order] for column in found)
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    return Geometry(
        ids[starts],
        np.add.reduceat(sizes, starts),
        np.add.reduceat(sums, starts, axis=0),
        np.minimum.reduceat(begins, starts, axis=0),
        np.maximum.reduceat(ends, starts, axis=0),
    )


def merge_geometries(a: tuple[Geometry, ...], b: tuple[Geometry, ...]) -> tuple[Geometry, ...]:
    """Join what two blocks say of the same volumes."""
    return tuple(
        _merged(Geometry(*(np.concatenate(both) for both in zip(one, other, strict=True))), one.sums.shape[1])
        for one, other in zip(a, b, strict=True)
    )


@dataclass(frozen=True)
class GeometryBlock:
    """The block function: the geometry of every input."""

    def __call__(
        self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> tuple[Geometry, ...] | None:
        """Look at one block, inside the mask; None where it leaves nothing."""
        roi = to_roi(block)
        inside = None if mask is None else mask[roi].astype(np.bool_, copy=False)
        if inside is not None and not inside.any():
            return None
        return tuple(geometry_of(source.view(roi), block.begin, inside) for source in inputs)
