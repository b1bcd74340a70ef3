"""Fewer triangles within an error bound, where the borders of a surface stay as they are."""

from __future__ import annotations

import itertools
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


def simplified(surface: Surface, error: float, steps: tuple[float, float, float]) -> Surface:
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
    return joined if len(joined[1]) < len(surface[1]) else surface


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


def edges_of(faces: Array) -> Array:
    """Directed edges of triangles, three for each."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def open_edges(faces: Array) -> Array:
    """Directed edges that no other triangle has the other way round."""
    edges = edges_of(faces)
    n = int(faces.max()) + 1 if len(faces) else 1
    there, back = edges[:, 0] * n + edges[:, 1], edges[:, 1] * n + edges[:, 0]
    return edges[~np.isin(there, back)]


def _collapsed(surface: Surface, error: float, steps: tuple[float, float, float]) -> Surface | None:
    """What the kernel makes of a surface; None where it breaks it."""
    import pyfqmr

    size = np.array(steps)
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
    border = np.unique(open_edges(found[1]))
    # a border keeps its positions, halves of voxels, but for the rounding of the scale
    found[0][border] = np.rint(2 * found[0][border]) / 2
    return found if _alike(surface, found) else None


def _alike(one: Surface, other: Surface) -> bool:
    """Whether two surfaces have the same border and Euler number, and the second one is a surface."""
    edges = edges_of(other[1])
    if not len(edges):
        return False
    n = len(other[0])
    if len(np.unique(edges[:, 0] * n + edges[:, 1])) < len(edges):
        return False
    rims = [_rim(surface) for surface in (one, other)]
    if rims[0].shape != rims[1].shape or not np.array_equal(rims[0], rims[1]):
        return False
    return _euler(one) == _euler(other) and _chords(other) <= _chords(one)


def _rim(surface: Surface) -> Array:
    """Positions of both ends of the open edges, sorted."""
    ends = surface[0][open_edges(surface[1])].reshape(-1, 6)
    return ends[np.lexsort(ends.T[::-1])]


def _euler(surface: Surface) -> int:
    vertices, faces = surface
    edges = np.sort(edges_of(faces), 1)
    n_edges = len(np.unique(edges[:, 0] * len(vertices) + edges[:, 1]))
    return len(np.unique(faces)) - n_edges + len(faces)


def _chords(surface: Surface) -> set[bytes]:
    """Edges inside of the surface from border to border, in a plane across an axis: a neighbour may have them too."""
    vertices, faces = surface
    edges = np.sort(edges_of(faces), 1)
    on = np.zeros(len(vertices), np.bool_)
    rim = np.sort(open_edges(faces), 1)
    on[rim] = True
    edges = edges[on[edges].all(1)]
    edges = edges[(vertices[edges[:, 0]] == vertices[edges[:, 1]]).any(1)]
    n = len(vertices)
    edges = edges[~np.isin(edges @ np.array([n, 1]), rim @ np.array([n, 1]))]
    ends = np.sort(np.ascontiguousarray(vertices[edges]).view("V24").reshape(-1, 2), 1)
    return {pair.tobytes() for pair in ends}


def _part(surface: Surface, which: Array) -> Surface:
    """Some triangles of a surface, with the vertices that these need."""
    used, renumbered = np.unique(surface[1][which], return_inverse=True)
    return surface[0][used], renumbered.reshape(-1, 3)


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
    border = np.unique(open_edges(faces))
    if not len(border):
        return vertices, faces
    _, first, inverse = np.unique(vertices[border], axis=0, return_index=True, return_inverse=True)
    number = np.arange(len(vertices))
    number[border] = border[first[inverse.reshape(-1)]]
    used, renumbered = np.unique(number[faces], return_inverse=True)
    return vertices[used], renumbered.reshape(-1, 3)
