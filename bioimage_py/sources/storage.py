"""The storage engine: zarr and n5 arrays on the local file system, read and written through tensorstore."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import StorageError
from .backing import Backing
from .base import Axis, Concurrency
from .index import Roi
from .metadata import read_axes, read_json
from .spec import SourceSpec
from .units import UnitFiles, stored_units, unit_files

FILE_IO_CONCURRENCY = 4


class UnsupportedError(Exception):
    """The array exists, but tensorstore cannot open it (a filter or data type that it does not know)."""


@dataclass(frozen=True)
class Layout:
    """Shape, data type and grid of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: tuple[int, ...] | None
    shards: tuple[int, ...] | None = None


def detect_driver(path: str) -> str | None:
    """Return tensorstore's driver ("zarr3", "zarr" or "n5") for the array in a folder, None if there is none."""
    node = read_json(os.path.join(path, "zarr.json"))
    if node:
        return "zarr3" if node.get("node_type") == "array" else None
    if os.path.isfile(os.path.join(path, ".zarray")):
        return "zarr"
    return "n5" if "dimensions" in read_json(os.path.join(path, "attributes.json")) else None


class TensorHandle:
    """One array opened by tensorstore, with its own context: its own cache, and limits set on purpose.

    Opened at the first use. Any number of threads may share it: decoding runs on as many threads as use the handle
    (a limit of 1 would run all of it on one), so a job with one worker takes one core.

    Parameters
    ----------
    path : str
        Absolute path of the array's own folder.
    driver : {"zarr3", "zarr", "n5"}
        Driver.
    writable : bool
        Open for writing too.
    cache_bytes : int, default 0
        Size of the cache of decoded chunks. What it holds is not checked against later changes by others.
    sync : bool, default False
        Wait for the disk at every file (fsync).
    """

    def __init__(self, path: str, driver: str, *, writable: bool, cache_bytes: int = 0, sync: bool = False) -> None:
        self.path = path
        self.driver = driver
        self.writable = writable
        self.cache_bytes = cache_bytes
        self.sync = sync
        self._lock = threading.Lock()
        self._store: Any = None
        self._users: set[int] = set()
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

    def read(self, roi: Roi) -> np.ndarray:
        """Return a region."""
        try:
            return np.asarray(self._get()[roi].read().result())
        except (ValueError, OSError) as error:
            raise self._failed("read", roi, error) from error

    def write(self, roi: Roi, value: np.ndarray) -> None:
        """Write a region and wait until the operating system has it."""
        try:
            self._get()[roi].write(value).result()
        except (ValueError, OSError) as error:
            raise self._failed("write", roi, error) from error

    def close(self) -> None:
        """Drop the handle and its cache."""
        with self._lock:
            self._closed = True
            self._store = None

    def _get(self) -> Any:
        ident = threading.get_ident()
        store = self._store
        if store is not None and (ident in self._users or self._threads >= _cores()):
            return store
        with self._lock:
            if self._closed:
                raise StorageError(f"{self.path} is closed.", remedy="open it again with open_source(...)")
            self._users.add(ident)
            if self._store is None or len(self._users) > self._threads:
                # Doubled, so that the cache is lost a few times only while the threads of a job start.
                self._threads = min(_cores(), max(1, 2 * self._threads))
                self._store = self._open(self._threads)
            return self._store

    def _open(self, threads: int) -> Any:
        import tensorstore

        spec: dict[str, Any] = {"driver": self.driver, "kvstore": {"driver": "file", "path": self.path + "/"}}
        if self.cache_bytes:
            spec |= {"recheck_cached_data": "open", "recheck_cached_metadata": "open"}
        context = tensorstore.Context(
            {
                "cache_pool": {"total_bytes_limit": self.cache_bytes},
                "data_copy_concurrency": {"limit": threads},
                "file_io_concurrency": {"limit": max(threads, FILE_IO_CONCURRENCY)},
                "file_io_sync": self.sync,
            }
        )
        try:
            store = tensorstore.open(spec, context=context, open=True, read=True, write=self.writable).result()
        except ValueError as error:
            if str(error).startswith("NOT_FOUND"):
                raise StorageError(f"There is no array at {self.path}.", remedy="check the path and the key") from error
            raise UnsupportedError(str(error)) from error
        # N5 stores the sizes in x, y, z order.
        return store.T if self.driver == "n5" else store

    def _failed(self, what: str, roi: Roi, error: Exception) -> StorageError:
        if isinstance(error, StorageError):
            return error
        where = ", ".join(f"{part.start}:{part.stop}" for part in roi)
        reason = str(error).split(" [source locations=")[0].split(" [tensorstore_spec=")[0].split(" [os_error_code=")[0]
        failed = StorageError(
            f"Cannot {what} [{where}] of {self.path}: {reason}",
            remedy="check the disk; a chunk that was damaged must be deleted (it then reads as fill value) or restored",
        )
        code = re.search(r"\[os_error_code='(\d+)'\]", str(error))
        failed.errno = int(code[1]) if code else getattr(error, "errno", None)
        return failed


class ChunkedBacking(Backing):
    """A zarr or n5 array on the local file system.

    Parameters
    ----------
    handle : TensorHandle
        How tensorstore opens it.
    layout : Layout
        Shape, data type and grid.
    native : callable
        Returns the array object of zarr-python or z5py; called when it is asked for, and where tensorstore cannot
        open the array.
    spec : SourceSpec
        How to open it again.
    """

    concurrency: Concurrency = "aligned"

    def __init__(self, handle: TensorHandle, layout: Layout, native: Callable[[], Any], spec: SourceSpec) -> None:
        self._handle = handle
        self._layout = layout
        self._open_native = native
        self._spec = spec
        self._native: Any = None
        self._fallback = False
        self._lock = threading.Lock()
        self.shape, self.dtype = layout.shape, layout.dtype
        self.chunks, self.shards = layout.chunks, layout.shards
        self.writable = handle.writable

    @property
    def path(self) -> str:
        """Absolute path of the array's own folder."""
        return self._handle.path

    @property
    def native(self) -> Any:
        if self._native is None:
            self._native = self._open_native()
        return self._native

    @property
    def identity(self) -> Hashable:
        return ("file", os.path.realpath(self._handle.path), "")

    def fallback(self) -> bool:
        """Whether tensorstore cannot open the array, so that files may be written without being replaced whole."""
        if not self._fallback:
            try:
                self._handle.layout()
            except UnsupportedError:
                self._fallback = True
        return self._fallback

    def read(self, roi: Roi) -> np.ndarray:
        if not self._fallback:
            try:
                region = self._handle.read(roi)
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
            raise self._handle._failed("read", roi, error) from error

    def _write_native(self, roi: Roi, value: np.ndarray) -> None:
        with self._lock:
            self.native[roi] = value

    def axes(self) -> tuple[Axis, ...] | None:
        return read_axes(self._handle.path, len(self.shape))

    def fresh(self, cache_bytes: int) -> Backing:
        old = self._handle
        handle = TensorHandle(old.path, old.driver, writable=old.writable, cache_bytes=cache_bytes, sync=old.sync)
        return ChunkedBacking(handle, self._layout, lambda: self.native, self._spec)

    def durable(self) -> Backing:
        handle = TensorHandle(self._handle.path, self._handle.driver, writable=self._handle.writable, sync=True)
        return ChunkedBacking(handle, self._layout, lambda: self.native, self._spec)

    def spec(self) -> SourceSpec:
        return self._spec

    def unit_files(self, roi: Roi) -> UnitFiles | None:
        unit = self.shards or self.chunks
        if unit is None or self.fallback():
            return None
        return unit_files(self._handle.path, self._handle.driver, unit, roi)

    def stored_units(self) -> np.ndarray | None:
        return stored_units(self._handle.path, self._handle.driver, len(self.shape))

    def moved(self, folder: str) -> Backing:
        handle = TensorHandle(folder, self._handle.driver, writable=False)
        return ChunkedBacking(handle, self._layout, _no_native, self._spec)

    def close(self) -> None:
        self._handle.close()


def open_storage(
    path: str, driver: str, native: Callable[[], Any], spec: SourceSpec, *, writable: bool
) -> ChunkedBacking:
    """Open a local array from its metadata alone, without zarr-python or z5py.

    Raises
    ------
    UnsupportedError
        If tensorstore cannot open it.
    StorageError
        If there is no array.
    """
    handle = TensorHandle(path, driver, writable=writable)
    return ChunkedBacking(handle, handle.layout(), native, spec)


def _no_native() -> Any:
    raise StorageError("tensorstore cannot open a moved copy of this array")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
