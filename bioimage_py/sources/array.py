"""Sources over arrays that the caller opened."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Self

import numpy as np

from .arrays import adapters
from .arrays.backing import Backing
from .axes import Axis, default_axes
from .base import Concurrency, Source
from .chunked.encoded import EncodedChunks
from .chunked.unit_files import UnitFiles
from .indexing import Roi, Selection
from .sharing import Extent
from .spec import SourceSpec


class ArraySource(Source):
    """An array as a source.

    zarr (v2, v3, sharded) and z5py arrays (n5, zarr) are read and written through tensorstore, by their absolute path
    or URL; the object given is only asked for its metadata. zarr arrays in stores that tensorstore cannot reach go
    through zarr-python, tensorstore arrays through their own handle, h5py datasets through h5py, anything else through
    its own indexing, one call at a time. `writable` is what the object says of itself.

    Parameters
    ----------
    array : array_like
        numpy, zarr, z5py, h5py, tensorstore or dask array, or any object with ``shape``, ``dtype`` and indexing.

    Raises
    ------
    SourceTypeError
        If numpy does not know its data type.
    """

    pictured = True

    def __init__(self, array: Any) -> None:
        self._attach(adapters.backing_for(array))

    def _attach(self, backing: Backing) -> None:
        self._backing = backing
        self._axes: tuple[Axis, ...] | None = None

    @classmethod
    def _of(cls, backing: Backing) -> ArraySource:
        source = ArraySource.__new__(ArraySource)
        source._attach(backing)
        return source

    @property
    def array(self) -> Any:
        """The array object."""
        return self._backing.native

    @property
    def shape(self) -> tuple[int, ...]:
        return self._backing.shape

    @property
    def dtype(self) -> np.dtype:
        return self._backing.dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return self._backing.chunks

    @property
    def shards(self) -> tuple[int, ...] | None:
        return self._backing.shards

    @property
    def grid_origin(self) -> tuple[int, ...]:
        return self._backing.grid_origin or super().grid_origin

    @property
    def axes(self) -> tuple[Axis, ...]:
        if self._axes is None:
            self._axes = self._backing.axes() or default_axes(self.ndim)
        return self._axes

    @property
    def writable(self) -> bool:
        return self._backing.writable

    @property
    def concurrency(self) -> Concurrency:
        return self._backing.concurrency

    @property
    def lossless(self) -> bool:
        return self._is_backing and self._backing.lossless

    @property
    def thins(self) -> bool:
        return self._is_backing and self._backing.thins

    @property
    def streamed(self) -> bool:
        return self._backing.streamed

    @property
    def identity(self) -> Hashable:
        return self._backing.identity

    def _getitem(self, roi: Roi) -> np.ndarray:
        return self._backing.read(roi)

    def _viewitem(self, roi: Roi) -> np.ndarray:
        return self._backing.view(roi)

    def _setitem(self, roi: Roi, value: np.ndarray) -> None:
        self._backing.write(roi, value)

    def _get_selected(self, selection: Selection) -> np.ndarray:
        return self._backing.read_strided(selection) if self._skips(selection) else super()._get_selected(selection)

    def _view_selected(self, selection: Selection) -> np.ndarray:
        return self._backing.view_strided(selection) if self._skips(selection) else super()._view_selected(selection)

    def _skips(self, selection: Selection) -> bool:
        """Whether the backing is asked for voxels with steps between them."""
        return selection.strided and 0 not in selection.shape and self._is_backing

    @property
    def _is_backing(self) -> bool:
        """Whether the voxels are those of the backing: a subclass may read something else than what is stored."""
        return all(
            getattr(type(self), name) is getattr(ArraySource, name) for name in ("_getitem", "_viewitem", "_setitem")
        )

    def _write(self, selection: Selection, value: np.ndarray) -> None:
        if self._skips(selection):
            self._backing.write_strided(selection, value)
        else:
            super()._write(selection, value)

    def fresh(self, *, cache_bytes: int = 0) -> Source:
        backing = self._backing.fresh(cache_bytes)
        if backing is self._backing:
            return self
        return self._sibling(backing)

    def durable(self) -> Source:
        backing = self._backing.durable()
        return self if backing is self._backing else self._sibling(backing)

    def flush(self) -> None:
        self._backing.flush()

    def check_there(self) -> None:
        self._backing.check_there()

    def unit_files(self, roi: Roi) -> UnitFiles | None:
        return self._backing.unit_files(roi)

    def extents(self) -> tuple[Extent, ...]:
        found = self._backing.extents()
        return super().extents() if found is None else found

    def stored_in(self, roi: Roi) -> UnitFiles | None:
        return self._backing.stored_in(roi)

    def encoded(self, roi: Roi) -> tuple[EncodedChunks, ...]:
        return self._backing.encoded(roi) if self._is_backing else ()

    def stored_units(self) -> np.ndarray | None:
        return self._backing.stored_units()

    def moved(self, folder: str) -> Source:
        backing = self._backing.moved(folder)
        return super().moved(folder) if backing is None else self._sibling(backing)

    def _sibling(self, backing: Backing) -> Self:
        """Return a source that differs from this one only in its handle."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._backing = backing
        return twin

    def to_spec(self) -> SourceSpec:
        """Return how to open the array again: "r" stays "r", all other modes become "r+".

        Raises
        ------
        NotReopenableError
            For arrays in memory, lazy ones (dask), in stores that no URL names, and of other libraries.
        """
        return self._backing.spec()

    @staticmethod
    def reopen(spec: SourceSpec) -> ArraySource:
        """Open the array of a spec of kind "zarr", "z5py", "h5py" or "tensorstore", with the mode in its params."""
        return reopen_array(spec)

    def renew(self, meanwhile: Callable[[], object]) -> bool:
        """Close the file, do something, and open it; False where somebody has it open all the time."""
        return self._backing.renew(meanwhile)

    def close(self) -> None:
        self._backing.close()


def reopen_array(spec: SourceSpec) -> ArraySource:
    """Open the array of a spec of kind "zarr", "z5py", "h5py" or "tensorstore".

    Raises
    ------
    SourceNotFoundError, KeyNotFoundError
        If the container or the array does not exist.
    """
    return ArraySource._of(adapters.reopen(spec))
