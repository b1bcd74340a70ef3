"""Surfaces of cavities: connected pieces of a surface with a negative volume."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .pieces import Joined, Piece, Surface
from .simplifying import compact, components

Array = npt.NDArray[Any]


def outer(joined: Joined) -> Joined:
    """The surface without the surfaces of cavities, found piece by piece.

    Pieces of different cells belong together where they share a vertex on a seam; their volumes, all measured from one
    point, add up.
    """
    begins, volumes, seams, n = list[int](), list[Array](), list[Array](), 0
    for piece in joined.pieces:
        surface = piece.load()
        vertices, faces = surface
        owner = components(surface) + n
        on = piece.seam(vertices)
        seams.append(np.stack([joined.keys(piece, vertices[on]), owner[on]], 1))
        corners = (vertices + np.array(piece.corner))[faces]
        six = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
        count = int(owner.max()) + 1 - n if len(owner) else 0
        volumes.append(np.bincount(owner[faces[:, 0]] - n, six, count) if count else np.empty(0))
        begins.append(n)
        n += count
    if not n:
        return joined
    shared = np.concatenate(seams)
    shared = shared[np.argsort(shared[:, 0], kind="stable")]
    same = shared[1:, 0] == shared[:-1, 0]
    pairs = shared[:-1, 1][same], shared[1:, 1][same]
    graph = coo_array((np.ones(len(pairs[0]), np.bool_), pairs), shape=(n, n))
    group = connected_components(graph, directed=False)[1]
    kept = (np.bincount(group, np.concatenate(volumes)) > 0)[group]
    ends = [*begins[1:], n]
    return Joined(
        [
            Piece(piece.corner, piece.size, partial(_some, piece.load, kept[begin:end]))
            for piece, begin, end in zip(joined.pieces, begins, ends, strict=True)
        ]
    )


def _some(load: Callable[[], Surface], kept: Array) -> Surface:
    """Those connected parts of a surface that are kept, in the order of `components`."""
    surface = load()
    if kept.all():
        return surface
    return compact((surface[0], surface[1][kept[components(surface)[surface[1][:, 0]]]]))
