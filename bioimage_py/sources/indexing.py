"""Numpy's basic indexing, as arithmetic on shapes: no data is touched here."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..blocks.boxes import Box, size_of
from ..errors import IndexingError

Roi = Box

_RULE = "use integers, slices, an ellipsis, None, or a tuple of these; for index arrays or masks read the region first"


@dataclass(frozen=True, slots=True)
class Selection:
    """What an index selects.

    Parameters
    ----------
    roi : tuple of slice
        The smallest box that holds the selection: one in-bounds slice with step 1 for every axis.
    shape : tuple of int
        Shape of the result, as numpy gives it.
    local : tuple of (slice, 0 or None), optional
        Index into the box that gives the result: a slice with a step, 0 where an integer dropped the axis, None
        where a new axis was asked for. None if the box is the result.
    strided : bool
        True if the box holds voxels that are not selected (a step other than 1 and -1).
    """

    roi: Roi
    shape: tuple[int, ...]
    local: tuple[slice | int | None, ...] | None = None
    strided: bool = False

    @property
    def roi_shape(self) -> tuple[int, ...]:
        """Shape of the box."""
        return size_of(self.roi)

    def pick(self, region: np.ndarray) -> np.ndarray:
        """Return the selected view of the data of the box (always an array, 0-d for a single voxel)."""
        if self.local is None:
            return np.asarray(region)  # numpy gives a scalar for the box of an array without axes
        return np.asarray(region[(*self.local, Ellipsis)])

    @property
    def thinned(self) -> Roi:
        """The voxels of the selection in the order of the axes: slices with steps above 0."""
        parts = [part for part in self.local or () if part is not None]
        steps = [abs(part.step or 1) if isinstance(part, slice) else 1 for part in parts] or [1] * len(self.roi)
        return tuple(slice(part.start, part.stop, step) for part, step in zip(self.roi, steps, strict=True))

    def turn(self, voxels: np.ndarray) -> np.ndarray:
        """Return the result, of the voxels at `thinned`."""
        turned: list[slice | int | None] = []
        for part in self.local or ():
            backwards = isinstance(part, slice) and (part.step or 1) < 0
            turned.append(slice(None, None, -1) if backwards else slice(None) if isinstance(part, slice) else part)
        return np.asarray(voxels[(*turned, Ellipsis)])

    def spread(self, value: np.ndarray) -> np.ndarray:
        """Return ``value``, of the shape of the selection, as a view of the shape of the box (not for strided ones)."""
        if self.local is None:
            return value
        inverse: list[slice | int | None] = []
        for part in self.local:
            if part is None:
                inverse.append(0)
            elif isinstance(part, int):
                inverse.append(None)
            else:
                inverse.append(part)
        return np.asarray(value[(*inverse, Ellipsis)])

    def locate(self, position: Sequence[int]) -> tuple[int, ...]:
        """Return the index in the source of the voxel at ``position`` of the selection."""
        steps = iter(position)
        parts = self.local if self.local is not None else (slice(None),) * len(self.roi)
        axes = iter(self.roi)
        found: list[int] = []
        for part in parts:
            if part is None:
                next(steps)
            elif isinstance(part, int):
                found.append(next(axes).start)
            else:
                axis, step = next(axes), part.step or 1
                found.append((axis.start if step > 0 else axis.stop - 1) + step * next(steps))
        return tuple(found)


def normalize_index(index: Any, shape: tuple[int, ...]) -> Selection:
    """Return what ``index`` selects from an array of ``shape``.

    Parameters
    ----------
    index : int, slice, Ellipsis, None or tuple of these
        Any index of numpy's basic indexing. Slices may have steps of either sign; slices that reach beyond the
        array are clipped, integers that do raise.
    shape : tuple of int
        Shape of the array.

    Returns
    -------
    Selection

    Raises
    ------
    IndexingError
        For booleans, floats, index arrays and lists, too many indices, integers out of range, steps of 0.
    """
    parts = index if type(index) is tuple else (index,)
    if len(parts) == len(shape):
        plain = _plain(parts, shape)
        if plain is not None:
            return plain
    return _general(_expand(parts, shape), shape)


def _plain(parts: tuple[Any, ...], shape: tuple[int, ...]) -> Selection | None:
    """Handle the index of every block: one in-bounds slice for each axis."""
    for part, size in zip(parts, shape, strict=True):
        if type(part) is not slice or part.step is not None:
            return None
        if type(part.start) is not int or type(part.stop) is not int or not 0 <= part.start <= part.stop <= size:
            return None
    return Selection(parts, size_of(parts))


def _expand(parts: tuple[Any, ...], shape: tuple[int, ...]) -> list[Any]:
    """Replace the ellipsis and what is missing at the end by full slices."""
    n_ellipsis = sum(part is Ellipsis for part in parts)
    if n_ellipsis > 1:
        raise IndexingError(f"The index {parts!r} has {n_ellipsis} ellipses.", remedy="use one ellipsis at most")
    used = sum(part is not None and part is not Ellipsis for part in parts)
    if used > len(shape):
        raise IndexingError(
            f"Too many indices: {used} for an array of {len(shape)} axes, shape {shape}.",
            remedy=f"use {len(shape)} at most",
        )
    fill = [slice(None)] * (len(shape) - used)
    expanded: list[Any] = []
    for part in parts:
        expanded.extend(fill if part is Ellipsis else [part])
    return expanded if n_ellipsis else expanded + fill


def _general(parts: list[Any], shape: tuple[int, ...]) -> Selection:
    roi: list[slice] = []
    local: list[slice | int | None] = []
    out_shape: list[int] = []
    for part in parts:
        if part is None:
            local.append(None)
            out_shape.append(1)
            continue
        axis = len(roi)
        if isinstance(part, slice):
            box, step, count = _slice(part, axis, shape)
            roi.append(box)
            local.append(slice(None, None, step) if step != 1 else slice(None))
            out_shape.append(count)
        else:
            at = _integer(part, axis, shape)
            roi.append(slice(at, at + 1))
            local.append(0)
    strided = any(isinstance(part, slice) and abs(part.step or 1) != 1 for part in local)
    trivial = all(isinstance(part, slice) and part.step is None for part in local)
    return Selection(tuple(roi), tuple(out_shape), None if trivial else tuple(local), strided)


def _slice(part: slice, axis: int, shape: tuple[int, ...]) -> tuple[slice, int, int]:
    """Return the box, the step and the number of voxels of a slice; a step is kept only where it matters."""
    for name, value in (("start", part.start), ("stop", part.stop), ("step", part.step)):
        if value is not None:
            _as_int(value, f"{name} of the slice for axis {axis}")
    if part.step is not None and operator.index(part.step) == 0:
        raise IndexingError(f"The slice for axis {axis} has step 0.", remedy="use a step other than 0")
    start, stop, step = part.indices(shape[axis])
    count = len(range(start, stop, step))
    if count == 0:
        begin = max(0, min(start, shape[axis]))
        return slice(begin, begin), 1, 0
    last = start + (count - 1) * step
    return slice(min(start, last), max(start, last) + 1), 1 if count == 1 else step, count


def _integer(part: Any, axis: int, shape: tuple[int, ...]) -> int:
    size = shape[axis]
    at = _as_int(part, f"index for axis {axis}")
    if not -size <= at < size:
        raise IndexingError(
            f"Index {at} is out of range for axis {axis} of size {size}.",
            remedy=f"use an index from {-size} to {size - 1}" if size else "the axis is empty",
        )
    return at + size if at < 0 else at


def _as_int(value: Any, what: str) -> int:
    refused = isinstance(value, bool | np.bool_ | np.ndarray) or not hasattr(value, "__index__")
    if not refused:
        try:
            return operator.index(value)
        except TypeError:
            refused = True
    raise IndexingError(f"The {what} is {value!r}, of type {type(value).__name__}.", remedy=_RULE)
