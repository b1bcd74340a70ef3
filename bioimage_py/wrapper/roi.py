"""A view of a region of another source."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ReadOnlyError, RegionError
from ..sources.base import Axis
from ..sources.index import Roi
from ..sources.units import UnitFiles
from .base import WrapperSource


class RoiSource(WrapperSource):
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
    def shape(self) -> tuple[int, ...]:
        """Size of every axis of the view."""
        return tuple(self._roi[axis].stop - self._roi[axis].start for axis in self._kept)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Unit of reading of the storage."""
        return self._of_kept(self._source.chunks)

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Shape of the shards of the storage."""
        return self._of_kept(self._source.shards)

    @property
    def write_chunks(self) -> tuple[int, ...] | None:
        """Unit of writing of the storage."""
        return self._of_kept(self._source.write_chunks)

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

    @property
    def writable(self) -> bool:
        """That of the inner source."""
        return self._source.writable

    def _of_kept(self, values: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if values is None else tuple(values[axis] for axis in self._kept)

    def _inner(self, roi: Roi) -> Roi:
        inner = list(self._roi)
        for axis, part in zip(self._kept, roi, strict=True):
            start = self._roi[axis].start
            inner[axis] = slice(start + part.start, start + part.stop)
        return tuple(inner)

    def _getitem(self, roi: Roi) -> np.ndarray:
        region = np.asarray(self._source._getitem(self._inner(roi)))
        return region.reshape([part.stop - part.start for part in roi])

    def _viewitem(self, roi: Roi) -> np.ndarray:
        region = np.asarray(self._source._viewitem(self._inner(roi)))
        return region[(*(slice(None) if axis in self._kept else 0 for axis in range(region.ndim)), ...)]

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        inner = self._inner(roi)
        self._source._setitem(inner, value.reshape([part.stop - part.start for part in inner]))

    def unit_files(self, roi: Roi) -> UnitFiles | None:
        """Return the files of the storage's write units that a box of the view touches."""
        return self._source.unit_files(self._inner(roi))

    def stored_units(self) -> np.ndarray | None:
        """Return the positions of the storage's units that have a file; None for a squeezed view."""
        return self._source.stored_units() if len(self._kept) == self._source.ndim else None

    def _params(self) -> dict[str, Any]:
        return {"roi": list(self._given), "squeeze": self._squeeze}

    def _read_only(self) -> ReadOnlyError:
        return self._source._read_only()


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
