"""A surface of a block or cell as bytes, and several of them joined where they meet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Surface = tuple[Array, Array]
"""Vertices (float64, n x 3) and triangles (int64, n x 3)."""

NOTHING: Surface = (np.empty((0, 3)), np.empty((0, 3), np.int64))


def to_bytes(surface: Surface) -> bytes:
    """A surface whose vertices count from the corner of its cell."""
    vertices, faces = surface
    head = np.array([len(vertices), len(faces)], "<u4")
    return head.tobytes() + vertices.astype("<f4").tobytes() + faces.astype("<u4").tobytes()


def from_bytes(data: bytes | memoryview) -> Surface:
    """What `to_bytes` made bytes of."""
    n = int(np.frombuffer(data, "<u4", 1)[0])
    vertices = np.frombuffer(data, "<f4", 3 * n, 8).reshape(-1, 3).astype(np.float64)
    return vertices, np.frombuffer(data, "<u4", offset=8 + 12 * n).reshape(-1, 3).astype(np.int64)


@dataclass(frozen=True)
class Piece:
    """A surface in one cell of a grid.

    Parameters
    ----------
    corner : tuple of int
        Where the cell begins, in voxels.
    size : tuple of int
        Its extent.
    load : callable
        Gives the surface, whose vertices count from the corner; called each time it is needed.
    """

    corner: tuple[int, ...]
    size: tuple[int, ...]
    load: Callable[[], Surface]

    def seam(self, vertices: Array) -> Array:
        """Which vertices lie on a face of the cell: they may be those of a neighbour too."""
        return np.asarray(((vertices == 0) | (vertices == np.array(self.size))).any(1))


class Joined:
    """Surfaces of neighbouring cells as one: what lies on the faces between cells is there once.

    On faces of cells vertices keep the positions that marching cubes gave them, halves of voxels, so that neighbours
    have the very same ones. They are numbered first, and then those of each piece, so that a surface is read piece by
    piece, whatever its size: what is kept is one number for each vertex on a seam.

    Parameters
    ----------
    pieces : sequence of Piece
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = list(pieces)
        corners = np.array([piece.corner for piece in self.pieces], np.int64).reshape(-1, 3)
        ends = corners + np.array([piece.size for piece in self.pieces], np.int64).reshape(-1, 3)
        self._low = corners.min(0) if len(corners) else np.zeros(3, np.int64)
        extent = (2 * ((ends.max(0) if len(ends) else self._low) - self._low) + 1).tolist()
        if math.prod(extent) >= 2**63:
            raise OverflowError(f"an object spans {extent} half voxels, more than 2^63 positions")
        self._extent = tuple(extent)

    @cached_property
    def _counts(self) -> tuple[Array, list[tuple[int, int]]]:
        """Keys of all vertices on seams, and for each piece how many other vertices and triangles it has."""
        keys, counts = [np.empty(0, np.int64)], []
        for piece in self.pieces:
            vertices, faces = piece.load()
            on = piece.seam(vertices)
            keys.append(np.unique(self.keys(piece, vertices[on])))
            if len(keys) > 64:
                keys = [np.unique(np.concatenate(keys))]
            counts.append((int(np.count_nonzero(~on)), len(faces)))
        return np.unique(np.concatenate(keys)), counts

    def keys(self, piece: Piece, vertices: Array) -> Array:
        """Numbers of positions on seams, the same for whatever piece has them."""
        halves = np.rint(2 * vertices).astype(np.int64) + 2 * (np.array(piece.corner) - self._low)
        return np.asarray(np.ravel_multi_index(tuple(halves.T), self._extent), np.int64)

    @property
    def n_vertices(self) -> int:
        """Vertices of all pieces."""
        keys, counts = self._counts
        return len(keys) + sum(inner for inner, _ in counts)

    @property
    def n_faces(self) -> int:
        """Triangles of all pieces."""
        return sum(faces for _, faces in self._counts[1])

    def vertices(self) -> Iterator[Array]:
        """Positions in voxels, part by part."""
        keys = self._counts[0]
        for begin in range(0, len(keys), 2**18):
            at = np.unravel_index(keys[begin : begin + 2**18], self._extent)
            yield np.stack(at, 1) / 2 + self._low
        for piece in self.pieces:
            vertices, _ = piece.load()
            yield vertices[~piece.seam(vertices)] + np.array(piece.corner)

    def faces(self) -> Iterator[Array]:
        """Triangles, part by part."""
        keys, counts = self._counts
        before = len(keys)
        for piece, (inner, _) in zip(self.pieces, counts, strict=True):
            vertices, faces = piece.load()
            on = piece.seam(vertices)
            number = np.empty(len(vertices), np.int64)
            number[on] = np.searchsorted(keys, self.keys(piece, vertices[on]))
            number[~on] = before + np.arange(inner)
            before += inner
            yield number[faces]

    def whole(self) -> Surface:
        """All of it at once, in voxels of the volume."""
        if not self.pieces:
            return NOTHING
        return np.concatenate(list(self.vertices())), np.concatenate(list(self.faces()))
