"""Surfaces of the labels of a block, by marching cubes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .pieces import Surface

Array = npt.NDArray[Any]


def surfaces_of(numbers: Array, n: int) -> Iterator[tuple[int, Surface]]:
    """Surfaces of the objects 1 to n, without those of which no surface is here.

    The surface lies half way between the voxels of an object and all others. Two voxels of an object that touch at an
    edge or a corner only are parted, so surfaces of neighbours never cross, and each edge of a closed surface belongs
    to two triangles. What is around an object is one there, so the Euler number is that of an object whose voxels are
    connected by faces (6), and the rest also by edges and corners (26). At the ends of the array surfaces are open.
    Kernel: the classic table of W. Lorensen and H. Cline (1987) in bioimage-cpp, with a tunnel where two voxels of the
    rest touch at a corner.

    Parameters
    ----------
    numbers : ndarray of int32, three axes
        0 is background.
    n : int

    Yields
    ------
    tuple
        The object, and its vertices (in voxels, from the centre of the first voxel) with triangles that are seen
        counterclockwise from outside when the axes are taken as a right-handed frame in their order.
    """
    for number, box in enumerate(ndimage.find_objects(numbers, n), 1):
        if box is None:
            continue
        around = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box)
        mask = numbers[around] == number
        if mask.all() or min(mask.shape) < 2:
            continue
        surface = _surface_of(mask, [part.start for part in around])
        if len(surface[1]):
            yield number, surface


def _surface_of(mask: Array, corner: list[int]) -> Surface:
    from bioimage_cpp.mesh import marching_cubes

    vertices, faces, _, _ = marching_cubes(mask.astype(np.float32), 0.5, method="lorensen", allow_degenerate=False)
    vertices, faces = vertices.astype(np.float64), faces[:, ::-1].astype(np.int64)
    return vertices + corner, _with_tunnels(vertices, faces, mask)


def _with_tunnels(vertices: Array, faces: Array, mask: Array) -> Array:
    """The triangles, with a tunnel through each cube of eight voxels of which just two opposite ones are missing.

    The table closes both off, with a triangle each; the tunnel is six triangles between the edges of these two.
    """
    pairs = _two_opposite_are_missing(mask)
    if not pairs:
        return faces
    places = 2 * np.array(mask.shape)
    numbers = np.ravel_multi_index(tuple(np.rint(2 * vertices).astype(np.int64).T), places)
    order = np.argsort(numbers)
    tunnels, ends = np.zeros(mask.shape, np.bool_), []
    for corner, cells in pairs:
        tunnels[tuple(cells.T)] = True
        near, far = (
            order[np.searchsorted(numbers, np.ravel_multi_index(at, places), sorter=order)]
            for at in (_half_way(cells, corner), _half_way(cells, 1 - corner))
        )
        odd = corner.sum() % 2  # a mirrored cube: all triangles run the other way around
        ends.append((far, near) if odd else (near, far))
    (a, b, c), (d, e, f) = (np.concatenate(parts).T for parts in zip(*ends, strict=True))
    sides = [(a, c, e), (c, b, d), (b, a, f), (d, e, c), (e, f, a), (f, d, b)]
    there = np.zeros(len(vertices), np.bool_)
    there[np.concatenate([a, b, c, d, e, f])] = True
    rows = np.flatnonzero(there[faces].all(1))
    within = np.floor(vertices[faces[rows]].mean(1)).astype(np.int64)
    left = np.delete(faces, rows[tunnels[tuple(within.T)]], axis=0)
    return np.concatenate([left, *(np.stack(side, 1) for side in sides)])


def _two_opposite_are_missing(mask: Array) -> list[tuple[Array, Array]]:
    """For each diagonal of a cube where it begins, and the cubes of which these two voxels alone are missing."""
    count = mask.view(np.uint8)
    for axis in range(3):
        count = count.take(range(1, count.shape[axis]), axis) + count.take(range(count.shape[axis] - 1), axis)
    two = count == 6
    found = []
    for diagonal in _DIAGONALS:
        ends = (
            mask[tuple(slice(at, at + size) for at, size in zip(end.tolist(), two.shape, strict=True))]
            for end in (diagonal, 1 - diagonal)
        )
        missing = two > np.logical_or(*ends)  # there are six, and neither of these
        if missing.any():
            found.append((diagonal, np.argwhere(missing)))
    return found


def _half_way(cells: Array, corner: Array) -> tuple[Array, ...]:
    """Places, in halves of voxels, between a corner of each cube and its three neighbours there: (cells, 3) an axis."""
    return tuple(np.moveaxis((2 * (cells + corner))[:, None] + np.eye(3, dtype=np.int64) * (1 - 2 * corner), 2, 0))


_DIAGONALS = np.array([(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)])
