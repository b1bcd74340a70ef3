"""What a worker does with a tile: segment it, and compare it with the tiles beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...blocks import Block
from ...blocks.boxes import size_of
from ...errors import DtypeError, ParameterError, ShapeError
from ...sources import Source
from .. import tables
from ..objects.contact_blocks import touching_pairs
from ..objects.pairs import OverlapCounts
from .tiles import Slots, Tiling

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SegmentTile:
    """Calls a user's function on a tile with its surroundings.

    Parameters
    ----------
    function : callable
        ``function(tile, tile_id) -> labels``.
    slots : Slots
    kept : tuple of int
        Axes that are kept apart: the function does not see them.
    lead, trail : tuple of int
        Sizes of the axes in front of and behind those of the volume, whose parts are the inputs.
    """

    function: Callable[[Array, int], Array]
    slots: Slots
    kept: tuple[int, ...]
    lead: tuple[int, ...]
    trail: tuple[int, ...]

    def __call__(self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None) -> None:
        """Segment one tile and write it to its slot; not where the mask leaves nothing of it."""
        outer = self.slots.outer(block.id)
        stored = self.slots.stored(block.id, outer)
        inside = None if mask is None else mask[stored].astype(np.bool_, copy=False)
        if inside is not None and not inside.any():
            return
        seen = tuple(size for axis, size in enumerate(size_of(outer)) if axis not in self.kept)
        parts = [source.view(stored).reshape(seen) for source in inputs]
        tile = np.array(parts[0])
        if self.lead or self.trail:
            tile = np.stack(parts).reshape(*self.lead, *self.trail, *seen)
            front = len(self.lead)
            if self.trail:
                tile = np.moveaxis(tile, range(front, front + len(self.trail)), range(-len(self.trail), 0))
        labels = _checked(np.asarray(self.function(tile, block.id)), seen, block.id).reshape(size_of(outer))
        outputs[0][stored] = labels if inside is None else np.where(inside, labels, np.uint64(0))


def inside_only(labels: Array, mask: Array) -> Array:
    """Labels where a mask is not 0, else 0."""
    return np.where(mask != 0, labels, np.zeros((), labels.dtype))


def _checked(labels: Array, shape: tuple[int, ...], tile_id: int) -> Array:
    if labels.shape != shape:
        raise ShapeError(
            f"the segmentation function returned the shape {labels.shape} for tile {tile_id} of shape {shape}",
            remedy="return a label for every voxel of the tile",
        )
    if labels.dtype.kind not in "biu":
        raise DtypeError(
            f"the segmentation function returned labels of type {labels.dtype} for tile {tile_id}",
            remedy="return labels.astype('uint64')",
        )
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise ParameterError(
            f"the segmentation function returned the negative label {labels.min()} for tile {tile_id}",
            remedy="return labels >= 0",
        )
    return labels.astype(np.uint64)


class Pairs(NamedTuple):
    """What a tile and a neighbour have in common.

    Attributes
    ----------
    other : int
        The neighbour, which follows along an axis.
    ids : ndarray of uint64, shape (n, 2)
        Objects that touch at the face between the two, in the tile and in the neighbour.
    counts : ndarray of int64, shape (n, 3)
        Voxels of what both tiles have labels of: those with both ids, with the first, with the second.
    """

    other: int
    ids: Array
    counts: Array


class Compared(NamedTuple):
    """What is known of a tile.

    Attributes
    ----------
    ids : ndarray of uint64
        Its objects, sorted.
    pairs : list of Pairs
        What it has in common with the tiles that follow along an axis.
    inside : ndarray of uint64, shape (n, 2)
        Which of its objects at the border touch each other.
    """

    ids: Array
    pairs: list[Pairs]
    inside: Array


@dataclass(frozen=True)
class CompareTile:
    """Compares the labels of a tile with those of the tiles that follow along each axis.

    Parameters
    ----------
    tiling : Tiling
    along : tuple of int
        Axes along which tiles are joined.
    with_background : bool
    """

    tiling: Tiling
    along: tuple[int, ...]
    with_background: bool

    def __call__(
        self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> Compared:
        """Compare one tile."""
        tiling, source = self.tiling, inputs[0]
        inner = tiling.inner(block.id)
        pairs = []
        for axis, other in tiling.later(block.id):
            if axis not in self.along:
                continue
            beside = tiling.inner(other)
            last = source.view(tiling.stored(block.id, _plane(inner, axis, inner[axis].stop - 1)))
            first = source.view(tiling.stored(other, _plane(beside, axis, beside[axis].start)))
            touching = self._objects(OverlapCounts()(last, first))[0]
            if not len(touching):
                continue
            ours, theirs = (source.view(roi) for roi in tiling.shared(block.id, other, axis))
            pairs.append(Pairs(other, touching, _overlaps(touching, ours, theirs)))
        own = source.view(tiling.stored(block.id, inner))
        inside = touching_pairs(own, self.along, background=not self.with_background)
        return Compared(self._ids(own), pairs, inside[np.isin(inside, self._at_the_border(own)).all(axis=1)])

    def _ids(self, own: Array) -> Array:
        ids, _ = tables.counted(own)
        if len(ids) and ids.dtype.kind == "i" and ids[0] < 0:
            raise ParameterError(f"the segmentation has the negative label {ids[0]}", remedy="labels >= 0")
        ids = ids.astype(np.uint64)
        return ids[ids != 0] if self.with_background else ids

    def _objects(self, found: tuple[Array, Array] | None) -> tuple[Array, Array]:
        if found is None:
            return np.empty((0, 2), np.uint64), np.empty(0, np.int64)
        if not self.with_background:
            return found
        both = (found[0] != 0).all(axis=1)
        return found[0][both], found[1][both]

    def _at_the_border(self, own: Array) -> Array:
        faces = [own.take(index, axis) for axis in self.along for index in (0, -1)]
        return np.unique(np.concatenate([np.unique(face) for face in faces])).astype(np.uint64)


def _plane(roi: tuple[slice, ...], axis: int, index: int) -> tuple[slice, ...]:
    return (*roi[:axis], slice(index, index + 1), *roi[axis + 1 :])


def _overlaps(wanted: Array, ours: Array, theirs: Array) -> Array:
    """Voxels with both ids of pairs, with the first, and with the second."""
    counts = np.zeros((len(wanted), 3), np.int64)
    found = OverlapCounts()(ours, theirs)
    if found is None:
        return counts
    of = {pair: index for index, pair in enumerate(map(tuple, wanted.tolist()))}
    pairs, sizes = found
    relevant = np.isin(pairs[:, 0], wanted[:, 0]) & np.isin(pairs[:, 1], wanted[:, 1])
    for pair, size in zip(map(tuple, pairs[relevant].tolist()), sizes[relevant].tolist(), strict=True):
        if pair in of:
            counts[of[pair], 0] = size
    for side in (0, 1):
        ids, inverse = np.unique(pairs[:, side], return_inverse=True)
        totals = np.bincount(inverse.reshape(-1), weights=sizes).astype(np.int64)
        at = np.minimum(np.searchsorted(ids, wanted[:, side]), len(ids) - 1)
        counts[:, side + 1] = np.where(ids[at] == wanted[:, side], totals[at], 0)
    return counts
