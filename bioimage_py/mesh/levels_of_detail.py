"""Neuroglancer's format of meshes with levels of detail.

Format: https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/meshes.md. Each level has the
cells of an octree, each cell a mesh of its own, whose positions are whole numbers within the cell.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..extras import needing
from ..per_object.context import Context
from ..per_object.folder import hidden, writing
from ..per_object.shards import in_order, write_shard
from ..per_object.volume import Place
from .cells import Cells, z_order
from .cutting import cut
from .pieces import Piece, Surface
from .surface_blocks import joined_object, without_cavities

Array = npt.NDArray[Any]

Position = tuple[int, int, int]


def bits_of(cells: Cells, error: float, steps: tuple[float, float, float]) -> int:
    """Bits of a position within a cell, of those that the format has: few where they add little to the error.

    10 bits halve the files. They round by less than a 32nd of the error along an axis, on each level.
    """
    extent = max(size * step for size, step in zip(cells.size, steps, strict=True))
    return 10 if extent / (2**10 - 1) <= error / 16 else 16


def info_of(place: Place, bits: int) -> dict[str, Any]:
    """The ``info`` file: positions are stored in voxels x, y, z, and brought to the world by a scale and an offset."""
    transform = []
    for axis in range(3):
        row = [0.0] * 4
        row[axis], row[3] = place.scale[axis], place.offset[axis]
        transform += row
    return {
        "@type": "neuroglancer_multilod_draco",
        "vertex_quantization_bits": bits,
        "transform": transform,
        "lod_scale_multiplier": 1.0,
    }


@dataclass(frozen=True)
class EncodeObject:
    """An object with its levels of detail.

    Parameters
    ----------
    levels : tuple of Cells
        The finest first.
    place : Place
    bits : int
        Of a position along an axis of a cell.
    fill_holes : bool
    """

    levels: tuple[Cells, ...]
    place: Place
    bits: int
    fill_holes: bool = False

    def __call__(self, index: int, context: Context) -> Iterator[bytes]:
        """What is stored of an object, by its place in the listing: the mesh of each cell, and last the manifest."""
        sizes: list[dict[Position, int]] = []
        for cells in self.levels:
            sizes.append({})
            joined = joined_object(index, context, cells)
            joined = without_cavities(joined) if self.fill_holes else joined
            at = [self._position(piece) for piece in joined.pieces]
            for number in z_order(np.array(at, np.int64).reshape(-1, 3)).tolist():
                faces = self._cut(joined.pieces[number], cells)
                if data := self._encoded(faces, joined.pieces[number]):
                    sizes[-1][at[number]] = len(data)
                    yield data
                if cells.level:
                    for part in self._octants(faces, joined.pieces[number], at[number]):
                        sizes[-2].setdefault(part, 0)  # a viewer draws a coarser mesh where there is no finer cell
            if len(cells.of_blocks(context.objects.where(index))) == 1:
                break  # coarser cells would hold it as a whole too
        for finer, coarser in itertools.pairwise(sizes):
            for x, y, z in finer:
                coarser.setdefault((x >> 1, y >> 1, z >> 1), 0)  # a viewer comes to a cell by the coarser one
        yield self._manifest(sizes)

    def _manifest(self, sizes: list[dict[Position, int]]) -> bytes:
        """The cells of each level in the order of the z curve, with the bytes of their meshes: 0 where nothing is."""
        finest = self.levels[0]
        parts = [
            np.array([finest.size[axis] for axis in self.place.order], "<f4"),
            np.full(3, -1, "<f4"),
            np.array([len(sizes)], "<u4"),
            2.0 ** np.arange(len(sizes), dtype="<f4"),
            np.zeros((len(sizes), 3), "<f4"),
            np.array([len(cells) for cells in sizes], "<u4"),
        ]
        for cells in sizes:
            at, lengths = np.array(list(cells), "<u4").reshape(-1, 3), np.array(list(cells.values()), "<u4")
            order = z_order(at)
            parts += [at[order].T, lengths[order]]
        return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)

    def _position(self, piece: Piece) -> Position:
        """Of a cell, x, y, z."""
        at = [(corner + 1) // size for corner, size in zip(piece.corner, piece.size, strict=True)]
        x, y, z = (at[axis] for axis in self.place.order)
        return x, y, z

    def _cut(self, piece: Piece, cells: Cells) -> Surface:
        """The surface in a cell, of which no triangle crosses the middle of a coarser one."""
        surface = piece.load()
        if cells.level:
            for axis, size in enumerate(piece.size):
                surface = cut(surface, axis, size / 2)
        return surface

    def _octants(self, surface: Surface, piece: Piece, at: Position) -> list[Position]:
        """The finer cells in which a coarser cell has triangles."""
        vertices, faces = surface
        upper = vertices[faces].sum(1) > 1.5 * np.array(piece.size)
        codes = np.unique(upper[:, list(self.place.order)] @ np.array([1, 2, 4]))
        x, y, z = at
        return [(2 * x + (code & 1), 2 * y + (code >> 1 & 1), 2 * z + (code >> 2)) for code in codes.tolist()]

    def _encoded(self, surface: Surface, piece: Piece) -> bytes:
        """The mesh of a cell as Draco stores it; empty where nothing is left of it."""
        vertices, faces = surface
        order = list(self.place.order)
        bits, most = self.bits, 2**self.bits - 1
        whole = np.rint(vertices / np.array(piece.size) * most)[:, order]
        codes = whole.astype(np.int64) @ np.array([1 << 2 * bits, 1 << bits, 1])
        unique, inverse = np.unique(codes, return_inverse=True)
        faces = inverse[faces]
        flat = (faces[:, [0, 1, 2]] == faces[:, [1, 2, 0]]).any(1)
        faces = faces[~flat][:, :: -1 if self.place.mirrored else 1]
        positions = np.stack([unique >> 2 * bits, unique >> bits & most, unique & most], 1)
        return draco(positions, faces, bits) if len(faces) else b""


def draco(positions: Array, faces: Array, bits: int) -> bytes:
    """A mesh of whole numbers of some bits, encoded by Draco without loss."""
    with needing("DracoPy", "meshes with levels of detail"):
        import DracoPy

    data: bytes = DracoPy.encode(
        np.ascontiguousarray(positions, np.float32),
        np.ascontiguousarray(faces, np.uint32),
        quantization_bits=bits,
        compression_level=7,
        quantization_range=2**bits - 1,
        quantization_origin=[0, 0, 0],
    )
    return data


@dataclass(frozen=True)
class WriteUnsharded:
    """The two files of each object that begins in a block."""

    place: str
    encode: EncodeObject

    def __call__(self, index: int, context: Context) -> int:
        """Number of objects written."""
        folder = hidden(self.place, context.earlier["begin"])
        home = context.objects.at_home(index).tolist()
        for one in home:
            object_id, last = int(context.objects.ids[one]), b""
            with writing(folder / str(object_id)) as file:
                for part in self.encode(one, context):
                    file.write(last)
                    last = part
            with writing(folder / f"{object_id}.index") as file:
                file.write(last)
        return len(home)


@dataclass(frozen=True)
class WriteShards:
    """Every ``n``-th shard, with the objects in it."""

    place: str
    encode: EncodeObject
    n: int

    def __call__(self, index: int, context: Context) -> int:
        """Number of shards written."""
        folder = hidden(self.place, context.earlier["begin"])
        sharding, ids = context.earlier["sharding"], context.objects.ids
        there = np.unique(sharding.places(ids)[0]).tolist()
        mine = [shard for shard in there if shard % self.n == index]
        for shard in mine:
            objects = partial(self._objects, in_order(ids, sharding, shard), context)
            write_shard(folder / sharding.name(shard), sharding, objects())
        return len(mine)

    def _objects(self, order: Iterator[int], context: Context) -> Iterator[tuple[int, Iterator[bytes]]]:
        for one in order:
            yield int(context.objects.ids[one]), self.encode(one, context)
