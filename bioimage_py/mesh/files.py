"""A surface as a file: PLY, OBJ, STL, GLB, and the legacy format of Neuroglancer; part by part, at any size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import ValueRangeError
from ..per_object.folder import writing
from ..per_object.volume import Place
from .pieces import Joined

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class WriteFile:
    """Writes the surface of an object in the units of the world.

    Parameters
    ----------
    format : {"ply", "obj", "stl", "glb", "legacy"}
    place : Place
    """

    format: str
    place: Place

    def __call__(self, folder: Path, object_id: int, joined: Joined) -> None:
        """Write the file ``<id>.<format>``, or the two files of the legacy format."""
        if joined.n_vertices >= 2**32:
            raise ValueRangeError(
                f"object {object_id} has {joined.n_vertices} vertices; files of meshes hold {2**32 - 1} at most",
                remedy="max_error= simplifies it; format='precomputed' has levels of detail",
            )
        name = f"{object_id}:0:all" if self.format == "legacy" else f"{object_id}.{self.format}"
        with writing(folder / name) as file:
            _WRITERS[self.format](file, joined, self.place)
        if self.format == "legacy":
            with writing(folder / f"{object_id}:0") as file:
                file.write(json.dumps({"fragments": [name]}).encode())


def _vertices(joined: Joined, place: Place) -> Iterator[Array]:
    for part in joined.vertices():
        yield place.world(part).astype("<f4")


def _faces(joined: Joined, place: Place) -> Iterator[Array]:
    for part in joined.faces():
        yield np.ascontiguousarray(part[:, ::-1] if place.mirrored else part).astype("<u4")


def _ply(file: BinaryIO, joined: Joined, place: Place) -> None:
    head = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment unit {place.unit or 'voxel'}",
        f"element vertex {joined.n_vertices}",
        *(f"property float {name}" for name in "xyz"),
        f"element face {joined.n_faces}",
        "property list uchar uint vertex_indices",
        "end_header\n",
    ]
    file.write("\n".join(head).encode())
    for part in _vertices(joined, place):
        file.write(part.tobytes())
    for part in _faces(joined, place):
        rows = np.empty(len(part), [("n", "u1"), ("at", "<u4", 3)])
        rows["n"], rows["at"] = 3, part
        file.write(rows.tobytes())


def _obj(file: BinaryIO, joined: Joined, place: Place) -> None:
    file.write(f"# unit {place.unit or 'voxel'}\n".encode())
    for part in _vertices(joined, place):
        file.write("".join("v {:.9g} {:.9g} {:.9g}\n".format(*row) for row in part.tolist()).encode())
    for part in _faces(joined, place):
        file.write("".join("f {} {} {}\n".format(*row) for row in (part + 1).tolist()).encode())


def _stl(file: BinaryIO, joined: Joined, place: Place) -> None:
    file.write(b"binary stl".ljust(80) + np.array(joined.n_faces, "<u4").tobytes())
    vertices = np.concatenate([*_vertices(joined, place), np.empty((0, 3), "<f4")])
    for part in _faces(joined, place):
        corners = vertices[part]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        rows = np.zeros(len(part), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("rest", "<u2")])
        rows["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
        rows["corners"] = corners
        file.write(rows.tobytes())


def _glb(file: BinaryIO, joined: Joined, place: Place) -> None:
    n, m = joined.n_vertices, joined.n_faces
    low, high = np.full(3, np.inf, "f4"), np.full(3, -np.inf, "f4")
    for part in _vertices(joined, place):
        if len(part):
            low, high = np.minimum(low, part.min(0)), np.maximum(high, part.max(0))
    views = [
        {"buffer": 0, "byteOffset": 0, "byteLength": 12 * n, "target": 34962},
        {"buffer": 0, "byteOffset": 12 * n, "byteLength": 12 * m, "target": 34963},
    ]
    positions = {"bufferView": 0, "componentType": 5126, "count": n, "type": "VEC3"}
    positions |= {"min": low.tolist(), "max": high.tolist()} if n else {"min": [0, 0, 0], "max": [0, 0, 0]}
    document = {
        "asset": {"version": "2.0", "generator": "bioimage_py", "extras": {"unit": place.unit or "voxel"}},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": 4}]}],
        "buffers": [{"byteLength": 12 * (n + m)}],
        "bufferViews": views,
        "accessors": [positions, {"bufferView": 1, "componentType": 5125, "count": 3 * m, "type": "SCALAR"}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    sizes = 12 + 8 + len(text) + 8 + 12 * (n + m)
    if sizes >= 2**32:
        raise ValueRangeError(f"a GLB file of {sizes} bytes: the format ends at 4 GiB", remedy='format="ply"')
    file.write(b"glTF" + np.array([2, sizes, len(text)], "<u4").tobytes() + b"JSON" + text)
    file.write(np.array([12 * (n + m)], "<u4").tobytes() + b"BIN\0")
    for part in _vertices(joined, place):
        file.write(part.tobytes())
    for part in _faces(joined, place):
        file.write(part.tobytes())


def _legacy(file: BinaryIO, joined: Joined, place: Place) -> None:
    file.write(np.array(joined.n_vertices, "<u4").tobytes())
    for part in _vertices(joined, place):
        file.write(part.tobytes())
    for part in _faces(joined, place):
        file.write(part.tobytes())


_WRITERS = {"ply": _ply, "obj": _obj, "stl": _stl, "glb": _glb, "legacy": _legacy}
