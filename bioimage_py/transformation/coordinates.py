"""Places and boxes through an affine matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import named
from ..errors import ParameterError, ShapeError
from ..wrapper.interpolation.matrices import check_matrix


@named
def transform_coordinate(coord: Sequence[float], matrix: Any) -> tuple[float, ...]:
    """Return ``matrix @ (coord, 1)``: where the place of a result lies in the source.

    Parameters
    ----------
    coord : sequence of float
        n numbers, in voxels, in the order of the axes.
    matrix : array_like
        (n, n + 1) or (n + 1, n + 1), as `compute_affine_matrix` makes it.

    Returns
    -------
    tuple of float

    Raises
    ------
    ShapeError, ParameterError
        If the numbers do not fit.

    Examples
    --------
    >>> transform_coordinate((1, 2), compute_affine_matrix(scale=(2, 3), translation=(10, 0)))
    (12.0, 6.0)
    """
    place = _numbers(coord, "coord")
    upper = check_matrix(matrix, len(place))
    return tuple(float(value) for value in upper[:, :-1] @ place + upper[:, -1])


@named
def transform_roi_with_affine(
    roi_start: Sequence[float], roi_stop: Sequence[float], matrix: Any
) -> tuple[list[float], list[float]]:
    """Return the smallest box that holds all corners of a box that is transformed.

    Parameters
    ----------
    roi_start, roi_stop : sequence of float
        n numbers each: two opposite corners.
    matrix : array_like
        (n, n + 1) or (n + 1, n + 1).

    Returns
    -------
    tuple of list of float
        Its least and its greatest corner.

    Raises
    ------
    ShapeError, ParameterError
        If the numbers do not fit.

    Examples
    --------
    >>> transform_roi_with_affine((0, 0), (4, 9), compute_affine_matrix(scale=(2, 1)))
    ([0.0, 0.0], [8.0, 9.0])
    """
    start, stop = _numbers(roi_start, "roi_start"), _numbers(roi_stop, "roi_stop")
    if len(start) != len(stop):
        raise ShapeError(
            f"roi_start has {len(start)} numbers, roi_stop {len(stop)}.", remedy="give a number for each axis in both"
        )
    upper = check_matrix(matrix, len(start))
    # each term of a linear function has its extremes at one of two ends
    ends = np.stack([upper[:, :-1] * start, upper[:, :-1] * stop])
    least, most = (part.sum(axis=1) + upper[:, -1] for part in (ends.min(axis=0), ends.max(axis=0)))
    return least.tolist(), most.tolist()


def _numbers(given: Any, name: str) -> np.ndarray:
    try:
        found = np.array(given, np.float64)
    except (TypeError, ValueError):
        found = np.zeros((0, 0))
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ParameterError(f"{name}={given!r} is not made of a number for each axis.", remedy=f"{name}=(0, 0, 0)")
    return found
