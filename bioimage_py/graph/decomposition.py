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
        return np.ravel_multi_index(tuple(index.T), self.grid).astype(np.int64)

    def doubled(self) -> Cells:
        """Cells of twice the size."""
        return Cells(self.shape, tuple(2 * step for step in self.size))


def levels(shape: Sequence[int], size: Sequence[int]) -> list[Cells]:
    """The cells of all levels; the last but one level of doubling would be the whole volume, which is solved apart."""
    found = []
    cells = Cells(tuple(shape), tuple(size))
    while cells.n > 1:
        found.append(cells)
        cells = cells.doubled()
    return found


def of_cell(problem: Problem, cells: Cells, index: int) -> npt.NDArray[np.int64]:
    """The nodes of a cell, ascending."""
    return np.flatnonzero(cells.of(problem.places) == index)


def combined(n: int, parts: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]) -> npt.NDArray[np.int64]:
    """A labelling of all nodes from those of cells: ``(nodes, labels)``; what lies in none stays by itself."""
    labels = np.arange(n, dtype=np.int64)
    for nodes, found in parts:
        first = np.full(int(found.max(initial=-1)) + 1, n, np.int64)
        np.minimum.at(first, found, nodes)
        labels[nodes] = first[found]
    return numbered(labels)
