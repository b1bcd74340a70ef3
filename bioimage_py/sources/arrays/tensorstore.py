"""The storage engine: zarr and n5 arrays in any store, read and written through tensorstore."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from ...errors import AccessError, BioimageError, MemoryBudgetError, NotReopenableError
from ...system.threads import memory_bytes
from ..axes import Axis, axes_told
from ..base import Concurrency
from ..chunked.attributes import read_axes
from ..chunked.encoded import ChunkFiles, EncodedChunks, Grid, Shards, grids_of
from ..chunked.unit_files import UnitFiles, is_whole, name_of, positions_in, stored_units, unit_files
from ..forks import lost
from ..indexing import Roi, Selection
from ..spec import SourceSpec
from ..stores.errors import REPACK
from ..stores.location import Location
from .backing import Backing, gone, sync_written
from .tensor_handle import METADATA, Layout, Order, TensorHandle, UnsupportedError

_WRITTEN = 0.05
"""Seconds after which who writes attributes into the file of the metadata, not at once, has done so."""


def detect_driver(place: Location) -> str | None:
    """Return tensorstore's driver ("zarr3", "zarr" or "n5") for the array at a place, None if there is none.

    Raises
    ------
    AccessError, StorageError
        If the store refuses to tell, or fails.
    """
    refused: AccessError | None = None
    for driver, name in METADATA.items():
        try:
            node = place.read_json(name)
        except AccessError as error:  # some buckets answer so for what does not exist
            refused = refused or error
            continue
        if driver == "zarr3" and node:
            return driver if node.get("node_type") == "array" else None
        if driver == "zarr" and "chunks" in node:
            return driver
        if driver == "n5" and "dimensions" in node:
            return driver
    if refused is not None:
        raise refused
    return None


class ChunkedBacking(Backing):
    """A zarr or n5 array in a store that tensorstore reaches.

    Parameters
    ----------
    handle : TensorHandle
        How tensorstore opens it.
    layout : Layout
        Shape, data type and grid.
    native : callable, optional
        Returns the array object of zarr-python or z5py; called when it is asked for, and where tensorstore cannot
        open the array. None: tensorstore's own handle.
    spec : SourceSpec
        How to open it again; its internal path says how many groups are above the array in its container.
    """

    concurrency: Concurrency = "aligned"

    def __init__(
        self, handle: TensorHandle, layout: Layout, native: Callable[[], Any] | None, spec: SourceSpec
    ) -> None:
        self._handle = handle
        self._layout = layout
        self._open_native = native
        self._spec = spec
        self._native: Any = None
        # a forked child that opens an array reads it without the engine's threads, which are its parent's
        self._fallback: bool | None = True if lost() and not handle.writable and native is not None else None
        self._lock = threading.Lock()
        self._there: tuple[Any, bytes | None] = (None, None)
        self._marked = handle.first_mark  # from before tensorstore has read the file
        self.shape, self.dtype = layout.shape, layout.dtype
        self.chunks, self.shards = layout.chunks, layout.shards
        self.writable = handle.writable

    @property
    def place(self) -> Location:
        """Where the array lies."""
        return self._handle.place

    @property
    def native(self) -> Any:
        if self._native is None:
            self._native = self._handle.store if self._open_native is None else self._open_native()
        return self._native

    @property
    def identity(self) -> Hashable:
        return self._handle.place.identity

    @property
    def lossless(self) -> bool:  # type: ignore[override]
        # no codec of tensorstore for these formats loses anything; a filter that it does not know may
        return not self.fallback()

    @property
    def thins(self) -> bool:  # type: ignore[override]
        return not self.fallback()

    def fallback(self) -> bool:
        """Whether tensorstore cannot open the array, so that files may be written without being replaced whole."""
        if self._fallback is None:
            try:
                self._handle.layout()
                self._fallback = False
            except UnsupportedError:
                self._fallback = True
        return self._fallback

    def read(self, roi: Roi) -> np.ndarray:
        return self._read(roi, "C")

    def read_fortran(self, roi: Roi) -> np.ndarray:
        return self._read(roi, "F")

    def read_strided(self, selection: Selection) -> np.ndarray:
        # a chunk is decoded as a whole, but what lies between the steps is not copied
        if self.fallback():
            return super().read_strided(selection)
        return selection.turn(self._read(selection.thinned, "C"))

    def _read(self, roi: Roi, order: Order) -> np.ndarray:
        region = self._read_stored(roi, order)
        self._look()
        return region

    def _read_stored(self, roi: Roi, order: Order) -> np.ndarray:
        if not self._fallback:
            try:
                region = self._handle.read(roi, order)
                return region if region.dtype == self.dtype else region.astype(self.dtype)
            except UnsupportedError:
                self._fallback = True
        return self._read_native(roi)

    def write(self, roi: Roi, value: np.ndarray) -> None:
        self._look()  # nothing is left at a place from which the array has gone
        self._write_stored(roi, value)
        self._look()

    def _write_stored(self, roi: Roi, value: np.ndarray) -> None:
        if not self._fallback:
            try:
                return self._handle.write(roi, value)
            except UnsupportedError:
                self._fallback = True
        return self._write_native(roi, value)

    def _look(self) -> None:
        """Where chunks are absent because the array has gone, they are no fill values; two microseconds tell."""
        if (mark := self._handle.mark()) != self._marked:
            self.check_there()
            self._marked = mark

    def _read_native(self, roi: Roi) -> np.ndarray:
        try:
            return np.asarray(self.native[roi], dtype=self.dtype)
        except (ValueError, OSError, RuntimeError) as error:
            raise self._handle.failed("read", roi, error) from error

    def _write_native(self, roi: Roi, value: np.ndarray) -> None:
        with self._lock:
            try:
                self.native[roi] = value
            except OSError as error:
                raise self._handle.failed("write", roi, error) from error
        unit, folder = self.shards or self.chunks, self.place.folder
        if self._handle.sync and folder is not None and unit is not None:
            for name in unit_files(self.place, self._handle.driver, self._handle.naming, unit, roi).names:
                sync_written(folder, name)

    def axes(self) -> tuple[Axis, ...] | None:
        # A folder may lie in groups that the caller didn't name; in other stores, looking for them takes long.
        parts = [part for part in (self._spec.internal_path or "").split("/") if part]
        depth = None if self.place.folder else len(parts)
        return axes_told(str(self.place), lambda: read_axes(self.place, self._handle.driver, len(self.shape), depth))

    def fresh(self, cache_bytes: int) -> Backing:
        if self._fallback:  # its library keeps no chunks, which `with_cache` sees
            return self
        return self._reopened(cache_bytes=cache_bytes, sync=self._handle.sync)

    def durable(self) -> Backing:
        return self._reopened(sync=True)

    def _reopened(self, *, cache_bytes: int = 0, sync: bool) -> Backing:
        old = self._handle
        handle = TensorHandle(
            old.place,
            old.driver,
            writable=old.writable,
            cache_bytes=cache_bytes,
            sync=sync,
            naming=old.known_naming,
        )
        native = None if self._open_native is None else lambda: self.native
        return ChunkedBacking(handle, self._layout, native, self._spec)

    def check_there(self) -> None:
        with suppress(BioimageError):
            if self._is_there():
                return
        time.sleep(_WRITTEN)
        if not self._is_there():
            raise gone(self.place)

    def _is_there(self) -> bool:
        told: Any = None
        here: tuple[Any, bytes | None] = (None, None)
        if not self.fallback():
            # tensorstore loses 7 kB with every spec that it tells, so unchanged metadata are compared as bytes.
            here = (self._handle.store, self.place.read(METADATA[self._handle.driver]))
            same = here[0] is self._there[0] and here[1] == self._there[1]
            # a file that has been there since the handle has is the one that tensorstore has read
            if here[1] is not None and (same or (self._marked and self._marked == self._handle.mark())):
                self._there = here
                return True
        if detect_driver(self.place) == self._handle.driver:
            again = TensorHandle(self.place, self._handle.driver, writable=False)
            told = self._layout.shape if self.fallback() else (again.layout(), again.metadata())
        known = self._layout.shape if self.fallback() else (self._handle.layout(), self._handle.metadata())
        if told != known and not _grown(told, known):
            return False
        self._there = here
        return True

    def spec(self) -> SourceSpec:
        if not self.place.reopenable:
            raise NotReopenableError(
                f"{self.place} is in the memory of this process; no other process can open it.",
                remedy="use job_type='local', or a local folder or bucket in place of memory://",
            )
        if self.place.archive and self.fallback():
            raise NotReopenableError(
                f"{self.place} can be read only through the array that was given.",
                remedy=f"job_type='local'; or {REPACK}",
            )
        return self._spec

    def unit_files(self, roi: Roi) -> UnitFiles | None:
        unit = self.shards or self.chunks
        if unit is None or self.fallback():
            return None
        return unit_files(self.place, self._handle.driver, self._handle.naming, unit, roi)

    @cached_property
    def _grids(self) -> tuple[Grid, ...]:
        unit = self.shards or self.chunks
        if unit is None or self.fallback():
            return ()
        return grids_of(self._handle.driver, self._handle.metadata(), unit)

    def encoded(self, roi: Roi) -> tuple[EncodedChunks, ...]:
        # a handle that keeps decoded chunks would not see that the stored ones were replaced
        if self._handle.cache_bytes:
            return ()
        return tuple(
            EncodedChunks(grid.encoding, positions_in(roi, grid.chunk), self._holder(grid))
            for grid in self._grids
            if is_whole(roi, grid.chunk, self.shape)
        )

    def _holder(self, grid: Grid) -> ChunkFiles | Shards:
        name = partial(name_of, self._handle.driver, self._handle.naming)
        files = ChunkFiles(self.place, self._handle.store.kvstore, name)
        if grid.shard is None:
            return files
        return Shards(files, grid.shard["grid_shape"], partial(self._handle.shard, entries=grid.shard))

    def stored_units(self) -> np.ndarray | None:
        return stored_units(self.place, self._handle.driver, self._handle.naming, len(self.shape))

    def moved(self, folder: str) -> Backing:
        handle = TensorHandle(Location(folder), self._handle.driver, writable=False, naming=self._handle.naming)
        return ChunkedBacking(handle, self._layout, None, self._spec)

    def close(self) -> None:
        self._handle.close()


def open_storage(
    place: Location, driver: str, native: Callable[[], Any] | None, spec: SourceSpec, *, writable: bool
) -> ChunkedBacking:
    """Open an array from its metadata alone, without zarr-python or z5py.

    Raises
    ------
    UnsupportedError
        If tensorstore cannot open it.
    AccessError, StorageError
        If there is no array, or the store refuses or fails.
    MemoryBudgetError
        If one of its chunks is larger than this machine's memory.
    """
    handle = TensorHandle(place, driver, writable=writable and place.writable)
    layout = handle.layout()
    size = math.prod(layout.chunks or ()) * layout.dtype.itemsize
    if size > memory_bytes():  # the engine would end the process where it gets no memory for one
        raise MemoryBudgetError(
            f"One chunk of {place} has {size} bytes, this machine has {memory_bytes()}.",
            remedy="read it on a larger machine; if that cannot be so, the metadata are damaged",
        )
    return ChunkedBacking(handle, layout, native, spec)


def spec_of(kind: str, root: Location, key: str, writable: bool) -> SourceSpec:
    """Return the spec of an array in a container: kind "zarr" or "z5py"."""
    options = {"storage_options": root.options} if root.options else {}
    return SourceSpec(kind, root.url, key or None, {"mode": "r+" if writable else "r", **options})


def _grown(told: Any, known: Any) -> bool:
    """Whether an array is the one that it was, and longer along some axes: somebody goes on writing it."""
    if told is None or isinstance(known[0], int):
        return False
    (layout, metadata), (before, others) = told, known
    names = ("shape", "dimensions")
    same = replace(layout, shape=before.shape) == before and len(layout.shape) == len(before.shape)
    rest = [{name: value for name, value in one.items() if name not in names} for one in (metadata, others)]
    return same and rest[0] == rest[1] and all(new >= old for new, old in zip(layout.shape, before.shape, strict=True))
