"""What a worker does for holes and small objects: components of a block, what surrounds them, and new values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..blocks import Block, to_roi
from ..blocks.boxes import within
from ..errors import StorageError
from ..runner.ledger.stage_record import Results
from ..segmentation import components, merging, tables
from ..segmentation.objects.groups import Counted
from ..sources import Source
from .measures.objects import native

Array = npt.NDArray[Any]


class Found(NamedTuple):
    """The components of a block: sizes, whether they reach the border, lowest and highest id beside them."""

    part: merging.Part
    sizes: Array
    open: Array
    low: Array
    high: Array


class Filling(NamedTuple):
    """New values: of each provisional component, 0 where it stays as it is."""

    merged: merging.Merged
    values: Array


@dataclass(frozen=True)
class Pieces:
    """Which components are looked at, and which of them change.

    Parameters
    ----------
    background : bool
        Components of background (holes); else of foreground.
    connectivity : int
    along : tuple of int
    max_size : int, optional
        Larger ones stay.
    closed : bool
        Those that reach the border stay.
    """

    background: bool
    connectivity: int
    along: tuple[int, ...]
    max_size: int | None
    closed: bool

    def of(self, labels: Array, inside: Array | None) -> Array:
        """Voxels of the components."""
        found: Array = labels == 0 if self.background else labels != 0
        return found if inside is None else found & inside

    def labelled(self, voxels: Array) -> components.Components:
        """Components of a block."""
        return components.components_apart(voxels, self.along, connectivity=self.connectivity)


@dataclass(frozen=True)
class FindPieces:
    """First pass: the components of a block."""

    pieces: Pieces
    region: tuple[tuple[int, int], ...]

    def __call__(
        self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> Found | None:
        """Label one block and look around its components."""
        inner, along = to_roi(block), self.pieces.along
        outer = tuple(
            slice(max(low, part.start - 1), min(high, part.stop + 1)) if axis in along else part
            for axis, (part, (low, high)) in enumerate(zip(inner, self.region, strict=True))
        )
        around = native(inputs[0].view(outer))
        inside = None if mask is None else mask[outer].astype(np.bool_, copy=False)
        own = within(inner, outer)
        found = self.pieces.labelled(self.pieces.of(around[own], None if inside is None else inside[own]))
        if not found.n:
            return None
        sizes = np.bincount(found.labels.reshape(-1), minlength=found.n + 1)[1:]
        low, high = _nothing(found.n, around.dtype)
        open_ = np.zeros(found.n, np.bool_)
        if self.pieces.closed or self.pieces.background:
            self._surroundings(found.labels, around, inside, own, block, low, high, open_)
        sides = [
            (axis in along and begin > start, axis in along and end < stop)
            for axis, (begin, end, (start, stop)) in enumerate(zip(block.begin, block.end, self.region, strict=True))
        ]
        part = components.summary(
            found,
            found.labels,
            begin=[begin - start for begin, (start, _) in zip(block.begin, self.region, strict=True)],
            volume=[stop - start for start, stop in self.region],
            sides=sides,
        )
        return Found(part, sizes, open_, low, high)

    def _surroundings(
        self,
        labels: Array,
        around: Array,
        inside: Array | None,
        own: tuple[slice, ...],
        block: Block,
        low: Array,
        high: Array,
        open_: Array,
    ) -> None:
        """Ids that share a face with each component, and whether it reaches the end of the region or of the mask."""
        only = self._only(labels, around, inside)
        if only is not None:
            low[:] = high[:] = only
        objects = around != 0
        for axis in self.pieces.along:
            start, stop = self.region[axis]
            for step, border in ((-1, block.begin[axis] == start), (1, block.end[axis] == stop)):
                if border:
                    edge = labels[(slice(None),) * axis + (0 if step < 0 else -1,)]
                    open_[edge[edge != 0] - 1] = True
                if only is not None:
                    continue
                here, there = _neighbours(own, axis, step, around.shape[axis])
                mine = labels[here]
                at = (mine != 0) & objects[there]
                rows, beside = mine[at] - 1, around[there][at]
                np.minimum.at(low, rows, beside)
                np.maximum.at(high, rows, beside)
                if inside is not None:
                    open_[mine[(mine != 0) & ~inside[there]] - 1] = True

    def _only(self, labels: Array, around: Array, inside: Array | None) -> Any:
        """The id that all components touch because there is no other one, None where that is not known.

        Where a block has an object, each of its components of background ends at it.
        """
        if inside is not None or not self.pieces.background or len(self.pieces.along) < labels.ndim:
            return None
        highest = around.max()
        lowest = around.min(initial=highest, where=around != 0)
        return highest if lowest == highest and not labels.all() else None


def _neighbours(own: tuple[slice, ...], axis: int, step: int, size: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Voxels of the block that have a neighbour, in the block, and those neighbours, in its surroundings."""
    part = own[axis]
    begin, end = max(0, part.start + step), min(size, part.stop + step)
    there = (*own[:axis], slice(begin, end), *own[axis + 1 :])
    here = (slice(None),) * axis + (slice(begin - step - part.start, end - step - part.start),)
    return here, there


def _nothing(n: int, dtype: Any) -> tuple[Array, Array]:
    """Lowest and highest id of nothing, for each of n components: the lowest is above the highest."""
    limits = np.iinfo(dtype)
    return np.full(n, limits.max, dtype), np.full(n, limits.min, dtype)


@dataclass(frozen=True)
class ChoosePieces:
    """Between the passes: what becomes of each component."""

    pieces: Pieces
    lattice: tuple[int, ...]

    def __call__(self, earlier: Results) -> Filling:
        """Merge the components of all blocks."""
        parts: list[merging.Part | None] = [None] * math.prod(self.lattice)
        found: list[Found | None] = [None] * len(parts)
        for block_id, one in earlier.each("pieces"):
            if one is not None:
                parts[block_id], found[block_id] = one.part, one
        merged = merging.merge(parts, self.lattice, self.pieces.connectivity, self.pieces.along)
        known = [one for one in found if one is not None]
        if not known:
            return Filling(merged, np.zeros(1, np.uint8))
        final, n = merged.table[1:] - 1, merged.n
        sizes, open_ = np.zeros(n, np.int64), np.zeros(n, np.bool_)
        low, high = _nothing(n, known[0].low.dtype)
        np.add.at(sizes, final, np.concatenate([one.sizes for one in known]))
        np.logical_or.at(open_, final, np.concatenate([one.open for one in known]))
        np.minimum.at(low, final, np.concatenate([one.low for one in known]))
        np.maximum.at(high, final, np.concatenate([one.high for one in known]))
        change = np.ones(n, np.bool_) if self.pieces.max_size is None else sizes <= self.pieces.max_size
        if self.pieces.closed:
            change &= ~open_
        if self.pieces.background:
            change &= low == high  # between two objects there is no hole
            values = np.where(change, high, np.zeros(1, high.dtype))
        else:
            values = change.astype(np.uint8)
        return Filling(merged, np.concatenate([np.zeros(1, values.dtype), values])[merged.table])


@dataclass(frozen=True)
class ChangePieces:
    """Second pass: write a block with the components that change."""

    pieces: Pieces

    def __call__(
        self,
        block: Block,
        inputs: Sequence[Source],
        outputs: Sequence[Source],
        mask: Source | None,
        *,
        context: Filling,
    ) -> None:
        """Write one block."""
        roi = to_roi(block)
        labels = inputs[0].view(roi)
        inside = None if mask is None else mask[roi].astype(np.bool_, copy=False)
        if inside is not None and not inside.any():
            return
        begin, end = (int(context.merged.offsets[block.id + one]) for one in (0, 1))
        values = context.values[begin : end + 1].copy()
        values[0] = 0
        result = labels
        if values.any():
            found, n = self.pieces.labelled(self.pieces.of(native(labels), inside))[:2]
            if n != end - begin:
                raise StorageError(
                    f"block {block.id} {block.where()} had {end - begin} components in the first pass and has {n} now:"
                    " its input has changed",
                    remedy="repeat the call while nothing else writes the input",
                )
            new = tables.take(values, found)
            chosen = new if self.pieces.background else np.zeros(1, values.dtype)
            result = np.where(new != 0, chosen, native(labels)).astype(labels.dtype)
        if inside is not None and not inside.all():
            result = np.where(inside, result, outputs[0][roi].astype(result.dtype))
        outputs[0][roi] = result


@dataclass(frozen=True)
class Small:
    """Chooses the ids of at most so many voxels, of what `merge_grouped` has counted."""

    limit: int

    def __call__(self, found: Counted) -> Array:
        """True for the ids that are chosen."""
        return np.asarray(found[2] <= self.limit)


def filling_of(earlier: Results) -> Filling:
    """What `ChoosePieces` has made."""
    found: Filling = earlier["choice"]
    return found
