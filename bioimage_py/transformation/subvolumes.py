"""A region of a transformed volume, computed here and now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import named
from ..errors import RegionError
from ..sources import as_source
from ..wrapper.resample import AffineSource
from ..wrapper.warp import WarpSource


@named
def transform_subvolume_affine(
    source: Any,
    matrix: Any,
    roi: tuple[slice, ...],
    order: int = 0,
    fill_value: Any = 0,
    sigma: float | Sequence[float] | None = None,
    *,
    mode: str = "grid-constant",
) -> np.ndarray:
    """Return a region of a volume that is seen through an affine transform.

    Only the part of the volume that the region needs is read. The result does not depend on the region: it is that part
    of the whole transformed volume, to the bit.

    Parameters
    ----------
    source : source-like
        The volume.
    matrix : array_like
        (n, n + 1) or (n + 1, n + 1), from indices of the result to indices of the source; see `compute_affine_matrix`.
    roi : tuple of slice
        Region of the result, an entry for each axis of the source; it may begin before 0 (a negative start is what it
        says, not counted from the end). None: from 0, to the size of the source.
    order : int, default 0
        Order of the spline: 0 nearest voxel (labels), 1 linear, up to 5.
    fill_value : scalar, default 0
        Value outside of the source.
    sigma : float or sequence of float, optional
        Smooth the source with such a Gaussian before, in voxels, an entry for each axis that the matrix is for.
    mode : str, default "grid-constant"
        What is seen outside of the source, see `AffineSource`.

    Returns
    -------
    numpy.ndarray
        Data type of the source.

    Raises
    ------
    RegionError
        If the region is not made of slices without steps.
    ShapeError, ParameterError, DtypeError
        If anything else does not fit.

    Examples
    --------
    >>> transform_subvolume_affine(np.arange(8).reshape(2, 4), [[1, 0, 0], [0, 2, 0]], (slice(0, 2), slice(0, 2)))
    array([[0, 2],
           [4, 6]])
    """
    inner = as_source(source)
    parts = roi if isinstance(roi, Sequence) else (roi,)
    whole = all(
        isinstance(part, slice)
        and part.step in (None, 1)
        and all(one is None or isinstance(one, int | np.integer) for one in (part.start, part.stop))
        for part in parts
    )
    if not whole or len(parts) != inner.ndim:
        raise RegionError(
            f"roi={roi!r} is not made of {inner.ndim} slices of whole numbers without a step.",
            remedy=f"roi={(slice(0, 64),) * inner.ndim}",
        )
    bounds = [
        (part.start or 0, size if part.stop is None else part.stop)
        for part, size in zip(parts, inner.shape, strict=True)
    ]
    box = tuple(slice(int(begin), max(int(begin), int(end))) for begin, end in bounds)
    n = min(inner.ndim, max(1, np.shape(matrix)[-1] - 1)) if np.ndim(matrix) == 2 else inner.ndim
    smooth: Any = False if sigma is None else [sigma] * n if np.ndim(sigma) == 0 else sigma
    view = AffineSource(
        inner, affine_matrix=matrix, order=order, fill_value=fill_value, anti_aliasing=smooth, mode=mode
    )
    return view.sample(box)


@named
def transform_subvolume_coordinates(
    source: Any, coordinates: Any, order: int = 1, fill_value: Any = 0, *, mode: str = "grid-constant"
) -> np.ndarray:
    """Return the values of a volume at given places.

    Only the box that holds the places is read, in parts where it is large.

    Parameters
    ----------
    source : source-like
        The volume.
    coordinates : array_like
        (n, ...): for each voxel of the result where it lies in the source, a number for each of its n axes of space,
        with as many further axes.
    order : int, default 1
        Order of the spline: 0 nearest voxel (labels), 1 linear, up to 5.
    fill_value : scalar, default 0
        Value outside of the source, and where a coordinate is NaN.
    mode : str, default "grid-constant"
        What is seen outside of the source, see `AffineSource`.

    Returns
    -------
    numpy.ndarray
        Data type of the source, shape ``coordinates.shape[1:]``, with the axes of the source that are kept apart.

    Raises
    ------
    ShapeError, ParameterError, DtypeError
        If something does not fit.
    """
    view = WarpSource(source, np.asarray(coordinates), order=order, fill_value=fill_value, mode=mode)
    return view.read()
