"""How voxels lie in the world: directions and an origin as axes and as an affine matrix, and back.

The world of a matrix is that of NIfTI: right, anterior, superior. Formats whose world is left, posterior, superior are
turned, so that a matrix that was read from one is right when it is written to another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...sources.axes import Axis, kind_of
from ..details import Details

SAME = (1.0, 1.0, 1.0)
TURNED = (-1.0, -1.0, 1.0)
"""Signs that turn left, posterior, superior into right, anterior, superior, and back."""

Direction = Sequence[float] | None


def placed(
    names: Sequence[str], directions: Sequence[Direction], origin: Sequence[float], unit: str | None
) -> list[Axis]:
    """Return axes with scale and offset; those whose direction is slanted or backwards have none.

    Parameters
    ----------
    names : sequence of str
        Names of the axes.
    directions : sequence of sequence of float
        The step from a voxel to the next along each axis; None where it is no axis of space.
    origin : sequence of float
        Position of the first voxel.
    unit : str, optional
        Unit of both.
    """
    axes = []
    for name, direction in zip(names, directions, strict=True):
        step = np.asarray(direction if direction is not None else (), float)
        scale = float(np.sqrt(np.square(step).sum())) if step.size else 0.0
        if direction is None or not np.isfinite(scale) or scale <= 0:
            axes.append(Axis(name, kind_of(name)))
            continue
        along = int(step.argmax())
        straight = step[along] == scale and along < len(origin) and np.isfinite(origin[along])
        axes.append(Axis(name, "space", unit, scale, float(origin[along]) if straight else 0.0))
    return axes


def affine(
    directions: Sequence[Direction], origin: Sequence[float], signs: Sequence[float]
) -> tuple[tuple[float, ...], ...] | None:
    """Return the matrix of `Details.affine`: a column for each axis in its order, and the origin; None if not finite.

    Parameters
    ----------
    directions : sequence of sequence of float
        As for `placed`.
    origin : sequence of float
        Position of the first voxel.
    signs : sequence of float
        By what the coordinates of the format are multiplied to be those of NIfTI.
    """
    size = len(origin)
    columns = [np.zeros(size) if one is None else np.asarray(one, float) for one in directions]
    matrix = np.stack([*columns, np.asarray(origin, float)], axis=1)
    if size <= len(signs):
        matrix *= np.asarray(signs[:size]).reshape(-1, 1)
    if not np.isfinite(matrix).all():
        return None
    rows = [tuple(float(value) + 0.0 for value in row) for row in matrix]  # no -0.0
    return (*rows, (*(0.0 for _ in columns), 1.0))


def directions_of(
    axes: Sequence[Axis], details: Details, signs: Sequence[float]
) -> tuple[list[list[float] | None], list[float]]:
    """Return the direction of each axis, and the origin: by the matrix where the image has one, else by its scales.

    Parameters
    ----------
    axes : sequence of Axis
        Axes, the spatial ones among them in the order z, y, x.
    details : Details
        May have a matrix, for the same axes in the same order.
    signs : sequence of float
        By what the coordinates of NIfTI are multiplied to be those of the format.
    """
    spatial = [n for n, axis in enumerate(axes) if axis.kind == "space"]
    matrix = None if details.affine is None else np.asarray(details.affine, float)
    if matrix is not None and matrix.shape == (len(spatial) + 1, len(axes) + 1) and len(spatial) < 4:
        matrix = matrix[:-1] * np.asarray(signs[: len(spatial)]).reshape(-1, 1)
        return [(matrix[:, n] + 0.0).tolist() if n in spatial else None for n in range(len(axes))], (
            matrix[:, -1] + 0.0
        ).tolist()
    found: list[list[float] | None] = [None] * len(axes)
    origin = [0.0] * len(spatial)
    for position, n in enumerate(reversed(spatial)):  # the fastest is x
        found[n] = [float(axes[n].scale) if other == position else 0.0 for other in range(len(spatial))]
        origin[position] = float(axes[n].offset)
    return found, origin
