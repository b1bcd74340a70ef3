"""Fewer vertices on the faces of a cell, the same ones on both sides: what is done depends on the face alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .pieces import Surface
from .simplifying import rim_of, simplified

Array = npt.NDArray[Any]

_SHARE = 0.25
"""Of the error of a surface, on the faces of its cell."""
_INWARD = 0.25
"""Voxels from a face to where its superfluous vertices go, at most: no farther than the error."""
_LEAST = _INWARD / 4
"""Where the error is less, they stay: rounded positions must not be on the face again."""


def coarser(
    surface: Surface, error: float, steps: tuple[float, float, float], size: tuple[int, ...], unit: Any = 1
) -> Surface:
    """A surface simplified with fewer vertices on the faces of its cell."""
    return simplified(with_fewer_on_seams(surface, _SHARE * error, steps, size, unit), error, steps, size)


def with_fewer_on_seams(
    surface: Surface, error: float, steps: tuple[float, float, float], size: tuple[int, ...], unit: Any = 1
) -> Surface:
    """A surface of the same topology that meets the faces of its cell in lines of fewer vertices.

    The lines are simplified (D. Douglas and T. Peucker, 1973): vertices that stay have their position, no other one is
    farther than ``error`` from the line. These others move to the line and off the face, where they may be simplified.
    A neighbour has the same lines, and comes to the same ones.

    Parameters
    ----------
    surface : Surface
    error : float
        In the units of the steps; less than a 16th of a step changes nothing.
    steps : tuple of float
        Size of a voxel along each axis.
    size : tuple of int
        Of the cell from whose corner positions count.
    unit : int or sequence of int, default 1
        Voxels that marching cubes took for one: within one of its squares a surface may have edges of its own.
    """
    inward = np.minimum(_INWARD, error / np.array(steps))
    rim = rim_of(surface, size) if inward.min() >= _LEAST else np.empty((0, 2), np.int64)
    if not len(rim):
        return surface
    on, rim = np.unique(rim, return_inverse=True)
    points, rim = surface[0][on], rim.reshape(-1, 2)
    at_end = (points == 0) | (points == np.array(size))
    path, begins = _paths(points, rim, np.count_nonzero(at_end, 1) > 1)
    kept = _kept(points[path], begins, error, np.array(steps), at_end[path], np.array(unit))
    if kept.all():
        return surface
    moved, strip = _strip(points, path, kept, rim, at_end, np.array(steps), inward)
    vertices = surface[0].copy()
    vertices[on] = moved
    return vertices, np.concatenate([surface[1], on[strip]])


def _paths(points: Array, rim: Array, fixed: Array) -> tuple[Array, Array]:
    """Points along the lines, one line after the other, and where each begins; closed ones end as they begin.

    Whoever has a line, in whatever direction, gets the same: an open one goes from its lower end, a closed one from its
    lowest point on, to the lower neighbour of that.
    """
    rank = np.empty(len(points), np.int64)
    rank[np.lexsort(points.T[::-1])] = np.arange(len(points))
    order = rank.tolist()
    after = dict(rim.tolist())
    paths: list[list[int]] = []

    def add(path: list[int]) -> None:
        forth = order[path[0]], order[path[1]]
        paths.append(path if forth <= (order[path[-1]], order[path[-2]]) else path[::-1])

    for begin in rim[fixed[rim[:, 0]], 0].tolist():
        path = [begin]
        while (end := after.pop(path[-1], None)) is not None:
            path.append(end)
            if fixed[end]:
                break
        add(path)
    while after:
        begin, end = after.popitem()
        path = [begin, end]
        while path[-1] != begin:
            path.append(after.pop(path[-1]))
        lowest = min(range(1, len(path)), key=lambda at: order[path[at]])
        add(path[lowest:] + path[1 : lowest + 1])
    return np.array([one for path in paths for one in path]), np.cumsum([0, *map(len, paths)])


def _kept(points: Array, begins: Array, error: float, steps: Array, at_end: Array, unit: Array) -> Array:
    """Which points of lines stay."""
    kept = np.zeros(len(points), np.bool_)
    kept[begins[:-1]] = kept[begins[1:] - 1] = True
    loops = (points[begins[:-1]] == points[begins[1:] - 1]).all(1)
    of_loop = np.repeat(loops, np.diff(begins))
    for turn in range(len(points)):
        ends = np.flatnonzero(kept)
        one, other = ends[:-1], ends[1:]
        inner = other - one > 1
        one, other = one[inner], other[inner]
        if not len(one):
            break
        lengths = other - one - 1
        starts = np.cumsum(lengths) - lengths
        at = np.arange(lengths.sum()) + np.repeat(one + 1 - starts, lengths)
        chord = np.repeat((points[other] - points[one]) * steps, lengths, axis=0)
        away = (points[at] - points[np.repeat(one, lengths)]) * steps
        square = (chord**2).sum(1)
        share = np.clip((away * chord).sum(1) / np.where(square, square, 1), 0, 1)
        distance = ((away - share[:, None] * chord) ** 2).sum(1)
        most = np.maximum.reduceat(distance, starts)
        # the chord would be an edge of a neighbour of the line, of another line, or the line nothing
        needed = (np.abs(points[one] - points[other]) <= unit).all(1) | (of_loop[one] & (turn < 2))
        needed |= (at_end[one] & at_end[other]).sum(1) > 1
        far = np.repeat((most > error**2) | needed, lengths) & (distance == np.repeat(most, lengths))
        far = np.flatnonzero(far)
        if not len(far):
            break
        segment = np.repeat(np.arange(len(one)), lengths)[far]
        kept[at[far[np.diff(segment, prepend=-1) > 0]]] = True
    return kept


def _strip(
    points: Array, path: Array, kept: Array, rim: Array, at_end: Array, steps: Array, inward: Array
) -> tuple[Array, Array]:
    """Points of which those that do not stay have moved off the face, and triangles from there to the new line."""
    lengths = np.linalg.norm(np.diff(points[path], axis=0) * steps, axis=1)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    at, places = np.flatnonzero(~kept), np.flatnonzero(kept)
    right = np.searchsorted(places, at)
    one, other = places[right - 1], places[right]
    share = (along[at] - along[one]) / (along[other] - along[one])
    begin, end, this, following = path[one], path[other], path[at], path[at + 1]
    moved = points.copy()
    moved[this] = points[begin] + share[:, None] * (points[end] - points[begin])
    moved[this] += np.where(at_end[this], np.where(points[this] == 0, inward, -inward), 0)
    after = np.full(len(points), -1)
    after[rim[:, 0]] = rim[:, 1]
    # against the direction of the triangle that had the edge
    forth = (after[this] == following)[:, None]
    return moved, np.stack([begin, following, this], 1) * forth + np.stack([this, following, begin], 1) * ~forth
