"""Skeletons of the labels of a block, which those of its neighbours meet at its faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
import numpy.typing as npt

from .pieces import Skeleton

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Teasar:
    """The parameters of TEASAR (M. Sato et al. 2000), in the unit of the data.

    Parameters
    ----------
    steps : tuple of float
        Size of a voxel.
    scale, constant : float
        A path covers what is nearer to it than ``scale`` times the distance to the border, plus ``constant``.
    """

    steps: tuple[float, float, float]
    scale: float
    constant: float

    def __call__(
        self, numbers: Array, box: tuple[slice, ...], corner: tuple[int, ...], faces: list[tuple[int, str]]
    ) -> dict[int, Skeleton]:
        """Skeletons of the objects in a box of an array, by number.

        Parameters
        ----------
        numbers : ndarray of int32
            The objects, with what is around the box: so far the distance to their borders is looked at.
        box : tuple of slice
        corner : tuple of int
            Where the box begins in the volume.
        faces : list of (int, str)
            Faces, ``(axis, "low" or "high")``, that the box has in common with a neighbour: in every patch of an object
            there both have the same point.
        """
        from bioimage_cpp.skeleton.distributed import block_border_targets_labels, block_teasar_labels

        inside = np.ascontiguousarray(numbers[box])
        targets = block_border_targets_labels(inside, faces, origin=corner, spacing=self.steps)
        found = block_teasar_labels(
            inside,
            open_faces=faces,
            origin=corner,
            required_targets=targets,
            spacing=self.steps,
            scale=self.scale,
            constant=self.constant,
        )
        distances = edt.edt(np.ascontiguousarray(numbers), anisotropy=self.steps, black_border=False, parallel=1)
        shift = np.array([part.start for part in box]) - np.array(corner)
        skeletons = {}
        for number, (vertices, edges, radii) in found.items():
            seen = distances[tuple((vertices + shift).T)]
            # without any border in sight the distance is infinite
            skeletons[int(number)] = Skeleton(vertices, edges.astype(np.int64), np.where(np.isfinite(seen), seen, radii))
        return skeletons
