"""Windows of the Gaussian and its derivatives: how far they reach, and their weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ParameterError

LARGEST_SIGMA = 1e6
"""Its window has tens of megabytes."""


def normalize_sigma(sigma: float | Sequence[float], ndim: int, name: str = "sigma") -> tuple[float, ...]:
    """One positive standard deviation per axis, in voxels.

    Parameters
    ----------
    sigma : float or sequence of float
        One value for all axes, or one per axis in array order.
    ndim : int
        Number of axes.
    name : str, default "sigma"
        Of the parameter, for the messages.

    Raises
    ------
    ParameterError
        If the number of values is wrong or one is not a positive finite number.
    """
    values = np.atleast_1d(np.asarray(sigma, dtype=object))
    many = np.asarray(sigma, dtype=object).ndim == 1
    if values.ndim != 1 or values.size not in (1, ndim) or (many and values.size != ndim):
        raise ParameterError(
            f"{name} has {values.size} values, the input has {ndim} axes: {name}={sigma!r}",
            remedy=f"pass one number, or {ndim} numbers in the order of the axes",
        )
    shown = values[0] if many and len({repr(value) for value in values}) == 1 else sigma
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"{name} must be a number, got {shown!r}", remedy=f"pass for example {name}=2.0"
        ) from error
    if not all(math.isfinite(value) and value > 0 for value in numbers):
        raise ParameterError(
            f"{name} must be positive and finite on every axis, got {shown!r}",
            remedy=f"pass a value above 0, for example {name}=1.0; bioimage_py.copy(...) is smoothing with nothing",
        )
    if max(numbers, default=0) > LARGEST_SIGMA:
        raise ParameterError(
            f"{name} is above {LARGEST_SIGMA:g} voxels, got {shown!r}",
            remedy=f"{name}=2.0; it counts in voxels, unless physical=True",
        )
    return tuple(numbers * ndim if len(numbers) == 1 else numbers)


def gaussian_radius(sigma: Sequence[float], order: int = 0) -> tuple[int, ...]:
    """Voxels that a window reaches to each side, ``ceil((3 + order / 2) sigma)`` per axis: the halo of a block."""
    return tuple(math.ceil((3 + order / 2) * value) for value in sigma)


def gaussian_window(sigma: float, dtype: np.dtype[Any], order: int = 0, spacing: float = 1.0) -> np.ndarray:
    """Weights of the Gaussian or a derivative of it, sampled at whole voxels, for correlation.

    They are exact for the polynomials that they stand for (as in vigra): the sum is one for the Gaussian, the slope of
    a ramp and the curvature of a parabola are found as they are, and constants have no derivative.

    Parameters
    ----------
    sigma : float
        Standard deviation in voxels.
    dtype : dtype
        Of the data, float32 or float64: the weights are rounded to it, and keep their sum.
    order : {0, 1, 2}
        Of the derivative.
    spacing : float, default 1.0
        Distance of the voxels: derivatives are per unit of it.
    """
    radius = gaussian_radius([sigma], order)[0]
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    bell = np.exp(-0.5 * (x / sigma) ** 2)
    if order == 0:
        weights = bell / bell.sum()
    elif order == 1:
        # a window that is narrower than a voxel still has to see its neighbours
        bell[abs(x) == 1] = np.maximum(bell[abs(x) == 1], np.finfo(np.float32).tiny)
        weights = x * bell / (x * x * bell).sum() / spacing
    else:
        weights = ((x / sigma) ** 2 - 1) * bell
        weights -= weights.mean()
        weights /= (x * x * weights).sum() / 2 * spacing**2
    weights = weights.astype(dtype).astype(np.float64)
    if order != 1:
        # rounding the weights to float32 would shift the grey values of a constant image
        weights[radius] += (1.0 if order == 0 else 0.0) - weights.sum()
    return np.asarray(weights)
