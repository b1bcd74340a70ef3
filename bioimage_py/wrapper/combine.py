"""Sources made of several others: computed from them, stacked, or one behind the other."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, Self

import numpy as np

from ..arguments import data_type
from ..blocks.boxes import size_of
from ..errors import DtypeError, ParameterError, ShapeError
from ..sources.axes import Axis
from ..sources.base import Source
from ..sources.indexing import Roi
from ..sources.registry import as_source, from_spec
from ..sources.spec import SourceSpec
from .base import CLASS, WrapperSource, register_wrapper
from .transform import checked
from .view import AxisLike, find_axis

OTHERS = "others"


class CombinedSource(WrapperSource):
    """A read-only source made of several; chunks and axes are those of the first.

    Parameters
    ----------
    *sources : Source or array_like
        The inner sources, one at least.
    """

    def __init__(self, *sources: Any) -> None:
        if not sources:
            raise ParameterError(f"A {type(self).__name__} needs a source.", remedy="pass one at least")
        super().__init__(sources[0])
        self._sources = (self._source, *map(as_source, sources[1:]))

    @property
    def sources(self) -> tuple[Source, ...]:
        """The inner sources."""
        return self._sources

    @property
    def parts(self) -> tuple[Source, ...]:
        """The parts of all inner sources."""
        return tuple(part for source in self._sources for part in source.parts)

    @property
    def identity(self) -> Hashable:
        """The identities of all parts."""
        return ("several", *(part.identity for part in self.parts))

    @classmethod
    def _from_several(cls, sources: tuple[Source, ...], params: dict[str, Any]) -> Self:
        """Make the source again from the inner ones and what `_params` gave."""
        return cls(*sources, **params)

    @classmethod
    def _from_wrapped(cls, source: Source, params: dict[str, Any]) -> Self:
        others = params.pop(OTHERS)
        return cls._from_several((source, *map(from_spec, others)), params)

    def over(self, change: Callable[[Source], Source]) -> Source:
        """Return the same of changed inner sources; itself where all stay the same."""
        sources = tuple(map(change, self._sources))
        same = all(one is other for one, other in zip(sources, self._sources, strict=True))
        return self if same else self._from_several(sources, self._params())

    def fresh(self, *, cache_bytes: int = 0) -> Source:
        """Return the same of fresh handles, which share the size of the cache."""
        return super().fresh(cache_bytes=cache_bytes // len(self._sources))

    def durable(self) -> Source:
        """Return itself: nothing is written through it."""
        return self

    def moved(self, folder: str) -> Source:
        """Several arrays do not lie in one folder: always an error."""
        return Source.moved(self, folder)

    def to_spec(self) -> SourceSpec:
        """Return the class, its arguments and the specs of the inner sources."""
        others = [source.to_spec() for source in self._sources[1:]]
        params = {**self._params(), CLASS: type(self), OTHERS: others}
        return SourceSpec("wrapper", params=params, wrapped=self._source.to_spec())

    def close(self) -> None:
        """Close the inner sources."""
        for source in self._sources:
            source.close()


@register_wrapper
class MultiTransformationSource(CombinedSource):
    """``transformation(block, block, ...)`` of several sources of one shape.

    Parameters
    ----------
    transformation : callable
        ``transformation(*blocks) -> array`` of the shape of a block, voxel by voxel.
    *sources : Source or array_like
        The inner sources.
    apply_to_list : bool, default False
        Call ``transformation(blocks)`` with a list instead.
    dtype : dtype_like, optional
        Data type. None: that of the function's result for zeros.

    Raises
    ------
    ShapeError
        If the shapes differ.
    """

    def __init__(
        self, transformation: Callable[..., Any], *sources: Any, apply_to_list: bool = False, dtype: Any = None
    ) -> None:
        super().__init__(*sources)
        shapes = [source.shape for source in self._sources]
        if len(set(shapes)) > 1:
            raise ShapeError(f"The sources have the shapes {shapes}.", remedy="pass sources of one shape")
        self._transformation = transformation
        self._as_list = bool(apply_to_list)
        self._given_dtype: np.dtype | None = None if dtype is None else data_type(dtype)

    @cached_property
    def _dtype(self) -> np.dtype:
        if self._given_dtype is not None:
            return self._given_dtype
        zeros = [np.zeros((1,) * self.ndim, source.dtype) for source in self._sources]
        found: np.dtype = np.asarray(self._call(zeros)).dtype
        return found

    @property
    def dtype(self) -> np.dtype:
        """Data type of the result."""
        return self._dtype

    def _call(self, blocks: list[np.ndarray]) -> Any:
        return self._transformation(blocks) if self._as_list else self._transformation(*blocks)

    def _getitem(self, roi: Roi) -> np.ndarray:
        if any(part.start == part.stop for part in roi):
            return np.empty(size_of(roi), self.dtype)
        value = self._call([np.asarray(source._getitem(roi)) for source in self._sources])
        return checked(value, roi, self.dtype, self._transformation)

    @classmethod
    def _from_several(cls, sources: tuple[Source, ...], params: dict[str, Any]) -> Self:
        return cls(params.pop("transformation"), *sources, **params)

    def _params(self) -> dict[str, Any]:
        dtype = None if self._given_dtype is None else self._given_dtype.str
        return {"transformation": self._transformation, "apply_to_list": self._as_list, "dtype": dtype}


@register_wrapper
class StackSource(CombinedSource):
    """Sources of one shape and data type along a new axis.

    Parameters
    ----------
    *sources : Source or array_like
        The inner sources.
    axis : int, default 0
        Where the new axis is in the result. It is a channel axis, named "c" (or "d1", ... if that is taken).

    Raises
    ------
    ShapeError, DtypeError
        If shapes or data types differ.
    ParameterError
        If there is no such axis.
    """

    pictured = True

    def __init__(self, *sources: Any, axis: int = 0) -> None:
        super().__init__(*sources)
        _alike(self._sources, None)
        if not -self._source.ndim - 1 <= axis <= self._source.ndim:
            raise ParameterError(f"There is no axis {axis} in {self._source.ndim + 1} axes.", remedy="axis=0")
        self._axis = axis % (self._source.ndim + 1)

    def _with(self, values: tuple[Any, ...], new: Any) -> tuple[Any, ...]:
        return (*values[: self._axis], new, *values[self._axis :])

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis."""
        return self._with(self._source.shape, len(self._sources))

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Unit of reading."""
        return None if self._source.chunks is None else self._with(self._source.chunks, 1)

    @property
    def shards(self) -> tuple[int, ...] | None:
        """None: it cannot be written."""
        return None

    @property
    def write_chunks(self) -> tuple[int, ...] | None:
        """None: it cannot be written."""
        return None

    @property
    def grid_origin(self) -> tuple[int, ...]:
        """Index at which a chunk begins."""
        return self._with(self._source.grid_origin, 0)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes of the first source, and the new one."""
        taken = {axis.name for axis in self._source.axes}
        name = next(name for name in ("c", *(f"d{n}" for n in range(1, self.ndim + 1))) if name not in taken)
        return self._with(self._source.axes, Axis(name, "channel"))

    def _getitem(self, roi: Roi) -> np.ndarray:
        chosen = roi[self._axis]
        inner = (*roi[: self._axis], *roi[self._axis + 1 :])
        result = np.empty(size_of(roi), self.dtype)
        for position, source in enumerate(self._sources[chosen.start : chosen.stop]):
            np.moveaxis(result, self._axis, 0)[position] = source._viewitem(inner)
        return result

    def _params(self) -> dict[str, Any]:
        return {"axis": self._axis}


@register_wrapper
class ConcatenateSource(CombinedSource):
    """Sources of one data type, one behind the other along an axis.

    The physical position is that of the first source.

    Parameters
    ----------
    *sources : Source or array_like
        The inner sources; their shapes differ along `axis` only.
    axis : int or str, default 0
        Number or name of the axis.

    Raises
    ------
    ShapeError, DtypeError
        If other sizes or data types differ.
    ParameterError
        If there is no such axis.
    """

    pictured = True

    def __init__(self, *sources: Any, axis: AxisLike = 0) -> None:
        super().__init__(*sources)
        self._axis = find_axis(self._source.axes, axis)
        _alike(self._sources, self._axis)
        self._begins = np.cumsum([0, *(source.shape[self._axis] for source in self._sources)]).tolist()

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis."""
        shape = list(self._source.shape)
        shape[self._axis] = self._begins[-1]
        return tuple(shape)

    @property
    def shards(self) -> tuple[int, ...] | None:
        """None: it cannot be written."""
        return None

    @property
    def write_chunks(self) -> tuple[int, ...] | None:
        """None: it cannot be written."""
        return None

    def _getitem(self, roi: Roi) -> np.ndarray:
        wanted = roi[self._axis]
        result = np.empty(size_of(roi), self.dtype)
        for source, begin in zip(self._sources, self._begins, strict=False):
            start, stop = max(wanted.start - begin, 0), min(wanted.stop - begin, source.shape[self._axis])
            if start >= stop:
                continue
            inner = (*roi[: self._axis], slice(start, stop), *roi[self._axis + 1 :])
            place = slice(start + begin - wanted.start, stop + begin - wanted.start)
            result[(*(slice(None),) * self._axis, place)] = source._viewitem(inner)
        return result

    def _params(self) -> dict[str, Any]:
        return {"axis": self._axis}


def _alike(sources: tuple[Source, ...], free: int | None) -> None:
    """Check that shapes, but for one axis, and data types agree."""
    first = sources[0]
    for number, source in enumerate(sources):
        shapes = [list(one.shape) for one in (first, source)]
        for shape in shapes:
            if free is not None and len(shape) == first.ndim:
                shape[free] = 0
        if shapes[0] != shapes[1]:
            raise ShapeError(
                f"Source {number} has the shape {source.shape}, the first {first.shape}.",
                remedy="cut or pad it first, with RoiSource or PadSource",
            )
        if source.dtype != first.dtype:
            raise DtypeError(
                f"Source {number} has the dtype {source.dtype}, the first {first.dtype}.",
                remedy=f"CastSource(source, {first.dtype.name!r})",
            )
