"""Neuroglancer's format of meshes with levels of detail.

Format: https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/meshes.md. Each level has the
cells of an octree, each cell a mesh of its own, whose positions are whole numbers within the cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
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
from .pieces import Joined, Piece, Surface
from .surface_blocks import joined_object, without_cavities

Array = npt.NDArray[Any]

BITS = 16


def info_of(place: Place) -> dict[str, Any]:
    """The ``info`` file: positions are stored in voxels x, y, z, and brought to the world by a scale and an offset."""
    transform = []
    for axis in range(3):
        row = [0.0] * 4
        row[axis], row[3] = place.scale[axis], place.offset[axis]
        transform += row
    return {
        "@type": "neuroglancer_multilod_draco",
        "vertex_quantization_bits": BITS,
        "transform": transform,
        "lod_scale_multiplier": 1.0,
    }


@dataclass(frozen=True)
class Encoded:
    """An object as it is stored: the manifest, and the meshes of the cells of all levels."""

    manifest: bytes
    fragments: list[bytes]


@dataclass(frozen=True)
class EncodeObject:
    """An object with its levels of detail.

    Parameters
    ----------
    levels : tuple of Cells
        The finest first.
    place : Place
    fill_holes : bool
    """

    levels: tuple[Cells, ...]
    place: Place
    fill_holes: bool = False

    def __call__(self, index: int, context: Context) -> Encoded:
        """What is stored of an object, by its place in the listing."""
        positions, fragments = list[Array](), list[list[bytes]]()
        for cells in self.levels:
            at, encoded = self._level(joined_object(index, context, cells, cells.level), cells)
            positions.append(at)
            fragments.append(encoded)
            if len(cells.of_blocks(context.objects.where(index))) == 1:
                break  # coarser cells would hold it as a whole too
        order = list(self.place.order)
        finest = self.levels[0]
        manifest = [
            np.array([finest.size[axis] for axis in order], "<f4"),
            np.full(3, -1, "<f4"),
            np.array([len(positions)], "<u4"),
            2.0 ** np.arange(len(positions), dtype="<f4"),
            np.zeros((len(positions), 3), "<f4"),
            np.array([len(at) for at in positions], "<u4"),
        ]
        for at, encoded in zip(positions, fragments, strict=True):
            manifest += [at.T.astype("<u4"), np.array([len(one) for one in encoded], "<u4")]
        told = b"".join(np.ascontiguousarray(part).tobytes() for part in manifest)
        return Encoded(told, [one for level in fragments for one in level])

    def _level(self, joined: Joined, cells: Cells) -> tuple[Array, list[bytes]]:
        """Positions of the cells (x, y, z), in the order of the z curve, and their meshes."""
        joined = without_cavities(joined) if self.fill_holes else joined
        found = {}
        for piece in joined.pieces:
            surface = piece.load()
            if data := self._encoded(surface, piece, cells):
                at = [(corner + 1) // size for corner, size in zip(piece.corner, piece.size, strict=True)]
                found[tuple(at[axis] for axis in self.place.order)] = data
        positions = np.array(list(found), np.int64).reshape(-1, 3)
        order = z_order(positions)
        meshes = list(found.values())
        return positions[order], [meshes[one] for one in order.tolist()]

    def _encoded(self, surface: Surface, piece: Piece, cells: Cells) -> bytes:
        """The mesh of a cell as Draco stores it; empty where nothing is left of it."""
        if cells.level:
            for axis, size in enumerate(piece.size):
                surface = cut(surface, axis, size / 2)
        vertices, faces = surface
        order = list(self.place.order)
        whole = np.rint(vertices / np.array(piece.size) * (2**BITS - 1))[:, order]
        codes = whole.astype(np.int64) @ np.array([1 << 2 * BITS, 1 << BITS, 1])
        unique, inverse = np.unique(codes, return_inverse=True)
        faces = inverse[faces]
        flat = (faces[:, [0, 1, 2]] == faces[:, [1, 2, 0]]).any(1)
        faces = faces[~flat][:, :: -1 if self.place.mirrored else 1]
        positions = np.stack([unique >> 2 * BITS, unique >> BITS & 2**BITS - 1, unique & 2**BITS - 1], 1)
        return draco(positions, faces) if len(faces) else b""


def draco(positions: Array, faces: Array) -> bytes:
    """A mesh of whole numbers below 2^16, encoded by Draco without loss."""
    with needing("DracoPy", "meshes with levels of detail"):
        import DracoPy

    data: bytes = DracoPy.encode(
        np.ascontiguousarray(positions, np.float32),
        np.ascontiguousarray(faces, np.uint32),
        quantization_bits=BITS,
        compression_level=7,
        quantization_range=2**BITS - 1,
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
            encoded, object_id = self.encode(one, context), int(context.objects.ids[one])
            _write(folder / str(object_id), encoded.fragments)
            _write(folder / f"{object_id}.index", [encoded.manifest])
        return len(home)


def _write(path: Path, parts: Sequence[bytes]) -> None:
    with writing(path) as file:
        for part in parts:
            file.write(part)


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

    def _objects(self, order: Iterator[int], context: Context) -> Iterator[tuple[int, bytes, list[bytes]]]:
        for one in order:
            encoded = self.encode(one, context)
            yield int(context.objects.ids[one]), encoded.manifest, encoded.fragments
