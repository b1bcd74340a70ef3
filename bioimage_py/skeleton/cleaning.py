"""A skeleton of a whole object put in order: no circles, no ticks, one star for a soma."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

from .pieces import Skeleton

Array = npt.NDArray[Any]

_LONGEST = 200
"""Vertices that a detour has at most."""
_NEAREST = 544
"""Vertices that an end is compared with, at each of its places, to tell how far it goes out."""
_LOOKED_AT = 2**20
"""Neighbours that are looked at at once."""


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
    scale, constant : float
        What a line covers, see `Teasar`.
    """

    steps: tuple[float, float, float]
    ticks: float
    dust: float
    soma_radius: float
    scale: float = 1.5
    constant: float = 0.0

    def __call__(self, skeleton: Skeleton) -> Lines:
        """A forest."""
        lines = Lines(skeleton.vertices.astype(np.float64), skeleton.edges, np.asarray(skeleton.radii, np.float32))
        lines = self.without_slivers(self.without_circles(self.with_stars(lines)))
        lines = self.without_detours(self.without_turns(lines))
        if self.ticks > 0 and len(lines.edges):
            lines = self.without_ticks(lines)
        if self.dust > 0 and len(lines.vertices):
            owner = lines.pieces()
            cable = np.zeros(int(owner.max()) + 1)
            np.add.at(cable, owner[lines.edges[:, 0]], lines.lengths(self.steps))
            lines = lines.kept((cable >= self.dust)[owner])
        return lines

    def without_ticks(self, lines: Lines) -> Lines:
        """Lines without short ends; a piece of one vertex has none, and stays."""
        from bioimage_cpp.skeleton import remove_ticks

        size, alone = np.array(self.steps), np.ones(len(lines.vertices), np.bool_)
        alone[lines.edges] = False
        vertices, edges, radii = remove_ticks(lines.vertices * size, lines.edges, self.ticks, lines.radii)
        return Lines(
            np.concatenate([np.asarray(vertices) / size, lines.vertices[alone]]),
            np.asarray(edges, np.int64),
            np.concatenate([radii, lines.radii[alone]]).astype(np.float32),
        )

    def without_circles(self, lines: Lines) -> Lines:
        """Lines that join the same vertices without a circle; of several ways the one along the middle stays.

        Paths that come from two faces of a block may run apart.
        """
        n = len(lines.vertices)
        owner = lines.pieces() if n else np.empty(0, np.int64)
        if not n or len(lines.edges) == n - (int(owner.max()) + 1):
            return lines
        # the thinnest place is where a circle is opened
        weights = 1 / (1e-6 + np.minimum(*lines.radii[lines.edges].T.astype(np.float64)))
        tree = minimum_spanning_tree(coo_array((weights, lines.edges.T), shape=(n, n))).tocoo()
        return Lines(lines.vertices, np.stack([tree.row, tree.col], 1).astype(np.int64), lines.radii)

    def without_detours(self, lines: Lines) -> Lines:
        """The lines without ways around through the skin, where an object runs along the face of a block."""
        found, kept = [np.empty((0, 2), np.int64)], np.zeros(len(lines.vertices), np.bool_)
        for chain in chains(lines):
            places = chain[_shorter(lines.vertices[chain] * np.array(self.steps), lines.radii[chain])]
            found.append(np.stack([places[:-1], places[1:]], 1))
            kept[places] = True
        degree = np.bincount(lines.edges.reshape(-1), minlength=len(lines.vertices))
        return Lines(lines.vertices, np.concatenate(found), lines.radii).kept(kept | (degree == 0))

    def without_slivers(self, lines: Lines) -> Lines:
        """The lines without ends that TEASAR would not have made, had it seen more than a block: others cover them.

        A block that has only the outer skin of an object gives it a line of its own beside that of its neighbour.
        """
        size = np.array(self.steps)
        while True:
            ends, beside = _ends(lines)
            if not ends:
                return lines
            near = _Near(lines, size)
            gone = np.zeros(len(lines.vertices), np.bool_)
            # of a soma all that leaves it is a line of its own
            radii = lines.radii
            reach = np.where(radii < self.soma_radius, self.scale * radii + self.constant, radii) + size.max()
            changed = set[int]()
            for path, branching in sorted(ends, key=lambda end: near.out(end[0])):
                if branching in changed:
                    continue  # what comes together here is perhaps another end now, of which one goes
                if near.cover(path, reach, ~gone):
                    gone[path] = True
                    changed |= {branching, *beside[branching]}
            if not gone.any():
                return lines
            lines = lines.kept(~gone)

    def without_turns(self, lines: Lines) -> Lines:
        """The lines without what turns at the end of an object, and comes back through its skin.

        Where a circle was opened, one of its two ways hangs at the end of the other.
        """
        degree = np.bincount(lines.edges.reshape(-1), minlength=len(lines.vertices))
        gone = np.zeros(len(lines.vertices), np.bool_)
        for chain in chains(lines):
            for path in (chain, chain[::-1]):
                if degree[path[0]] == 1:
                    gone[path[: _returning(lines.vertices[path] * np.array(self.steps), lines.radii[path])]] = True
        return lines.kept(~gone) if gone.any() else lines

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


class _Near:
    """The vertices near those of an end, however long it is.

    Parameters
    ----------
    lines : Lines
    size : ndarray of float64, shape (3,)
        Of a voxel.
    """

    def __init__(self, lines: Lines, size: Array) -> None:
        self._points, self._radii = lines.vertices * size, lines.radii
        self._tree = cKDTree(self._points)
        self._own = np.zeros(len(self._points), np.bool_)

    @contextmanager
    def _others(self, path: Array) -> Iterator[Array]:
        """Inside, which vertices are not those of the path."""
        self._own[path] = True
        try:
            yield ~self._own
        finally:
            self._own[path] = False

    def _look(self, path: Array, count: int) -> Iterator[tuple[Array, Array, Array]]:
        """Yield parts of a path, how far away the nearest vertices are, and which: a row each, the nearest first."""
        step = max(1, _LOOKED_AT // count)
        for begin in range(0, len(path), step):
            part = path[begin : begin + step]
            yield part, *self._tree.query(self._points[part], k=range(1, count + 1))

    def _most(self, path: Array) -> int:
        return min(len(self._points), 2 * len(path) + 32)

    def cover(self, path: Array, reach: Array, counts: Array) -> bool:
        """Whether each vertex of the path is within the reach of another one that counts."""
        count, most = min(64, self._most(path)), self._most(path)
        with self._others(path) as others:
            while len(path):
                left = []
                for part, away, other in self._look(path, count):
                    found = (others[other] & counts[other] & (away <= reach[other])).any(1)
                    if (~found & ((away[:, -1] > reach.max()) | (count == most))).any():
                        return False
                    left.append(part[~found])
                path, count = np.concatenate(left), min(most, 4 * count)
        return True

    def out(self, path: Array) -> float:
        """How far the path goes out of the balls of all others; infinitely, where none is near.

        A line through the skin of an object stays in those of the line along its middle, or nearly so; the end of an
        object does not.
        """
        farthest = -np.inf
        with self._others(path) as others:
            for _, away, other in self._look(path, min(_NEAREST, self._most(path))):
                least = np.where(others[other], away - self._radii[other], np.inf).min(1)
                farthest = max(farthest, float(least.max()))
        return farthest


def chains(lines: Lines) -> list[Array]:
    """Vertices from one end or branching to the next, both included; circles are left out."""
    n = len(lines.vertices)
    degree = np.bincount(lines.edges.reshape(-1), minlength=n)
    graph = coo_array((np.ones(len(lines.edges), np.bool_), lines.edges.T), shape=(n, n)).tocsr()
    graph = (graph + graph.T).tocsr()
    begins, beside = graph.indptr.tolist(), graph.indices.tolist()
    passing = (degree == 2).tolist()
    found = []
    for start in np.flatnonzero((degree != 2) & (degree > 0)).tolist():
        for following in beside[begins[start] : begins[start + 1]]:
            path, before, at = [start], start, following
            while passing[at]:
                path.append(at)
                one, other = beside[begins[at] : begins[at + 1]]
                before, at = at, other if one == before else one
            if start < at or (start == at and path[1] < before):
                found.append(np.array([*path, at], np.int64))
    return found


def _ends(lines: Lines) -> tuple[list[tuple[Array, int]], dict[int, set[int]]]:
    """The vertices of each end without the branching where it begins, which follows; which branchings a line joins."""
    degree = np.bincount(lines.edges.reshape(-1), minlength=len(lines.vertices))
    found, beside = list[tuple[Array, int]](), defaultdict[int, set[int]](set)
    for chain in chains(lines) if (degree > 2).any() else ():
        first, last = int(chain[0]), int(chain[-1])
        if degree[first] > 2 and degree[last] > 2:
            beside[first].add(last)
            beside[last].add(first)
        elif degree[last] > 2:
            found.append((chain[:-1], last))
        elif degree[first] > 2:
            found.append((chain[1:], first))
    return found, beside


def _shorter(points: Array, radii: Array) -> list[int]:
    """Places in a chain that stay where detours through the skin of an object are cut short.

    From one place to a later one the way is straight where the balls that both stand for meet, so that it lies in the
    object, and where all between them are thinner.
    """
    kept, at = [0], 0
    while at < len(points) - 1:
        further = at + 1
        if radii[further] < radii[at]:
            widest = 0.0
            for later in range(at + 2, min(at + _LONGEST, len(points))):
                widest = max(widest, float(radii[later - 1]))
                if widest >= radii[at]:
                    break
                apart = float(np.linalg.norm(points[later] - points[at]))
                if radii[later] > widest and apart <= radii[later] + radii[at]:
                    further = later
        kept.append(further)
        at = further
    return kept


def _returning(points: Array, radii: Array) -> int:
    """How many places at the beginning of a chain lie in the ball of a wider one, to which the way along it is far."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    for at, point in enumerate(points):
        away = np.linalg.norm(points - point, axis=1)
        if not ((away <= radii) & (radii > radii[at]) & (along - along[at] > 3 * radii)).any():
            return at
    return 0


def _graph(edges: Array, n: int) -> Any:
    return coo_array((np.ones(len(edges), np.bool_), (edges[:, 0], edges[:, 1])), shape=(n, n))
