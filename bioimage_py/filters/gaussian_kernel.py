"""Gaussian smoothing of one numpy block: separable, mirror border, opencv underneath."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DtypeError, ParameterError

LARGEST_SIGMA = 1e6
"""Its window has tens of megabytes."""


def normalize_sigma(sigma: float | Sequence[float], ndim: int) -> tuple[float, ...]:
    """One positive standard deviation per axis, in voxels.

    Parameters
    ----------
    sigma : float or sequence of float
        One value for all axes, or one per axis in array order.
    ndim : int
        Number of axes.

    Raises
    ------
    ParameterError
        If the number of values is wrong or one is not a positive finite number.
    """
    values = np.atleast_1d(np.asarray(sigma, dtype=object))
    many = np.asarray(sigma, dtype=object).ndim == 1
    if values.ndim != 1 or values.size not in (1, ndim) or (many and values.size != ndim):
        raise ParameterError(
            f"sigma has {values.size} values, the input has {ndim} axes: sigma={sigma!r}",
            remedy=f"pass one number, or {ndim} numbers in the order of the axes",
        )
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ParameterError(f"sigma must be a number, got {sigma!r}", remedy="pass for example sigma=2.0") from error
    if not all(math.isfinite(value) and value > 0 for value in numbers):
        raise ParameterError(
            f"sigma must be positive and finite on every axis, got {sigma!r}",
            remedy="pass a value above 0, for example sigma=1.0; bioimage_py.copy(...) is smoothing with nothing",
        )
    if max(numbers, default=0) > LARGEST_SIGMA:
        raise ParameterError(
            f"sigma is above {LARGEST_SIGMA:g} voxels, got {sigma!r}", remedy="sigma=2.0; it counts in voxels"
        )
    return tuple(numbers * ndim if len(numbers) == 1 else numbers)


def gaussian_radius(sigma: Sequence[float]) -> tuple[int, ...]:
    """Voxels that the window reaches to each side, ``ceil(3 sigma)`` per axis: the halo of a block."""
    return tuple(math.ceil(3 * value) for value in sigma)


def gaussian_window(sigma: float, dtype: np.dtype[Any]) -> np.ndarray:
    """Sampled Gaussian of ``2 ceil(3 sigma) + 1`` weights that sum to one in `dtype` (float32 or float64)."""
    radius = math.ceil(3 * sigma)
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    weights = np.exp(-0.5 * (x / sigma) ** 2)
    weights = (weights / weights.sum()).astype(dtype).astype(np.float64)
    # rounding the weights to float32 would shift the grey values of a constant image
    weights[radius] += 1.0 - weights.sum()
    return np.asarray(weights)


def smoothed_dtype(dtype: Any) -> np.dtype[Any]:
    """float64 for float64 (and longer) input, else float32.

    Raises
    ------
    DtypeError
        For data that are not boolean, integer or real floating point.
    """
    kind = np.dtype(dtype)
    if kind.kind not in "buif":
        raise DtypeError(
            f"gaussian_smoothing cannot use dtype {kind}",
            remedy="pass boolean, integer or real floating point data, for example array.real",
        )
    return np.dtype(np.float64 if kind.kind == "f" and kind.itemsize >= 8 else np.float32)


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
        if array.size == 0 or array.ndim == 0:
            return array.astype(dtype)
        # opencv's uint8 rows are vectorised, its 16 bit rows are not
        block = np.ascontiguousarray(array, dtype=np.uint8 if array.dtype == np.uint8 else dtype)
        windows = [gaussian_window(value, dtype) for value in self.sigma]
        if block.ndim == 1:
            return _filter_pair(block[np.newaxis], [np.ones(1), windows[0]], dtype).reshape(block.shape)
        block = _filter_pair(block, windows[-2:], dtype)
        for axis in range(block.ndim - 2):
            block = _filter_axis(block, axis, windows[axis])
        return block


def _filter_pair(block: np.ndarray, windows: Sequence[np.ndarray], dtype: np.dtype[Any]) -> np.ndarray:
    """Filter the last two axes, plane by plane while a plane is in the cache."""
    import cv2

    result = np.empty(block.shape, dtype)
    planes = block.reshape(-1, *block.shape[-2:])
    depth = cv2.CV_64F if dtype == np.float64 else cv2.CV_32F
    for plane, out in zip(planes, result.reshape(planes.shape), strict=True):
        cv2.sepFilter2D(plane, depth, windows[1], windows[0], dst=out, borderType=cv2.BORDER_REFLECT_101)
    return result


def _filter_axis(block: np.ndarray, axis: int, window: np.ndarray) -> np.ndarray:
    """Filter one leading axis: with the later axes joined it is the rows of a wide image."""
    import cv2

    result = np.empty_like(block)
    images = block.reshape(-1, block.shape[axis], math.prod(block.shape[axis + 1 :]))
    one = np.ones(1)
    for image, out in zip(images, result.reshape(images.shape), strict=True):
        cv2.sepFilter2D(image, -1, one, window, dst=out, borderType=cv2.BORDER_REFLECT_101)
    return result
