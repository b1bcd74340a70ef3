"""Surfaces of cavities: connected pieces of a surface with a negative volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .pieces import NOTHING, Joined, Piece, Surface
from .simplifying import components

Array = npt.NDArray[Any]


def outer(joined: Joined) -> Joined:
    """The surface without the surfaces of cavities, found piece by piece.

    Pieces of different cells belong together where they share a vertex on a seam; their volumes, all measured from one
    point, add up.
    """
    owners, volumes, seams, n = list[Array](), list[Array](), list[Array](), 0
    for piece in joined.pieces:
        surface = piece.load()
        vertices, faces = surface
        owner = components(surface) + n if len(vertices) else np.empty(0, np.int64)
        on = piece.seam(vertices)
        seams.append(np.stack([joined.keys(piece, vertices[on]), owner[on]], 1))
        corners = (vertices + np.array(piece.corner))[faces]
        six = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
        count = int(owner.max()) + 1 - n if len(owner) else 0
        volumes.append(np.bincount(owner[faces[:, 0]] - n, six, count) if count else np.empty(0))
        owners.append(owner)
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
    return Joined([_Some(piece, kept[owner]).piece for piece, owner in zip(joined.pieces, owners, strict=True)])


class _Some:
    """Those vertices of a piece that are kept, and their triangles."""

    def __init__(self, piece: Piece, kept: Array) -> None:
        self._load, self._kept = piece.load, kept
        self.piece = Piece(piece.corner, piece.size, self.load)

    def load(self) -> Surface:
        vertices, faces = self._load()
        if self._kept.all():
            return vertices, faces
        if not self._kept.any():
            return NOTHING
        number = np.cumsum(self._kept) - 1
        return vertices[self._kept], number[faces[self._kept[faces[:, 0]]]]
