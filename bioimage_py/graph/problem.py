"""A multicut problem as arrays: which nodes are joined by which edges, at what cost; and how it is made smaller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Problem:
    """Nodes 0 .. n - 1 that have to be divided so that the costs of the edges between the parts are least.

    Parameters
    ----------
    places : ndarray of float64, (nodes, axes)
        Where each node lies, in voxels of the volume.
    size : ndarray of int64, (nodes,)
        Voxels of each.
    edges : ndarray of int64, (edges, 2)
        The smaller node first; ascending, each pair once.
    costs : ndarray of float64, (edges,)
        What it costs to cut the edge: positive where its nodes belong together.
    weights : ndarray of float64, (edges,)
        Pairs of voxels of each edge, for whoever needs the mean cost of a pair.
    touching : ndarray of bool, (edges,)
        Whether the nodes touch. Of others, lifted edges, the cost counts where their nodes are in different parts, but
        a part hangs together by touching nodes.
    """

    places: npt.NDArray[np.float64]
    size: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int64]
    costs: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    touching: npt.NDArray[np.bool_]

    @property
    def n(self) -> int:
        """Number of nodes."""
        return len(self.size)

    def energy(self, labels: Array) -> float:
        """The costs of all edges that a labelling of the nodes cuts."""
        cut = labels[self.edges[:, 0]] != labels[self.edges[:, 1]]
        return float(self.costs[cut].sum())

    @property
    def bound(self) -> float:
        """What no labelling can go below: the costs of all edges that would rather be cut."""
        return float(self.costs[self.costs < 0].sum())

    def part(self, chosen: npt.NDArray[np.int64]) -> Problem:
        """The problem of some nodes, ascending, and the edges among them; its nodes are numbered anew."""
        number = np.full(self.n, -1, np.int64)
        number[chosen] = np.arange(len(chosen))
        edges = number[self.edges]
        among = (edges >= 0).all(axis=1)
        return Problem(
            self.places[chosen],
            self.size[chosen],
            edges[among],
            self.costs[among],
            self.weights[among],
            self.touching[among],
        )

    def joined(self, labels: npt.NDArray[np.int64]) -> Problem:
        """The problem whose nodes are the parts 0 .. m - 1 of a labelling, with the costs between them added up."""
        n = int(labels.max(initial=-1)) + 1
        size = np.zeros(n, np.int64)
        np.add.at(size, labels, self.size)
        places = np.stack([np.bincount(labels, column * self.size, n) for column in self.places.T], axis=1)
        pairs = np.sort(labels[self.edges], axis=1)
        between = pairs[:, 0] != pairs[:, 1]
        order = np.flatnonzero(between)[np.lexsort((pairs[between, 1], pairs[between, 0]))]
        pairs, costs, weights, touching = pairs[order], self.costs[order], self.weights[order], self.touching[order]
        begins = np.flatnonzero(np.r_[True, (pairs[1:] != pairs[:-1]).any(axis=1)]) if len(pairs) else np.zeros(0, int)
        if len(begins):
            costs, weights = np.add.reduceat(costs, begins), np.add.reduceat(weights, begins)
            touching = np.logical_or.reduceat(touching, begins)
        return Problem(places / np.maximum(size, 1)[:, None], size, pairs[begins], costs, weights, touching)


def numbered(labels: Array) -> npt.NDArray[np.int64]:
    """Labels as 0 .. m - 1, in the order in which they first occur: the same division has the same numbers."""
    found, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(found), np.int64)
    rank[np.argsort(first)] = np.arange(len(found))
    return rank[inverse]
