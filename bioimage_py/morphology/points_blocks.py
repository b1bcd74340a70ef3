"""What a worker does for `map_points_to_objects`: the nearest object of the points in a block."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..blocks import Block
from ..sources import Source
from .measures.objects import native

Array = npt.NDArray[Any]

_FIRST_MARGIN = 16
_BOX_VOXELS = 2**21
_TIES = 6
"""Equally near voxels that are asked for at once."""


@dataclass(frozen=True)
class MapPoints:
    """The block function.

    Parameters
    ----------
    points : ndarray of int64, shape (n, ndim)
        Sorted by block.
    begins : ndarray of int64
        Where the points of each block begin, and the end.
    blocks : ndarray of int64
        Ids of the blocks that have points.
    sampling : tuple of float
    within : float
        Farther objects are not looked for.
    """

    points: Array
    begins: Array
    blocks: Array
    sampling: tuple[float, ...]
    within: float

    def __call__(
        self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Any
    ) -> tuple[Array, Array]:
        """Ids and distances of the points of a block."""
        number = int(np.searchsorted(self.blocks, block.id))
        points = self.points[self.begins[number] : self.begins[number + 1]]
        return nearest_objects(inputs[0], points, np.array(self.sampling), self.within)


def nearest_objects(source: Source, points: Array, sampling: Array, within: float) -> tuple[Array, Array]:
    """Id of the object nearest to each point (of several the lowest), and its distance; 0 and infinity for none.

    Looks into a box around the points, and into larger ones for those whose nearest object may lie outside of it.
    """
    kind = np.dtype(np.uint8) if source.dtype.kind == "b" else source.dtype.newbyteorder("=")
    ids, best = np.zeros(len(points), kind), np.full(len(points), np.inf)
    shape, left = np.array(source.shape), np.arange(len(points))
    margin = 0
    while len(left):
        low = np.maximum(points[left].min(axis=0) - margin, 0)
        high = np.minimum(points[left].max(axis=0) + margin + 1, shape)
        limit = np.full(len(left), within)
        for box in _boxes(low, high):
            reach = np.minimum(best[left], limit)
            near = _distance_to(points[left], box, sampling) <= reach
            if near.any():
                own = left[near]
                _look(source, box, points[own], sampling, reach[near], own, ids, best)
        whole = (low == 0).all() and (high == shape).all()
        sure = margin * sampling.min()
        left = left[:0] if whole or sure >= within else left[best[left] > sure]
        margin = max(_FIRST_MARGIN, 2 * margin)
    return ids, best


def _boxes(low: Array, high: Array) -> Iterator[tuple[slice, ...]]:
    """Parts of a box that are not too large."""
    edge = max(1, int(_BOX_VOXELS ** (1 / len(low))))
    for begin in itertools.product(*(range(a, b, edge) for a, b in zip(low.tolist(), high.tolist(), strict=True))):
        yield tuple(slice(a, min(a + edge, int(b))) for a, b in zip(begin, high, strict=True))


def _distance_to(points: Array, box: Sequence[slice], sampling: Array) -> Array:
    low = np.array([part.start for part in box])
    high = np.array([part.stop - 1 for part in box])
    steps = np.maximum(np.maximum(low - points, points - high), 0) * sampling
    return np.asarray(np.sqrt((steps**2).sum(axis=1)))


def _look(
    source: Source,
    box: tuple[slice, ...],
    points: Array,
    sampling: Array,
    reach: Array,
    own: Array,
    ids: Array,
    best: Array,
) -> None:
    """Take the nearest objects in a box, for points that have none nearer."""
    from scipy.ndimage import binary_erosion
    from scipy.spatial import KDTree

    labels = native(source.view(box))
    inside = labels != 0
    begin = np.array([part.start for part in box])
    local = points - begin
    hit = ((local >= 0) & (local < labels.shape)).all(axis=1)
    hit[hit] = inside[tuple(local[hit].T)]
    ids[own[hit]], best[own[hit]] = labels[tuple(local[hit].T)], 0.0
    own, points, reach = own[~hit], points[~hit], reach[~hit]
    if not len(own) or not inside.any():
        return
    at = np.argwhere(inside & ~binary_erosion(inside))
    found = labels[tuple(at.T)]
    tree = KDTree((at + begin) * sampling)
    few = min(_TIES, len(at))
    limit = float(reach.max()) * (1 + 1e-9) + 1e-9
    distance, nearest = tree.query(points * sampling, range(1, few + 1), distance_upper_bound=limit)
    first = distance[:, 0]
    rows = np.flatnonzero(first <= reach)
    equal = distance[rows] <= first[rows, None] * (1 + 1e-12)
    top = np.iinfo(found.dtype).max
    lowest = np.where(equal, found[np.minimum(nearest[rows], len(at) - 1)], top).min(axis=1)
    if few < len(at):
        for row in np.flatnonzero(equal.all(axis=1)):  # there may be more of them
            ties = tree.query_ball_point(points[rows[row]] * sampling, first[rows[row]] * (1 + 1e-12))
            lowest[row] = found[ties].min()
    which, far = own[rows], first[rows]
    alike = far <= best[which] * (1 + 1e-12)
    better = (far < best[which] * (1 - 1e-12)) | (alike & (lowest < ids[which]))
    ids[which[better]], best[which[better]] = lowest[better], far[better]


def joined(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """Answers of two runs of blocks, one after the other."""
    return np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])
