"""Views: sources that show the voxels of another one in another place or order, for reading and writing."""

from __future__ import annotations

import abc
import contextlib
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..errors import ParameterError, ReadOnlyError
from ..sources.axes import Axis
from ..sources.chunked.unit_files import UnitFiles
from ..sources.indexing import Roi
from .base import WrapperSource, register_wrapper

AxisLike = int | str


class ViewSource(WrapperSource):
    """A wrapper whose voxels are voxels of the inner source: a box of the view is a box of the inner source.

    A subclass says where a box lies (`_inner`), and turns its voxels both ways (`_shown`, `_stored`). The view is
    writable where the inner source is, and reports its units of writing.
    """

    @abc.abstractmethod
    def _inner(self, roi: Roi) -> Roi:
        """Return the box of the inner source that a box of the view shows."""

    @abc.abstractmethod
    def _shown(self, region: np.ndarray) -> np.ndarray:
        """Return voxels of the inner source as the view shows them, without copying."""

    @abc.abstractmethod
    def _stored(self, region: np.ndarray) -> np.ndarray:
        """Return voxels of the view as the inner source has them, without copying."""

    @abc.abstractmethod
    def _per_axis(self, values: tuple[Any, ...], new: Any) -> tuple[Any, ...]:
        """Return what the inner source says of each axis in the order of the view; `new` for axes that it lacks."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis of the view."""
        return self._per_axis(self._source.shape, 1)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Unit of reading of the storage."""
        return self._units(self._source.chunks)

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Shape of the shards of the storage."""
        return self._units(self._source.shards)

    @property
    def write_chunks(self) -> tuple[int, ...] | None:
        """Unit of writing of the storage."""
        return self._units(self._source.write_chunks)

    @property
    def grid_origin(self) -> tuple[int, ...]:
        """Index of the view at which a unit of writing begins."""
        return self._per_axis(self._source.grid_origin, 0)

    @property
    def writable(self) -> bool:
        """That of the inner source."""
        return self._source.writable

    @property
    def lossless(self) -> bool:
        """That of the inner source."""
        return self._source.lossless

    def _units(self, values: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if values is None else self._per_axis(values, 1)

    def _getitem(self, roi: Roi) -> np.ndarray:
        region = self._shown(np.asarray(self._source._getitem(self._inner(roi))))
        return np.array(region, order="C", copy=None)

    def _viewitem(self, roi: Roi) -> np.ndarray:
        return self._shown(np.asarray(self._source._viewitem(self._inner(roi))))

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        self._source._setitem(self._inner(roi), self._stored(value))

    def unit_files(self, roi: Roi) -> UnitFiles | None:
        """Return the files of the storage's write units that a box of the view touches."""
        return self._source.unit_files(self._inner(roi))

    def _read_only(self) -> ReadOnlyError:
        return self._source._read_only()


@register_wrapper
class TransposeSource(ViewSource):
    """A view with the axes in another order.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    order : sequence of int or str, optional
        Axes of the inner source, by number or name, in the order of the view. None reverses them.

    Raises
    ------
    ParameterError
        If it does not name every axis once.
    """

    def __init__(self, source: Any, order: Sequence[AxisLike] | None = None) -> None:
        super().__init__(source)
        ndim = self._source.ndim
        given = range(ndim)[::-1] if order is None else order if isinstance(order, Iterable) else [order]
        self._order = tuple(find_axis(self._source.axes, axis) for axis in given)
        if sorted(self._order) != list(range(ndim)):
            raise ParameterError(
                f"The order {order!r} does not name each of the {ndim} axes once.",
                remedy=f"order={tuple(range(ndim))[::-1]}",
            )

    def _per_axis(self, values: tuple[Any, ...], new: Any) -> tuple[Any, ...]:
        return tuple(values[axis] for axis in self._order)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the inner source in the order of the view."""
        return self._per_axis(self._source.axes, None)

    def _inner(self, roi: Roi) -> Roi:
        return tuple(roi[self._order.index(axis)] for axis in range(len(roi)))

    def _shown(self, region: np.ndarray) -> np.ndarray:
        return region.transpose(self._order)

    def _stored(self, region: np.ndarray) -> np.ndarray:
        return region.transpose(np.argsort(self._order))

    def _params(self) -> dict[str, Any]:
        return {"order": list(self._order)}


@register_wrapper
class FlipSource(ViewSource):
    """A view with some axes reversed; their scale is negative, and the offset that of the last voxel.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    axis : int, str, or sequence of these, optional
        Axes to reverse, by number or name. None reverses all.

    Raises
    ------
    ParameterError
        If there is no such axis.
    """

    def __init__(self, source: Any, axis: AxisLike | Sequence[AxisLike] | None = None) -> None:
        super().__init__(source)
        given = range(self._source.ndim) if axis is None else [axis] if isinstance(axis, int | str) else axis
        self._flipped = tuple(sorted({find_axis(self._source.axes, one) for one in given}))

    def _per_axis(self, values: tuple[Any, ...], new: Any) -> tuple[Any, ...]:
        return values

    @property
    def grid_origin(self) -> tuple[int, ...]:
        """Index of the view at which a unit of writing begins."""
        origins = zip(self._source.grid_origin, self._source.shape, strict=True)
        # the border before voxel b is the border before voxel size - b of the view
        return tuple(n - begin if axis in self._flipped else begin for axis, (begin, n) in enumerate(origins))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the inner source, the reversed ones counted from the other end."""
        return tuple(
            replace(axis, scale=-axis.scale, offset=axis.offset + (size - 1) * axis.scale)
            if i in self._flipped
            else axis
            for i, (axis, size) in enumerate(zip(self._source.axes, self._source.shape, strict=True))
        )

    def _inner(self, roi: Roi) -> Roi:
        parts = zip(roi, self._source.shape, strict=True)
        return tuple(
            slice(size - part.stop, size - part.start) if axis in self._flipped else part
            for axis, (part, size) in enumerate(parts)
        )

    def _shown(self, region: np.ndarray) -> np.ndarray:
        return np.flip(region, self._flipped)

    def _stored(self, region: np.ndarray) -> np.ndarray:
        return np.flip(region, self._flipped)

    def _params(self) -> dict[str, Any]:
        return {"axis": list(self._flipped)}


@register_wrapper
class ExpandDimsSource(ViewSource):
    """A view with further axes of size 1.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    axis : int or sequence of int, default 0
        Where the new axes are in the view, as in `numpy.expand_dims`. They are named "c" (kind "channel"), "d1",
        "d2", ... by what is not taken.

    Raises
    ------
    ParameterError
        If the positions are out of range or given twice.
    """

    def __init__(self, source: Any, axis: int | Sequence[int] = 0) -> None:
        super().__init__(source)
        given = list(axis) if isinstance(axis, Sequence | np.ndarray) else [axis]
        if not all(isinstance(one, int | np.integer) for one in given):
            raise ParameterError(f"axis={axis!r} is no position of a new axis.", remedy="axis=0")
        ndim = self._source.ndim + len(given)
        if any(not -ndim <= one < ndim for one in given) or len({one % ndim for one in given}) < len(given):
            raise ParameterError(
                f"axis {axis!r} does not name {len(given)} new axes among {ndim}.", remedy=f"use {-ndim} to {ndim - 1}"
            )
        self._new = tuple(sorted(one % ndim for one in given))

    def _per_axis(self, values: tuple[Any, ...], new: Any) -> tuple[Any, ...]:
        found = iter(values)
        return tuple(new if axis in self._new else next(found) for axis in range(len(values) + len(self._new)))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the inner source, and the new ones."""
        inner = self._source.axes
        names = ["c", *(f"d{number}" for number in range(1, len(inner) + len(self._new) + 1))]
        free = iter([name for name in names if name not in {axis.name for axis in inner}])
        found = iter(inner)
        axes = []
        for position in range(len(inner) + len(self._new)):
            if position in self._new:
                name = next(free)
                axes.append(Axis(name, "channel" if name == "c" else "other"))
            else:
                axes.append(next(found))
        return tuple(axes)

    def _inner(self, roi: Roi) -> Roi:
        return tuple(part for axis, part in enumerate(roi) if axis not in self._new)

    def _shown(self, region: np.ndarray) -> np.ndarray:
        return np.expand_dims(region, self._new)

    def _stored(self, region: np.ndarray) -> np.ndarray:
        return region.reshape([size for axis, size in enumerate(region.shape) if axis not in self._new])

    def _getitem(self, roi: Roi) -> np.ndarray:
        region = super()._getitem(roi)
        # a new axis may be asked for with no voxel
        return region[tuple(slice(0, roi[axis].stop - roi[axis].start) for axis in range(len(roi)))]

    def _viewitem(self, roi: Roi) -> np.ndarray:
        return super()._viewitem(roi)[tuple(slice(0, part.stop - part.start) for part in roi)]

    def _params(self) -> dict[str, Any]:
        return {"axis": list(self._new)}


@register_wrapper
class AxesSource(ViewSource):
    """The same voxels with other axes: names, units, scale and offset for data that says nothing of them.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    axes : sequence of Axis or mapping
        One for every axis; mappings hold the arguments of `Axis`.

    Raises
    ------
    ParameterError
        If their number is another one.
    """

    def __init__(self, source: Any, axes: Sequence[Any]) -> None:
        super().__init__(source)
        if not isinstance(axes, Iterable) or not all(isinstance(axis, Axis | Mapping) for axis in axes):
            raise ParameterError(f"axes={axes!r} are not of the type Axis.", remedy='axes=[Axis("y"), Axis("x")]')
        self._axes = tuple(axis if isinstance(axis, Axis) else Axis(**axis) for axis in axes)
        if len(self._axes) != self._source.ndim:
            raise ParameterError(
                f"{len(self._axes)} axes for the shape {self._source.shape}.", remedy="pass one Axis for each"
            )

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The given axes."""
        return self._axes

    def _per_axis(self, values: tuple[Any, ...], new: Any) -> tuple[Any, ...]:
        return values

    def _inner(self, roi: Roi) -> Roi:
        return roi

    def _shown(self, region: np.ndarray) -> np.ndarray:
        return region

    def _stored(self, region: np.ndarray) -> np.ndarray:
        return region

    def stored_units(self) -> np.ndarray | None:
        """Return the positions of the storage's units that have a file."""
        return self._source.stored_units()

    def _params(self) -> dict[str, Any]:
        return {"axes": [asdict(axis) for axis in self._axes]}


def find_axis(axes: Sequence[Axis], axis: AxisLike) -> int:
    """Return the number of an axis that is given by number (negative ones count from the end) or name.

    Raises
    ------
    ParameterError
        If there is none.
    """
    names = [one.name for one in axes]
    if isinstance(axis, str):
        if axis in names:
            return names.index(axis)
    elif not isinstance(axis, bool):
        with contextlib.suppress(TypeError):  # what is no number at all
            if -len(axes) <= (number := operator.index(axis)) < len(axes):
                return number % len(axes)
    raise ParameterError(f"There is no axis {axis!r}; the axes are {names}.", remedy="use a name, or a number")
