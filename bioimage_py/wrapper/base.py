"""The base of sources that are made of another source."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Self, TypeVar

import numpy as np

from ..arguments import named_fields
from ..blocks.boxes import Bounds
from ..errors import FormatError, ParameterError, SourceTypeError
from ..sources.axes import Axis
from ..sources.base import Concurrency, Source
from ..sources.registry import as_source, from_spec
from ..sources.sharing import Extent
from ..sources.spec import SourceSpec, freeze, register_callable

CLASS = "class"


class WrapperSource(Source):
    """A source that reads from another one; by default of the same shape, data type and grid, and read-only.

    A subclass defines `_getitem`, and `_params` if its constructor takes more than the source. It opens again in any
    process that can import its module; one defined in a script or notebook travels with the spec.

    Parameters
    ----------
    source : Source or array_like
        The inner source.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # those of the package alone: the code of a user's class is what a run compares, and travels
        if "__init__" in cls.__dict__ and cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
            named_fields(cls)

    def __init__(self, source: Any) -> None:
        self._source = as_source(source)

    @property
    def source(self) -> Source:
        """The inner source."""
        return self._source

    @property
    def sources(self) -> tuple[Source, ...]:
        """The inner sources: one, unless the class takes several."""
        return (self._source,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis."""
        return self._source.shape

    @property
    def dtype(self) -> np.dtype:
        """Data type."""
        return self._source.dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Unit of reading."""
        return self._source.chunks

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Shape of the shards."""
        return self._source.shards

    @property
    def write_chunks(self) -> tuple[int, ...] | None:
        """Unit of writing."""
        return self._source.write_chunks

    @property
    def grid_origin(self) -> tuple[int, ...]:
        """Index at which a unit of writing begins."""
        return self._source.grid_origin

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Axes."""
        return self._source.axes

    @property
    def concurrency(self) -> Concurrency:
        """What may be written at the same time."""
        return self._source.concurrency

    @property
    def identity(self) -> Hashable:
        """That of the inner source."""
        return self._source.identity

    @property
    def parts(self) -> tuple[Source, ...]:
        """The parts of the inner source."""
        return self._source.parts

    def inner_box(self, box: Bounds) -> Bounds | None:
        """Return the box of the inner source that is written with one of this; None where the view has its own voxels.

        With None, what is written is told by the units of writing of this source.
        """
        return None

    def maps_like(self, other: WrapperSource) -> bool:
        """Whether another wrapper makes the same of its inner source as this one does of its own."""
        if type(self) is not type(other) or self.shape != other.shape or len(self.parts) > 1:
            return False
        return bool(freeze(self._params()) == freeze(other._params()))

    def _params(self) -> dict[str, Any]:
        """Return the arguments of the constructor besides the source."""
        return {}

    @classmethod
    def _from_wrapped(cls, source: Source, params: dict[str, Any]) -> Self:
        """Make the wrapper again from what `_params` gave."""
        return cls(source, **params)

    def over(self, change: Callable[[Source], Source]) -> Source:
        """Return the same view of changed inner sources; itself where they stay the same.

        Parameters
        ----------
        change : callable
            From an inner source to the one in its place, of the same shape and data type.
        """
        inner = change(self._source)
        return self if inner is self._source else self._from_wrapped(inner, self._params())

    def extents(self) -> tuple[Extent, ...]:
        """Those of the inner sources."""
        return tuple(extent for source in self.sources for extent in source.extents())

    def fresh(self, *, cache_bytes: int = 0) -> Source:
        """Return the same view of a fresh handle; itself if the inner source has none."""
        return self.over(lambda source: source.fresh(cache_bytes=cache_bytes))

    def durable(self) -> Source:
        """Return the same view of a handle that waits for the disk."""
        return self.over(lambda source: source.durable())

    def flush(self) -> None:
        """Flush the inner sources."""
        for source in self.sources:
            source.flush()

    def check_there(self) -> None:
        """Check the inner sources."""
        for source in self.sources:
            source.check_there()

    def moved(self, folder: str) -> Source:
        """Return the same view of the array in another folder."""
        return self.over(lambda source: source.moved(folder))

    def to_spec(self) -> SourceSpec:
        """Return the class, its arguments and the spec of the inner source."""
        return SourceSpec("wrapper", params={**self._params(), CLASS: type(self)}, wrapped=self._source.to_spec())

    def close(self) -> None:
        """Close the inner source."""
        self._source.close()


class RegriddedSource(WrapperSource):
    """A wrapper whose voxels are not those of the storage, so that it has no units of writing."""

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
        """Zero: it cannot be written."""
        return (0,) * self.ndim


W = TypeVar("W", bound=type[WrapperSource])


def register_wrapper(cls: W) -> W:
    """Check that a class can be a wrapper, and return it; usable as a decorator.

    Specs find classes by module and name, or carry them. A spec that nobody vouches for opens registered ones only
    (see `bioimage_py.sources.register_callable`), whatever its parameters are.

    Raises
    ------
    SourceTypeError
        If it is no `WrapperSource`.
    """
    if not (isinstance(cls, type) and issubclass(cls, WrapperSource)):
        raise SourceTypeError(f"{cls!r} is no WrapperSource.", remedy="derive the class from WrapperSource")
    with suppress(ParameterError):  # a class of a function or of a script travels whole, and needs trust
        register_callable(cls)
    return cls


def wrapper_from_spec(spec: SourceSpec) -> WrapperSource:
    """Open a spec of kind "wrapper".

    Raises
    ------
    FormatError
        If its class cannot be imported, or is no wrapper.
    """
    if spec.wrapped is None or CLASS not in spec.params:
        raise FormatError("The wrapper spec names no class or no inner source.", remedy="pass what to_spec() returned")
    params = spec.arguments()
    cls = params.pop(CLASS)
    if not (isinstance(cls, type) and issubclass(cls, WrapperSource)):
        raise FormatError(f"{cls!r} is no WrapperSource.", remedy="pass what to_spec() of a wrapper returned")
    return cls._from_wrapped(from_spec(spec.wrapped), params)
