"""Views of a region, and of channels, of another source."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..blocks.boxes import Bounds
from ..errors import RegionError
from ..sources.axes import Axis
from ..sources.indexing import Roi
from ..sources.registry import as_source
from .base import WrapperSource, register_wrapper
from .view import AxisLike, ViewSource, find_axis


@register_wrapper
class RoiSource(ViewSource):
    """A view of a region, for reading and, where the inner source is writable, writing.

    The units of writing stay those of the storage: `chunks`, `shards` and `write_chunks` are the inner ones, and
    `grid_origin` says where they begin against index 0 of the view (mostly below it, if the region is not aligned).

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    roi : int, slice, or sequence of these
        The region, with numpy's meaning of negative numbers and None; missing axes are taken whole. No steps, nothing
        beyond the volume, nothing empty. An integer selects one voxel along its axis.
    squeeze : bool, default False
        Drop the axes for which `roi` has an integer; else they stay, with size 1.

    Raises
    ------
    RegionError
        If the region does not fit the source.
    """

    def __init__(self, source: Any, roi: Any, squeeze: bool = False) -> None:
        super().__init__(source)
        parts = tuple(roi) if isinstance(roi, Sequence) else (roi,)
        self._given = parts
        self._squeeze = bool(squeeze)
        self._roi = check_roi(parts, self._source.shape)
        dropped = {axis for axis, part in enumerate(parts) if not isinstance(part, slice)} if squeeze else set()
        self._kept = tuple(axis for axis in range(self._source.ndim) if axis not in dropped)

    @property
    def roi(self) -> Roi:
        """The region in the inner source: one slice for every axis, start and stop as plain numbers."""
        return self._roi

    @property
    def kept(self) -> tuple[int, ...]:
        """Axes of the inner source that are left."""
        return self._kept

    def _per_axis(self, values: tuple[Any, ...], new: Any) -> tuple[Any, ...]:
        return tuple(values[axis] for axis in self._kept)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis of the view."""
        return tuple(self._roi[axis].stop - self._roi[axis].start for axis in self._kept)

    @property
    def grid_origin(self) -> tuple[int, ...]:
        """Index of the view at which a unit of writing begins."""
        origin = self._source.grid_origin
        return tuple(origin[axis] - self._roi[axis].start for axis in self._kept)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the inner source, with the offset of the region."""
        inner = self._source.axes
        moved = (replace(inner[i], offset=inner[i].offset + self._roi[i].start * inner[i].scale) for i in self._kept)
        return tuple(moved)

    def _inner(self, roi: Roi) -> Roi:
        inner = list(self._roi)
        for axis, part in zip(self._kept, roi, strict=True):
            start = self._roi[axis].start
            inner[axis] = slice(start + part.start, start + part.stop)
        return tuple(inner)

    def inner_box(self, box: Bounds) -> Bounds:
        """Return the box of the inner source; all of it for a squeezed view."""
        if len(self._kept) < self._source.ndim:
            return tuple((0, size) for size in self._source.shape)
        return tuple((b + part.start, e + part.start) for (b, e), part in zip(box, self._roi, strict=True))

    def _shown(self, region: np.ndarray) -> np.ndarray:
        return region[(*(slice(None) if axis in self._kept else 0 for axis in range(region.ndim)), ...)]

    def _stored(self, region: np.ndarray) -> np.ndarray:
        return region[(*(slice(None) if axis in self._kept else None for axis in range(self._source.ndim)), ...)]

    def maps_like(self, other: WrapperSource) -> bool:
        """Whether another view shows the same region of its inner source, however it was written."""
        same = isinstance(other, RoiSource) and (self._roi, self._kept) == (other._roi, other._kept)
        return same and type(self) is type(other)

    def stored_units(self) -> np.ndarray | None:
        """Return the positions of the storage's units that have a file; None for a squeezed view."""
        return self._source.stored_units() if len(self._kept) == self._source.ndim else None

    def _params(self) -> dict[str, Any]:
        return {"roi": list(self._given), "squeeze": self._squeeze}


@register_wrapper
class ChannelSource(RoiSource):
    """One channel of a source, without its axis, or some, for reading and writing.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    channel : int or slice
        The channel, negative ones count from the end; a slice keeps the axis.
    axis : int or str, optional
        Number or name of the channel axis. None: the axis of kind "channel", without one the first.

    Raises
    ------
    RegionError
        If there is no such channel.
    ParameterError
        If there is no such axis.
    """

    def __init__(self, source: Any, channel: int | slice, axis: AxisLike | None = None) -> None:
        axes = as_source(source).axes
        kinds = [one.kind for one in axes]
        if axis is None:
            axis = kinds.index("channel") if "channel" in kinds else 0
        self._axis = find_axis(axes, axis)
        self._channel = channel
        super().__init__(source, (*(slice(None),) * self._axis, channel), squeeze=True)

    def _params(self) -> dict[str, Any]:
        return {"channel": self._channel, "axis": self._axis}


def check_roi(parts: Sequence[Any], shape: tuple[int, ...]) -> Roi:
    """Return a region as one slice with plain numbers for every axis.

    Raises
    ------
    RegionError
        For steps, what lies beyond the shape, what is empty, and what is neither integer nor slice.
    """
    if len(parts) > len(shape):
        raise RegionError(
            f"The region has {len(parts)} axes, the source {len(shape)} (shape {shape}).",
            remedy=f"give {len(shape)} integers or slices at most",
        )
    return tuple(
        _check_part(parts[axis], axis, size) if axis < len(parts) else slice(0, size) for axis, size in enumerate(shape)
    )


def _check_part(part: Any, axis: int, size: int) -> slice:
    if not isinstance(part, slice):
        at = _integer(part, axis)
        if not -size <= at < size:
            raise RegionError(f"{at} is outside of axis {axis} of size {size}.", remedy=f"use {-size} to {size - 1}")
        at %= size
        return slice(at, at + 1)
    if part.step is not None and _integer(part.step, axis) != 1:
        raise RegionError(f"The region has step {part.step} along axis {axis}.", remedy="use a step of 1")
    bounds = []
    for value, missing in ((part.start, 0), (part.stop, size)):
        bound = missing if value is None else _integer(value, axis)
        bounds.append(bound + size if bound < 0 else bound)
    start, stop = bounds
    if not 0 <= start <= stop <= size:
        raise RegionError(
            f"The region {part.start}:{part.stop} does not fit axis {axis} of size {size}.",
            remedy=f"use numbers from 0 to {size}, start below stop",
        )
    if start == stop and size:
        raise RegionError(
            f"The region {part.start}:{part.stop} is empty along axis {axis}.", remedy="take a voxel at least"
        )
    return slice(start, stop)


def _integer(value: Any, axis: int) -> int:
    if not isinstance(value, bool | np.bool_ | np.ndarray):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise RegionError(
        f"The region has {value!r} (a {type(value).__name__}) for axis {axis}.", remedy="use integers and slices"
    )
