"""What a worker does for `contacts`: count the faces between voxels of different objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...blocks import BlockWithHalo, to_roi
from ...blocks.boxes import within
from ...sources import Source
from ..partial import label_type
from .groups import Apart
from .pairs import OverlapCounts, sum_pairs

Array = npt.NDArray[Any]
Contacts = tuple[Array, Array, Array]
"""Groups (int64), pairs of ids (n, 2) and faces along each axis (n, axes; int64), sorted by group and pair."""


@dataclass(frozen=True)
class ContactBlock:
    """Faces between a block's voxels and their next neighbours, also beyond the block, along each axis.

    Parameters
    ----------
    apart : Apart
    region : tuple of (int, int)
        What is counted: faces to voxels beyond it are none.
    background : bool
        Whether faces to 0 count.
    """

    apart: Apart
    region: tuple[tuple[int, int], ...]
    background: bool

    def __call__(
        self, block: BlockWithHalo, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> Contacts | None:
        """Count one block; every face belongs to the block of its lower voxel."""
        inner = to_roi(block.inner_block)
        # the lower half of the halo is the other block's
        wide = tuple(
            slice(begin, min(part.stop, high)) if axis in self.apart.along else own
            for axis, (own, part, (_, high)) in enumerate(
                zip(inner, to_roi(block.outer_block), self.region, strict=True)
            )
            for begin in (own.start,)
        )
        labels = inputs[0].view(wide)
        labels = labels.view(np.uint8) if labels.dtype.kind == "b" else labels
        inside = None if mask is None else mask[wide].astype(np.bool_, copy=False)
        found = []
        for group, where in self.apart.parts(inner):
            for number, axis in enumerate(self.apart.along):
                lower = list(within(inner, wide))
                for other in self.apart.axes:
                    lower[other] = where[other]
                upper = list(lower)
                upper[axis] = slice(1, lower[axis].stop + 1)
                found.append(self._faces(labels, inside, tuple(lower), tuple(upper), group, number))
        return summed([one for one in found if one is not None])

    def _faces(
        self,
        labels: Array,
        inside: Array | None,
        lower: tuple[slice, ...],
        upper: tuple[slice, ...],
        group: int,
        n: int,
    ) -> Contacts | None:
        above = labels[upper]
        # at the end of the region there is no voxel above
        lower = tuple(slice(one.start, one.start + size) for one, size in zip(lower, above.shape, strict=True))
        below = labels[lower]
        touch = below != above
        if not self.background:
            touch &= (below != 0) & (above != 0)
        if inside is not None:
            touch &= inside[lower] & inside[upper]
        if not touch.any():
            return None
        pairs, counts = _counted(below[touch], above[touch])
        faces = np.zeros((len(pairs), len(self.apart.along)), np.int64)
        faces[:, n] = counts
        return np.full(len(pairs), group, np.int64), pairs, faces


def _counted(a: Array, b: Array) -> tuple[Array, Array]:
    """Pairs of labels, smaller first (n, 2), and how often each occurs; of any integer type."""
    native = label_type(a.dtype)
    a, b = a.astype(native, copy=False), b.astype(native, copy=False)
    bits = np.dtype(f"u{native.itemsize}")
    found = OverlapCounts()(np.minimum(a, b).view(bits), np.maximum(a, b).view(bits))
    if found is None:
        return np.empty((0, 2), native), np.empty(0, np.int64)
    return found[0].astype(bits).view(native), found[1]


def touching_pairs(labels: Array, along: Sequence[int], *, background: bool) -> Array:
    """Ids that share a face along some axes, smaller first, each pair once (n, 2; uint64); of labels >= 0."""
    if labels.ndim in (2, 3) and len(along) == labels.ndim and labels.size:
        return _of_graph(labels, background)
    found = [np.empty((0, 2), np.uint64)]
    for axis in along:
        lower = labels[(slice(None),) * axis + (slice(None, -1),)]
        upper = labels[(slice(None),) * axis + (slice(1, None),)]
        touch = lower != upper
        if not background:
            touch &= (lower != 0) & (upper != 0)
        found.append(_counted(lower[touch], upper[touch])[0].astype(np.uint64))
    pairs = np.concatenate(found)
    return sum_pairs(pairs, np.ones(len(pairs), np.int64))[0]


def _of_graph(labels: Array, background: bool) -> Array:
    import fastremap
    from bioimage_cpp.graph import region_adjacency_graph

    native = np.ascontiguousarray(labels, label_type(labels.dtype))
    numbers, names = fastremap.renumber(native, preserve_zero=True, in_place=False)
    edges = region_adjacency_graph(numbers.astype(np.uint32), number_of_threads=1).uv_ids().astype(np.int64)
    ids = np.zeros(int(numbers.max()) + 1, np.uint64)
    ids[np.array(list(names.values()), np.int64)] = np.array(list(names), np.uint64)
    pairs = ids[edges[edges.all(axis=1)] if not background else edges]
    pairs.sort(axis=1)
    return sum_pairs(pairs, np.ones(len(pairs), np.int64))[0]


def summed(parts: Sequence[Contacts]) -> Contacts | None:
    """The sums of several counts."""
    if not parts:
        return None
    groups, pairs, faces = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((pairs[:, 1], pairs[:, 0], groups))
    groups, pairs, faces = groups[order], pairs[order], faces[order]
    new = np.ones(len(groups), np.bool_)
    new[1:] = (groups[1:] != groups[:-1]) | (pairs[1:] != pairs[:-1]).any(axis=1)
    starts = np.flatnonzero(new)
    return groups[starts], pairs[starts], np.add.reduceat(faces, starts, axis=0)


def merge_contacts(a: Contacts, b: Contacts) -> Contacts:
    """Join the counts of two blocks."""
    found = summed([a, b])
    assert found is not None
    return found
