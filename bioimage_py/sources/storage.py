"""The storage engine: zarr and n5 arrays in any store, read and written through tensorstore."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np

from ..errors import AccessError, FormatError, MemoryBudgetError, NotReopenableError, StorageError
from ..machine import memory_bytes, usable_cores
from .access import failed, reason_of
from .backing import Backing, gone, sync_written
from .base import Axis, Concurrency
from .encoded import ChunkFiles, EncodedChunks, Grid, Shards, grids_of
from .forks import check, engine
from .index import Roi, Selection
from .metadata import read_axes
from .naming import Naming, naming_of
from .spec import SourceSpec
from .stores import Location
from .units import UnitFiles, is_whole, name_of, positions_in, stored_units, unit_files

Order = Literal["C", "F"]

LARGE = 4 << 20
"""Bytes: from here on numpy asks the system for large pages, which cost far less than tensorstore's small ones."""

_STORE_FAILED = ("ABORTED", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED")


class UnsupportedError(Exception):
    """The array exists, but tensorstore cannot open it (a filter or data type that it does not know)."""


@dataclass(frozen=True)
class Layout:
    """Shape, data type and grid of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: tuple[int, ...] | None
    shards: tuple[int, ...] | None = None


def detect_driver(place: Location) -> str | None:
    """Return tensorstore's driver ("zarr3", "zarr" or "n5") for the array at a place, None if there is none.

    Raises
    ------
    AccessError, StorageError
        If the store refuses to tell, or fails.
    """
    refused: AccessError | None = None
    for name, driver in (("zarr.json", "zarr3"), (".zarray", "zarr"), ("attributes.json", "n5")):
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


class Calls:
    """How many reads and writes are under way in this process, or will be."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = self._expected = 0

    def __enter__(self) -> int:
        check()
        with self._lock:
            self._count += 1
            return max(self._count, self._expected)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1

    @contextmanager
    def expected(self, count: int) -> Iterator[None]:
        """Have arrays opened for so many from the first one on, not once more for each that comes."""
        with self._lock:
            self._expected += count
        try:
            yield
        finally:
            with self._lock:
                self._expected -= count


calls = Calls()
"""Of this process."""


class TensorHandle:
    """One array opened by tensorstore, with a cache of its own, and limits set on purpose.

    Opened at the first use. Any number of threads may share it. Decoding runs on as many threads as reads and writes
    are under way in the process (a limit of 1 would run all of it on one), so a job with one worker takes one core.

    Parameters
    ----------
    place : Location
        Where the array lies.
    driver : {"zarr3", "zarr", "n5"}
        Driver.
    writable : bool
        Open for writing too.
    cache_bytes : int, default 0
        Size of the cache of decoded chunks. What it holds is not checked against later changes by others.
    sync : bool, default False
        Wait for the disk at every file (fsync). Other stores than local folders have it written when they say so.
    naming : Naming, optional
        How its units are named, where that is known already.
    """

    def __init__(
        self,
        place: Location,
        driver: str,
        *,
        writable: bool,
        cache_bytes: int = 0,
        sync: bool = False,
        naming: Naming | None = None,
    ) -> None:
        self.place = place
        self.driver = driver
        self.writable = writable
        self.cache_bytes = cache_bytes
        self.sync = sync
        self.known_naming = naming
        self._lock = threading.Lock()
        self._store: Any = None
        self._context: Any = None
        self._threads = 0
        self._closed = False

    def layout(self) -> Layout:
        """Return shape, data type, chunks and shards as the metadata gives them, in C order."""
        store = self._get()
        read, write = store.chunk_layout.read_chunk.shape, store.chunk_layout.write_chunk.shape
        chunks = None if read is None else tuple(int(size) for size in read)
        outer = None if write is None else tuple(int(size) for size in write)
        shards = outer if outer != chunks else None
        return Layout(tuple(int(size) for size in store.shape), store.dtype.numpy_dtype, chunks or None, shards)

    def read(self, roi: Roi, order: Order = "C") -> np.ndarray:
        """Return a region, its last ("C") or first ("F") axis the fastest in memory."""
        try:
            with calls as count:
                return self._copied(self._get(count)[roi], order)
        except (ValueError, OSError) as error:
            raise self.failed("read", roi, error) from error

    def _copied(self, view: Any, order: Order) -> np.ndarray:
        tensorstore = engine()

        dtype = view.dtype.numpy_dtype
        if view.size * dtype.itemsize < LARGE:
            return np.asarray(view.read(order=order).result())
        region = np.empty(view.shape, dtype, order)
        tensorstore.array(region, context=self._context, copy=False).write(view).result()
        return region

    def write(self, roi: Roi, value: np.ndarray) -> None:
        """Write a region and wait until the operating system has it."""
        try:
            with calls as count:
                self._get(count)[roi].write(value).result()
        except (ValueError, OSError) as error:
            raise self.failed("write", roi, error) from error

    def close(self) -> None:
        """Drop the handle and its cache."""
        with self._lock:
            self._closed = True
            self._store = None

    def _get(self, count: int = 1) -> Any:
        check()
        store, wanted = self._store, min(count, usable_cores())
        if store is not None and self._threads >= wanted:
            return store
        with self._lock:
            if self._closed:
                raise StorageError(f"{self.place} is closed.", remedy="open it again with open_source(...)")
            if self._store is None or self._threads < wanted:
                # a power of two, so that the cache is lost a few times only while the threads of a job start
                self._threads = min(usable_cores(), 1 << (wanted - 1).bit_length())
                self._store = self._open(self._threads)
            return self._store

    @property
    def store(self) -> Any:
        """The ``tensorstore.TensorStore``."""
        return self._get()

    @property
    def naming(self) -> Naming:
        """How its units are named; looked up once."""
        if self.known_naming is None:
            self.known_naming = naming_of(self.place, self.driver)
        return self.known_naming

    def metadata(self) -> dict[str, Any]:
        """Return the array's metadata in the form that tensorstore gives it, defaults included."""
        told: dict[str, Any] = self._get().spec().to_json()["metadata"]
        told.pop("attributes", None)  # which change and leave the voxels what they are
        return told

    def shard(self, name: str, entries: Mapping[str, Any]) -> Any:
        """Return the ``tensorstore.KvStore`` of the chunks in a shard (see `Grid`)."""
        tensorstore = engine()

        base = self.place.kvstore()
        base["path"] += name
        spec = {"driver": "zarr3_sharding_indexed", "base": base, **entries}
        return tensorstore.KvStore.open(spec, context=self._context).result()

    def _open(self, threads: int) -> Any:
        tensorstore = engine()

        spec: dict[str, Any] = {"driver": self.driver, "kvstore": self.place.kvstore()}
        if self.cache_bytes:
            spec |= {"recheck_cached_data": "open", "recheck_cached_metadata": "open"}
        local = self.place.folder is not None  # other stores are slow to list
        inferred = (self.driver == "zarr" or local) and not self.naming.said
        if inferred:
            spec["metadata"] = {"dimension_separator": self.naming.separator}
        self._context = self.place.open_context(
            {"cache_pool": {"total_bytes_limit": self.cache_bytes}, "file_io_sync": self.sync}, threads
        )
        try:
            opened = tensorstore.open(spec, context=self._context, open=True, read=True, write=self.writable)
            store = opened.result()
        except ValueError as error:
            raise self._not_opened(error, inferred) from error
        # N5 stores the sizes in x, y, z order.
        return store.T if self.driver == "n5" else store

    def _not_opened(self, error: ValueError, inferred: bool) -> Exception:
        reason = str(error)
        if reason.startswith("NOT_FOUND"):
            return StorageError(f"There is no array at {self.place}.", remedy="check the path and the key")
        if reason.startswith(_STORE_FAILED):
            return failed("open", self.place, error)
        if inferred:  # what reads it otherwise goes by its metadata
            return FormatError(
                f"{self.place} keeps its chunks in folders, which its .zarray does not say: {reason_of(error)}",
                remedy=f'write "dimension_separator": "/" into {self.place}/.zarray',
            )
        return UnsupportedError(reason_of(error))

    def failed(self, what: str, roi: Roi, error: Exception) -> Exception:
        """Return the error to raise where reading or writing a region failed."""
        where = ", ".join(f"{part.start}:{part.stop}" for part in roi)
        return failed(f"{what} [{where}] of", self.place, error)


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
        self._fallback: bool | None = None
        self._lock = threading.Lock()
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
        if not self._fallback:
            try:
                region = self._handle.read(roi, order)
                return region if region.dtype == self.dtype else region.astype(self.dtype)
            except UnsupportedError:
                self._fallback = True
        return self._read_native(roi)

    def write(self, roi: Roi, value: np.ndarray) -> None:
        if not self._fallback:
            try:
                return self._handle.write(roi, value)
            except UnsupportedError:
                self._fallback = True
        return self._write_native(roi, value)

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
        return read_axes(self.place, self._handle.driver, len(self.shape), depth)

    def fresh(self, cache_bytes: int) -> Backing:
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
        told: Any = None
        if detect_driver(self.place) == self._handle.driver:
            again = TensorHandle(self.place, self._handle.driver, writable=False)
            told = self._layout.shape if self.fallback() else (again.layout(), again.metadata())
        known = self._layout.shape if self.fallback() else (self._handle.layout(), self._handle.metadata())
        if told != known:
            raise gone(self.place)

    def spec(self) -> SourceSpec:
        if not self.place.reopenable:
            raise NotReopenableError(
                f"{self.place} is in the memory of this process; no other process can open it.",
                remedy="use job_type='local', or a local folder or bucket in place of memory://",
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
