"""The surface of objects from the cells between voxels: each cell adds what marching cubes makes of its eight corners.

So the sum over all blocks is the area of the mesh of the whole object, without the object in memory. An object is cut
off at the border of the volume. Marching cubes: T. Lewiner et al. 2003, as in `skimage.measure.marching_cubes`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

CORNERS = tuple(itertools.product((0, 1), repeat=3))


@functools.lru_cache(maxsize=16)
def cell_areas(spacing: tuple[float, float, float]) -> Array:
    """Area of the mesh in a cell by which corners are inside (bit i for corner i of `CORNERS`), a share a corner."""
    from skimage.measure import marching_cubes, mesh_surface_area

    areas = np.zeros(256)
    for code in range(1, 255):
        inside = np.array([code >> bit & 1 for bit in range(8)], np.float64).reshape(2, 2, 2)
        vertices, faces, *_ = marching_cubes(inside, 0.5, spacing=spacing)
        areas[code] = mesh_surface_area(vertices, faces) / code.bit_count()
    return areas


def add_surface(
    labels: Array, inner: Sequence[tuple[int, int]], spacing: tuple[float, float, float]
) -> tuple[Array, Array]:
    """Ids of voxels at a surface, each as often as it has such cells, and the area that it has of each.

    Parameters
    ----------
    labels : ndarray, 3 axes
        A block with a margin of one voxel on each side, 0 beyond the volume.
    inner : sequence of (begin, end)
        The voxels of the block in it.
    spacing : tuple of float
        Size of a voxel.
    """
    corners = [
        labels[tuple(slice(o, n - 1 + o) for o, n in zip(offset, labels.shape, strict=True))] for offset in CORNERS
    ]
    mixed = np.zeros(corners[0].shape, np.bool_)
    for corner in corners[1:]:
        mixed |= corner != corners[0]
    at = np.flatnonzero(mixed)
    where = np.stack(np.unravel_index(at, mixed.shape), axis=1)
    ids = np.stack([corner[mixed] for corner in corners], axis=1)
    table = cell_areas(spacing)
    begins, ends = (np.array(side) for side in zip(*inner, strict=True))
    found_ids, found_areas = [], []
    for number, offset in enumerate(CORNERS):
        position = where + np.array(offset)
        own = (ids[:, number] != 0) & (position >= begins).all(axis=1) & (position < ends).all(axis=1)
        mine = ids[own]
        code = np.zeros(len(mine), np.int64)
        for other in range(8):
            code |= (mine[:, other] == mine[:, number]).astype(np.int64) << other
        found_ids.append(mine[:, number])
        found_areas.append(table[code])
    return np.concatenate(found_ids), np.concatenate(found_areas)
