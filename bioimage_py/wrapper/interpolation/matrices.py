"""Matrices of affine transforms."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arguments import named
from ...errors import ParameterError, ShapeError


@named
def compute_affine_matrix(
    scale: Any = None, rotation: Any = None, shear: Any = None, translation: Any = None, *, ndim: int | None = None
) -> npt.NDArray[np.float64]:
    """Return the matrix ``translation @ rotation @ shear @ scale`` for homogeneous coordinates.

    It maps indices of the result to indices of the source: ``scale=2`` shows every second voxel.

    Parameters
    ----------
    scale : sequence of float, optional
        Factor for each axis.
    rotation : float or sequence of float, optional
        In degrees. Two dimensions: one angle, from axis 0 to axis 1. Three: three angles, about axis 0 (from axis 1 to
        2), about axis 1 (2 to 0) and about axis 2 (0 to 1), applied in this order. Quarter turns are exact.
    shear : float or sequence of float, optional
        In degrees: an angle ``a`` adds ``tan(a)`` times one coordinate to another. Two dimensions: axis 1 to axis 0.
        Three: axis 1 to 0, axis 2 to 0, axis 2 to 1.
    translation : sequence of float, optional
        In voxels, for each axis.
    ndim : {2, 3}, optional
        Number of axes; by default told by the lengths of the parameters.

    Returns
    -------
    numpy.ndarray
        (ndim + 1, ndim + 1) float64.

    Raises
    ------
    ParameterError
        If nothing is given, the lengths disagree, or the number of axes is not 2 or 3.
    """
    given = {"scale": scale, "rotation": rotation, "shear": shear, "translation": translation}
    try:
        values = {name: np.atleast_1d(np.asarray(one, np.float64)) for name, one in given.items() if one is not None}
    except (TypeError, ValueError) as error:
        raise ParameterError(f"Affine parameters that are no numbers: {error}", remedy="scale=(2.0, 2.0)") from None
    n = ndim or _ndim_of(values)
    if n not in (2, 3):
        raise ParameterError(
            f"Affine parameters are for 2 or 3 axes, not {n}.", remedy="give affine_matrix=, (ndim, ndim + 1)"
        )
    for name, one in values.items():
        if not np.isfinite(one).all():
            raise ParameterError(
                f"{name}={given[name]!r} is not made of finite numbers.", remedy=f"{name}={(1.0,) * n}"
            )
        wanted = {2: 1, 3: 3}[n] if name in ("rotation", "shear") else n
        if one.shape != (wanted,):
            raise ParameterError(
                f"{name}={given[name]!r} has {one.size} numbers; for {n} axes it takes {wanted}.",
                remedy=f"{name}={(1.0,) * wanted if wanted > 1 else 1.0}",
            )
    matrix = np.eye(n + 1)
    matrix[:n, :n] = (
        _rotation(values.get("rotation", np.zeros(3 if n == 3 else 1)), n)
        @ _shear(values.get("shear", np.zeros(3 if n == 3 else 1)), n)
        @ np.diag(values.get("scale", np.ones(n)))
    )
    matrix[:n, n] = values.get("translation", np.zeros(n))
    return matrix


def _ndim_of(values: dict[str, np.ndarray]) -> int:
    if not values:
        raise ParameterError("No parameter of the transform is given.", remedy="scale=(2, 2, 2)")
    for name in ("scale", "translation"):
        if name in values:
            return values[name].size
    return 2 if next(iter(values.values())).size == 1 else 3


def _rotation(angles: np.ndarray, n: int) -> np.ndarray:
    matrix = np.eye(n)
    planes = [(0, 1)] if n == 2 else [(1, 2), (2, 0), (0, 1)]
    for (first, second), angle in zip(planes, angles, strict=True):
        turn = np.eye(n)
        cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        if angle % 90 == 0:
            cosine, sine = np.rint(cosine), np.rint(sine)
        turn[[first, second], [first, second]] = cosine
        turn[second, first], turn[first, second] = sine, -sine
        matrix = turn @ matrix
    return matrix


def _shear(angles: np.ndarray, n: int) -> np.ndarray:
    matrix = np.eye(n)
    for (row, column), angle in zip(itertools.combinations(range(n), 2), np.deg2rad(angles), strict=True):
        matrix[row, column] = np.tan(angle)
    return matrix


def check_matrix(given: Any, n: int) -> npt.NDArray[np.float64]:
    """The upper (n, n + 1) part of a matrix for n axes.

    Raises
    ------
    ShapeError
        For another shape.
    ParameterError
        For what is no finite number, and a last row other than 0, ..., 0, 1.
    """
    try:
        matrix = np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"The matrix is not made of numbers: {error}", remedy=f"numpy.eye({n + 1})") from None
    if matrix.shape not in ((n, n + 1), (n + 1, n + 1)):
        raise ShapeError(f"The matrix has the shape {matrix.shape}, and is for {n} axes.", remedy=f"use ({n}, {n + 1})")
    if not np.isfinite(matrix).all():
        raise ParameterError("The matrix has entries that are not finite.", remedy="check what it is made of")
    if matrix.shape[0] > n and (matrix[n] != [*[0] * n, 1]).any():
        raise ParameterError(f"The last row of the matrix is {matrix[n].tolist()}.", remedy="use 0, ..., 0, 1")
    return matrix[:n]


def one_to_one(matrix: np.ndarray) -> tuple[int, ...] | None:
    """For every row the one column that is not zero; None where a row or column has several, or none."""
    used = matrix != 0
    if not ((used.sum(axis=0) == 1).all() and (used.sum(axis=1) == 1).all()):
        return None
    return tuple(int(row.argmax()) for row in used)


def lined(matrix: np.ndarray) -> list[int]:
    """Axes on which a place depends on the index of this axis alone, and on which no other place depends on it."""
    used = matrix != 0
    alone = (used.sum(axis=0) == 1) & (used.sum(axis=1) == 1) & used.diagonal()
    return [int(axis) for axis in np.flatnonzero(alone)]
