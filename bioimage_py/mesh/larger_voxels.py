"""What bounds a cell of a coarser level: objects of too many triangles are made anew there, of larger voxels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..per_object.listing import Listing
from ..runner.ledger.stage_record import Results
from ..sources import Source
from .cells import Cells
from .marching import surfaces_of
from .pieces import Surface

Array = npt.NDArray[np.int64]

LARGE, ANEW = "large {}", "anew {}"
"""The stages of a level that find such objects, and make them."""


@dataclass(frozen=True)
class Large:
    """The objects of a level that are made of larger voxels, and the cells where they may have a surface.

    Parameters
    ----------
    objects, cells : ndarray of int64, shape (n,)
        Places in the listing, and a cell of each.
    """

    objects: Array
    cells: Array

    def at(self, cell: int) -> list[int]:
        """Objects in a cell, by their place in the listing."""
        found: list[int] = self.objects[self.cells == cell].tolist()
        return found

    def where(self, index: int) -> Array:
        """Cells of an object; none where it is not large."""
        found: Array = self.cells[self.objects == index]
        return found


@dataclass(frozen=True)
class FindLarge:
    """What runs once when the cells of a level are joined: which objects had too much in one, or a level before.

    One rule for an object and a level: cells that are neighbours have the same surface on the face between them.

    Parameters
    ----------
    cells : Cells
    joined : str
        The stage of the level, which has left no bytes of those objects.
    """

    cells: Cells
    joined: str

    def __call__(self, earlier: Results) -> Large:
        """Those objects."""
        listing: Listing = earlier["objects"]
        before = [] if self.cells.level == 1 else [earlier[LARGE.format(self.cells.level - 1)].objects]
        ids = [pieces.ids[np.diff(pieces.starts) == 0] for _, pieces in earlier.each(self.joined) if pieces is not None]
        found = np.searchsorted(listing.ids, np.concatenate([np.empty(0, np.uint64), *ids])).astype(np.int64)
        large = np.unique(np.concatenate([found, *before]))
        where = [self.cells.around(listing.where(place)) for place in large.tolist()]
        cells = np.concatenate([np.empty(0, np.int64), *where])
        return Large(np.repeat(large, np.array([len(part) for part in where], np.int64)), cells)


@dataclass(frozen=True)
class LargerVoxels:
    """The voxels of a level: one belongs to an object that has any voxel of the data in it.

    Their centres lie on the faces of the level's cells too, so neighbours share a plane of them. A vertex is half way
    between a centre inside and one outside: no farther than 1.25 of these voxels from the surface of the data. At the
    ends of the volume, where a plane outside closes the surface, voxels are half as large again.

    Parameters
    ----------
    cells : Cells
        Of level 1 or coarser.
    """

    cells: Cells

    @property
    def steps(self) -> tuple[int, ...]:
        """Voxels of the data along each: twice those of the level, so that a cell has less to do than a block."""
        level = self.cells.level
        return tuple(2 ** (level + 1 if n % 4 == 0 else level if n > 1 else level - 1) for n in self.cells.block_shape)

    def surfaces(self, labels: Source, cell: int, ids: Sequence[int]) -> Iterator[tuple[int, Surface]]:
        """Surfaces of some objects in a cell; positions are in voxels of the data, from its corner."""
        steps = np.array(self.steps)
        size = np.array(self.cells.size) // steps
        first = self.cells.positions([cell])[0] * size
        last = np.array(self.cells.grid) * size - 1
        masks = {one: np.zeros(size + 1, np.bool_) for one in ids}
        begin = np.maximum(0, first * steps - steps // 2 - 1)
        end = np.minimum(labels.shape, (first + size + 1) * steps - steps // 2 - 1)
        for box in _boxes(begin, end, self.cells.block_shape):
            block = labels[box]
            which = [
                np.clip((np.arange(part.start, part.stop) + 1 + step // 2) // step, 1, most) - low
                for part, step, low, most in zip(box, steps, first, last, strict=True)
            ]
            begins = [np.flatnonzero(np.diff(one, prepend=-1)) for one in which]
            at = np.ix_(*(one[starts] for one, starts in zip(which, begins, strict=True)))
            for one, mask in masks.items():
                there = block == block.dtype.type(one)
                if there.any():
                    for axis, starts in enumerate(begins):
                        there = np.logical_or.reduceat(there, starts, axis)
                    mask[at] |= there
        for one, mask in masks.items():
            for _, (vertices, faces) in surfaces_of(mask.astype(np.int32), 1):
                yield one, (vertices * steps, faces)


def _boxes(begin: Array, end: Array, shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """A region in boxes that end at multiples of a shape."""
    parts = []
    for low, high, size in zip(begin.tolist(), end.tolist(), shape, strict=True):
        cuts = [low, *range((low // size + 1) * size, high, size), high]
        parts.append([slice(one, other) for one, other in itertools.pairwise(cuts) if one < other])
    yield from itertools.product(*parts)
