"""What is seen beyond the border of an array, by the names that scipy has for it."""

from __future__ import annotations

import numpy as np

from ...errors import ParameterError

MODES = ("grid-constant", "constant", "nearest", "reflect", "mirror", "grid-wrap")
CONSTANTS = ("grid-constant", "constant")

FAR = 2**52
"""Beyond this an index is no longer told apart from its neighbour in float64, and everything is far outside."""
LATTICE = 42
"""Places are multiples of 2^-42 of a voxel, which with 11 digits before the point is what float64 holds."""
MOST_LENGTH = 1 << 11
"""Length of a region in which places, counted from its corner, are therefore exact."""
_FINEST = 2.0**-LATTICE


def check_mode(mode: str) -> str:
    """The mode itself; ParameterError for one that is not known."""
    if mode not in MODES:
        raise ParameterError(f"mode={mode!r} is unknown.", remedy=f"use one of {', '.join(MODES)}")
    return mode


def source_index(mode: str, at: np.ndarray, size: int) -> np.ndarray:
    """Index in an axis of `size` voxels that shows at any index of its continuation; -1 for `fill_value`.

    Parameters
    ----------
    mode : str
        One of `MODES`. "constant" continues as "mirror" does: splines need neighbours, although nothing is shown there.
    at : numpy.ndarray
        Integers.
    size : int
        At least 1.
    """
    if mode == "grid-constant":
        return np.where((at >= 0) & (at < size), at, -1)
    if mode == "nearest" or size == 1:
        return np.asarray(np.clip(at, 0, size - 1))
    if mode == "grid-wrap":
        return np.asarray(at % size)
    period = 2 * size if mode == "reflect" else 2 * size - 2
    folded = at % period
    last = 2 * size - 1 if mode == "reflect" else period
    return np.where(folded < size, folded, last - folded)


def settled(at: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Coordinates on the lattice on which all are: no farther than 2^52, and in steps of 2^-42 of a voxel."""
    found = np.clip(np.asarray(at, np.float64), -FAR, FAR, out=np.empty(np.shape(at)) if out is None else out)
    np.divide(found, _FINEST, out=found)
    np.rint(found, out=found)
    return np.multiply(found, _FINEST, out=found)


def folded(mode: str, at: np.ndarray, size: int, reach: int) -> np.ndarray:
    """Coordinates on an axis, moved to near the voxels where the same is seen.

    They are `settled`; those from 0 to ``size - 1`` stay what they are. `reach` says how many voxels beyond the border
    a continuation by one value still differs from it (what a spline makes of the edge).
    """
    if mode == "constant":
        return np.asarray(np.clip(at, 0, size - 1))
    if mode == "grid-constant":
        return np.asarray(np.clip(at, -reach - 2, size + 1 + reach))
    if mode == "nearest" or size == 1:
        return np.asarray(np.clip(at, -reach, size - 1 + reach))
    if mode == "grid-wrap":
        inside, moved = (at >= 0) & (at < size), at % size
    elif mode == "reflect":
        inside, turned = (at >= -0.5) & (at <= size - 0.5), (at + 0.5) % (2 * size)
        moved = np.where(turned < size, turned, 2 * size - turned) - 0.5
    else:
        inside, turned = (at >= 0) & (at <= size - 1), at % (2 * size - 2)
        moved = np.where(turned < size, turned, 2 * size - 2 - turned)
    return np.where(inside, at, moved)
