"""A handle of tensorstore: how an array is opened, and with how many threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...errors import FormatError, StorageError
from ...system.threads import usable_cores
from ..chunked.naming import Naming, naming_of
from ..forks import check, engine
from ..indexing import Roi
from ..stores.archives import left_out
from ..stores.errors import failed, reason_of
from ..stores.location import Location

Order = Literal["C", "F"]


METADATA = {"zarr3": "zarr.json", "zarr": ".zarray", "n5": "attributes.json"}
"""File that describes an array, by driver, in the order in which they count."""
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
        self.first_mark = self.mark()
        self._lock = threading.Lock()
        self._store: Any = None
        self._context: Any = None
        self._threads = 0
        self._closed = False

    def mark(self) -> tuple[int, ...] | None:
        """Return which file the metadata are in, and when it was written: of local arrays; () where there is none."""
        if self.place.folder is None:
            return None
        try:
            told = os.stat(os.path.join(self.place.folder, METADATA[self.driver]))
        except OSError:
            return ()
        return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns

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

        if self.place.archive and (hidden := left_out(self.place)):
            raise UnsupportedError(hidden)
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
