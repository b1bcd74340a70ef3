"""Sources on another grid: affine transforms and resizing, computed when they are read.

Index ``o`` of the result lies at ``matrix @ o + translation`` in the indices of the source (the convention of
`scipy.ndimage.affine_transform`); integers are the centres of voxels in both. Interpolation is by splines (scipy), of
which order 0 is the nearest voxel. Order 0 is exact: the voxels do not depend on the box that is read. Orders 1 and
above agree to rounding; for 2 and above the spline's filter decays over `_FILTERED` voxels, to below 1e-6 of the range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..blocks import normalize_block_shape
from ..blocks.boxes import size_of
from ..errors import DtypeError, ParameterError, ShapeError
from ..sources.axes import Axis
from ..sources.casting import convert_values
from ..sources.indexing import Roi
from ..sources.registry import as_source
from .base import RegriddedSource, register_wrapper
from .matrices import compute_affine_matrix

Matrix = npt.NDArray[np.float64]

# how far the prefilter of a spline reaches, by order: 1e-7 of a voxel's value, from its poles (Unser 1999)
_FILTERED = {0: 0, 1: 0, 2: 10, 3: 14, 4: 18, 5: 22}
_TRUNCATE = 4.0


class ResampledSource(RegriddedSource):
    """A read-only source on another grid.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    shape : sequence of int
        Shape of the result.
    matrix : numpy.ndarray
        (ndim, ndim + 1): from indices of the result to indices of the source.
    order : int
        Order of the spline, 0 to 5.
    beyond : {"nearest", "grid-constant"}
        What is seen outside of the source: the nearest voxel, or `fill_value`.
    fill_value : scalar
        Value outside of the source.
    anti_aliasing : bool
        Smooth before shrinking.
    """

    def __init__(
        self,
        source: Any,
        shape: Sequence[int],
        matrix: Matrix,
        *,
        order: int,
        beyond: str,
        fill_value: Any,
        anti_aliasing: bool,
    ) -> None:
        super().__init__(source)
        if order not in _FILTERED:
            raise ParameterError(f"order={order!r} is no order of a spline.", remedy="use 0 (nearest) to 5")
        if self._source.dtype.kind not in "biuf" and (order or anti_aliasing):
            raise DtypeError(f"Voxels of dtype {self._source.dtype} cannot be interpolated.", remedy="use order=0")
        self._shape = normalize_block_shape(shape, self._source.ndim)
        self._matrix, self._translation = matrix[:, :-1], matrix[:, -1]
        self._order, self._beyond = int(order), beyond
        self._fill = convert_values(fill_value, self._source.dtype).item()
        self._anti_aliasing = bool(anti_aliasing)
        # voxels of the source along each of its axes that one step of the result passes
        steps = np.sqrt((self._matrix**2).sum(axis=1))
        self._sigmas = np.maximum(0.0, (steps - 1) / 2) * self._anti_aliasing

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis."""
        return self._shape

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """None: blocks of the result are no blocks of the storage."""
        return None

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes with the scale and offset of the new grid.

        Where a rotation or shear mixes axes, only the length of a step is known: the offset is 0 then.
        """
        inner = self._source.axes
        scales = np.array([axis.scale for axis in inner])
        if self._diagonal():
            rows = zip(inner, np.diag(self._matrix), self._translation, strict=True)
            return tuple(replace(a, scale=a.scale * float(m), offset=a.offset + float(t) * a.scale) for a, m, t in rows)
        steps = np.sqrt(((scales[:, None] * self._matrix) ** 2).sum(axis=0))
        mixed = (np.abs(self._matrix) > 0).sum(axis=0) > 1
        one_unit = len({axis.unit for axis in inner}) == 1
        return tuple(
            replace(axis, scale=float(step), offset=0.0)
            if one_unit or not mix
            else replace(axis, scale=1.0, offset=0.0, unit=None)
            for axis, step, mix in zip(inner, steps, mixed, strict=True)
        )

    def _diagonal(self) -> bool:
        return bool((self._matrix == np.diag(np.diag(self._matrix))).all())

    def _getitem(self, roi: Roi) -> np.ndarray:
        sizes = size_of(roi)
        if 0 in sizes:
            return np.empty(sizes, self.dtype)
        box = self._needed(roi)
        if any(part.start >= part.stop for part in box):
            return np.full(sizes, self._fill, self.dtype)
        block = self._source._viewitem(box)
        if self._sigmas.any():
            block = self._smoothed(block)
        if self._order == 0:
            return self._nearest(block, box, roi)
        return self._interpolated(block, box, roi)

    def _needed(self, roi: Roi) -> Roi:
        """Box of the source that a box of the result is computed from."""
        low = np.array([part.start for part in roi], np.float64)
        high = np.array([part.stop - 1 for part in roi], np.float64)
        # a linear function has its extremes at corners, each term at one of two ends
        ends = np.stack([self._matrix * low, self._matrix * high])
        least = ends.min(axis=0).sum(axis=1) + self._translation
        most = ends.max(axis=0).sum(axis=1) + self._translation
        margin = 1 + (self._order + 1) // 2 + _FILTERED[self._order] + np.ceil(_TRUNCATE * self._sigmas)
        shape = self._source.shape
        starts, stops = np.floor(least - margin), np.ceil(most + margin) + 1
        if self._beyond == "nearest":
            starts, stops = np.minimum(starts, np.array(shape) - 1), np.maximum(stops, 1)
        bounds = zip(starts, stops, shape, strict=True)
        return tuple(slice(int(max(0, begin)), int(min(n, end))) for begin, end, n in bounds)

    def _smoothed(self, block: np.ndarray) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        smooth = gaussian_filter(block.astype(np.float64), self._sigmas, mode="nearest", truncate=_TRUNCATE)
        return np.asarray(smooth)

    def _nearest(self, block: np.ndarray, box: Roi, roi: Roi) -> np.ndarray:
        """Nearest voxels; coordinates are computed from absolute indices, so that ties fall alike in every box."""
        index = np.ix_(*(np.arange(part.start, part.stop) for part in roi))
        result_shape = size_of(roi)
        inside: Any = True
        at = []
        for axis, (part, size) in enumerate(zip(box, self._source.shape, strict=True)):
            nearest = self._nearest_index(axis, index)
            if self._beyond == "nearest":
                nearest = np.clip(nearest, 0, size - 1)
            else:
                inside = inside & (nearest >= 0) & (nearest < size)
                nearest = np.clip(nearest, part.start, part.stop - 1)
            at.append(nearest - part.start)
        result = np.array(np.broadcast_to(self._rounded(block[tuple(np.broadcast_arrays(*at))]), result_shape))
        if inside is not True:
            result[np.broadcast_to(~inside, result_shape)] = self._fill
        return result

    def _nearest_index(self, axis: int, index: Sequence[np.ndarray]) -> np.ndarray:
        """Index of the nearest voxel along an axis of the source, half-way up."""
        position: Any = self._translation[axis]
        for factor, steps in zip(self._matrix[axis], index, strict=True):
            if factor:
                position = position + factor * steps
        return np.floor(np.asarray(position) + 0.5).astype(np.int64)

    def _interpolated(self, block: np.ndarray, box: Roi, roi: Roi) -> np.ndarray:
        from scipy.ndimage import affine_transform

        start = np.array([part.start for part in roi], np.float64)
        offset = self._matrix @ start + self._translation - [part.start for part in box]
        matrix = np.diag(self._matrix) if self._diagonal() else self._matrix
        found = affine_transform(
            block.astype(np.float64, copy=False),
            matrix,
            offset,
            size_of(roi),
            order=self._order,
            mode=self._beyond,
            cval=self._fill,
        )
        return self._rounded(np.asarray(found))

    def _rounded(self, values: np.ndarray) -> np.ndarray:
        """Values in the data type of the source: rounded, half up, and cut to its range (splines overshoot)."""
        if values.dtype == self.dtype:
            return values
        if self.dtype.kind in "iu":
            info = np.iinfo(self.dtype)
            # the largest 64 bit integers are no floats: what is not below them becomes them
            whole = np.floor(values + 0.5)
            result = np.where(whole >= float(info.max), 0, np.maximum(whole, float(info.min))).astype(self.dtype)
            result[whole >= float(info.max)] = info.max
            return result
        return values >= 0.5 if self.dtype.kind == "b" else values.astype(self.dtype)


@register_wrapper
class AffineSource(ResampledSource):
    """A source seen through an affine transform, in two or three dimensions (any, with a matrix).

    Index ``o`` of the result shows the source at ``matrix @ (o, 1)``. The matrix is given, or made of scale, rotation,
    shear and translation by `compute_affine_matrix`.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    shape : sequence of int, optional
        Shape of the result, by default that of the source.
    affine_matrix : array_like, optional
        (ndim, ndim + 1) or (ndim + 1, ndim + 1).
    scale, rotation, shear, translation : optional
        See `compute_affine_matrix`; angles are in degrees.
    order : int, default 0
        Order of the spline: 0 nearest voxel (labels), 1 linear, up to 5.
    fill_value : scalar, default 0
        Value outside of the source.
    anti_aliasing : bool, default False
        Smooth with a Gaussian of ``(step - 1) / 2`` along axes of which a step of the result passes more than a voxel.

    Raises
    ------
    ParameterError
        If both a matrix and parameters are given, or neither.
    ShapeError
        If the matrix does not fit the source.
    """

    def __init__(
        self,
        source: Any,
        shape: Sequence[int] | None = None,
        *,
        affine_matrix: Any = None,
        scale: Any = None,
        rotation: Any = None,
        shear: Any = None,
        translation: Any = None,
        order: int = 0,
        fill_value: Any = 0,
        anti_aliasing: bool = False,
    ) -> None:
        inner = as_source(source)
        parameters = (scale, rotation, shear, translation)
        if (affine_matrix is None) == all(one is None for one in parameters):
            raise ParameterError(
                "Give either affine_matrix, or scale, rotation, shear, translation.", remedy="scale=(2, 2, 2)"
            )
        if affine_matrix is None:
            matrix = compute_affine_matrix(*parameters, ndim=inner.ndim)
        else:
            matrix = np.array(affine_matrix, np.float64)
        n = inner.ndim
        if matrix.shape not in ((n, n + 1), (n + 1, n + 1)):
            raise ShapeError(
                f"The matrix has the shape {matrix.shape}, the source {n} axes.", remedy=f"use ({n}, {n + 1})"
            )
        if matrix.shape[0] > n and (matrix[n] != [*[0] * n, 1]).any():
            raise ParameterError(f"The last row of the matrix is {matrix[n].tolist()}.", remedy="use 0, ..., 0, 1")
        super().__init__(
            inner,
            inner.shape if shape is None else shape,
            matrix[:n],
            order=order,
            beyond="grid-constant",
            fill_value=fill_value,
            anti_aliasing=anti_aliasing,
        )

    @property
    def affine_matrix(self) -> Matrix:
        """(ndim + 1, ndim + 1): from indices of the result to indices of the source."""
        n = self.ndim
        matrix = np.eye(n + 1)
        matrix[:n, :n], matrix[:n, n] = self._matrix, self._translation
        return matrix

    def _params(self) -> dict[str, Any]:
        return {
            "shape": list(self._shape),
            "affine_matrix": self.affine_matrix.tolist(),
            "order": self._order,
            "fill_value": self._fill,
            "anti_aliasing": self._anti_aliasing,
        }


@register_wrapper
class ResizedSource(ResampledSource):
    """A source with another number of voxels for the same extent.

    Both grids cover the same box: voxel ``o`` of the result, of width ``factor = size / new size``, lies at
    ``(o + 1/2) * factor - 1/2``. Voxels at the border continue outwards.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    shape : sequence of int
        Shape of the result.
    order : int, default 0
        Order of the spline: 0 nearest voxel (labels), 1 linear, up to 5.
    anti_aliasing : bool, default False
        Smooth with a Gaussian of ``(factor - 1) / 2`` before shrinking.
    fill_value : scalar, default 0
        Part of the signature that scripts know; nothing of the result lies outside of the source.
    """

    def __init__(
        self, source: Any, shape: Sequence[int], *, order: int = 0, anti_aliasing: bool = False, fill_value: Any = 0
    ) -> None:
        inner = as_source(source)
        sizes = normalize_block_shape(shape, inner.ndim)
        factors = np.array(inner.shape) / sizes
        matrix = np.column_stack([np.diag(factors), (factors - 1) / 2])
        super().__init__(
            inner,
            sizes,
            matrix,
            order=order,
            beyond="nearest",
            fill_value=fill_value,
            anti_aliasing=anti_aliasing,
        )

    def _nearest_index(self, axis: int, index: Sequence[np.ndarray]) -> np.ndarray:
        # floor((o + 1/2) * size / new size), in integers
        return (2 * index[axis] + 1) * self._source.shape[axis] // (2 * self._shape[axis])

    def _params(self) -> dict[str, Any]:
        return {"shape": list(self._shape), "order": self._order, "anti_aliasing": self._anti_aliasing}
