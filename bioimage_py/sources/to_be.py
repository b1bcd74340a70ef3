"""Arrays that are not there yet."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .axes import Axis, default_axes
from .base import Concurrency, Source
from .indexing import Roi
from .spec import SourceSpec


class ArrayToBe(Source):
    """An array that is made when it is first written, or asked for. Until then its voxels are zeros.

    So all that a call is checked for, and a plan of it, leaves no file behind.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype_like
    chunks, shards : tuple of int, optional
    axes : sequence of Axis, optional
    spec : SourceSpec, optional
        How it will be opened again; None for an array in memory, which only a plan has.
    concurrency : {"any", "aligned", "single-writer"}
        What may be written at the same time.
    make : callable, optional
        Makes it.
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: Any,
        chunks: tuple[int, ...] | None = None,
        shards: tuple[int, ...] | None = None,
        axes: Sequence[Axis] = (),
        spec: SourceSpec | None = None,
        concurrency: Concurrency = "any",
        make: Callable[[], Source] | None = None,
    ) -> None:
        self._shape = tuple(shape)
        self._dtype: np.dtype = np.dtype(dtype)
        self._chunks, self._shards, self._axes = chunks, shards, tuple(axes) or default_axes(len(shape))
        self._spec, self._concurrency, self._make = spec, concurrency, make
        self.pending: Callable[[], None] | None = None
        """What has to be done before it can be read, where somebody has promised its content."""

    @cached_property
    def made(self) -> Source:
        """The array, which is made now; itself where there is nothing to make."""
        if (pending := self.pending) is not None:
            pending()
            self.pending = None
            if self.there:  # made on the way
                return self.__dict__["made"]  # type: ignore[no-any-return]
        return self if self._make is None else self._make()

    @property
    def there(self) -> bool:
        """Whether it has been made."""
        return "made" in self.__dict__

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return self._chunks

    @property
    def shards(self) -> tuple[int, ...] | None:
        return self._shards

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self._axes

    @property
    def writable(self) -> bool:
        return True

    @property
    def concurrency(self) -> Concurrency:
        return self._concurrency

    @property
    def lossless(self) -> bool:
        return True  # no format has a codec that loses anything as its default

    def to_spec(self) -> SourceSpec:
        return super().to_spec() if self._spec is None else self._spec

    def _getitem(self, roi: Roi) -> np.ndarray:
        if self.there or self.pending is not None:
            return self.made._getitem(roi)
        return np.zeros([part.stop - part.start for part in roi], self._dtype)

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        self.made._setitem(roi, value)
