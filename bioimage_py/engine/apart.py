"""Kernels that work along some axes of an array, and keep the others (channels, times) apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Apart:
    """A kernel that calls another one for every index of the axes that are kept apart.

    Parameters
    ----------
    kernel : callable
        ``kernel(*arrays)`` on arrays with the axes `along` only, in array order; returns an array, which may have
        leading channels: they come first in the result.
    along : tuple of int
        Axes to work along, ascending.
    """

    kernel: Callable[..., Any]
    along: tuple[int, ...]

    def __call__(
        self, *arrays: np.ndarray, begin: Sequence[int] | None = None, part: tuple[slice, ...] = ()
    ) -> np.ndarray:
        """What the kernel makes of each; `begin` and `part` (see `Watershed`) reach it for its axes."""
        apart = [axis for axis in range(arrays[0].ndim) if axis not in self.along]
        order = (*apart, *self.along)
        moved = [array.transpose(order) for array in arrays]
        place: dict[str, Any] = {}
        if begin is not None:
            place["begin"] = [begin[axis] for axis in self.along]
        if part:
            moved = [array[tuple(part[axis] for axis in apart)] for array in moved]
            place["part"] = tuple(part[axis] for axis in self.along)
        lead = moved[0].shape[: len(apart)]
        result: np.ndarray | None = None
        for index in np.ndindex(lead):
            found = self.kernel(*(array[index] for array in moved), **place)
            if result is None:
                result = np.empty((*lead, *found.shape), found.dtype)
            result[index] = found
        if result is None:  # no index at all
            found = self.kernel(*(np.zeros(array.shape[len(apart) :], array.dtype) for array in moved))
            result = np.empty((*lead, *found.shape), found.dtype)
        channels = result.ndim - len(order)
        if channels:
            result = np.moveaxis(result, range(len(lead), len(lead) + channels), range(channels))
        return result.transpose(*range(channels), *(channels + np.argsort(order)))


def apart(kernel: Callable[..., Any], along: Sequence[int], ndim: int) -> Callable[..., Any]:
    """The kernel along some of the axes of an array: itself where these are all."""
    return kernel if len(along) == ndim else Apart(kernel, tuple(sorted(along)))
