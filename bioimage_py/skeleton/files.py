"""A skeleton as a file: SWC, and the format of Neuroglancer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order

from ..per_object.volume import Place
from .cleaning import Lines

Array = npt.NDArray[Any]

SOMA, UNKNOWN = 1, 0


def info_of() -> dict[str, Any]:
    """The ``info`` file of Neuroglancer's skeletons, which are stored in nanometers.

    Format: https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/skeletons.md.
    """
    return {
        "@type": "neuroglancer_skeletons",
        "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
        "vertex_attributes": [{"id": "radius", "data_type": "float32", "num_components": 1}],
    }


@dataclass(frozen=True)
class WriteLines:
    """Gives the bytes of a skeleton.

    Parameters
    ----------
    format : {"precomputed", "swc"}
    place : Place
    radius_scale : float
        From the unit of the data to that of the file.
    soma_radius : float
        From which on a vertex is a soma.
    """

    format: str
    place: Place
    radius_scale: float
    soma_radius: float

    def name(self, object_id: int) -> str:
        """File name of an object."""
        return f"{object_id}.swc" if self.format == "swc" else str(object_id)

    def __call__(self, lines: Lines) -> bytes:
        """The file."""
        points, radii = self.place.world(lines.vertices), lines.radii * self.radius_scale
        if self.format == "swc":
            return self._swc(points, lines, radii).encode()
        head = np.array([len(points), len(lines.edges)], "<u4").tobytes()
        arrays = (points.astype("<f4"), lines.edges.astype("<u4"), radii.astype("<f4"))
        return head + b"".join(np.ascontiguousarray(one).tobytes() for one in arrays)

    def _swc(self, points: Array, lines: Lines, radii: Array) -> str:
        rows = [f"# bioimage_py, unit {self.place.unit or 'voxel'}", "# n type x y z radius parent"]
        number = np.zeros(len(points), np.int64)
        kinds = np.where(lines.radii >= self.soma_radius, SOMA, UNKNOWN)
        for count, (vertex, parent) in enumerate(_in_order(lines), 1):
            number[vertex] = count
            x, y, z = points[vertex].tolist()
            above = -1 if parent < 0 else number[parent]
            rows.append(f"{count} {kinds[vertex]} {x:.9g} {y:.9g} {z:.9g} {radii[vertex]:.6g} {above}")
        return "\n".join(rows) + "\n"


def _in_order(lines: Lines) -> Iterator[tuple[int, int]]:
    """Vertices and their parents (-1 for none), parents first; each piece begins at its widest place."""
    n = len(lines.vertices)
    if not n:
        return
    graph = coo_array((np.ones(len(lines.edges), np.bool_), lines.edges.T), shape=(n, n)).tocsr()
    graph = graph + graph.T
    owner = lines.pieces()
    by_radius = np.lexsort((-lines.radii, owner))
    roots = by_radius[np.flatnonzero(np.diff(owner[by_radius], prepend=-1))]
    for root in roots.tolist():
        order, parents = breadth_first_order(graph, root, directed=False)
        yield from ((int(one), int(parents[one]) if one != root else -1) for one in order)
