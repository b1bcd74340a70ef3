"""Matrices of affine transforms."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arguments import named
from ..errors import ParameterError


@named
def compute_affine_matrix(
    scale: Any = None, rotation: Any = None, shear: Any = None, translation: Any = None, *, ndim: int | None = None
) -> npt.NDArray[np.float64]:
    """Return the matrix ``translation @ rotation @ shear @ scale`` for homogeneous coordinates.

    Parameters
    ----------
    scale : sequence of float, optional
        Factor for each axis.
    rotation : float or sequence of float, optional
        In degrees. Two dimensions: one angle, from axis 0 to axis 1. Three: three angles, about axis 0 (from axis 1 to
        2), about axis 1 (2 to 0) and about axis 2 (0 to 1); the last one is applied first.
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
    for (first, second), angle in zip(planes, np.deg2rad(angles), strict=True):
        turn = np.eye(n)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[second, first], turn[first, second] = np.sin(angle), -np.sin(angle)
        matrix = matrix @ turn
    return matrix


def _shear(angles: np.ndarray, n: int) -> np.ndarray:
    matrix = np.eye(n)
    for (row, column), angle in zip(itertools.combinations(range(n), 2), np.deg2rad(angles), strict=True):
        matrix[row, column] = np.tan(angle)
    return matrix
