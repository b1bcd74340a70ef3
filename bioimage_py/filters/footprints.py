"""Neighbourhoods of a voxel: boxes, and any set of voxels."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ParameterError

LARGEST_SIZE = 10**5


@dataclass(frozen=True)
class Footprint:
    """The voxels around a voxel, in a box around it.

    Parameters
    ----------
    size : tuple of int
        Of the box. Its centre is ``size // 2``, as in scipy: a box of 4 reaches 2 voxels back and 1 ahead.
    inside : bytes, optional
        A byte for every voxel of the box in C order, zero for those that don't belong to it; None where all do.
    """

    size: tuple[int, ...]
    inside: bytes | None = None

    def __len__(self) -> int:
        return math.prod(self.size) if self.inside is None else len(self.inside) - self.inside.count(0)

    @property
    def halo(self) -> tuple[int, ...]:
        """How far it reaches to the side where it reaches further, per axis."""
        return tuple(one // 2 for one in self.size)

    @property
    def array(self) -> np.ndarray:
        """Whether each voxel of the box belongs to it."""
        inside = np.ones(self.size, bool) if self.inside is None else np.frombuffer(self.inside, bool)
        return inside.reshape(self.size)


def normalize_footprint(size: Sequence[Any] | None, footprint: Any, ndim: int, *, physical: bool = False) -> Footprint:
    """The neighbourhood that a call asks for.

    Parameters
    ----------
    size : sequence of number, optional
        In voxels, one for each axis; what is `physical` need not be whole: the box holds the voxels whose centre is at
        most half of the size away.
    footprint : array_like, optional
        Non-zero for the voxels that belong to it.
    ndim : int
        Number of axes.
    physical : bool, default False

    Raises
    ------
    ParameterError
        If both or none is given, a size is below 1 or not whole, or the footprint is empty or has other axes.
    """
    if (size is None) == (footprint is None):
        given = "neither" if size is None else "both"
        raise ParameterError(f"there can be one of size= and footprint=, {given} was given", remedy="size=3")
    if size is not None:
        return Footprint(tuple(_whole(one, size, physical=physical) for one in size))
    try:
        array = np.asarray(footprint)
    except ValueError:  # lists of several lengths
        array = np.asarray(footprint, object)
    if array.ndim != ndim or array.dtype.kind not in "buif" or not array.any():
        raise ParameterError(
            f"the footprint of shape {array.shape} and type {array.dtype} with {np.count_nonzero(array)} voxels doesn't"
            f" fit: it needs {ndim} axes, as the input is filtered along, and a voxel that isn't zero",
            remedy=f"footprint=numpy.ones({(3,) * ndim}, bool)",
        )
    inside = array.astype(bool)
    return Footprint(inside.shape, None if inside.all() else inside.tobytes())


def _whole(one: Any, size: Sequence[Any], *, physical: bool) -> int:
    if physical and isinstance(one, float) and 0 < one <= LARGEST_SIZE:
        return 2 * math.floor(one / 2) + 1
    try:
        found = 0 if isinstance(one, bool | np.bool_) else operator.index(one)
    except TypeError:
        found = 0
    if not 1 <= found <= LARGEST_SIZE or physical:
        shown = size[0] if len({repr(value) for value in size}) == 1 else tuple(size)
        raise ParameterError(
            f"size={shown!r} is not made of {'' if physical else 'whole '}numbers from 1 to {LARGEST_SIZE}",
            remedy="size=3",
        )
    return found
