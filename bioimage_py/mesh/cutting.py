"""Triangles cut where they cross a plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .pieces import Surface

Array = npt.NDArray[Any]


def cut(surface: Surface, axis: int, position: float) -> Surface:
    """A surface of which no triangle crosses a plane; an edge is cut at the same vertex for both of its triangles.

    Parameters
    ----------
    surface : Surface
    axis : int
        Across which the plane lies.
    position : float
        Where.
    """
    vertices, faces = surface
    side = np.sign(vertices[:, axis] - position).astype(np.int64)
    of_face = side[faces]
    crossing = (of_face.min(1) < 0) & (of_face.max(1) > 0)
    if not crossing.any():
        return surface
    added = _Added(vertices, axis, position)
    on = faces[crossing & (of_face == 0).any(1)]
    across = faces[crossing & (of_face != 0).all(1)]
    parts = [faces[~crossing]]
    if len(on):
        turned = _turned(on, (side[on] == 0).argmax(1))
        middle = added(turned[:, 1], turned[:, 2])
        parts += [_faces(turned[:, 0], turned[:, 1], middle), _faces(turned[:, 0], middle, turned[:, 2])]
    if len(across):
        lone = side[across] == -np.sign(side[across].sum(1, keepdims=True))
        turned = _turned(across, lone.argmax(1))
        one, other = added(turned[:, 0], turned[:, 1]), added(turned[:, 0], turned[:, 2])
        parts += [
            _faces(turned[:, 0], one, other),
            _faces(one, turned[:, 1], turned[:, 2]),
            _faces(one, turned[:, 2], other),
        ]
    return added.all(), np.concatenate(parts)


class _Added:
    """Vertices where edges meet the plane, one for each edge."""

    def __init__(self, vertices: Array, axis: int, position: float) -> None:
        self._vertices, self._axis, self._position = vertices, axis, position
        self._known: dict[tuple[int, int], int] = {}
        self._new: list[Array] = []

    def __call__(self, one: Array, other: Array) -> Array:
        low, high = np.minimum(one, other), np.maximum(one, other)
        begin, end = self._vertices[low], self._vertices[high]
        share = (self._position - begin[:, self._axis]) / (end[:, self._axis] - begin[:, self._axis])
        points = begin + share[:, None] * (end - begin)
        points[:, self._axis] = self._position
        numbers = np.empty(len(one), np.int64)
        for row, edge in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            if edge not in self._known:
                self._known[edge] = len(self._vertices) + len(self._new)
                self._new.append(points[row])
            numbers[row] = self._known[edge]
        return numbers

    def all(self) -> Array:
        return np.concatenate([self._vertices, np.array(self._new).reshape(-1, 3)])


def _turned(faces: Array, first: Array) -> Array:
    """Triangles that begin with another of their corners."""
    return np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, 1)


def _faces(*corners: Array) -> Array:
    return np.stack(corners, 1)
