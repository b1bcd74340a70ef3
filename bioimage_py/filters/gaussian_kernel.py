"""Kernels on numpy arrays that smooth: the Gaussian, and what is made of two of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .separable import correlate, smoothed_dtype
from .windows import gaussian_radius, gaussian_window


@dataclass(frozen=True)
class Gaussian:
    """Kernel: smooth one block with a separable Gaussian.

    Parameters
    ----------
    sigma : tuple of float
        Standard deviation per axis in voxels. The window reaches ``ceil(3 sigma)`` voxels; beyond the array the values
        are mirrored about the centre of the border voxel (``d c b | a b c d | c b a``; scipy calls it ``"mirror"``).
    """

    sigma: tuple[float, ...]

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels needed around a block, per axis."""
        return gaussian_radius(self.sigma)

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Smooth `array` (any number of axes): a new float32 array, float64 for float64 input, of the same shape."""
        dtype = smoothed_dtype(array.dtype)
        return correlate(array, [gaussian_window(value, dtype) for value in self.sigma], dtype)


@dataclass(frozen=True)
class DifferenceOfGaussians:
    """Kernel: one block smoothed with `low`, minus it smoothed with `high`; data types as for `Gaussian`."""

    low: Gaussian
    high: Gaussian

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels needed around a block, per axis."""
        return tuple(map(max, self.low.halo, self.high.halo))

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The difference as a new array."""
        with np.errstate(invalid="ignore"):  # NaN where both are infinite
            return np.asarray(self.low(array) - self.high(array))


@dataclass(frozen=True)
class LocalContrast:
    """Kernel: distance of every voxel from the mean around it, in standard deviations around it.

    Parameters
    ----------
    window : Gaussian
        Weights of the means.
    epsilon : float
        Added to the standard deviation.
    """

    window: Gaussian
    epsilon: float

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels needed around a block, per axis: the squares are those of differences from means."""
        return tuple(2 * radius for radius in self.window.halo)

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The result as a new float32 array, float64 for float64 input."""
        dtype = smoothed_dtype(array.dtype)
        if not array.ndim:
            return np.zeros((), dtype)
        # in double precision: where an image is flat, rounding would be taken for contrast
        values = array.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):  # NaN where something infinite is near
            values -= self.window(values)
            deviation = self.window(np.square(values))
            np.sqrt(np.maximum(deviation, 0, out=deviation), out=deviation)
            deviation += self.epsilon
            values /= deviation
        return values.astype(dtype, copy=False)
