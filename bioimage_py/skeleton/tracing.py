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
        distances = edt.edt(np.ascontiguousarray(numbers), anisotropy=self.steps, black_border=False, parallel=1)
        shift = np.array([part.start for part in box]) - np.array(corner)

        def radii_at(vertices: Array) -> Array:
            found: Array = distances[tuple((vertices + shift).T)]
            return found

        how: dict[str, Any] = {"spacing": self.steps, "scale": self.scale, "constant": self.constant}
        targets = block_border_targets_labels(inside, faces, origin=corner, spacing=self.steps)
        if targets:
            targets = self._with_tips(targets, inside, corner, radii_at, how)
        found = block_teasar_labels(inside, open_faces=faces, origin=corner, required_targets=targets, **how)
        skeletons = {}
        for number, (vertices, edges, radii) in found.items():
            seen = radii_at(vertices)
            # without any border in sight the distance is infinite
            skeletons[int(number)] = Skeleton(
                vertices, edges.astype(np.int64), np.where(np.isfinite(seen), seen, radii)
            )
        return skeletons

    def _with_tips(
        self, targets: dict[int, Array], inside: Array, corner: tuple[int, ...], radii_at: Any, how: dict[str, Any]
    ) -> dict[int, Array]:
        """The points at faces, and the ends of what has such points.

        Paths begin at a face, and would leave out an end that is nearer to it than what a path covers.
        """
        from bioimage_cpp.skeleton import teasar_labels

        crossing = np.zeros(int(inside.max()) + 1, np.bool_)
        crossing[list(targets)] = True
        alone = teasar_labels(np.where(crossing[inside], inside, 0), **how)
        both = dict(targets)
        for number, (vertices, edges, _) in alone.items():
            points = targets[number]
            degree = np.bincount(edges.reshape(-1).astype(np.int64), minlength=len(vertices))
            tips = np.rint(vertices[degree == 1] / np.array(self.steps)).astype(np.int64) + np.array(corner)
            if not len(tips):
                continue
            away = np.linalg.norm((tips[:, None] - points) * np.array(self.steps), axis=2)
            reach = 1.5 * np.nan_to_num(radii_at(points), posinf=1e30) + max(self.steps)
            own = tips[(away > reach).all(1)]  # the others belong to where it is cut
            both[number] = np.unique(np.concatenate([points, own]), axis=0)
        return both
