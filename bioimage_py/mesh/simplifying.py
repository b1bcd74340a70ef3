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
from scipy.spatial import cKDTree

from ..system.memory import hand_back
from .pieces import Surface

Array = npt.NDArray[Any]

_FEW = 64
"""Triangles that are not worth it."""
_MUCH = 2**15
"""Triangles for which the kernel takes more memory, about 440 bytes each, than what was freed before them."""
_MOST = 2**18
"""Triangles that the kernel may have at once: more are simplified in parts first, for three quarters of the error."""
_MARGIN = 1 / 64
_TURN = threading.Lock()
"""pyfqmr keeps its mesh in variables of the process."""


def simplified(surface: Surface, error: float, steps: tuple[float, float, float], size: tuple[int, ...]) -> Surface:
    """A surface with fewer triangles, with the same borders and the same topology.

    Edges collapse while the quadric error (M. Garland and P. Heckbert, 1997) allows it: no vertex is farther than
    ``error`` from the planes of the triangles that it stands for. A vertex on a border is never moved. What the kernel
    (pyfqmr) returns is checked: where an edge would have other than two triangles, or a handle or a piece would have
    come or gone, what is around stays as it was; where that does not help, the eight parts of the surface are tried one
    by one.

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
        large = _part(surface, ~small) if small.any() else surface
        parts.append(_large(large, error, steps, rim_of(large, size)))
    joined = parts[0] if len(parts) == 1 else put_together(parts)
    return _within(joined, size) if len(joined[1]) < len(surface[1]) else surface


def _within(surface: Surface, size: tuple[int, ...]) -> Surface:
    """A surface of which nothing but the border lies on the faces of its cell, or beyond."""
    vertices, faces = surface
    moved = np.clip(vertices, _MARGIN, np.array(size) - _MARGIN)
    border = Edges(faces, len(vertices)).open
    moved[border] = vertices[border]
    return moved, faces


def _large(surface: Surface, error: float, steps: tuple[float, float, float], rim: Array, tries: int = 3) -> Surface:
    """A surface simplified as a whole; without the surroundings of where that breaks it; or part by part."""
    if len(surface[1]) > _MOST:
        surface = _in_parts(surface, 0.75 * error, steps, rim)
        if len(surface[1]) > _MOST:
            return surface
        rim, error = rim_of(surface), 0.25 * error
    found = _collapsed(surface, error, steps, rim)
    places = _broken(surface, found, rim)
    if places is None:
        return found
    if len(surface[1]) < 2 * _FEW:
        return surface
    if len(places) and tries:
        reach = error / np.array(steps) / 2 + 2
        near = np.isfinite(cKDTree(places / reach).query(surface[0] / reach, distance_upper_bound=1.0)[0])
        apart = near[surface[1]].any(1)
        if 0 < np.count_nonzero(apart) < len(apart) / 2:
            rest = _part(surface, ~apart)
            parts = [_part(surface, apart), _large(rest, error, steps, rim_of(rest), tries - 1)]
            joined = _welded(parts)
            if _broken(surface, joined, rim) is None:
                return joined
    return _in_parts(surface, error, steps, rim)


def _in_parts(surface: Surface, error: float, steps: tuple[float, float, float], rim: Array) -> Surface:
    """The parts of a surface simplified one by one, where their borders stay; as it was where that breaks it."""
    joined = _welded([_large(part, error, steps, rim_of(part)) for part in _divided(surface)])
    return joined if _broken(surface, joined, rim) is None else surface


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
        self.well = self.is_open | ((count == 2) & (back == 1))
        """Whether it has one triangle, or two that run along it in both directions."""
        self.of_a_surface = bool(self.well.all())


def _collapsed(surface: Surface, error: float, steps: tuple[float, float, float], rim: Array) -> Surface:
    """What the kernel makes of a surface, which may be broken."""
    import pyfqmr

    size = np.array(steps)
    if len(surface[1]) > _MUCH:
        hand_back()
    with _TURN:
        kernel = pyfqmr.Simplify()
        kernel.setMesh(surface[0] * size, surface[1].astype(np.int32))
        # the exponent 0 makes the bound the same in every pass
        kernel.simplify_mesh(
            target_count=0,
            aggressiveness=0,
            alpha=error**2,
            update_rate=2,
            max_iterations=12,
            preserve_border=True,
            verbose=False,
        )
        vertices, faces, _ = kernel.getMesh()
    corners = np.asarray(faces, np.int64).reshape(-1, 3)  # nothing may be left
    found = np.asarray(vertices, np.float64).reshape(-1, 3) / size, _without_flaps(corners)
    if len(rim):
        # a border keeps its positions, but for the rounding of the scale
        border, kept = np.unique(Edges(found[1], len(found[0])).open), surface[0][np.unique(rim)]
        found[0][border] = kept[cKDTree(kept).query(found[0][border])[1]]
    return found


def _without_flaps(faces: Array) -> Array:
    """Triangles without pairs that lie back to back: what the kernel leaves of a spike that has become flat."""
    while len(faces):
        corners = np.sort(faces, 1)
        order = np.lexsort(corners.T)
        same = (corners[order[1:]] == corners[order[:-1]]).all(1)
        if not same.any():
            break
        flap = np.zeros(len(faces), np.bool_)
        flap[order[1:][same]] = flap[order[:-1][same]] = True
        faces = faces[~flap]
    return faces


def rim_of(surface: Surface, size: tuple[int, ...] | None = None) -> Array:
    """The open edges, in the direction of their triangles; with a cell of a size, on whose faces alone they lie."""
    vertices, faces = surface
    if size is not None:
        on = ((vertices == 0) | (vertices == np.array(size))).any(1)
        faces = faces[np.count_nonzero(on[faces], 1) > 1]
    found = Edges(faces, len(vertices)).open
    return found if size is None else found[on[found].all(1)]


def _broken(one: Surface, other: Surface, rim: Array) -> Array | None:
    """Where a surface is none, shape (n, 3); None if all is well.

    There is no place to tell where it has not the border (``rim``) or the Euler number of the one that it stands for.
    """
    nowhere = np.empty((0, 3))
    if not len(other[1]):
        return nowhere
    after = Edges(other[1], len(other[0]))
    if not after.of_a_surface:
        places: Array = other[0][after.all[~after.well].reshape(-1)]
        return places
    if len(rim) != len(after.open) or not np.array_equal(_positions(one, rim), _positions(other, after.open)):
        return nowhere
    # an inner edge of the first surface has two triangles
    if _euler(one, (3 * len(one[1]) + len(rim)) // 2) != _euler(other, len(after.all)):
        return nowhere
    chords = _chords(other, after)
    return nowhere if chords and not chords <= _chords(one, Edges(one[1], len(one[0]))) else None


def _positions(surface: Surface, edges: Array) -> Array:
    """Positions of both ends of edges, sorted."""
    ends = surface[0][edges].reshape(-1, 6)
    return ends[np.lexsort(ends.T[::-1])]


def _euler(surface: Surface, n_edges: int) -> int:
    used = np.zeros(len(surface[0]), np.bool_)
    used[surface[1]] = True
    return int(np.count_nonzero(used)) - n_edges + len(surface[1])


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
    """The pieces of a surface, several of them a part; what has more than half of it in octants, at once."""
    owner = components(surface)[surface[1][:, 0]]
    sizes = np.bincount(owner)
    most = int(sizes.argmax())
    # several pieces a part, so that few parts are small
    group = (np.cumsum(sizes) // max(1, len(owner) // 8))[owner] + 8 if len(sizes) > 8 else owner + 8
    if 2 * sizes[most] > len(owner):
        one = owner == most
        centres = surface[0][surface[1][one]].mean(1)
        group[one] = (centres > np.median(centres, 0)) @ np.array([4, 2, 1])
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
