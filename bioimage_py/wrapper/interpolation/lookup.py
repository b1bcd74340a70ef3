"""Values of an array at any places in it."""

from __future__ import annotations

from typing import Any

import numpy as np

# what the lookup of order 1 takes as it is: it computes in float64 and rounds once, halves up as they are not negative
_AS_THEY_ARE = ("u1", "u2", "u4", "f4", "f8")


def nearest_index(at: np.ndarray) -> np.ndarray:
    """Nearest whole numbers, half-way up, of places of which the fraction is exact (not so ``floor(at + 0.5)``)."""
    whole = np.floor(at)
    return np.asarray(whole.astype(np.int64) + (at - whole >= 0.5))


def nearest_values(block: np.ndarray, coordinates: np.ndarray, order: int = 0) -> np.ndarray:
    """Voxels nearest to some places, half-way up; their bits are copied, whatever they mean.

    Parameters
    ----------
    block : numpy.ndarray
        Of any data type.
    coordinates : numpy.ndarray
        (ndim, ...) float64, from 0 to the size of an axis minus 1.
    order : int, default 0
        That of a spline; 0.

    Returns
    -------
    numpy.ndarray
        Data type of the block in the byte order of the machine, shape ``coordinates.shape[1:]``.
    """
    plain = block.dtype.newbyteorder("=")
    if block.ndim in (2, 3) and coordinates.ndim == block.ndim + 1 and plain.itemsize in (1, 2, 4, 8):
        from bioimage_cpp.transformation import map_coordinates

        # 8 bytes as floats: integers of 64 bits pass that function as floats, which changes large ones
        carrier = "f8" if plain.itemsize == 8 else f"u{plain.itemsize}"
        voxels = np.ascontiguousarray(block, plain).view(carrier)
        found = map_coordinates(voxels, np.ascontiguousarray(coordinates), order=0)
        return np.asarray(found).view(plain)
    return np.asarray(block[tuple(map(nearest_index, coordinates))], plain)


def spline_values(block: np.ndarray, coordinates: np.ndarray, order: int) -> np.ndarray:
    """Values of a spline at some places.

    Parameters
    ----------
    block : numpy.ndarray
        Its coefficients; for order 1 these are the values.
    coordinates : numpy.ndarray
        (ndim, ...) float64, so far from the ends of an axis that all neighbours are there.
    order : int
        1 to 5.

    Returns
    -------
    numpy.ndarray
        float64; of order 1 also in the data type of the block, where that is float32 or unsigned: rounded, half up.
    """
    plain = block.dtype.newbyteorder("=")
    if order == 1 and block.ndim in (2, 3) and coordinates.ndim == block.ndim + 1:
        from bioimage_cpp.transformation import map_coordinates

        kept = plain if plain.str[1:] in _AS_THEY_ARE else np.dtype(np.float64)
        voxels = np.ascontiguousarray(block, kept)
        return np.asarray(map_coordinates(voxels, np.ascontiguousarray(coordinates), order=1))
    from scipy.ndimage import map_coordinates as any_order

    found = any_order(block.astype(np.float64, copy=False), coordinates, order=order, mode="nearest", prefilter=False)
    return np.asarray(found)


def affine_values(
    block: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...], order: int, fill: Any
) -> np.ndarray | None:
    """Values at ``matrix @ (index, 1)`` for the indices of a result, as `nearest_values` and `spline_values` give them.

    Parameters
    ----------
    block : numpy.ndarray
    matrix : numpy.ndarray
        (ndim, ndim + 1), such that all places are exact in float64.
    shape : tuple of int
        Shape of the result.
    order : {0, 1}
    fill : scalar
        Value of places before the first voxel of the block and beyond the last.

    Returns
    -------
    numpy.ndarray, optional
        None where the library has no such function.
    """
    if block.ndim not in (2, 3):
        return None
    plain = block.dtype.newbyteorder("=")
    if order:
        kept = plain if plain.str[1:] in _AS_THEY_ARE else np.dtype(np.float64)
        value = np.array(fill, kept)
    elif plain.itemsize in (1, 2, 4, 8):
        kept = np.dtype("f8" if plain.itemsize == 8 else f"u{plain.itemsize}")
        value = np.array(fill, plain).view(kept)
        if value != value:  # bits that a number of Python may not keep
            return None
    else:
        return None
    from bioimage_cpp.transformation import affine_transform

    voxels = np.ascontiguousarray(block, kept) if order else np.ascontiguousarray(block, plain).view(kept)
    box = tuple(slice(0, size) for size in shape)
    found = np.asarray(affine_transform(voxels, matrix, bounding_box=box, order=order, fill_value=value.item()))
    return found if order else found.view(plain)


def rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in a data type: integers are rounded, half up, and cut to its range (splines overshoot).

    NaN becomes 0 in integers; booleans are whether a value is at least 0.5.
    """
    if values.dtype == dtype:
        return values
    if dtype.kind in "iu" and values.dtype.kind == "f":
        info = np.iinfo(dtype)
        # the largest 64 bit integers are no floats: what is not below them becomes them
        whole = np.floor(values + 0.5)
        above = whole >= float(info.max)
        whole[above | np.isnan(whole)] = 0
        result = np.maximum(whole, float(info.min), out=whole).astype(dtype)
        result[above] = info.max
        return result
    return np.asarray(values >= 0.5) if dtype.kind == "b" else values.astype(dtype)
