"""Kernels on numpy arrays that are made of derivatives of Gaussians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .gaussian_kernel import Gaussian
from .separable import planes, smoothed_dtype
from .symmetric import eigenvalues, pairs
from .windows import gaussian_radius, gaussian_window


@dataclass(frozen=True)
class Derivatives:
    """What the kernels have in common.

    Parameters
    ----------
    sigma : tuple of float
        Standard deviation per axis in voxels. Windows reach ``ceil((3 + order / 2) sigma)`` voxels; beyond the array
        the values are mirrored, see `Gaussian`.
    spacing : tuple of float
        Distance of the voxels per axis: derivatives are per unit of it.
    """

    sigma: tuple[float, ...]
    spacing: tuple[float, ...]

    highest = 1

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels needed around a block, per axis."""
        return gaussian_radius(self.sigma, self.highest)

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Filter one block."""
        raise NotImplementedError

    def derivatives(self, array: np.ndarray, orders: Sequence[tuple[int, ...]]) -> Any:
        """Index and derivatives of every plane, see `planes`."""
        dtype = smoothed_dtype(array.dtype)
        windows = [
            [gaussian_window(sigma, dtype, order, step) for order in range(self.highest + 1)]
            for sigma, step in zip(self.sigma, self.spacing, strict=True)
        ]
        return planes(array, windows, orders, dtype)


def _gradient(ndim: int, order: int = 1) -> list[tuple[int, ...]]:
    return [tuple(order * (axis == other) for other in range(ndim)) for axis in range(ndim)]


def _shown_as_planes(result: np.ndarray) -> np.ndarray:
    """With an axis of size 1 before the only one, as `planes` sees it."""
    return result[..., np.newaxis, :] if result.ndim == 1 else result


@dataclass(frozen=True)
class GradientMagnitude(Derivatives):
    """Kernel: length of the gradient, a new float32 array (float64 for float64 input)."""

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Filter one block."""
        result = np.zeros(array.shape, smoothed_dtype(array.dtype))
        if result.size and result.ndim:
            shown = _shown_as_planes(result)
            for index, found in self.derivatives(array, _gradient(array.ndim)):
                total = np.square(found[0], out=found[0])
                for one in found[1:]:
                    total += np.square(one, out=one)
                np.sqrt(total, out=shown[index])
        return result


@dataclass(frozen=True)
class Laplacian(Derivatives):
    """Kernel: sum of the second derivatives, a new float32 array (float64 for float64 input)."""

    highest = 2

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Filter one block."""
        result = np.zeros(array.shape, smoothed_dtype(array.dtype))
        if result.size and result.ndim:
            shown = _shown_as_planes(result)
            for index, found in self.derivatives(array, _gradient(array.ndim, 2)):
                for one in found[1:]:
                    found[0] += one
                shown[index] = found[0]
        return result


@dataclass(frozen=True)
class HessianEigenvalues(Derivatives):
    """Kernel: eigenvalues of the matrix of second derivatives, the largest first, along a new first axis."""

    highest = 2

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Filter one block: float32, float64 for float64 input."""
        ndim = array.ndim
        result = np.empty((ndim, *array.shape), smoothed_dtype(array.dtype))
        if result.size:
            units = np.eye(ndim, dtype=int)
            orders = [tuple(map(int, units[i] + units[j])) for i, j in pairs(ndim)]
            shown = result[:, np.newaxis] if ndim == 1 else result
            for index, found in self.derivatives(array, orders):
                eigenvalues(found, shown[(slice(None), *index)])
        return result


@dataclass(frozen=True)
class StructureTensorEigenvalues(Derivatives):
    """Kernel: eigenvalues of the smoothed products of first derivatives, the largest first, along a new first axis.

    Parameters
    ----------
    sigma, spacing
        Of the derivatives.
    outer : Gaussian
        Smooths their products.
    """

    outer: Gaussian

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels needed around a block, per axis."""
        return tuple(inner + outer for inner, outer in zip(super().halo, self.outer.halo, strict=True))

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Filter one block: float32, float64 for float64 input."""
        ndim, dtype = array.ndim, smoothed_dtype(array.dtype)
        if array.size == 0 or ndim == 0:
            return np.empty((ndim, *array.shape), dtype)
        entries = np.empty((len(pairs(ndim)), *array.shape), dtype)
        shown = entries[:, np.newaxis] if ndim == 1 else entries
        for index, found in self.derivatives(array, _gradient(ndim)):
            for entry, (i, j) in zip(shown, pairs(ndim), strict=True):
                np.multiply(found[i], found[j], out=entry[index])
        for entry in entries:
            entry[...] = self.outer(entry)
        result = np.empty((ndim, *array.shape), dtype)
        eigenvalues(list(entries), result)
        return result


@dataclass(frozen=True)
class Channel:
    """Kernel: one of the channels that a kernel makes."""

    kernel: Derivatives
    index: int

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels needed around a block, per axis."""
        return self.kernel.halo

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Filter one block."""
        return np.ascontiguousarray(self.kernel(array)[self.index])
