"""Filters that are a product of windows, one an axis, on numpy arrays: mirror border, opencv underneath."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import DtypeError

Windows = Sequence[Sequence[np.ndarray]]
"""For every axis the windows of the orders 0, 1, ..."""


def smoothed_dtype(dtype: Any, name: str = "gaussian_smoothing") -> np.dtype[Any]:
    """float64 for float64 (and longer) input, else float32.

    Raises
    ------
    DtypeError
        For data that are not boolean, integer or real floating point.
    """
    kind = np.dtype(dtype)
    if kind.kind not in "buif":
        raise DtypeError(
            f"{name} cannot use dtype {kind}",
            remedy="pass boolean, integer or real floating point data, for example array.real",
        )
    return np.dtype(np.float64 if kind.kind == "f" and kind.itemsize >= 8 else np.float32)


def correlate(block: np.ndarray, windows: Sequence[np.ndarray], dtype: np.dtype[Any]) -> np.ndarray:
    """Correlate every axis of an array with its window: a new array of `dtype`, float32 or float64."""
    if block.size == 0 or block.ndim == 0:
        return block.astype(dtype)
    # opencv's uint8 rows are vectorised, its 16 bit rows are not
    block = np.ascontiguousarray(block, dtype=np.uint8 if block.dtype == np.uint8 else dtype)
    if block.ndim == 1:
        return correlate(block[np.newaxis], [np.ones(1), *windows], dtype).reshape(block.shape)
    result = np.empty(block.shape, dtype)
    # plane by plane while a plane is in the cache
    for plane, out in zip(block.reshape(-1, *block.shape[-2:]), result.reshape(-1, *block.shape[-2:]), strict=True):
        _filter_plane(plane, windows[-2], windows[-1], dtype, out)
    for axis in range(block.ndim - 2):
        result = _filter_axis(result, axis, windows[axis])
    return result


def planes(
    block: np.ndarray, windows: Windows, orders: Sequence[tuple[int, ...]], dtype: np.dtype[Any]
) -> Iterator[tuple[tuple[int, ...], list[np.ndarray]]]:
    """Several filters of one array, plane by plane: what they have in common is computed once.

    Yields
    ------
    (index, results)
        Index of a plane in the leading axes, and of each filter that plane: a new array of `dtype`. The filter
        ``(0, 1, 2)`` has the windows ``windows[0][0], windows[1][1], windows[2][2]``.
    """
    if block.ndim == 1:
        block, orders = block[np.newaxis], [(0, *one) for one in orders]
        windows = [(np.ones(1),), *windows]
    lead = block.ndim - 2
    byte_planes = block.dtype == np.uint8 and lead == 0
    passed: dict[tuple[int, ...], np.ndarray] = {
        (): np.ascontiguousarray(block, dtype=np.uint8 if byte_planes else dtype)
    }
    for axis in range(lead):
        wanted = sorted({one[: axis + 1] for one in orders})
        passed = {one: _filter_axis(passed[one[:-1]], axis, windows[axis][one[-1]]) for one in wanted}
    for index in np.ndindex(block.shape[:lead]):
        found = []
        for one in orders:
            plane = np.empty(block.shape[lead:], dtype)
            _filter_plane(passed[one[:lead]][index], windows[-2][one[-2]], windows[-1][one[-1]], dtype, plane)
            found.append(plane)
        yield index, found


def _filter_plane(
    plane: np.ndarray, rows: np.ndarray, columns: np.ndarray, dtype: np.dtype[Any], out: np.ndarray
) -> None:
    import cv2

    depth = cv2.CV_64F if dtype == np.float64 else cv2.CV_32F
    cv2.sepFilter2D(plane, depth, columns, rows, dst=out, borderType=cv2.BORDER_REFLECT_101)


def _filter_axis(block: np.ndarray, axis: int, window: np.ndarray) -> np.ndarray:
    """Filter one leading axis: with the later axes joined it is the rows of a wide image."""
    import cv2

    result = np.empty_like(block)
    images = block.reshape(-1, block.shape[axis], math.prod(block.shape[axis + 1 :]))
    one = np.ones(1)
    for image, out in zip(images, result.reshape(images.shape), strict=True):
        cv2.sepFilter2D(image, -1, one, window, dst=out, borderType=cv2.BORDER_REFLECT_101)
    return result
