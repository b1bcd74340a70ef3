"""What a worker does for a watershed without a halo: basins of a block, which seed each belongs to, and final ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...blocks import Block, BlockWithHalo, to_roi
from ...blocks.boxes import within
from ...engine.block_functions import write_inside
from ...runner.ledger.stage_record import Results
from ...sources import Source
from ...sources.casting import Casting
from .basins import Array, Basins, Face, Mask, Passes, Side, flooded, lowest


@dataclass(frozen=True)
class AsTheyAre:
    """Heights as they are given, all of which are flooded."""

    def __call__(self, values: Array) -> tuple[Array, Mask | None]:
        """Heights and where they are flooded."""
        return values, None


@dataclass(frozen=True)
class FloodOnce:
    """First pass: the basins of a block, which is flooded from its own voxels alone.

    Parameters
    ----------
    prepare : callable
        ``prepare(values)``: heights, and where they are flooded (None: everywhere).
    along : tuple of int
        Axes to flood along; every index of the others is an array of its own.
    region : tuple of (int, int)
        Begin and end of the grid per axis: beyond it there is no block.
    """

    prepare: Callable[[Array], tuple[Array, Mask | None]]
    along: tuple[int, ...]
    region: tuple[tuple[int, int], ...]

    def __call__(
        self, block: BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> Basins | None:
        """The basins; None where the mask leaves nothing."""
        import fastremap

        inner, outer = to_roi(block.inner_block), to_roi(block.outer_block)
        within_mask = None if mask is None else mask[outer] != 0
        local = within(inner, outer)
        if within_mask is not None and not within_mask[local].any():
            return None
        height, inside = self.prepare(inputs[0].view(outer))
        if within_mask is not None:
            inside = within_mask if inside is None else inside & within_mask
        seeds = inputs[1].view(inner)
        if inside is not None:
            seeds = np.where(inside[local], seeds, np.zeros(1, seeds.dtype))
        ids, number = fastremap.unique(seeds.astype(_wide(seeds.dtype), copy=False), return_inverse=True)
        there = ids != 0
        numbers = (np.cumsum(there) * there).astype(np.uint32)[number].reshape(seeds.shape)
        labels, basins = self._of(height, numbers, ids[there], inside, local, [part.start for part in outer])
        outputs[0][inner] = labels
        return basins

    def _of(
        self,
        height: Array,
        seeds: npt.NDArray[np.uint32],
        ids: Array,
        inside: Mask | None,
        local: tuple[slice, ...],
        begin: list[int],
    ) -> tuple[npt.NDArray[np.uint32], Basins]:
        """Flood every index of the axes that are kept apart."""
        apart = [axis for axis in range(height.ndim) if axis not in self.along]
        order = (*apart, *self.along)
        moved, marks = height.transpose(order), seeds.transpose(order)
        masks = None if inside is None else inside.transpose(order)
        lead = [local[axis].start for axis in apart]
        part = tuple(local[axis] for axis in self.along)
        start = [begin[axis] for axis in self.along]
        sides = self._sides(local, begin)
        labels = np.zeros(marks.shape, np.uint32)
        taken, passes, faces = len(ids), [], []
        for index in np.ndindex(marks.shape[: len(apart)]):
            at = tuple(np.add(lead, index).tolist())
            mask = None if masks is None else masks[at]
            labels[index], taken, found, places = flooded(
                moved[at], marks[index], mask, part, sides, None if apart else start, taken
            )
            passes.append(found)
            faces.append(places)
        merged = {side: _one_face([one[side] for one in faces]) for side in sides if faces}
        basins = Basins(ids, taken, _one(passes, height.dtype), merged)
        return labels.transpose(np.argsort(order)), basins

    def _sides(self, local: tuple[slice, ...], begin: list[int]) -> list[Side]:
        """The faces, along the axes to flood along, beyond which there is another block."""
        found = []
        for number, axis in enumerate(self.along):
            low, high = self.region[axis]
            if begin[axis] + local[axis].start > low:
                found.append((number, False))
            if begin[axis] + local[axis].stop < high:
                found.append((number, True))
        return found


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of ids: that of the seeds in native order, but of 32 bits at least."""
    return np.promote_types(dtype, np.int32 if dtype.kind == "i" else np.uint32)


def _one(passes: Sequence[Passes], dtype: np.dtype[Any]) -> Passes:
    if len(passes) == 1:
        return passes[0]
    empty = Passes(np.zeros((0, 2), np.uint32), np.zeros(0, dtype), np.zeros(0, dtype))
    many = [empty, *passes]
    return lowest(*(np.concatenate([getattr(one, name) for one in many]) for name in ("pairs", "high", "low")))


def _one_face(faces: Sequence[Face]) -> Face:
    return Face(*(np.concatenate([getattr(one, name) for one in faces]) for name in ("basins", "high", "low")))


@dataclass(frozen=True)
class Forest:
    """The id of every basin of every block.

    Parameters
    ----------
    begins : ndarray of int64, (blocks + 1,)
    ids : ndarray of integers
        0 where no seed gets.
    """

    begins: npt.NDArray[np.int64]
    ids: Array

    def table_of(self, block: int) -> Array:
        """Ids of the basins of a block, after a 0."""
        return np.concatenate([np.zeros(1, self.ids.dtype), self.ids[self.begins[block] : self.begins[block + 1]]])


@dataclass(frozen=True)
class JoinBasins:
    """Between the passes: basins without a seed go to that from which the climb to them is least.

    Parameters
    ----------
    grid : tuple of int
        Number of blocks along each axis.
    along : tuple of int
    dtype : str
        Of the seeds.
    """

    grid: tuple[int, ...]
    along: tuple[int, ...]
    dtype: str

    def __call__(self, earlier: Results) -> Forest:
        """The forest: which tree has grown into which basin, the lowest passes first."""
        from bioimage_cpp.graph import UndirectedGraph, edge_weighted_watershed

        blocks: dict[int, Basins] = {number: one for number, one in earlier.each("basins") if one is not None}
        counts = np.zeros(int(np.prod(self.grid)) + 1, np.int64)
        for number, one in blocks.items():
            counts[number + 1] = one.n
        begins = np.cumsum(counts)
        wide = _wide(np.dtype(self.dtype))
        seeds = np.zeros(int(begins[-1]), wide)
        for number, one in blocks.items():
            seeds[begins[number] : begins[number] + len(one.seeds)] = one.seeds
        passes = self._passes(blocks, begins)
        if not len(passes.pairs):
            return Forest(begins, seeds)
        ids, place = np.unique(seeds, return_inverse=True)
        # Places in the order of ids, with 0 for no seed: ids may be negative, and of any size.
        named = np.where(seeds == 0, 0, place + 1).astype(np.uint64)
        rank = np.empty(len(passes.pairs), np.float64)
        rank[np.lexsort((np.arange(len(rank)), passes.low, passes.high))] = np.arange(len(rank))
        graph = UndirectedGraph.from_unique_edges(len(seeds), passes.pairs - np.uint64(1))
        grown = np.asarray(edge_weighted_watershed(graph, rank, named)).astype(np.int64)
        return Forest(begins, np.where(grown == 0, np.zeros(1, wide), ids[np.maximum(grown - 1, 0)]))

    def _passes(self, blocks: dict[int, Basins], begins: npt.NDArray[np.int64]) -> Passes:
        """Those of all blocks, and across their faces; basins counted over all blocks, from 1."""
        pairs: list[Any] = [np.zeros((0, 2), np.uint64)]
        high: list[Array] = []
        low: list[Array] = []
        for number, one in blocks.items():
            found = [(one.passes.pairs + np.uint64(begins[number]), one.passes.high, one.passes.low)]
            for axis, at in enumerate(self.along):
                beyond = number + int(np.prod(self.grid[at + 1 :]))
                here = one.faces.get((axis, True))
                if here is None or beyond not in blocks:
                    continue
                there = blocks[beyond].faces[axis, False]
                both = (here.basins != 0) & (there.basins != 0)
                first = here.basins[both] + np.uint64(begins[number])
                second = there.basins[both] + np.uint64(begins[beyond])
                found.append((np.stack([first, second], axis=1), here.high[both], here.low[both]))
            for ends, upper, lower in found:
                pairs.append(ends.astype(np.uint64))
                high.append(upper)
                low.append(lower)
        if not high:
            return Passes(pairs[0].astype(np.uint64), np.zeros(0), np.zeros(0))
        return lowest(np.concatenate(pairs), np.concatenate(high), np.concatenate(low))


def forest_of(earlier: Results) -> Forest:
    """What `JoinBasins` has made."""
    forest: Forest = earlier["forest"]
    return forest


@dataclass(frozen=True)
class WriteForest:
    """Second pass: final ids; what the mask leaves out stays as it is."""

    casting: Casting

    def __call__(
        self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None, *, context: Forest
    ) -> None:
        """Write one block."""
        roi = to_roi(block)
        inside = None if mask is None else mask[roi] != 0
        if inside is not None and not inside.any():
            return
        result = context.table_of(block.id)[inputs[0].view(roi)]
        write_inside(outputs[0], roi, result, inside, self.casting)
