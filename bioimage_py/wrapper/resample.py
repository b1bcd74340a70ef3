"""Sources on another grid: affine transforms and resizing, computed when they are read.

Index ``o`` of the result lies at ``matrix @ o + translation`` in the indices of the source (the convention of
`scipy.ndimage.affine_transform`); integers are the centres of voxels in both. Entries of a matrix are rounded to 2^-42
(a place is off by less than 1e-8 of a voxel at a distance of 10,000), so that places are exact sums, and a voxel has
the same bits whatever box is read. Interpolation is by splines, of which order 0 is the nearest voxel, half-way up.
Order 0 copies voxels of any data type; the others compute in float64 (integers beyond 2^53 lose their last digits) and
round once: integers half up, cut to the range of their type. Orders 0 and 1 are what scipy computes; from order 2 on,
coefficients leave out what is below 1e-7 of the values. NaN and infinity reach as far as the spline that they are in.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..blocks.boxes import size_of, within
from ..errors import ParameterError, ShapeError
from ..sources.along import AxisNames, working_axes
from ..sources.axes import Axis
from ..sources.casting import convert_values
from ..sources.indexing import Roi
from ..sources.registry import as_source
from .base import RegriddedSource, register_wrapper
from .interpolation.boundary import CONSTANTS, FAR, LATTICE, MOST_LENGTH, settled
from .interpolation.lines import Line, Stretch
from .interpolation.matrices import check_matrix, compute_affine_matrix, lined, one_to_one
from .interpolation.sampling import MOST_PLACES, MOST_VOXELS, Grid, Sampling, check_smoothing, halves, result_shape

Matrix = npt.NDArray[np.float64]


class SampledSource(RegriddedSource):
    """A read-only source whose voxels are values of another one at places between its voxels.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    shape : sequence of int
        Shape of the result.
    along : sequence of int
        Axes on which places differ from indices, ascending; on the others the result is as the source.
    order, mode, fill_value, sigmas
        See `Sampling`; `sigmas` has an entry for each of `along`.
    """

    def __init__(
        self,
        source: Any,
        shape: Sequence[int],
        along: Sequence[int],
        *,
        order: int,
        mode: str,
        fill_value: Any,
        sigmas: Sequence[float],
    ) -> None:
        super().__init__(source)
        inner = self._source
        self._shape: tuple[int, ...] = tuple(int(size) for size in shape)
        self._along: tuple[int, ...] = tuple(along)
        smooth = dict(zip(along, sigmas, strict=True))
        fill = convert_values(fill_value, inner.dtype).item()
        self._sampling = Sampling(order, mode, fill, tuple(float(smooth.get(axis, 0.0)) for axis in range(inner.ndim)))
        self._sampling.check(inner.dtype, self._along)
        if not inner.size and 0 not in self._shape and mode not in CONSTANTS:
            raise ParameterError(f"An empty source cannot be continued with mode {mode!r}.", remedy="mode='constant'")

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis."""
        return self._shape

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """None: blocks of the result are no blocks of the storage."""
        return None

    def _getitem(self, roi: Roi) -> np.ndarray:
        return self.sample(roi)

    def sample(self, roi: Roi) -> np.ndarray:
        """Return a box of the result, or of what lies around it."""
        sizes = size_of(roi)
        if 0 in sizes:
            return np.empty(sizes, self.dtype)
        if not self._source.size:
            return np.full(sizes, self._sampling.fill, self.dtype)
        grid = Grid(self._source._viewitem, self._source.shape, self.dtype)
        found = self._sampled(grid, roi) if self._at_once(sizes) else None
        if found is None:
            result = np.empty(sizes, self.dtype)
            for half in halves(roi):
                result[within(half, roi)] = self.sample(half)
            return result
        return found

    def block_bytes(self, voxels: int) -> int:
        """Bytes that reading a block of so many voxels takes at most, and the block, as measured."""
        held = min(MOST_VOXELS, 2 * self._source.size, voxels * self._density())
        places = min(voxels, MOST_PLACES) * (16 * len(self._along) + 16)
        each = self.dtype.itemsize + self._sampling.voxel_bytes
        return int(held * each) + places + 2 * voxels * self.dtype.itemsize

    def _density(self) -> float:
        """Voxels of the source that are read for one of the result, as far as that is known."""
        return 2.0

    def _at_once(self, sizes: tuple[int, ...]) -> bool:
        """Whether the places of so many voxels are held at once."""
        return math.prod(sizes[axis] for axis in self._along) <= MOST_PLACES

    @abc.abstractmethod
    def _sampled(self, grid: Grid, roi: Roi) -> np.ndarray | None:
        """Return a box, which may lie beyond the result; None where that takes too much of the source at once."""


class ResampledSource(SampledSource):
    """A read-only source on another grid.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    shape : sequence of int
        Shape of the result.
    matrix : numpy.ndarray
        (n, n + 1): from indices of the result to indices of the source, on the n axes `along`, which are ascending.
    order, mode, fill_value
        See `Sampling`.
    sigmas : bool or sequence of float
        Of the Gaussian that smooths before, per axis of `along`; True: ``(step - 1) / 2`` of the voxels of a step.
    """

    def __init__(
        self,
        source: Any,
        shape: Sequence[int],
        matrix: Matrix,
        along: Sequence[int],
        *,
        order: int,
        mode: str,
        fill_value: Any,
        sigmas: bool | Sequence[float],
    ) -> None:
        self._matrix, self._translation = matrix[:, :-1], matrix[:, -1]
        self._smoothing = sigmas
        steps = np.sqrt((self._matrix**2).sum(axis=1))
        given = np.maximum(0.0, (steps - 1) / 2) * sigmas if isinstance(sigmas, bool) else sigmas
        super().__init__(source, shape, along, order=order, mode=mode, fill_value=fill_value, sigmas=list(given))
        self._of = one_to_one(self._matrix)
        # an axis that is only scaled and moved is a line by itself, whatever turns the others
        self._lined = [] if self._sampling.mode == "constant" else lined(self._matrix)
        free = [row for row in range(len(self._along)) if row not in self._lined]
        self._free = tuple(self._along[row] for row in free)
        # entries on the lattice, as whole numbers of its steps: sums of them are exact
        self._exact = settled(self._matrix[np.ix_(free, free)])
        entries = np.column_stack([self._exact, settled(self._translation[free])])
        self._whole = [[int(value * 2**LATTICE) for value in row] for row in entries.tolist()]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes with the scale and offset of the new grid.

        Where a rotation or shear mixes axes, only the length of a step is known: the offset is 0 then.
        """
        axes = list(self._source.axes)
        inner = [axes[axis] for axis in self._along]
        if (self._matrix == np.diag(np.diag(self._matrix))).all():
            rows = zip(self._along, inner, np.diag(self._matrix), self._translation, strict=True)
            for axis, one, step, start in rows:
                axes[axis] = replace(one, scale=one.scale * float(step), offset=one.offset + float(start) * one.scale)
            return tuple(axes)
        scales = np.array([axis.scale for axis in inner])
        steps = np.sqrt(((scales[:, None] * self._matrix) ** 2).sum(axis=0))
        mixed = (np.abs(self._matrix) > 0).sum(axis=0) > 1
        one_unit = len({axis.unit for axis in inner}) == 1
        for axis, one, step, mix in zip(self._along, inner, steps, mixed, strict=True):
            known = one_unit or not mix
            axes[axis] = replace(one, scale=float(step) if known else 1.0, offset=0.0, unit=one.unit if known else None)
        return tuple(axes)

    def _density(self) -> float:
        # the box around a turned block is larger than the block
        return 1.5 * float(np.prod(np.maximum(np.abs(self._matrix).sum(axis=1), 0.25)))

    def _at_once(self, sizes: tuple[int, ...]) -> bool:
        return self._of is not None or super()._at_once(sizes)

    def _sampled(self, grid: Grid, roi: Roi) -> np.ndarray | None:
        if self._of is None:
            return self._turned(grid, roi)
        turned = list(range(self.ndim))
        lines = {}
        for row, (axis, column) in enumerate(zip(self._along, self._of, strict=True)):
            turned[axis] = self._along[column]
            lines[axis] = self._line(row, column)
        return self._sampling.on_lines(grid, roi, lines, turned)

    def _line(self, row: int, column: int) -> Line | Stretch:
        """How an axis of the source is passed by the one axis of the result that moves on it."""
        return Line(float(self._matrix[row, column]), float(self._translation[row]))

    def _turned(self, grid: Grid, roi: Roi) -> np.ndarray | None:
        """A box of which the places lie on the lattice of `settled`: exact, from wherever they are counted."""
        starts, sizes = zip(*((roi[axis].start, roi[axis].stop - roi[axis].start) for axis in self._free), strict=True)
        if (np.abs(self._exact) * (np.array(sizes) - 1)).sum(axis=1).max() >= MOST_LENGTH:
            return None
        origin, rest = [], []
        for row in self._whole:
            corner = sum(step * start for step, start in zip(row[:-1], starts, strict=True)) + row[-1]
            origin.append(min(max(corner >> LATTICE, -FAR), FAR))
            rest.append((corner - ((corner >> LATTICE) << LATTICE)) / 2**LATTICE)
        lines = {self._along[row]: self._line(row, row) for row in self._lined}
        found = self._sampling.on_lattice(grid, roi, self._free, self._exact, np.array(rest), origin, lines)
        if found is not None:
            return found
        index = np.ix_(*map(np.arange, sizes))
        places = np.empty((len(rest), *sizes))
        for at, row, part in zip(places, self._exact, rest, strict=True):
            terms = [factor * steps for factor, steps in zip(row, index, strict=True) if factor]
            total: Any = part
            for term in terms[:-1]:
                total = total + term
            np.add(total, terms[-1] if terms else 0.0, out=at)
        return self._sampling.at_points(grid, roi, self._free, places, origin, lines=lines)


@register_wrapper
class AffineSource(ResampledSource):
    """A source seen through an affine transform.

    Index ``o`` of the result shows the source at ``matrix @ (o, 1)``. The matrix is given, or made of scale, rotation,
    shear and translation by `compute_affine_matrix` (2 or 3 axes). It is for the axes of space, or for `axes`, unless
    it is of the size for all axes; on the others (channels, times) nothing changes.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    shape : sequence of int, optional
        Shape of the result, by default that of the source; along the axes that the matrix is for, or of all.
    affine_matrix : array_like, optional
        (n, n + 1) or (n + 1, n + 1).
    scale, rotation, shear, translation : optional
        See `compute_affine_matrix`; angles are in degrees.
    order : int, default 0
        Order of the spline: 0 nearest voxel (labels), 1 linear, up to 5.
    fill_value : scalar, default 0
        Value outside of the source.
    anti_aliasing : bool or sequence of float, default False
        Smooth with a Gaussian of ``(step - 1) / 2`` along axes of which a step of the result passes more than a voxel;
        or of these sigmas, in voxels. The border continues as `mode` says, by its voxels for "constant".
    mode : str, default "grid-constant"
        What is seen outside of the source, by scipy's names: "grid-constant" (`fill_value`, with which voxels at the
        border mix from order 1 on), "constant" (`fill_value` for all that lies beyond the centre of the last voxel, and
        no mixing), "nearest", "reflect", "mirror", "grid-wrap".
    axes : str, int or sequence of these, optional
        Axes that the matrix (and what else is given per axis) is for, in this order, by name or number.

    Raises
    ------
    ParameterError
        If both a matrix and parameters are given, or neither, or one makes no sense.
    ShapeError
        If the matrix or the shape does not fit the source.
    DtypeError
        If the voxels cannot be interpolated (complex numbers, by orders above 0).
    """

    def __init__(
        self,
        source: Any,
        shape: int | Sequence[int] | None = None,
        *,
        affine_matrix: Any = None,
        scale: Any = None,
        rotation: Any = None,
        shear: Any = None,
        translation: Any = None,
        order: int = 0,
        fill_value: Any = 0,
        anti_aliasing: bool | Sequence[float] = False,
        mode: str = "grid-constant",
        axes: AxisNames = None,
    ) -> None:
        inner = as_source(source)
        parameters = (scale, rotation, shear, translation)
        if (affine_matrix is None) == all(one is None for one in parameters):
            raise ParameterError(
                "Give either affine_matrix, or scale, rotation, shear, translation.", remedy="scale=(2, 2, 2)"
            )
        along = working_axes(inner.axes, axes)
        given = compute_affine_matrix(*parameters, ndim=len(along)) if affine_matrix is None else affine_matrix
        if axes is None and np.ndim(given) == 2 and np.shape(given)[1] == inner.ndim + 1:
            along = tuple(range(inner.ndim))
        matrix, smooth = check_matrix(given, len(along)), check_smoothing(anti_aliasing, len(along))
        rank = np.argsort(along)
        super().__init__(
            inner,
            result_shape(shape, inner.shape, along),
            matrix[rank][:, [*rank, len(along)]],
            sorted(along),
            order=order,
            mode=mode,
            fill_value=fill_value,
            sigmas=smooth if isinstance(smooth, bool) else [smooth[at] for at in rank],
        )

    @property
    def affine_matrix(self) -> Matrix:
        """(n + 1, n + 1): from indices of the result to indices of the source; axes in the order of the array."""
        n = len(self._along)
        matrix = np.eye(n + 1)
        matrix[:n, :n], matrix[:n, n] = self._matrix, self._translation
        return matrix

    @property
    def matrix(self) -> Matrix:
        """The same as `affine_matrix`."""
        return self.affine_matrix

    def _params(self) -> dict[str, Any]:
        params = {
            "shape": list(self._shape),
            "affine_matrix": self.affine_matrix.tolist(),
            "order": self._sampling.order,
            "fill_value": self._sampling.fill,
            "anti_aliasing": self._smoothing,
        }
        if len(self._along) < self.ndim:
            params["axes"] = list(self._along)
        return params if self._sampling.mode == "grid-constant" else {**params, "mode": self._sampling.mode}


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
        if shape is None:
            raise ShapeError("A ResizedSource needs the shape of the result.", remedy=f"shape={inner.shape}")
        sizes = result_shape(shape, inner.shape, range(inner.ndim))
        # axes that keep their size keep their voxels, and what lies beside a NaN stays what it is
        along = [axis for axis, (new, old) in enumerate(zip(sizes, inner.shape, strict=True)) if new != old]
        if any((new == 0) != (inner.shape[axis] == 0) for axis, new in enumerate(sizes)):
            raise ShapeError(f"The shape {inner.shape} cannot become {sizes}.", remedy="use sizes of at least 1")
        factors = np.array([inner.shape[axis] / sizes[axis] for axis in along])
        matrix = np.column_stack([np.diag(factors), (factors - 1) / 2]) if along else np.zeros((0, 1))
        super().__init__(
            inner,
            sizes,
            matrix,
            along,
            order=order,
            mode="nearest",
            fill_value=fill_value,
            sigmas=bool(anti_aliasing),
        )

    @property
    def scale(self) -> tuple[float, ...]:
        """Voxels of the source that a voxel of the result is wide, per axis."""
        return tuple(old / new if new else 1.0 for old, new in zip(self._source.shape, self._shape, strict=True))

    def _line(self, row: int, column: int) -> Line | Stretch:
        axis = self._along[row]
        return Stretch(self._source.shape[axis], self._shape[axis])

    def _params(self) -> dict[str, Any]:
        return {"shape": list(self._shape), "order": self._sampling.order, "anti_aliasing": self._smoothing}
