"""Draw the picture of docs/meshes.md: `python docs/build_mesh_pictures.py [VOLUME.npy]`.

Without a volume of labels (z, y, x) made neurites are drawn.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
import numpy as np

import bioimage_py as bp

mpl.use("Agg")
from matplotlib import pyplot as plt
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

FOLDER = Path(__file__).with_name("pictures")
HOW: dict[str, Any] = {"block_shape": 64, "progress": False}
SHOWN = 10


def made() -> np.ndarray:
    """Return made neurites, thicker and thinner ones."""
    from scipy import ndimage

    rng, size = np.random.default_rng(3), 128
    labels = np.zeros((size,) * 3, np.uint16)
    for number in range(1, SHOWN + 1):
        at, step, empty = rng.uniform(20, size - 20, 3), rng.normal(size=3), np.ones(labels.shape, bool)
        for _ in range(2):
            here, way = at.copy(), step * (1 - 2 * _)
            for _step in range(160):
                way = way + 0.2 * rng.normal(size=3)
                way /= np.linalg.norm(way)
                here = here + 0.7 * way
                if ((here < 4) | (here > size - 5)).any():
                    break
                empty[tuple(np.rint(here).astype(int))] = False
        radius = ndimage.gaussian_filter(rng.normal(size=labels.shape), 6) * 60 + rng.uniform(2.5, 4)
        tube = ndimage.distance_transform_edt(empty) < np.maximum(radius, 1.6)
        labels[tube & (labels == 0)] = number
        if number < 3:
            z, y, x = np.ogrid[:size, :size, :size]
            soma = (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 < 11**2
            labels[soma] = number
    return labels


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and triangles of a PLY file."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    n, m = (int(line.split()[-1]) for line in head.decode().splitlines() if line.startswith("element"))
    rows = np.frombuffer(body, [("n", "u1"), ("at", "<u4", 3)], m, 12 * n)
    return np.frombuffer(body, "<f4", 3 * n).reshape(-1, 3), rows["at"].astype(int)


def surface(axes: Any, path: Path, color: Any, *, alpha: float = 1.0, edges: bool = False) -> int:
    """Draw a surface with light from above, and return its number of triangles."""
    vertices, faces = read(path)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    light = 0.45 + 0.55 * np.clip(normals @ (np.array([0.3, -0.5, 0.8]) / 0.99), 0, 1)
    colors = np.concatenate([np.array(color[:3]) * light[:, None], np.full((len(light), 1), alpha)], 1)
    lines = {"edgecolors": (0, 0, 0, 0.6), "linewidths": 0.25} if edges else {"edgecolors": "none"}
    axes.add_collection3d(Poly3DCollection(corners, facecolors=colors, **lines))
    return len(faces)


def lines(axes: Any, path: Path, color: Any) -> None:
    """Draw a skeleton, as thick as its radii."""
    rows = np.loadtxt(path, ndmin=2)
    children = rows[rows[:, 6] > 0]
    parents = rows[children[:, 6].astype(int) - 1]
    ends = np.stack([parents[:, 2:5], children[:, 2:5]], 1)
    axes.add_collection3d(Line3DCollection(ends, colors=[color], linewidths=0.6 + 0.25 * children[:, 5]))
    soma = rows[rows[:, 1] == 1]
    axes.scatter(*soma[:, 2:5].T, s=12 * soma[:, 5], color=color)


def view(axes: Any, low: np.ndarray, high: np.ndarray, title: str, zoom: float) -> None:
    """Show a box without axes."""
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.set_box_aspect(high - low, zoom=zoom)
    axes.set_axis_off()
    axes.set_title(title, fontsize=11, y=1.0)
    axes.view_init(22, -55)


def meshes(labels: np.ndarray) -> None:
    """Draw surfaces, one of them with ever fewer triangles, and skeletons."""
    sizes = np.bincount(labels.reshape(-1))
    sizes[0] = 0
    ids = np.argsort(-sizes)[:SHOWN].tolist()
    colors = dict(zip(ids, plt.get_cmap("tab10").colors, strict=True))
    figure = plt.figure(figsize=(11, 8.4))
    with TemporaryDirectory() as folder:
        place = Path(folder)
        errors = (0.0, 0.5, 2.0)
        for error in errors:
            bp.mesh.surfaces(labels, place / str(error), format="ply", ids=ids, max_error=error, **HOW)
        bp.skeleton.trace(labels, place / "lines", format="swc", ids=ids, soma_radius=8.0, **HOW)
        low, high = np.zeros(3), np.array(labels.shape[::-1], float)
        one = figure.add_subplot(2, 2, 1, projection="3d", computed_zorder=True)
        two = figure.add_subplot(2, 2, 2, projection="3d")
        for number in ids:
            surface(one, place / "0.5" / f"{number}.ply", colors[number])
            surface(two, place / "0.5" / f"{number}.ply", colors[number], alpha=0.06)
            lines(two, place / "lines" / f"{number}.swc", colors[number])
        view(one, low, high, "mesh.surfaces: 10 objects over 8 blocks", 1.3)
        view(two, low, high, "skeleton.trace: lines with radii, somata as one vertex", 1.3)
        vertices, _ = read(place / "0.0" / f"{ids[0]}.ply")
        for column, error in enumerate(errors):
            axes = figure.add_subplot(2, 3, 4 + column, projection="3d")
            n = surface(axes, place / str(error) / f"{ids[0]}.ply", colors[ids[0]], edges=True)
            view(axes, vertices.min(0), vertices.max(0), f"max_error={error:g}: {n:,} triangles", 1.1)
    figure.subplots_adjust(0, 0, 1, 0.97, 0, 0.02)
    figure.savefig(FOLDER / "meshes.png", dpi=95, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    meshes(np.load(sys.argv[1]) if len(sys.argv) > 1 else made())
