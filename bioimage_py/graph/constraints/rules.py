"""Constraints as a multicut problem has them: nodes that are one from the beginning, and edges that are always cut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ParameterError
from ..problem import Problem, numbered
from ..regions import RegionGraph
from .pairs import Pair, constraints_of

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rules:
    """Constraints on the nodes of a problem.

    Parameters
    ----------
    n : int
        Number of nodes.
    joins, cuts : ndarray of int64, (pairs, 2)
        Rows of nodes.
    """

    n: int
    joins: Rows
    cuts: Rows

    @classmethod
    def of_graph(cls, graph: RegionGraph, given: Any) -> Rules:
        """Those on the regions of a graph.

        Raises
        ------
        ParameterError
            An id that is none of its regions, or constraints that contradict each other.
        """
        constraints = constraints_of(given)
        ids = graph.nodes.ids
        found = cls(len(ids), _rows(ids, constraints.join, "join"), _rows(ids, constraints.cut, "cut"))
        together = found.together()
        wrong = np.flatnonzero(together[found.cuts[:, 0]] == together[found.cuts[:, 1]])
        if len(wrong):
            one, other = constraints.cut[int(wrong[0])]
            raise ParameterError(
                f"the regions {one} and {other} must be cut, and joined too: by {_chain(constraints.join, one, other)}",
                remedy="leave out one of these pairs",
            )
        return found

    def of(self, chosen: Rows) -> Rules:
        """Those among some nodes, ascending, which are numbered anew."""
        number = np.full(self.n, -1, np.int64)
        number[chosen] = np.arange(len(chosen))
        joins, cuts = (number[pairs] for pairs in (self.joins, self.cuts))
        return Rules(len(chosen), joins[(joins >= 0).all(axis=1)], cuts[(cuts >= 0).all(axis=1)])

    def together(self) -> Rows:
        """A labelling in which exactly what has to be joined is joined."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        ones = np.ones(len(self.joins), np.int8)
        matrix = coo_matrix((ones, tuple(self.joins.T)), shape=(self.n, self.n))
        return numbered(connected_components(matrix, directed=False)[1])

    def applied(self, problem: Problem) -> tuple[Problem, Rows, float]:
        """The problem that heeds them, its nodes by those of the one given, and what they add to no energy.

        An edge that has to be cut costs more than all others together, so no solution is better for keeping it.
        """
        cuts = np.unique(np.sort(self.cuts, axis=1), axis=0)
        price = float(np.abs(problem.costs).sum()) + 1.0
        more = replace(
            problem,
            edges=np.concatenate([problem.edges, cuts]),
            costs=np.concatenate([problem.costs, np.full(len(cuts), -price)]),
            weights=np.concatenate([problem.weights, np.zeros(len(cuts))]),
            touching=np.concatenate([problem.touching, np.ones(len(cuts), np.bool_)]),
        )
        labels = self.together()
        return more.joined(labels), labels, price * len(cuts)


def _rows(ids: npt.NDArray[np.uint64], pairs: tuple[Pair, ...], name: str) -> Rows:
    wanted = np.array(pairs, np.uint64).reshape(-1, 2)
    rows = np.searchsorted(ids, wanted)
    there = rows < len(ids)
    there[there] = ids[rows[there]] == wanted[there]
    if not there.all():
        pair = pairs[int(np.flatnonzero(~there.all(axis=1))[0])]
        missing = [one for one, found in zip(pair, there[~there.all(axis=1)][0], strict=True) if not found]
        raise ParameterError(
            f"{name} names the region {missing[0]}, which is none of the {len(ids)} of the graph",
            remedy="ids of superpixels, not of objects",
        )
    return rows.astype(np.int64)


def _chain(pairs: tuple[Pair, ...], one: int, other: int) -> str:
    """The shortest way from a region to another by pairs that are joined, for a message."""
    ways: dict[int, list[Pair]] = {one: []}
    front = [one]
    while front and other not in ways:
        found = []
        for at in front:
            for pair in pairs:
                if at in pair and (to := pair[pair[0] == at]) not in ways:
                    ways[to] = [*ways[at], pair]
                    found.append(to)
        front = found
    return " ".join(map(str, map(list, ways.get(other, [])))) or "being the same region"
