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
from ..sources.registry import as_source
from .base import WrapperSource, register_wrapper

AxisLike = int | str


class ViewSource(WrapperSource):
    """A wrapper whose voxels are voxels of the inner source: a box of the view is a box of the inner source.

    A subclass says where a box lies (`_inner`), and turns its voxels both ways (`_shown`, `_stored`). The view is
    writable where the inner source is, and reports its units of writing.
    """

    pictured = True

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


class TurnedSource(ViewSource):
    """A view with the axes in another order, and some of them reversed.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    order : sequence of int
        Axes of the inner source in the order of the view.
    flipped : sequence of int
        Axes of the inner source that are reversed.
    """

    def __init__(self, source: Any, order: Sequence[int], flipped: Sequence[int]) -> None:
        super().__init__(source)
        self._order, self._flipped = tuple(order), tuple(flipped)

    def _per_axis(self, values: tuple[Any, ...], new: Any) -> tuple[Any, ...]:
        return tuple(values[axis] for axis in self._order)

    @property
    def grid_origin(self) -> tuple[int, ...]:
        """Index of the view at which a unit of writing begins."""
        origins = enumerate(zip(self._source.grid_origin, self._source.shape, strict=True))
        # the border before voxel b is the border before voxel size - b of the view
        return self._per_axis(tuple(n - b if axis in self._flipped else b for axis, (b, n) in origins), 0)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the inner source in the order of the view, the reversed ones counted from the other end."""
        axes = enumerate(zip(self._source.axes, self._source.shape, strict=True))
        turned = (_reversed(axis, size) if n in self._flipped else axis for n, (axis, size) in axes)
        return self._per_axis(tuple(turned), None)

    def _inner(self, roi: Roi) -> Roi:
        parts = enumerate(
            zip((roi[self._order.index(axis)] for axis in range(len(roi))), self._source.shape, strict=True)
        )
        return tuple(
            slice(size - part.stop, size - part.start) if axis in self._flipped else part
            for axis, (part, size) in parts
        )

    def _shown(self, region: np.ndarray) -> np.ndarray:
        return np.flip(region, self._flipped).transpose(self._order)

    def _stored(self, region: np.ndarray) -> np.ndarray:
        return np.flip(region.transpose(np.argsort(self._order)), self._flipped)


def _reversed(axis: Axis, size: int) -> Axis:
    return replace(axis, scale=-axis.scale, offset=axis.offset + (size - 1) * axis.scale)


@register_wrapper
class TransposeSource(TurnedSource):
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
        inner = as_source(source)
        given = range(inner.ndim)[::-1] if order is None else order if isinstance(order, Iterable) else [order]
        found = tuple(find_axis(inner.axes, axis) for axis in given)
        if sorted(found) != list(range(inner.ndim)):
            raise ParameterError(
                f"The order {order!r} does not name each of the {inner.ndim} axes once.",
                remedy=f"order={tuple(range(inner.ndim))[::-1]}",
            )
        super().__init__(inner, found, ())

    def _params(self) -> dict[str, Any]:
        return {"order": list(self._order)}


@register_wrapper
class FlipSource(TurnedSource):
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
        inner = as_source(source)
        given = (
            range(inner.ndim)
            if axis is None
            else axis
            if isinstance(axis, Iterable) and not isinstance(axis, str)
            else [axis]
        )
        super().__init__(inner, range(inner.ndim), sorted({find_axis(inner.axes, one) for one in given}))

    def _params(self) -> dict[str, Any]:
        return {"axis": list(self._flipped)}


@register_wrapper
class Rotate90Source(TurnedSource):
    """A view that is turned by quarter turns in the plane of two axes, as by `numpy.rot90`.

    The axes go with their voxels, so that every voxel stays where it is in the world: a quarter turn of (y, x) has the
    axes (x, y), of which the first one is reversed.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    k : int, default 1
        Quarter turns from the first of the two axes to the second; negative ones turn back.
    axes : sequence of two int or str, default (-2, -1)
        The plane.

    Raises
    ------
    ParameterError
        If these are not two axes of the source, or `k` is no whole number.
    """

    def __init__(self, source: Any, k: int = 1, axes: Sequence[AxisLike] = (-2, -1)) -> None:
        inner = as_source(source)
        if isinstance(k, bool | np.bool_) or not isinstance(k, int | np.integer):
            raise ParameterError(f"k={k!r} is no number of quarter turns.", remedy="k=1")
        plane = [find_axis(inner.axes, axis) for axis in axes] if isinstance(axes, Iterable) else []
        if len(set(plane)) != 2 or len(plane) != 2:
            raise ParameterError(f"axes={axes!r} are not the two of a plane.", remedy="axes=(-2, -1)")
        self._turns, self._plane = int(k) % 4, plane
        order, (first, second) = list(range(inner.ndim)), plane
        if self._turns % 2:
            order[first], order[second] = second, first
        flipped = ((), (second,), (first, second), (first,))[self._turns]
        super().__init__(inner, order, sorted(flipped))

    def _params(self) -> dict[str, Any]:
        return {"k": self._turns, "axes": self._plane}


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
            raise ParameterError(f"{len(self._axes)} axes for the shape {self._source.shape}.", remedy="one for each")

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
