"""Ids of objects where some axes are kept apart: an id means another object at every index of these (a group)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...blocks import Block, to_roi
from ...engine.block_functions import MapBlock
from ...runner.ledger.stage_record import Results
from ...sources import Source
from ...sources.casting import Casting
from ...sources.indexing import Roi
from ..partial import Others, PartialTable, label_type

Array = npt.NDArray[Any]
Counted = tuple[Array, Array, Array]
"""Groups (int64), ids and counts (int64) of objects, sorted by group and id."""


@dataclass(frozen=True)
class Apart:
    """Which axes of a volume are kept apart, and how the groups are numbered: in C order.

    Parameters
    ----------
    shape : tuple of int
        Of the volume.
    along : tuple of int
        Axes that are worked along, ascending.
    """

    shape: tuple[int, ...]
    along: tuple[int, ...]

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that are kept apart."""
        return tuple(axis for axis in range(len(self.shape)) if axis not in self.along)

    def parts(self, roi: Roi) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Groups of a region, each with the index of its voxels in an array of the region."""
        apart = self.axes
        sizes = [self.shape[axis] for axis in apart]
        for index in np.ndindex(*(roi[axis].stop - roi[axis].start for axis in apart)):
            group, where = 0, [slice(None)] * len(self.shape)
            for axis, size, position in zip(apart, sizes, index, strict=True):
                group = group * size + roi[axis].start + position
                where[axis] = slice(position, position + 1)
            yield group, tuple(where)

    def positions(self, groups: Array) -> list[Array]:
        """Index of each group along each axis that is kept apart."""
        sizes = [self.shape[axis] for axis in self.axes]
        return list(np.unravel_index(groups, sizes)) if sizes and all(sizes) else [groups[:0] for _ in sizes]


def merge_grouped(a: Counted, b: Counted) -> Counted:
    """Join two results of counting over disjoint voxels."""
    groups, ids, counts = (np.concatenate(both) for both in zip(a, b, strict=True))
    if not len(ids):
        return groups, ids, counts
    order = np.lexsort((ids, groups))
    groups, ids, counts = groups[order], ids[order], counts[order]
    new = np.ones(len(ids), np.bool_)
    new[1:] = (groups[1:] != groups[:-1]) | (ids[1:] != ids[:-1])
    starts = np.flatnonzero(new)
    return groups[starts], ids[starts], np.add.reduceat(counts, starts)


def joined(found: Sequence[tuple[int, Array, Array]]) -> Counted | None:
    """One result of (group, sorted ids, counts) of several parts, where a group may occur again."""
    if not found:
        return None
    groups = np.concatenate([np.full(len(ids), group, np.int64) for group, ids, _ in found])
    ids, counts = np.concatenate([ids for _, ids, _ in found]), np.concatenate([counts for _, _, counts in found])
    return merge_grouped((groups, ids, counts), (groups[:0], ids[:0], counts[:0]))


@dataclass(frozen=True, eq=False)
class GroupedTable:
    """New ids of some objects, group by group."""

    groups: Array
    ids: Array
    values: Array
    others: Others

    def of_group(self, group: int) -> PartialTable:
        """The table of one group."""
        part = slice(*np.searchsorted(self.groups, (group, group + 1)))
        return PartialTable(self.ids[part], self.values[part], self.others)


@dataclass(frozen=True)
class MakeGrouped:
    """A stage between: the table of all objects, from what was counted."""

    choose: Callable[[Counted], Array]
    dtype: np.dtype[Any]
    others: Others

    def __call__(self, earlier: Results) -> GroupedTable:
        """The objects that `choose` (Counted -> bool) takes: these stay and others go, or the other way round."""
        empty = np.empty(0, np.int64), np.empty(0, label_type(self.dtype)), np.empty(0, np.int64)
        groups, ids, _ = found = earlier["ids"] or empty
        chosen = self.choose(found)
        groups, ids = groups[chosen], ids[chosen]
        return GroupedTable(groups, ids, ids if self.others == "zero" else np.zeros_like(ids), self.others)


def table_of(earlier: Results) -> GroupedTable:
    """The table that the stage `table` has made."""
    table: GroupedTable = earlier["table"]
    return table


@dataclass(frozen=True)
class WriteGrouped:
    """Apply the table of a run to a block."""

    apart: Apart
    casting: Casting

    def __call__(
        self,
        block: Block,
        inputs: Sequence[Source],
        outputs: Sequence[Source],
        mask: Source | None,
        *,
        context: GroupedTable,
    ) -> None:
        """Write one block."""
        _GroupedBlock(_Relabelled(self.apart, context), self.casting)(block, inputs, outputs, mask)


@dataclass(frozen=True)
class _Relabelled:
    apart: Apart
    table: GroupedTable

    def __call__(self, labels: Array, roi: Roi) -> Array:
        result = np.empty(labels.shape, label_type(labels.dtype))
        for group, where in self.apart.parts(roi):
            result[where] = self.table.of_group(group)(labels[where])
        return result


class _GroupedBlock(MapBlock):
    """A map whose kernel is told where its block is."""

    def result(self, inner: Roi, outer: Roi, inputs: Sequence[Source]) -> Any:
        return self.kernel(inputs[0].view(inner), inner)


def roi_and_inside(block: Block, mask: Source | None) -> tuple[Roi, Array | None, bool]:
    """Region of a block, its mask where it leaves something out, and whether it leaves nothing."""
    roi = to_roi(block)
    if mask is None:
        return roi, None, False
    inside = mask[roi].astype(np.bool_, copy=False)
    return roi, None if inside.all() else inside, not inside.any()
