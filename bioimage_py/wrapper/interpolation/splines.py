"""Splines of orders 0 to 5 through the values of voxels (Unser 1999, Signal Processing Magazine 16(6)).

The coefficients of a spline depend on all voxels of a line, ever less the farther they are. Here they are a convolution
with a window that ends where what is left out is below 1e-7 of the values, so that a coefficient is the same, to the
bit, whatever part of the array is computed.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from ...errors import ParameterError

RADII = {0: 0, 1: 0, 2: 11, 3: 14, 4: 19, 5: 23}
"""Voxels to each side on which a coefficient depends, by order."""

_SHARE = 256


def check_order(order: Any) -> int:
    """The order as int; ParameterError unless it is one of 0 to 5."""
    try:
        if not isinstance(order, bool | np.bool_) and operator.index(order) in RADII:
            return operator.index(order)
    except TypeError:
        pass
    raise ParameterError(f"order={order!r} is no order of a spline.", remedy="use 0 (nearest) to 5")


@functools.cache
def coefficient_window(order: int) -> np.ndarray:
    """Window of ``2 * RADII[order] + 1`` weights, which sum to 1, from values to coefficients."""
    from scipy.ndimage import spline_filter1d

    impulse = np.zeros(2 * _SHARE + 1)
    impulse[_SHARE] = 1.0
    radius = RADII[order]
    window = spline_filter1d(impulse, order, mode="mirror")[_SHARE - radius : _SHARE + radius + 1]
    symmetric = (window + window[::-1]) / 2
    return np.asarray(symmetric / symmetric.sum())


def first_tap(order: int, whole: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First voxel that a spline needs at ``whole + rest``, and how far into its interval of knots that is (0 to 1).

    Odd orders have their knots at the centres of voxels, even ones at the borders between them.
    """
    if order % 2:
        return whole - (order - 1) // 2, rest
    above = rest >= 0.5
    return whole + above - order // 2, np.where(above, rest - 0.5, rest + 0.5)


def tap_weights(order: int, inside: np.ndarray) -> list[np.ndarray]:
    """Weights of the ``order + 1`` coefficients from `first_tap` on; they are not negative and sum to 1."""
    weights = [np.ones_like(inside)]
    for degree in range(1, order + 1):
        before, weights = weights, []
        for tap in range(degree + 1):
            weight = np.zeros_like(inside)
            if tap > 0:
                weight += (inside + (degree - tap)) * before[tap - 1]
            if tap < degree:
                weight += (1 - inside + tap) * before[tap]
            weights.append(weight / degree)
    return weights
