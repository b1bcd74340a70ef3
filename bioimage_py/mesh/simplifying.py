"""Fewer triangles within an error bound, where the borders of a surface stay as they are."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .pieces import Surface

Array = npt.NDArray[Any]

_FEW = 64
"""Triangles that are not worth it."""
_MARGIN = 1 / 64
_TURN = threading.Lock()
"""pyfqmr keeps its mesh in variables of the process."""


def simplified(surface: Surface, error: float, steps: tuple[float, float, float], size: tuple[int, ...]) -> Surface:
    """A surface with fewer triangles, with the same borders and the same topology.

    Edges collapse while the quadric error (M. Garland and P. Heckbert, 1997) allows it: no vertex is farther than
    ``error`` from the planes of the triangles that it stands for. A vertex on a border is never moved. What the kernel
    (pyfqmr) returns is checked: where an edge would have other than two triangles, or a handle or a piece would have
    come or gone, the eight parts of the surface are tried one by one.

    Parameters
    ----------
    surface : Surface
    error : float
        In the units of the steps; 0 changes nothing.
    steps : tuple of float
        Size of a voxel along each axis.
    size : tuple of int
        Of the cell from whose corner positions count: only borders lie on its faces.
    """
    if error <= 0 or len(surface[1]) < _FEW:
        return surface
    # small pieces would vanish, or fold to two triangles
    owner = components(surface)[surface[1][:, 0]]
    small = np.bincount(owner)[owner] < _FEW
    parts = [_part(surface, small)] if small.any() else []
    if not small.all():
        parts.append(_large(_part(surface, ~small), error, steps))
    joined = parts[0] if len(parts) == 1 else put_together(parts)
    return _within(joined, size) if len(joined[1]) < len(surface[1]) else surface


def _within(surface: Surface, size: tuple[int, ...]) -> Surface:
    """A surface of which nothing but the border lies on the faces of its cell, or beyond."""
    vertices, faces = surface
    moved = np.clip(vertices, _MARGIN, np.array(size) - _MARGIN)
    border = Edges(faces, len(vertices)).open
    moved[border] = vertices[border]
    return moved, faces


def _large(surface: Surface, error: float, steps: tuple[float, float, float]) -> Surface:
    """A surface simplified as a whole, or where that would break it part by part."""
    found = _collapsed(surface, error, steps)
    if found is not None:
        return found
    if len(surface[1]) < 2 * _FEW:
        return surface
    parts = [_large(part, error, steps) for part in _divided(surface)]
    joined = _welded(parts)
    return joined if _alike(surface, joined) else surface


def components(surface: Surface) -> Array:
    """Number of the connected piece of each vertex, from 0."""
    edges = surface[1][:, [0, 1, 1, 2]].reshape(-1, 2)
    n = len(surface[0])
    graph = coo_array((np.ones(len(edges), np.bool_), (edges[:, 0], edges[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


class Edges:
    """The edges of triangles, of one sort.

    Parameters
    ----------
    faces : ndarray of int64, shape (m, 3)
    n : int
        Number of vertices.
    """

    def __init__(self, faces: Array, n: int) -> None:
        begin, end = faces.reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
        # the lowest bit says in which direction a triangle runs along it
        codes = (np.minimum(begin, end) * n + np.maximum(begin, end)) * 2 + (begin > end)
        codes.sort()
        first = np.flatnonzero(np.diff(codes >> 1, prepend=-1))
        count = np.diff(first, append=len(codes))
        back = np.add.reduceat(codes & 1, first) if len(first) else first
        ends = np.stack(np.divmod(codes[first] >> 1, max(1, n)), 1)
        self.all = ends
        """Each edge once, shape (k, 2), the lower vertex first."""
        self.is_open = count == 1
        """Whether one triangle has it only."""
        self.open = np.where(back[self.is_open, None] > 0, ends[self.is_open, ::-1], ends[self.is_open])
        """The edges of one triangle, in its direction."""
        self.of_a_surface = bool((self.is_open | ((count == 2) & (back == 1))).all())
        """Whether each edge has one triangle, or two that run along it in both directions."""


def _collapsed(surface: Surface, error: float, steps: tuple[float, float, float]) -> Surface | None:
    """What the kernel makes of a surface; None where it breaks it."""
    import pyfqmr

    size = np.array(steps)
    with _TURN:
        kernel = pyfqmr.Simplify()
        kernel.setMesh(surface[0] * size, surface[1].astype(np.int32))
        # the exponent 0 makes the bound the same in every pass
        kernel.simplify_mesh(
            target_count=0,
            aggressiveness=0,
            alpha=error**2,
            update_rate=2,
            max_iterations=40,
            preserve_border=True,
            verbose=False,
        )
        vertices, faces, _ = kernel.getMesh()
    if len(faces) == 0:
        return None
    found = np.asarray(vertices, np.float64) / size, np.asarray(faces, np.int64)
    border = Edges(found[1], len(found[0])).open.reshape(-1)
    # a border keeps its positions, halves of voxels, but for the rounding of the scale
    found[0][border] = np.rint(2 * found[0][border]) / 2
    return found if _alike(surface, found) else None


def _alike(one: Surface, other: Surface) -> bool:
    """Whether two surfaces have the same border and Euler number, and the second one is a surface."""
    if not len(other[1]):
        return False
    before, after = Edges(one[1], len(one[0])), Edges(other[1], len(other[0]))
    if not after.of_a_surface or len(before.open) != len(after.open):
        return False
    if not np.array_equal(_rim(one, before), _rim(other, after)) or _euler(one, before) != _euler(other, after):
        return False
    return _chords(other, after) <= _chords(one, before)


def _rim(surface: Surface, edges: Edges) -> Array:
    """Positions of both ends of the open edges, sorted."""
    ends = surface[0][edges.open].reshape(-1, 6)
    return ends[np.lexsort(ends.T[::-1])]


def _euler(surface: Surface, edges: Edges) -> int:
    used = np.zeros(len(surface[0]), np.bool_)
    used[surface[1]] = True
    return int(np.count_nonzero(used)) - len(edges.all) + len(surface[1])


def _chords(surface: Surface, edges: Edges) -> set[bytes]:
    """Edges inside of the surface from border to border, in a plane across an axis: a neighbour may have them too."""
    vertices = surface[0]
    on = np.zeros(len(vertices), np.bool_)
    on[edges.open] = True
    found = edges.all[on[edges.all].all(1) & ~edges.is_open]
    found = found[(vertices[found[:, 0]] == vertices[found[:, 1]]).any(1)]
    pairs = vertices[found]
    # whichever end comes first in the one surface or the other
    return {b"".join(sorted((one.tobytes(), two.tobytes()))) for one, two in pairs}


def _part(surface: Surface, which: Array) -> Surface:
    """Some triangles of a surface, with the vertices that these need."""
    return compact((surface[0], surface[1][which]))


def compact(surface: Surface) -> Surface:
    """A surface without the vertices that no triangle has."""
    vertices, faces = surface
    used = np.zeros(len(vertices), np.bool_)
    used[faces] = True
    return vertices[used], (np.cumsum(used) - 1)[faces]


def _divided(surface: Surface) -> list[Surface]:
    """The pieces of a surface; of a single one the octants."""
    owner = components(surface)[surface[1][:, 0]]
    if owner.max() == 0:
        centres = surface[0][surface[1]].mean(1)
        owner = (centres > np.median(centres, 0)) @ np.array([4, 2, 1])
    sizes = np.bincount(owner)
    # several pieces a part, so that few parts are small
    group = (np.cumsum(sizes) // max(1, len(owner) // 8))[owner] if len(sizes) > 8 else owner
    return [_part(surface, group == number) for number in np.unique(group)]


def put_together(parts: Sequence[Surface]) -> Surface:
    """Surfaces that share no vertex as one."""
    offsets = list(itertools.accumulate((len(part[0]) for part in parts), initial=0))
    faces = [part[1] + before for part, before in zip(parts, offsets[:-1], strict=True)]
    return np.concatenate([part[0] for part in parts]), np.concatenate(faces)


def _welded(parts: list[Surface]) -> Surface:
    """Parts of a surface as one; vertices on borders that have the same position are one."""
    vertices, faces = put_together(parts)
    border = np.unique(Edges(faces, len(vertices)).open)
    if not len(border):
        return vertices, faces
    _, first, inverse = np.unique(vertices[border], axis=0, return_index=True, return_inverse=True)
    number = np.arange(len(vertices))
    number[border] = border[first[inverse.reshape(-1)]]
    return compact((vertices, number[faces]))
