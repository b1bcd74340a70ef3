"""A source deformed by a field: every voxel of the result has its own place in the source."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ..errors import DtypeError, ShapeError
from ..sources.along import AxisNames, steps_of, working_axes
from ..sources.axes import Axis
from ..sources.base import Source
from ..sources.indexing import Roi
from ..sources.registry import as_source
from .base import register_wrapper
from .combine import CombinedSource
from .interpolation.boundary import settled
from .interpolation.sampling import Grid
from .resample import SampledSource


@register_wrapper
class WarpSource(SampledSource, CombinedSource):
    """A source seen through a field of coordinates, or of displacements.

    Voxel ``o`` of the result shows the source at ``field[:, *o]``, or at ``o + field[:, *o]``, in voxels of the source.
    A block reads the box of the source that its places lie in; where that is larger than `MOST_VOXELS`, in parts.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    field : Source or array_like
        Real numbers of shape (n, ...): a coordinate for each of the n axes of space (or `axes`, in their order), for
        every voxel of the result; the other axes of the field are in the order of the array. Where a coordinate is NaN
        or infinite, the result is `fill_value`.
    displacement : bool, default False
        The field holds displacements; its grid is then that of the source, and so are the axes of the result. Otherwise
        they have the names of the source's axes, and the scale, unit and offset that the field says.
    order, fill_value, mode, axes
        As for `AffineSource`.
    physical : bool, default False
        The field is in the units of the source's axes: coordinates count from their offset.

    Raises
    ------
    ShapeError
        If the field does not fit.
    DtypeError
        If it holds no real numbers.
    ParameterError
        With `physical`, if the axes of the source have no units, or different ones.
    """

    def __init__(
        self,
        source: Any,
        field: Any,
        *,
        displacement: bool = False,
        order: int = 0,
        fill_value: Any = 0,
        mode: str = "grid-constant",
        axes: AxisNames = None,
        physical: bool = False,
    ) -> None:
        inner, places = as_source(source), as_source(field)
        named = working_axes(inner.axes, axes)
        along, n = sorted(named), len(named)
        if places.ndim != n + 1 or places.shape[0] != n:
            raise ShapeError(
                f"The field has the shape {places.shape}; for the {n} axes {[inner.axes[axis].name for axis in along]}"
                f" of the source it takes ({n}, ...) with {n} more axes.",
                remedy=f"a field of shape {(n, *(inner.shape[axis] for axis in along))}",
            )
        if places.dtype.kind not in "biuf":
            raise DtypeError(f"A field of {places.dtype} holds no coordinates.", remedy="a field of float32 or float64")
        shape = list(inner.shape)
        for axis, size in zip(along, places.shape[1:], strict=True):
            if displacement and size != shape[axis]:
                raise ShapeError(
                    f"The displacements have the shape {places.shape[1:]}, the source {inner.shape}.",
                    remedy="displacements for every voxel of the source, or coordinates with displacement=False",
                )
            shape[axis] = size
        super().__init__(inner, shape, along, order=order, mode=mode, fill_value=fill_value, sigmas=(0.0,) * n)
        self._sources = (inner, places)
        self._displacement, self._physical = bool(displacement), bool(physical)
        across = [inner.axes[axis] for axis in along]
        self._steps = steps_of(across, name="field", physical=physical)
        self._begins = [axis.offset if physical and not displacement else 0.0 for axis in across]
        self._component = [named.index(axis) for axis in along]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the result."""
        axes = list(self._source.axes)
        if not self._displacement:
            for axis, said in zip(self._along, self._sources[1].axes[1:], strict=True):
                axes[axis] = replace(axes[axis], scale=said.scale, unit=said.unit, offset=said.offset)
        return tuple(axes)

    def _density(self) -> float:
        return math.inf  # as scattered as places may be

    def _sampled(self, grid: Grid, roi: Roi) -> np.ndarray | None:
        parts = [roi[axis] for axis in self._along]
        field = self._sources[1].view((slice(None), *parts))
        places = np.empty(field.shape)
        for at, component, begin, step in zip(places, self._component, self._begins, self._steps, strict=True):
            at[...] = field[component]
            if self._physical:
                at -= begin
                at /= step
        del field
        if self._displacement:
            for axis, (at, part) in enumerate(zip(places, parts, strict=True)):
                steps = np.arange(part.start, part.stop)
                at += steps.reshape([-1 if one == axis else 1 for one in range(len(parts))])
        unknown = np.asarray(~np.isfinite(places).all(axis=0))
        lost = unknown if unknown.any() else None
        places[:, unknown] = 0.0
        return self._sampling.at_points(grid, roi, self._along, settled(places, out=places), [0] * len(parts), lost)

    @classmethod
    def _from_several(cls, sources: tuple[Source, ...], params: dict[str, Any]) -> Self:
        return cls(*sources, **params)

    def _params(self) -> dict[str, Any]:
        sampling = self._sampling
        params: dict[str, Any] = {
            "displacement": self._displacement,
            "order": sampling.order,
            "fill_value": sampling.fill,
            "mode": sampling.mode,
            **({"physical": True} if self._physical else {}),
        }
        axes = [self._along[self._component.index(at)] for at in range(len(self._along))]
        return params if axes == list(range(self.ndim)) else {**params, "axes": axes}
