"""Meshes read back by code that shares nothing with what writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Surface = tuple[np.ndarray, np.ndarray]


def read(path: Path) -> Surface:
    """Vertices x, y, z and triangles of a file."""
    return {"ply": _ply, "obj": _obj, "stl": _stl, "glb": _glb, "all": _legacy}[
        path.name.replace(":", ".").split(".")[-1]
    ](path.read_bytes())


def _ply(data: bytes) -> Surface:
    head, _, body = data.partition(b"end_header\n")
    n, m = (int(line.split()[-1]) for line in head.decode().splitlines() if line.startswith("element"))
    vertices = np.frombuffer(body, "<f4", 3 * n).reshape(-1, 3)
    rows = np.frombuffer(body, [("n", "u1"), ("at", "<u4", 3)], m, 12 * n)
    assert (rows["n"] == 3).all()
    assert len(body) == 12 * n + 13 * m
    return vertices, rows["at"].astype(np.int64)


def _obj(data: bytes) -> Surface:
    lines = [line.split() for line in data.decode().splitlines()]
    vertices = np.array([line[1:] for line in lines if line[0] == "v"], np.float32).reshape(-1, 3)
    return vertices, np.array([line[1:] for line in lines if line[0] == "f"], np.int64).reshape(-1, 3) - 1


def _stl(data: bytes) -> Surface:
    rows = np.frombuffer(data, [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("rest", "<u2")], offset=84)
    assert len(rows) == np.frombuffer(data, "<u4", 1, 80)[0]
    corners = rows["corners"].reshape(-1, 3)
    vertices, number = np.unique(corners, axis=0, return_inverse=True)
    faces = number.reshape(-1, 3)
    normals = np.cross(*(vertices[faces[:, side]] - vertices[faces[:, 0]] for side in (1, 2)))
    assert (np.einsum("ij,ij->i", normals, rows["normal"]) >= 0).all()
    return vertices, faces


def _glb(data: bytes) -> Surface:
    magic, version, size, length = data[:4], *np.frombuffer(data, "<u4", 3, 4).tolist()
    assert (magic, version, size) == (b"glTF", 2, len(data))
    told = json.loads(data[20 : 20 + length])
    body = data[28 + length :]
    assert len(body) == told["buffers"][0]["byteLength"]
    positions, indices = told["accessors"]
    views = told["bufferViews"]
    vertices = np.frombuffer(body, "<f4", 3 * positions["count"], views[0]["byteOffset"]).reshape(-1, 3)
    np.testing.assert_array_equal(vertices.min(0), positions["min"])
    np.testing.assert_array_equal(vertices.max(0), positions["max"])
    faces = np.frombuffer(body, "<u4", indices["count"], views[1]["byteOffset"]).reshape(-1, 3)
    return vertices, faces.astype(np.int64)


def _legacy(data: bytes) -> Surface:
    n = int(np.frombuffer(data, "<u4", 1)[0])
    vertices = np.frombuffer(data, "<f4", 3 * n, 4).reshape(-1, 3)
    return vertices, np.frombuffer(data, "<u4", offset=4 + 12 * n).reshape(-1, 3).astype(np.int64)


def edges(faces: np.ndarray) -> dict[tuple[int, int], int]:
    """How often each directed edge is there."""
    found = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    unique, counts = np.unique(found, axis=0, return_counts=True)
    return dict(zip(map(tuple, unique.tolist()), counts.tolist(), strict=True))


def closed(faces: np.ndarray) -> bool:
    """Whether every edge has two triangles, which run along it in both directions."""
    found = edges(faces)
    return all(count == 1 and (end, begin) in found for (begin, end), count in found.items())


def euler(faces: np.ndarray) -> int:
    """Vertices - edges + triangles."""
    undirected = {tuple(sorted(edge)) for edge in edges(faces)}
    return len(np.unique(faces)) - len(undirected) + len(faces)


def volume(surface: Surface) -> float:
    """Enclosed, positive where the triangles are seen from outside (x, y, z right-handed)."""
    corners = surface[0].astype(np.float64)[surface[1]]
    return float(np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


def pieces(faces: np.ndarray) -> int:
    """Number of connected pieces."""
    _, number = np.unique(faces, return_inverse=True)
    number = number.reshape(-1, 3)
    links = number[:, [0, 1, 1, 2]].reshape(-1, 2)
    n = int(number.max()) + 1
    return int(connected_components(coo_array((np.ones(len(links)), links.T), shape=(n, n)), directed=False)[0])


def triangles(surface: Surface) -> np.ndarray:
    """The corners of each triangle, from its lowest one on, sorted: equal for equal surfaces."""
    corners = surface[0].astype(np.float64)[surface[1]]
    first = np.array([row.index(min(row)) for row in corners.tolist()], int)
    turned = np.take_along_axis(corners, ((first[:, None] + np.arange(3)) % 3)[:, :, None], 1).reshape(-1, 9)
    return turned[np.lexsort(turned.T[::-1])] if len(turned) else turned


def levels(folder: Path, object_id: int) -> list[tuple[np.ndarray, list[Surface]]]:
    """Of an unsharded object: for each level of detail the cells, and the mesh of each in stored positions."""
    manifest, data = (folder / f"{object_id}.index").read_bytes(), (folder / str(object_id)).read_bytes()
    bits = json.loads((folder / "info").read_text())["vertex_quantization_bits"]
    return decoded(manifest, data, bits)


def decoded(manifest: bytes, data: bytes, bits: int = 16) -> list[tuple[np.ndarray, list[Surface]]]:
    """The same of the bytes."""
    import DracoPy

    shape, origin = np.frombuffer(manifest, "<f4", 6).reshape(2, 3).astype(np.float64)
    n = int(np.frombuffer(manifest, "<u4", 1, 24)[0])
    counts = np.frombuffer(manifest, "<u4", n, 28 + 16 * n)
    at, place, found = 28 + 20 * n, 0, list[tuple[np.ndarray, list[Surface]]]()
    for level, count in enumerate(counts.tolist()):
        cells = np.frombuffer(manifest, "<u4", 3 * count, at).reshape(3, count).T.astype(np.int64)
        sizes = np.frombuffer(manifest, "<u4", count, at + 12 * count)
        at += 16 * count
        meshes: list[Surface] = []
        for cell, size in zip(cells, sizes.tolist(), strict=True):
            if not size:
                meshes.append((np.empty((0, 3)), np.empty((0, 3), np.int64)))
                continue
            mesh: Any = DracoPy.decode(data[place : place + size])
            place += size
            points = np.asarray(mesh.points)
            assert ((points >= 0) & (points < 2**bits) & (points == np.rint(points))).all()
            meshes.append(
                (origin + shape * 2**level * (cell + points / (2**bits - 1)), np.asarray(mesh.faces, np.int64))
            )
        found.append((cells, meshes))
    assert (place, at) == (len(data), len(manifest))
    return found


def together(meshes: list[Surface]) -> Surface:
    """Meshes as one: equal positions (up to rounding) are one vertex."""
    vertices = np.concatenate([mesh[0] for mesh in meshes])
    before = np.cumsum([0, *(len(mesh[0]) for mesh in meshes)])
    faces = np.concatenate([mesh[1] + n for mesh, n in zip(meshes, before[:-1], strict=True)])
    _, first, number = np.unique(np.round(vertices, 6), axis=0, return_index=True, return_inverse=True)
    return vertices[first], number.reshape(-1)[faces]
