"""Which objects of tiles are one, the ids that they get, and their use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...blocks import Block, to_roi
from ...blocks.boxes import common, within
from ...errors import StorageError, ValueRangeError
from ...runner.ledger.stage_record import Results
from ...sources import Source
from .. import tables
from .multicut import multicut_decomposition, transform_probabilities_to_costs
from .tiles import Tiling

Array = npt.NDArray[Any]
Criterion = Literal["multicut", "iou", "max_overlap"]


@dataclass(frozen=True, eq=False)
class Stitched:
    """New ids of the objects of all tiles.

    Attributes
    ----------
    offsets : ndarray of int64, shape (tiles + 1,)
        The objects of tile i are entries ``offsets[i]`` to ``offsets[i + 1]`` of the arrays below.
    ids : ndarray of uint64
        Ids in the tile, sorted.
    new : ndarray of uint64
        New ids, 1..n.
    """

    offsets: Array
    ids: Array
    new: Array

    def __call__(self, tile: int, labels: Array) -> tuple[Array, Array]:
        """New ids of labels of a tile, and ids that are of this tile alone; 0 stays where it is no object."""
        part = slice(int(self.offsets[tile]), int(self.offsets[tile + 1]))
        ids, flat = self.ids[part], np.ascontiguousarray(labels).reshape(-1)
        starts, lengths = tables.runs(flat)
        old = flat[starts].astype(np.uint64)
        at = np.minimum(np.searchsorted(ids, old), max(0, len(ids) - 1))
        there = ids[at] == old if len(ids) else np.zeros(len(old), np.bool_)
        if (old[~there] != 0).any():
            raise StorageError(
                f"tile {tile} has the label {old[~there].max()}, which it did not have when it was compared: its input"
                " has changed",
                remedy="repeat the call while nothing else writes the input",
            )
        results = []
        for values in (self.new[part], np.arange(part.start + 1, part.stop + 1, dtype=np.uint64)):
            found = np.zeros(len(old), np.uint64)
            found[there] = values[at[there]]
            results.append(np.repeat(found, lengths).reshape(labels.shape))
        return results[0], results[1]


@dataclass(frozen=True)
class JoinTiles:
    """Between the passes: which objects are one.

    Parameters
    ----------
    criterion : {"multicut", "iou", "max_overlap"}
    beta, threshold : float
    unique : bool
        An id means the same object in every tile.
    dtype : numpy.dtype, optional
        Type that has to hold the new ids; None stands for any.
    """

    criterion: Criterion
    beta: float
    threshold: float
    unique: bool
    dtype: np.dtype[Any] | None

    def __call__(self, earlier: Results) -> Stitched:
        """New ids of all objects, in the order of tiles and of ids in them."""
        tiles = [compared for _, compared in earlier.each("compared")]
        offsets = np.concatenate([[0], np.cumsum([len(tile.ids) for tile in tiles])]).astype(np.int64)
        ids = np.concatenate([np.empty(0, np.uint64), *(tile.ids for tile in tiles)])
        known = np.unique(ids) if self.unique else None

        def nodes(tile: int, wanted: Array) -> Array:
            if known is not None:
                return np.asarray(np.searchsorted(known, wanted))
            return np.asarray(np.searchsorted(tiles[tile].ids, wanted) + offsets[tile])

        empty = np.empty((0, 2), np.int64)
        between, counts, inside = [empty], [np.empty((0, 3), np.int64)], [empty]
        for number, tile in enumerate(tiles):
            for pairs in tile.pairs:
                between.append(np.stack([nodes(number, pairs.ids[:, 0]), nodes(pairs.other, pairs.ids[:, 1])], axis=1))
                counts.append(pairs.counts)
            inside.append(nodes(number, tile.inside.reshape(-1)).reshape(-1, 2))
        n_nodes = len(ids) if known is None else len(known)
        edges, sums = _summed(np.concatenate(between), np.concatenate(counts))
        parts = self._partition(n_nodes, edges, sums, np.concatenate(inside))
        of_objects = parts if known is None else parts[np.searchsorted(known, ids)]
        new, n = _ranked(of_objects)
        if self.dtype is not None and n > np.iinfo(self.dtype).max:
            raise ValueRangeError(
                f"there are {n} objects, more than the output's type {self.dtype} can number"
                f" ({np.iinfo(self.dtype).max})",
                remedy="an output of type uint64",
            )
        return Stitched(offsets, ids, new)

    def _partition(self, n: int, edges: Array, counts: Array, inside: Array) -> Array:
        """Part of each node."""
        if self.criterion == "multicut":
            share = _ratio(counts[:, 0], counts[:, 2])
            return _multicut(n, edges, share, inside, self.beta)
        whole = np.minimum(counts[:, 1], counts[:, 2])
        if self.criterion == "iou":
            whole = counts[:, 1] + counts[:, 2] - counts[:, 0]
        return _connected(n, edges[(_ratio(counts[:, 0], whole) >= self.threshold) & (counts[:, 0] > 0)])


def _ratio(part: Array, whole: Array) -> Array:
    return np.asarray(part / np.maximum(whole, 1))


def _connected(n: int, edges: Array) -> Array:
    from bioimage_cpp.utils import UnionFind

    union = UnionFind(max(1, n))
    if len(edges):
        union.merge(np.ascontiguousarray(edges, np.uint64))
    return np.asarray(union.element_labeling())[:n]


def _multicut(n: int, edges: Array, share: Array, inside: Array, beta: float) -> Array:
    """Part of each node: overlaps attract, and objects that touch within a tile were told apart by whoever made it."""
    from bioimage_cpp.graph import UndirectedGraph

    costs = transform_probabilities_to_costs(np.concatenate([1 - share, np.ones(len(inside))]), beta)
    edges = np.concatenate([edges, inside])
    # what nothing attracts is an object of its own
    attracted = np.unique(edges[costs > 0])
    relevant = np.isin(edges, attracted).all(axis=1) & (edges[:, 0] != edges[:, 1])
    parts = np.arange(n, dtype=np.int64)
    if not relevant.any():
        return parts
    edges, sums = _summed(np.sort(np.searchsorted(attracted, edges[relevant]), axis=1), costs[relevant, np.newaxis])
    graph = UndirectedGraph.from_edges(len(attracted), np.ascontiguousarray(edges, np.uint64))
    found = multicut_decomposition(graph, sums[:, 0]).astype(np.int64)
    # a part is named by its first node
    _, first, of = np.unique(found, return_index=True, return_inverse=True)
    parts[attracted] = attracted[first[of.reshape(-1)]]
    return parts


def _summed(edges: Array, values: Array) -> tuple[Array, Array]:
    """Different edges, sorted, and the sums of their values."""
    if not len(edges):
        return edges, values
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    edges, values = edges[order], values[order]
    starts = np.flatnonzero(np.concatenate([[True], (edges[1:] != edges[:-1]).any(axis=1)]))
    return edges[starts], np.add.reduceat(values, starts, axis=0)


def _ranked(parts: Array) -> tuple[Array, int]:
    """Numbers 1..n of parts by where they come first."""
    _, first, of = np.unique(parts, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.uint64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1, dtype=np.uint64)
    return rank[of.reshape(-1)], len(first)


def stitched(earlier: Results) -> Stitched:
    """What `JoinTiles` has made."""
    found: Stitched = earlier["join"]
    return found


@dataclass(frozen=True)
class WriteStitched:
    """Write new ids; where there is a second output, also ids that are of one tile alone."""

    tiling: Tiling

    def __call__(
        self,
        block: Block,
        inputs: Sequence[Source],
        outputs: Sequence[Source],
        mask: Source | None,
        *,
        context: Callable[[int, Array], tuple[Array, Array]],
    ) -> None:
        """Write one block."""
        roi = to_roi(block)
        results = [np.zeros(block.shape, np.uint64) for _ in outputs]
        for tile in self.tiling.touching(roi):
            part = common(roi, self.tiling.inner(tile))
            for result, labels in zip(results, context(tile, inputs[0].view(part)), strict=False):
                result[within(part, roi)] = labels
        for output, result in zip(outputs, results, strict=True):
            output[roi] = result
