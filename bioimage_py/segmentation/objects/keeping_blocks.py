"""What a worker does to choose objects: count them, or look which touch the border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...blocks import Block
from ...sources import Source
from .. import tables
from .groups import Apart, Counted, joined, roi_and_inside

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class CountGrouped:
    """Ids of a block and their numbers of voxels, group by group; background is left out."""

    apart: Apart

    def __call__(
        self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> Counted | None:
        """Count one block, inside the mask."""
        roi, inside, nothing = roi_and_inside(block, mask)
        if nothing:
            return None
        labels = inputs[0].view(roi)
        return joined([(group, *_counted(labels, inside, where)) for group, where in self.apart.parts(roi)])


@dataclass(frozen=True)
class BorderIds:
    """Ids near the border of a region, along the axes that are worked along.

    Parameters
    ----------
    apart : Apart
    region : tuple of (int, int)
        Begin and end along each axis.
    depth : tuple of int
        Voxels from the border on that count as border, along each axis that is worked along.
    """

    apart: Apart
    region: tuple[tuple[int, int], ...]
    depth: tuple[int, ...]

    def __call__(
        self, block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: Source | None
    ) -> Counted | None:
        """Look at the parts of one block that are near the border; nothing is read of other blocks."""
        found = []
        for axis, depth in zip(self.apart.along, self.depth, strict=True):
            low, high = self.region[axis]
            for begin, end in ((low, low + depth), (high - depth, high)):
                begin, end = max(block.begin[axis], begin), min(block.end[axis], end)
                if begin >= end:
                    continue
                slab = Block(list(block.begin), list(block.end))
                slab.begin[axis], slab.end[axis] = begin, end
                roi, inside, nothing = roi_and_inside(slab, mask)
                if not nothing:
                    labels = inputs[0].view(roi)
                    found += [(group, *_counted(labels, inside, where)) for group, where in self.apart.parts(roi)]
        return joined(found)


@dataclass(frozen=True)
class Largest:
    """Chooses the objects with the most voxels of each group; of equal ones those with the smaller ids."""

    n: int

    def __call__(self, found: Counted) -> Array:
        """True for the objects that are chosen."""
        groups, _, counts = found
        order = np.lexsort((np.arange(len(counts)), -counts, groups))
        ordered = groups[order]
        place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        chosen = np.zeros(len(order), np.bool_)
        chosen[order] = place < self.n
        return chosen


@dataclass(frozen=True)
class Every:
    """Chooses all objects."""

    def __call__(self, found: Counted) -> Array:
        """True for each."""
        return np.ones(len(found[0]), np.bool_)


def _counted(labels: Array, inside: Array | None, where: tuple[Any, ...]) -> tuple[Array, Array]:
    part = labels[where] if inside is None else labels[where][inside[where]]
    ids, counts = tables.counted(part)
    ids = ids.view(np.uint8) if ids.dtype.kind == "b" else ids
    objects = ids != 0
    return ids[objects], counts[objects]
