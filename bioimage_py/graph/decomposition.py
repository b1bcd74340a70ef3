"""A multicut problem too large for one processor, by parts: cells of the volume, joined, in ever larger cells.

After Pape et al., "Solving large multicut problems for connectomics via domain decomposition", ICCV Workshops 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .problem import Problem, numbered
from .solving import Way, solved


@dataclass(frozen=True)
class Cells:
    """A division of a volume into boxes of one size, counted in C order; nodes belong to that in which they lie."""

    shape: tuple[int, ...]
    size: tuple[int, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return tuple(max(1, math.ceil(n / step)) for n, step in zip(self.shape, self.size, strict=True))

    @property
    def n(self) -> int:
        """Number of cells."""
        return math.prod(self.grid)

    def of(self, places: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """The cell of each node."""
        grid = np.array(self.grid)
        index = np.clip((places / np.array(self.size)).astype(np.int64), 0, grid - 1)
        return np.asarray(np.ravel_multi_index(tuple(index.T), self.grid), np.int64)

    def doubled(self) -> Cells:
        """Cells of twice the size."""
        return Cells(self.shape, tuple(2 * step for step in self.size))


def levels(shape: Sequence[int], size: Sequence[int]) -> list[Cells]:
    """The cells of all levels, each twice as large, as long as there is more than one."""
    found = []
    cells = Cells(tuple(shape), tuple(size))
    while cells.n > 1:
        found.append(cells)
        cells = cells.doubled()
    return found


@dataclass(frozen=True)
class Solution:
    """What the division of a cell says of its own nodes."""

    nodes: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]


def solve_cell(problem: Problem, cells: Cells, index: int, way: Way) -> Solution:
    """Divide the nodes of a cell, seen together with those around it.

    The surroundings reach half a cell far. What lies near the border of a cell would be divided without knowing its
    neighbours; so they are divided with it, but only what is said of the cell's own nodes counts.
    """
    corner = np.array(np.unravel_index(index, cells.grid)) * np.array(cells.size)
    margin = np.array(cells.size) / 2
    inside = (problem.places >= corner - margin) & (problem.places < corner + np.array(cells.size) + margin)
    seen = np.flatnonzero(inside.all(axis=1))
    own = cells.of(problem.places[seen]) == index
    labels = solved(problem.part(seen), way)
    return Solution(seen[own], numbered(labels[own]))


def combined(n: int, solutions: Iterable[Solution]) -> npt.NDArray[np.int64]:
    """A labelling of all n nodes from those of cells; a node that lies in none stays by itself."""
    labels = np.arange(n, dtype=np.int64)
    for one in solutions:
        first = np.full(int(one.labels.max(initial=-1)) + 1, n, np.int64)
        np.minimum.at(first, one.labels, one.nodes)
        labels[one.nodes] = first[one.labels]
    return numbered(labels)
