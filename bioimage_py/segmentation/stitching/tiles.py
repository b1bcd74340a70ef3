"""Tiles of a volume and their surroundings, laid side by side in an array of slots: one tile a slot."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...blocks.boxes import common, is_empty, shifted, size_of, within
from ...sources.axes import Axis
from ...sources.indexing import Roi
from ...wrapper.base import RegriddedSource, register_wrapper

_UNIT = 64
"""Most voxels of a chunk of the slots along an axis."""


@dataclass(frozen=True)
class Tiling:
    """How a volume is cut into tiles.

    Parameters
    ----------
    shape : tuple of int
        Of the volume.
    tile : tuple of int
        Voxels of a tile, without its surroundings; at most those of the volume.
    overlap : tuple of int
        Voxels of the surroundings to each side.
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]
    overlap: tuple[int, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of tiles along each axis."""
        return tuple(-(-size // one) for size, one in zip(self.shape, self.tile, strict=True))

    @property
    def n(self) -> int:
        """Number of tiles; their ids are in C order."""
        return math.prod(self.grid)

    def position(self, tile_id: int) -> tuple[int, ...]:
        """Where a tile is on the grid."""
        return tuple(map(int, np.unravel_index(tile_id, self.grid)))

    def inner(self, tile_id: int) -> Roi:
        """The voxels of a tile."""
        at = zip(self.position(tile_id), self.tile, self.shape, strict=True)
        return tuple(slice(index * one, min(index * one + one, size)) for index, one, size in at)

    def outer(self, tile_id: int) -> Roi:
        """The voxels of a tile and its surroundings, within the volume."""
        at = zip(self.position(tile_id), self.tile, self.overlap, self.shape, strict=True)
        return tuple(
            slice(max(0, index * one - more), min(index * one + one + more, size)) for index, one, more, size in at
        )

    def later(self, tile_id: int) -> Iterator[tuple[int, int]]:
        """Tiles that follow along an axis: (axis, tile)."""
        position, grid = self.position(tile_id), self.grid
        for axis, index in enumerate(position):
            if index + 1 < grid[axis]:
                after = (*position[:axis], index + 1, *position[axis + 1 :])
                yield axis, int(np.ravel_multi_index(after, grid))

    def touching(self, roi: Roi) -> Iterator[int]:
        """Tiles of a region, ascending."""
        parts = zip(roi, self.tile, strict=True)
        if not is_empty(roi):
            for at in itertools.product(*(range(part.start // one, -(-part.stop // one)) for part, one in parts)):
                yield int(np.ravel_multi_index(at, self.grid))

    # where the labels of a tile are stored

    def stored(self, tile_id: int, roi: Roi) -> Roi:
        """Where a part of the volume, as a tile sees it, lies in the array that holds what tiles have made."""
        return roi

    def shared(self, first: int, second: int, axis: int) -> tuple[Roi, Roi]:
        """What neighbours both have labels of, in the stored array: the last planes of one, the first of the other."""
        a, b = list(self.inner(first)), list(self.inner(second))
        depth = min(self.overlap[axis], a[axis].stop - a[axis].start, b[axis].stop - b[axis].start)
        a[axis] = slice(a[axis].stop - depth, a[axis].stop)
        b[axis] = slice(b[axis].start, b[axis].start + depth)
        return tuple(a), tuple(b)


@dataclass(frozen=True)
class Slots(Tiling):
    """Tiles that are stored with their surroundings, each in a slot of its own."""

    @property
    def pitch(self) -> tuple[int, ...]:
        """Voxels from slot to slot: whole chunks."""
        sizes = [one + 2 * more for one, more in zip(self.tile, self.overlap, strict=True)]
        return tuple(-(-size // one) * one for size, one in zip(sizes, self.chunks, strict=True))

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of the array of slots."""
        return tuple(n * one for n, one in zip(self.grid, self.pitch, strict=True))

    @property
    def chunks(self) -> tuple[int, ...]:
        """Chunks of the array of slots."""
        sizes = [one + 2 * more for one, more in zip(self.tile, self.overlap, strict=True)]
        return tuple(-(-size // -(-size // _UNIT)) for size in sizes)

    def stored(self, tile_id: int, roi: Roi) -> Roi:
        """In the slot of the tile, whose first voxel is that of the surroundings, be they within the volume or not."""
        at = zip(self.position(tile_id), self.pitch, self.tile, self.overlap, strict=True)
        return shifted(roi, [index * pitch - index * one + more for index, pitch, one, more in at])

    def shared(self, first: int, second: int, axis: int) -> tuple[Roi, Roi]:
        """The voxels that are in the surroundings of both."""
        both = common(self.outer(first), self.outer(second))
        return self.stored(first, both), self.stored(second, both)


@register_wrapper
class SlotSource(RegriddedSource):
    """A read-only view of a volume as slots: every tile with its surroundings, zeros where these leave the volume.

    Parameters
    ----------
    source : Source or array_like
        The volume.
    tile, overlap : sequence of int
        See `Tiling`.
    """

    def __init__(self, source: Any, tile: Sequence[int], overlap: Sequence[int]) -> None:
        super().__init__(source)
        self._slots = Slots(self._source.shape, tuple(tile), tuple(overlap))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of slots."""
        return self._slots.stored_shape

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """A slot."""
        return self._slots.pitch

    @property
    def rereads(self) -> bool:
        """True: what lies around a tile is read with its neighbours too."""
        return any(self._slots.overlap)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the volume."""
        return self._source.axes

    def _getitem(self, roi: Roi) -> np.ndarray:
        result = np.zeros(size_of(roi), self.dtype)
        parts = [
            range(part.start // one, -(-part.stop // one)) for part, one in zip(roi, self._slots.pitch, strict=True)
        ]
        for at in itertools.product(*parts):
            tile = int(np.ravel_multi_index(at, self._slots.grid))
            outer = self._slots.outer(tile)
            there = self._slots.stored(tile, outer)
            wanted = common(roi, there)
            if not is_empty(wanted):
                inside = within(wanted, there)
                box = shifted(inside, [part.start for part in outer])
                result[within(wanted, roi)] = self._source._viewitem(box)
        return result

    def _params(self) -> dict[str, Any]:
        return {"tile": list(self._slots.tile), "overlap": list(self._slots.overlap)}


@register_wrapper
class TiledSource(RegriddedSource):
    """A read-only view of slots as a volume: of every tile its own voxels.

    Parameters
    ----------
    source : Source or array_like
        The array of slots.
    shape, tile, overlap : sequence of int
        See `Tiling`.
    """

    def __init__(self, source: Any, shape: Sequence[int], tile: Sequence[int], overlap: Sequence[int]) -> None:
        super().__init__(source)
        self._slots = Slots(tuple(shape), tuple(tile), tuple(overlap))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the volume."""
        return self._slots.shape

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """A tile."""
        return self._slots.tile

    def _getitem(self, roi: Roi) -> np.ndarray:
        result = np.zeros(size_of(roi), self.dtype)
        for tile in self._slots.touching(roi):
            wanted = common(roi, self._slots.inner(tile))
            result[within(wanted, roi)] = self._source._viewitem(self._slots.stored(tile, wanted))
        return result

    def _params(self) -> dict[str, Any]:
        slots = self._slots
        return {"shape": list(slots.shape), "tile": list(slots.tile), "overlap": list(slots.overlap)}
