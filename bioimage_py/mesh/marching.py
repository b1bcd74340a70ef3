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
    to two triangles. At the ends of the array surfaces are open. Kernel: the classic table of W. Lorensen and H. Cline
    (1987) in bioimage-cpp.

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
    return vertices.astype(np.float64) + corner, faces[:, ::-1].astype(np.int64)
