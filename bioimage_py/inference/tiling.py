"""Tiles of a volume: where they lie, how they are blended, and what it costs to compute them block by block.

Tiles lie in absolute coordinates, every ``tile - overlap`` voxels from the volume's first voxel on; the last one is
moved back so that it ends with the volume. They depend on the volume's shape and on nothing else, so no block, region
or worker changes them. All of it is a product over the axes, so one axis is all that has to be understood.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..blocks import Grid, Lattice

Weights = npt.NDArray[np.float64]

TARGET_VOXELS = 2**24
"""Voxels of an automatic block, over the channels that the model makes: 256 cubed."""


@dataclass(frozen=True)
class AxisTiles:
    """Tiles along one axis.

    Parameters
    ----------
    size : int
        Voxels of the volume.
    tile : int
        Voxels of a tile. A shorter volume has a single tile, which reaches beyond it.
    overlap : int
        Voxels that a tile shares with the next one, at least.
    margin : int
        Voxels at the ends of a tile whose values are not used, except at the ends of the volume.
    """

    size: int
    tile: int = 1
    overlap: int = 0
    margin: int = 0

    @property
    def step(self) -> int:
        """Distance of tiles."""
        return self.tile - self.overlap

    @property
    def count(self) -> int:
        """Number of tiles."""
        return 0 if not self.size else 1 + max(0, -((self.tile - self.size) // self.step))

    def begin(self, index: int) -> int:
        """First voxel of a tile."""
        return min(index * self.step, max(0, self.size - self.tile))

    def used(self, index: int) -> tuple[int, int]:
        """First and one past the last voxel that a tile gives values for."""
        begin = self.begin(index)
        low = begin + (self.margin if index else 0)
        high = begin + self.tile - (self.margin if index < self.count - 1 else 0)
        return low, min(high, self.size)

    def touching(self, begin: int, end: int) -> list[int]:
        """Tiles that give values for voxels of a range, ascending."""
        last = self.count - 1
        low, high = max(0, (begin - self.tile) // self.step), min(last, end // self.step)
        near = [*range(low, high + 1), *([last] if last > high else [])]
        return [index for index in near if self.used(index)[0] < end and begin < self.used(index)[1]]

    def reach(self, begin: int, end: int) -> tuple[int, int]:
        """First and one past the last voxel that the tiles of a range cover, within the volume."""
        tiles = self.touching(begin, end)
        return self.begin(tiles[0]), min(self.size, self.begin(tiles[-1]) + self.tile)

    def weights(self, index: int) -> Weights:
        """Share of a tile in each of the voxels that it is used for; those of all tiles sum to one at every voxel."""
        low, high = self.used(index)
        total = np.zeros(high - low)
        for other in self.touching(low, high):
            first, end = self.used(other)
            a, b = max(low, first), min(high, end)
            total[a - low : b - low] += self._ramp(other)[a - first : b - first]
        return self._ramp(index) / total

    def _ramp(self, index: int) -> Weights:
        """Weights before they are made to sum to one: rising over the overlap but its margins, level at the ends."""
        low, high = self.used(index)
        at = np.arange(low, high, dtype=np.float64) - self.begin(index)
        width = self.overlap - 2 * self.margin + 1
        left = (at - self.margin + 1) / width if index else np.ones_like(at)
        right = (self.tile - self.margin - at) / width if index < self.count - 1 else np.ones_like(at)
        return np.minimum(np.minimum(left, right), 1.0)


@dataclass(frozen=True)
class Tiling:
    """Tiles of a volume: those of its axes, in array order; an axis that is kept apart has tiles of one voxel."""

    axes: tuple[AxisTiles, ...]

    def halo(self, grid: Grid) -> tuple[int, ...]:
        """Voxels around the blocks of a grid that their tiles reach, per axis."""
        return tuple(
            max((max(b - low, high - e) for b, e, (low, high) in self._reaches(grid, axis)), default=0)
            for axis in range(grid.ndim)
        )

    def cost(self, grid: Grid) -> float:
        """How often a tile is computed by the blocks of a grid, on average: 1 where no two blocks share a tile.

        At most, for a worker takes over the tiles of the block that it has done before.
        """
        return math.prod(self._cost(grid, axis) for axis in range(grid.ndim))

    def _reaches(self, grid: Grid, axis: int) -> list[tuple[int, int, tuple[int, int]]]:
        return [(b, e, self.axes[axis].reach(b, e)) for b, e in _cuts(grid, axis)]

    def _cost(self, grid: Grid, axis: int) -> float:
        needed = len(self.axes[axis].touching(*grid.roi[axis]))
        computed = sum(len(self.axes[axis].touching(b, e)) for b, e in _cuts(grid, axis))
        return computed / needed if needed else 1.0

    def block_shape(self, lattices: Sequence[Lattice], channels: int = 1) -> tuple[int, ...]:
        """A block shape that computes few tiles twice; it depends on shapes, chunks and tiles only.

        Whole write units, or tile steps where every voxel can be written alone, made longer along the axis on which
        most tiles would be computed twice, up to `TARGET_VOXELS`.

        Parameters
        ----------
        lattices : sequence of Lattice
            Clean cuts per axis of the output.
        channels : int
            Values that the model makes of a voxel.
        """
        whole = tuple(max(1, axis.size) for axis in self.axes)
        units = [
            size if not lattice.step else axis.step if lattice.step == 1 else lattice.step
            for axis, lattice, size in zip(self.axes, lattices, whole, strict=True)
        ]
        block = [min(unit, size) for unit, size in zip(units, whole, strict=True)]
        while math.prod(block) * channels * 2 <= TARGET_VOXELS:
            axes = [axis for axis, size in enumerate(block) if size < whole[axis]]
            if not axes:
                break
            grid = Grid(whole, tuple(block))
            axis = max(axes, key=lambda one: (self._cost(grid, one), -block[one], one))
            block[axis] = min(2 * block[axis], whole[axis])
        # an end that is no multiple of the unit is no cut, so the whole axis is always allowed
        return tuple(
            -(-size // lattice.step) * lattice.step if lattice.step else size
            for size, lattice in zip(block, lattices, strict=True)
        )


def _cuts(grid: Grid, axis: int) -> list[tuple[int, int]]:
    """Begin and end of the blocks of a grid along one axis."""
    (low, high), size = grid.roi[axis], grid.block_shape[axis]
    first = grid.anchor[axis] + grid.first[axis] * size
    begins = [first + index * size for index in range(grid.grid_shape[axis])]
    return [(max(low, begin), min(high, begin + size)) for begin in begins]
