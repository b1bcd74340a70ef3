"""A skeleton of a whole object put in order: no circles, no ticks, one star for a soma."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from .pieces import Skeleton

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Lines:
    """Lines in the world.

    Parameters
    ----------
    vertices : ndarray of float64, shape (n, 3)
        In voxels, in the order of the array's axes.
    edges : ndarray of int64, shape (m, 2)
    radii : ndarray of float32, shape (n,)
    """

    vertices: Array
    edges: Array
    radii: Array

    def lengths(self, steps: tuple[float, float, float]) -> Array:
        """Length of each edge."""
        ends = self.vertices[self.edges] * np.array(steps)
        found: Array = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
        return found

    def kept(self, which: Array) -> Lines:
        """Some of the vertices, and the edges between them."""
        number = np.cumsum(which) - 1
        edges = self.edges[which[self.edges].all(1)]
        return Lines(self.vertices[which], number[edges].reshape(-1, 2), self.radii[which])

    def pieces(self) -> Array:
        """Number of the connected piece of each vertex."""
        return np.asarray(connected_components(_graph(self.edges, len(self.vertices)), directed=False)[1], np.int64)


@dataclass(frozen=True)
class Cleaning:
    """How skeletons are put in order; lengths in the unit of the data.

    Parameters
    ----------
    steps : tuple of float
        Size of a voxel.
    ticks : float
        Ends shorter than this are removed.
    dust : float
        Pieces of a shorter cable length are removed.
    soma_radius : float
        From this radius on a place is a soma; infinite for none.
    """

    steps: tuple[float, float, float]
    ticks: float
    dust: float
    soma_radius: float

    def __call__(self, skeleton: Skeleton) -> Lines:
        """A forest."""
        lines = Lines(skeleton.vertices.astype(np.float64), skeleton.edges, np.asarray(skeleton.radii, np.float32))
        lines = self.without_circles(self.with_stars(lines))
        if self.ticks > 0 and len(lines.edges):
            from bioimage_cpp.skeleton import remove_ticks

            size = np.array(self.steps)
            vertices, edges, radii = remove_ticks(lines.vertices * size, lines.edges, self.ticks, lines.radii)
            lines = Lines(np.asarray(vertices) / size, np.asarray(edges, np.int64), np.asarray(radii, np.float32))
        if self.dust > 0 and len(lines.vertices):
            owner = lines.pieces()
            cable = np.zeros(int(owner.max()) + 1)
            np.add.at(cable, owner[lines.edges[:, 0]], lines.lengths(self.steps))
            lines = lines.kept((cable >= self.dust)[owner])
        return lines

    def without_circles(self, lines: Lines) -> Lines:
        """The shortest lines that join the same vertices: paths that come from two faces of a block may run apart."""
        n = len(lines.vertices)
        owner = lines.pieces() if n else np.empty(0, np.int64)
        if not n or len(lines.edges) == n - (int(owner.max()) + 1):
            return lines
        weights = np.maximum(lines.lengths(self.steps), 1e-12)
        tree = minimum_spanning_tree(coo_array((weights, lines.edges.T), shape=(n, n))).tocoo()
        return Lines(lines.vertices, np.stack([tree.row, tree.col], 1).astype(np.int64), lines.radii)

    def with_stars(self, lines: Lines) -> Lines:
        """Each soma as its widest place, and straight lines from there to all that leaves it."""
        done = np.zeros(len(lines.vertices), np.bool_)
        while (wide := (lines.radii >= self.soma_radius) & ~done).any():
            centre = int(np.argmax(np.where(wide, lines.radii, -1)))
            away = np.linalg.norm((lines.vertices - lines.vertices[centre]) * np.array(self.steps), axis=1)
            # what lies in it is connected with it; a neighbour that passes by is not
            inside = (wide | (away <= lines.radii[centre])) & ~done
            links = lines.edges[inside[lines.edges].all(1)]
            owner = connected_components(_graph(links, len(inside)), directed=False)[1]
            inside &= owner == owner[centre]
            out = lines.edges[inside[lines.edges].sum(1) == 1]
            leaving = np.unique(out[~inside[out]])
            star = np.stack([np.full(len(leaving), centre), leaving], 1)
            edges = np.concatenate([lines.edges[~inside[lines.edges].any(1)], star])
            done[centre], inside[centre] = True, False
            lines, done = Lines(lines.vertices, edges, lines.radii).kept(~inside), done[~inside]
        return lines


def _graph(edges: Array, n: int) -> Any:
    return coo_array((np.ones(len(edges), np.bool_), (edges[:, 0], edges[:, 1])), shape=(n, n))
