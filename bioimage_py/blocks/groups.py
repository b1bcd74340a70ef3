"""Write groups: the blocks that own the same whole write units, computed from the grid and the lattice.

Two blocks share a unit only across a cut that is not clean, and cuts are per axis, so the groups are products of runs:
along each axis, the blocks between two clean cuts. A group is a box, which one worker assembles and writes once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..errors import BlockShapeError
from .grid import Grid
from .lattice import Lattice
from .shape import nearest_block_shape

MAX_GROUP = 64
"""Largest number of blocks in one write group."""


@dataclass(frozen=True)
class Runs:
    """Runs of blocks along one axis: the first ends at block ``first``, the others have ``period`` blocks each."""

    count: int
    first: int
    period: int
    n_runs: int = field(init=False, compare=False, repr=False)
    longest: int = field(init=False, compare=False, repr=False)
    """Blocks in the longest run."""

    def __post_init__(self) -> None:
        n_runs = 0 if not self.count else 1 + -((self.first - self.count) // self.period)
        sizes = [self[run][1] - self[run][0] for run in range(min(2, n_runs))]
        object.__setattr__(self, "n_runs", n_runs)
        object.__setattr__(self, "longest", max(sizes, default=0))

    @classmethod
    def of(cls, grid: Grid, axis: int, lattice: Lattice) -> Runs:
        """Runs between the clean cuts of one axis."""
        count, size, anchor = grid.grid_shape[axis], grid.block_shape[axis], grid.anchor[axis]
        clean = lattice & Lattice(size, anchor)
        if clean.step:
            period = clean.step // size
            index = ((clean.offset - anchor) // size - grid.first[axis]) % period or period
            if index < count:
                return cls(count, index, period)
        return cls(count, max(count, 1), max(count, 1))

    def __getitem__(self, run: int) -> tuple[int, int]:
        """First block and one past the last block of a run."""
        begin = 0 if run == 0 else self.first + (run - 1) * self.period
        return begin, min(self.count, self.first + run * self.period)

    def of_blocks(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The run of each block index."""
        return np.where(index < self.first, 0, 1 + (index - self.first) // self.period)


@dataclass(frozen=True)
class Groups:
    """Write groups of a grid, numbered in C order.

    Parameters
    ----------
    grid : Grid
    runs : tuple of Runs
        One an axis.
    """

    grid: Grid
    runs: tuple[Runs, ...]
    n_groups: int = field(init=False, compare=False, repr=False)
    largest: int = field(init=False, compare=False, repr=False)
    """Blocks in the largest group."""
    trivial: bool = field(init=False, compare=False, repr=False)
    """Whether each group is one block, with the block's id."""

    def __post_init__(self) -> None:
        n_groups = math.prod(run.n_runs for run in self.runs)
        object.__setattr__(self, "n_groups", n_groups)
        object.__setattr__(self, "largest", math.prod(run.longest for run in self.runs))
        object.__setattr__(self, "trivial", n_groups == self.grid.n_blocks)

    @classmethod
    def of(cls, grid: Grid, lattices: Sequence[Lattice]) -> Groups:
        """Groups of a grid between the clean cuts of each axis."""
        return cls(grid, tuple(Runs.of(grid, axis, lattice) for axis, lattice in enumerate(lattices)))

    def ranges(self, group: int) -> list[tuple[int, int]]:
        """First and one past the last block index of a group, per axis."""
        position = []
        for run in reversed(self.runs):
            group, index = divmod(group, run.n_runs)
            position.append(run[index])
        return position[::-1]

    def blocks(self, group: int) -> list[int]:
        """Ids of the blocks of a group, ascending."""
        if self.trivial:
            return [group]
        ids = [0]
        for (begin, end), count in zip(self.ranges(group), self.grid.grid_shape, strict=True):
            ids = [block * count + index for block in ids for index in range(begin, end)]
        return ids

    def box(self, group: int) -> tuple[list[int], list[int]]:
        """Begin and end of the voxels that the blocks of a group cover together."""
        ranges = self.ranges(group)
        low = self.grid[self.grid.id_at([begin for begin, _ in ranges])]
        high = self.grid[self.grid.id_at([end - 1 for _, end in ranges])]
        return low.begin, high.end

    def of_blocks(self, block_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The group of each block id."""
        if self.trivial:
            return block_ids
        rest = block_ids
        groups = np.zeros_like(block_ids)
        stride = 1
        for run, count in zip(reversed(self.runs), reversed(self.grid.grid_shape), strict=True):
            rest, index = np.divmod(rest, count)
            groups += run.of_blocks(index) * stride
            stride *= run.n_runs
        return groups


def plan_blocks(
    shape: Sequence[int],
    block_shape: Sequence[int],
    roi: tuple[tuple[int, int], ...],
    lattices: tuple[Lattice, ...],
    *,
    anchored: bool = False,
) -> Groups:
    """The grid and the write groups of a run.

    The grid starts at the region's begin where every cut is then clean; else it is anchored on the common write grid
    of the outputs. Blocks that still share write units form groups.

    Parameters
    ----------
    shape, block_shape : sequence of int
    roi : tuple of (int, int)
        Begin and end per axis.
    lattices : tuple of Lattice
        Clean cuts per axis, see `common_lattice`.
    anchored : bool
        Anchor on the write grid at once (automatic block shapes).

    Raises
    ------
    BlockShapeError
        More than `MAX_GROUP` blocks would share write units; names the nearest good shape.
    """
    free = Grid(tuple(shape), tuple(block_shape), roi)
    if not anchored:
        groups = Groups.of(free, lattices)
        if groups.trivial:
            return groups
    grid = Grid(tuple(shape), tuple(block_shape), roi, tuple(lattice.offset for lattice in lattices))
    groups = Groups.of(grid, lattices)
    if groups.largest > MAX_GROUP:
        good = nearest_block_shape(block_shape, lattices, shape)
        steps = tuple(lattice.step or size for lattice, size in zip(lattices, shape, strict=True))
        raise BlockShapeError(
            f"block_shape {tuple(block_shape)} makes {groups.largest} blocks share write units of the outputs (write"
            f" units lie on a grid of {steps} from {tuple(lat.offset for lat in lattices)}); at most {MAX_GROUP} may",
            remedy=f"block_shape={good}",
        )
    return groups
