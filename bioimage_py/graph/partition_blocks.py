"""What a worker does for a partition: the problem, its cells, and what they say put together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..runner.ledger.stage_record import Results
from .constraints.rules import Rules
from .decomposition import Cells, Solution, combined, solve_cell
from .problem import Problem
from .regions import RegionGraph
from .solving import Way, solved


@dataclass(frozen=True)
class Level:
    """Where a problem stands: what has been joined so far, and the energy of that."""

    problem: Problem
    labels: npt.NDArray[np.int64]
    energies: tuple[float, ...] = ()
    penalty: float = 0.0
    """What energies lack because some edges have to be cut."""

    def joined(self, labels: npt.NDArray[np.int64]) -> Level:
        """The next level, in which the parts of a labelling are nodes; never a worse one than this."""
        if self.problem.energy(labels) > self.problem.energy(np.arange(self.problem.n)):
            labels = np.arange(self.problem.n, dtype=np.int64)
        problem = self.problem.joined(labels)
        energy = float(problem.costs.sum()) + self.penalty
        return replace(self, problem=problem, labels=labels[self.labels], energies=(*self.energies, energy))


def problem_of(graph: RegionGraph, costs: npt.NDArray[np.float64]) -> Problem:
    """The problem of a region graph and the costs of its edges."""
    count, touching = graph.edges.count.astype(np.float64), graph.edges.faces.sum(axis=1) > 0
    return Problem(graph.nodes.centers(), graph.nodes.size, graph.pairs, costs, count, touching)


@dataclass(frozen=True)
class Begin:
    """The first level of a graph.

    Parameters
    ----------
    graph : RegionGraph
    costs : ndarray of float64, (edges,)
    rules : Rules, optional
        What has to be joined and cut.
    chosen : ndarray of int64, optional
        The regions that are divided, ascending rows; by default all.
    """

    graph: RegionGraph
    costs: npt.NDArray[np.float64]
    rules: Rules | None = None
    chosen: npt.NDArray[np.int64] | None = None

    def __call__(self, earlier: Results) -> Level:
        """The level before anything is joined."""
        problem, rules = problem_of(self.graph, self.costs), self.rules
        if self.chosen is not None:
            problem = problem.part(self.chosen)
            rules = None if rules is None else rules.of(self.chosen)
        labels, penalty = np.arange(problem.n, dtype=np.int64), 0.0
        if rules is not None:
            problem, labels, penalty = rules.applied(problem)
        return Level(problem, labels, (float(problem.costs.sum()) + penalty,), penalty)


@dataclass(frozen=True)
class LevelOf:
    """The level that an earlier stage has made."""

    stage: str

    def __call__(self, earlier: Results) -> Level:
        """The level."""
        level: Level = earlier[self.stage]
        return level


@dataclass(frozen=True)
class SolveCell:
    """Divide one cell of a level."""

    cells: Cells
    way: Way

    def __call__(self, index: int, *, context: Level) -> Solution:
        """The division of a cell."""
        return solve_cell(context.problem, self.cells, index, self.way)


@dataclass(frozen=True)
class JoinCells:
    """After the cells of a level: join what they join."""

    before: LevelOf
    cells: str

    def __call__(self, earlier: Results) -> Level:
        """The next level."""
        level = self.before(earlier)
        solutions: Any = (value for _, value in earlier.each(self.cells))
        return level.joined(combined(level.problem.n, solutions))


@dataclass(frozen=True)
class SolveRest:
    """The last stage: what is left, as a whole."""

    before: LevelOf
    way: Way

    def __call__(self, earlier: Results) -> Level:
        """The last level."""
        level = self.before(earlier)
        return level.joined(solved(level.problem, self.way))


@dataclass(frozen=True)
class JoinMore:
    """After agglomeration up to the first threshold: up to others, ever higher, each on what is joined already."""

    before: LevelOf
    rises: tuple[float, ...]

    def __call__(self, earlier: Results) -> list[npt.NDArray[np.int64]]:
        """The parts at each threshold."""
        level = self.before(earlier)
        found = [level.labels]
        for rise in self.rises:
            problem = level.problem
            raised = replace(problem, costs=problem.costs + rise * problem.weights)
            level = replace(level, problem=raised).joined(solved(raised, "mean linkage"))
            found.append(level.labels)
        return found
