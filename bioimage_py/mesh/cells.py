"""Blocks as the finest cells of an octree: a cell of a coarser level has eight of the level before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Cells:
    """The cells of a level; all sequences are in the order of the array's axes.

    Cell (0, 0, 0) begins one voxel before the volume, where the surfaces of objects at its border are closed.

    Parameters
    ----------
    level : int
    finest : tuple of int
        Number of blocks along each axis.
    block_shape : tuple of int
    """

    level: int
    finest: tuple[int, ...]
    block_shape: tuple[int, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return tuple(-(-n // 2**self.level) for n in self.finest)

    @property
    def n(self) -> int:
        """Number of cells."""
        return math.prod(self.grid)

    @property
    def size(self) -> tuple[int, ...]:
        """Voxels of a cell."""
        return tuple(n * 2**self.level for n in self.block_shape)

    def positions(self, cells: Any) -> Array:
        """Position of cells in the grid, shape (n, 3)."""
        return np.stack(np.unravel_index(np.asarray(cells, np.int64), self.grid), -1)

    def corner(self, cell: int) -> tuple[int, ...]:
        """Voxel at which a cell begins."""
        at = self.positions([cell])[0].tolist()
        return tuple(n * size - 1 for n, size in zip(at, self.size, strict=True))

    def of_blocks(self, blocks: Any) -> Array:
        """Cells that have some blocks, ascending."""
        at = np.stack(np.unravel_index(np.asarray(blocks, np.int64), self.finest), -1) >> self.level
        return np.unique(np.ravel_multi_index(tuple(at.T), self.grid))

    def around(self, blocks: Any) -> Array:
        """Cells that have some blocks, or touch one that has, ascending."""
        steps = np.array(list(np.ndindex(3, 3, 3))) - 1
        at = self.positions(self.of_blocks(blocks))[:, None] + steps
        at = np.clip(at, 0, np.array(self.grid) - 1).reshape(-1, 3)
        return np.unique(np.ravel_multi_index(tuple(at.T), self.grid))

    @property
    def finer(self) -> Cells:
        """The level before."""
        return Cells(self.level - 1, self.finest, self.block_shape)

    def children(self, cell: int) -> list[int]:
        """Cells of the level before, in this one."""
        finer = self.finer
        base = 2 * self.positions([cell])[0]
        found = [base + step for step in np.ndindex(2, 2, 2)]
        there = [at for at in found if (at < finer.grid).all()]
        return [int(np.ravel_multi_index(tuple(at), finer.grid)) for at in there]


def z_order(positions: Array) -> Array:
    """Order of cells along the z curve, x first; positions x, y, z of shape (n, 3)."""
    bits = max(1, int(positions.max()).bit_length()) if positions.size else 1
    code = [0] * len(positions)
    for row, at in enumerate(positions.tolist()):
        for bit in range(bits):
            for axis in range(3):
                code[row] |= (at[axis] >> bit & 1) << (3 * bit + axis)
    return np.array(sorted(range(len(code)), key=code.__getitem__), np.int64)
