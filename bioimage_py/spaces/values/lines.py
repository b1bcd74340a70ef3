"""Shapes without an area: lines, points, skeletons, and surfaces in space."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ParameterError
from . import geometry as basis
from .geometry import Bounds, Geometry, Points, extent
from .ids import is_text

if TYPE_CHECKING:
    from .grid import Grid


class _Line(Geometry):
    """Points in a row."""

    __slots__ = ("points",)
    fields = ("points",)

    def __init__(self, points_: Any = (), *, points: Any = None) -> None:
        self.points = _line(points_ if points is None else points)

    def bounds(self, grid: Grid) -> Bounds:
        """As of `Geometry`."""
        return extent(self.points)

    def mapped(self, scale: Points, shift: Points) -> Geometry:
        """As of `Geometry`."""
        n = self.points.shape[1]
        return type(self)(self.points * scale[:n] + shift[:n])


def _line(value: Any) -> Points:
    return basis.points(value, "points", least=2)


class Polyline(_Line):
    """A line through two or more points (n, 2) or (n, 3)."""

    shape = "polyline"
    __slots__ = ()


class Point(Geometry):
    """One point: ``Point((x, y))`` or ``Point((x, y, z))``."""

    shape = "point"
    fields = ("position",)
    __slots__ = ("position",)

    def __init__(self, position: Any) -> None:
        self.position = basis.point(position, "position")

    def bounds(self, grid: Grid) -> Bounds:
        """As of `Geometry`."""
        return extent(self.position[None])

    def mapped(self, scale: Points, shift: Points) -> Point:
        """As of `Geometry`."""
        n = len(self.position)
        return Point(self.position * scale[:n] + shift[:n])


STATES = ("visible", "occluded", "invisible")


class Skeleton(Geometry):
    """Named points, each visible, occluded or invisible.

    Parameters
    ----------
    points : points (n, 2) or (n, 3)
    names : sequence of str
    states : sequence of {"visible", "occluded", "invisible"}, optional
        None: all are visible.
    """

    shape = "skeleton"
    fields = ("points", "names", "states")
    __slots__ = ("names", "points", "states")

    def __init__(self, points: Any, names: Iterable[str], states: Iterable[str] | None = None) -> None:
        self.points = _skeleton(points)
        self.names = tuple(map(str, names))
        self.states = ("visible",) * len(self.points) if states is None else tuple(states)
        if (
            len(self.names) != len(self.points)
            or len(self.states) != len(self.points)
            or not {*self.states} <= {*STATES}
            or not all(map(is_text, self.names))
        ):
            raise ParameterError(
                f"{len(self.points)} points with the names {self.names} and the states {self.states}.",
                remedy=f"give one name and one of {STATES} for each point",
            )

    def bounds(self, grid: Grid) -> Bounds:
        """As of `Geometry`."""
        return extent(self.points)

    def mapped(self, scale: Points, shift: Points) -> Skeleton:
        """As of `Geometry`."""
        n = self.points.shape[1]
        return Skeleton(self.points * scale[:n] + shift[:n], self.names, self.states)


def _skeleton(value: Any) -> Points:
    return basis.points(value, "points")


class Mesh(Geometry):
    """A surface in space.

    Parameters
    ----------
    vertices : points (n, 3)
    faces : int array (m, 3)
        Numbers of vertices.
    """

    shape = "mesh"
    fields = ("vertices", "faces")
    __slots__ = ("faces", "vertices")

    def __init__(self, vertices: Any, faces: Any) -> None:
        self.vertices = basis.points(vertices, "vertices", ndim=3, least=3)
        self.faces = np.array(faces)
        good = self.faces.ndim == 2 and self.faces.shape[1] == 3 and self.faces.dtype.kind in "iu" and self.faces.size
        if not good or self.faces.min() < 0 or self.faces.max() >= len(self.vertices):
            raise ParameterError(
                f"faces of the shape {self.faces.shape} for {len(self.vertices)} vertices.",
                remedy=f"give triples of numbers from 0 to {len(self.vertices) - 1}",
            )
        self.faces.setflags(write=False)

    def bounds(self, grid: Grid) -> Bounds:
        """As of `Geometry`."""
        return extent(self.vertices)

    def mapped(self, scale: Points, shift: Points) -> Mesh:
        """As of `Geometry`."""
        return Mesh(self.vertices * scale + shift, self.faces)
