"""What an `ArraySource` stands on: one class for each way to reach voxels, and those for memory and foreign arrays."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import abc
import contextlib
import os
import threading
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np

from ...errors import NotReopenableError, SourceTypeError, StorageError
from ..axes import Axis
from ..base import Concurrency
from ..chunked.encoded import EncodedChunks
from ..chunked.unit_files import UnitFiles
from ..indexing import Roi, Selection
from ..sharing import Extent, of_memory
from ..spec import SourceSpec
from ..stores.location import Location
from .mapped import file_of, require_whole
from .parts import of_object


class Backing(abc.ABC):
    """Voxels and what is known of them; regions are full tuples of in-bounds slices with step 1."""

    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: tuple[int, ...] | None = None
    shards: tuple[int, ...] | None = None
    grid_origin: tuple[int, ...] | None = None
    writable: bool = False
    concurrency: Concurrency = "any"
    lossless: bool = False
    thins: bool = False
    streamed: bool = False

    @property
    @abc.abstractmethod
    def native(self) -> Any:
        """The array object of the library that made it."""

    @property
    @abc.abstractmethod
    def identity(self) -> Hashable:
        """Equal for the same storage."""

    @abc.abstractmethod
    def read(self, roi: Roi) -> np.ndarray:
        """Return a copy of a region."""

    @abc.abstractmethod
    def write(self, roi: Roi, value: np.ndarray) -> None:
        """Write a region."""

    def read_fortran(self, roi: Roi) -> np.ndarray:
        """Return a copy of a region, its first axis the fastest in memory where that costs nothing."""
        return self.read(roi)

    def view(self, roi: Roi) -> np.ndarray:
        """Return a region, not copied if it lies in memory."""
        return self.read(roi)

    def read_strided(self, selection: Selection) -> np.ndarray:
        """Return a selection with steps."""
        return selection.pick(self.read(selection.roi))

    def view_strided(self, selection: Selection) -> np.ndarray:
        """Return a selection with steps, not copied if it lies in memory."""
        return self.read_strided(selection)

    def write_strided(self, selection: Selection, value: np.ndarray) -> None:
        """Write a selection with steps: read its box, change it, write it back."""
        region = self.read(selection.roi)
        selection.pick(region)[...] = value
        self.write(selection.roi, region)

    def axes(self) -> tuple[Axis, ...] | None:
        """Return what the storage says of its axes, None if nothing."""
        return None

    def fresh(self, cache_bytes: int) -> Backing:
        """Return another handle of the same voxels with an empty cache."""
        return self

    def spec(self) -> SourceSpec:
        """Return how to open the voxels again."""
        raise NotReopenableError(
            f"A {type(self.native).__module__}.{type(self.native).__qualname__} cannot be opened by another process.",
            remedy="use job_type='local', or copy the data to a zarr array and open that with open_source(path)",
        )

    def durable(self) -> Backing:
        """Return another handle that waits for the disk when it writes."""
        return self

    def flush(self) -> None:  # noqa: B027 (most storage keeps nothing back)
        """Hand what was written to the operating system."""

    def check_there(self) -> None:  # noqa: B027 (memory does not go)
        """StorageError where the storage was deleted or replaced."""

    def unit_files(self, roi: Roi) -> UnitFiles | None:
        """Return the files of the write units in a region."""
        return None

    def extents(self) -> tuple[Extent, ...] | None:
        """Return where the voxels lie; None where `stored_in` tells."""
        return None

    def stored_in(self, roi: Roi) -> UnitFiles | None:
        """Return the files that hold the voxels of a region."""
        return self.unit_files(roi)

    def encoded(self, roi: Roi) -> tuple[EncodedChunks, ...]:
        """Return the chunks of a region as they are stored, once for every grid of which it cuts none."""
        return ()

    def stored_units(self) -> np.ndarray | None:
        """Return the positions of the units that have a file."""
        return None

    def moved(self, folder: str) -> Backing | None:
        """Return the same array in another folder."""
        return None

    def renew(self, meanwhile: Callable[[], object]) -> bool:
        """Close the storage, do something, and open it; False where somebody has it open all the time."""
        meanwhile()
        return False

    def close(self) -> None:  # noqa: B027 (memory needs no closing)
        """Release what this object opened."""


class NumpyBacking(Backing):
    """A numpy array, memory-mapped ones included."""

    lossless = True
    thins = True

    def __init__(self, array: np.ndarray) -> None:
        self._native = array
        self._data = np.asarray(array)
        self._file = file_of(array)
        self.shape = self._data.shape
        self.dtype = self._data.dtype

    @property
    def native(self) -> np.ndarray:
        return self._native

    @property
    def file(self) -> str | None:
        """Path of the file that the array is mapped from; None where another has taken its name."""
        same = self._file is not None and file_of(self._native) == self._file
        return os.fspath(getattr(self._native, "filename", "")) if same else None

    @property
    def _there(self) -> np.ndarray:
        if self._file is not None:
            require_whole(self._native)
        return self._data

    @property
    def writable(self) -> bool:  # type: ignore[override]
        return bool(self._data.flags.writeable)

    @property
    def identity(self) -> Hashable:
        return memory_identity(self._native)

    def extents(self) -> tuple[Extent, ...]:
        return of_memory(self._data)

    def read(self, roi: Roi) -> np.ndarray:
        return self._there[roi].copy()

    def view(self, roi: Roi) -> np.ndarray:
        return self._there[roi]

    def write(self, roi: Roi, value: np.ndarray) -> None:
        self._there[roi] = value

    def read_strided(self, selection: Selection) -> np.ndarray:
        return self.view_strided(selection).copy()

    def view_strided(self, selection: Selection) -> np.ndarray:
        return selection.pick(self._there[selection.roi])

    def write_strided(self, selection: Selection, value: np.ndarray) -> None:
        selection.pick(self._there[selection.roi])[...] = value

    def spec(self) -> SourceSpec:
        raise NotReopenableError(
            f"A numpy array in memory (shape {self.shape}) cannot be opened by another process.",
            remedy="use job_type='local', or write it to a zarr or n5 array and pass open_source(path, key)",
        )


class ForeignBacking(Backing):
    """Any object with shape, dtype and indexing; one call at a time, unless it has ``thread_safe = True``."""

    def __init__(self, array: Any) -> None:
        self._native = array
        safe = getattr(array, "thread_safe", False) is True
        self._lock = contextlib.nullcontext() if safe else threading.RLock()
        self.shape = tuple(int(size) for size in array.shape)
        self.dtype = native_dtype(array)
        self.chunks = regular_chunks(getattr(array, "chunks", None), self.shape)
        self.shards = regular_chunks(getattr(array, "shards", None), self.shape)
        self.streamed = getattr(array, "streamed", False) is True
        # A lazy graph (dask) accepts assignments without storing anything.
        self.writable = hasattr(type(array), "__setitem__") and not hasattr(array, "compute") and writable_flag(array)
        self.concurrency = "single-writer" if self.writable else "any"

    @property
    def native(self) -> Any:
        return self._native

    @property
    def identity(self) -> Hashable:
        return ("object", id(self._native))

    def read(self, roi: Roi) -> np.ndarray:
        with self._lock:
            region = np.asarray(self._native[roi])
            # What is not its own memory may be the caller's.
            return region if region.flags.owndata and region.flags.writeable else region.copy()

    def write(self, roi: Roi, value: np.ndarray) -> None:
        with self._lock:
            self._native[roi] = value

    def stored_in(self, roi: Roi) -> UnitFiles | None:
        files = getattr(self._native, "files_of", None)
        return None if files is None else files_at(files(roi))

    def extents(self) -> tuple[Extent, ...] | None:
        return None if hasattr(self._native, "files_of") else of_object(self._native)


def files_at(paths: Iterable[str]) -> UnitFiles:
    """Files by their absolute paths."""
    return UnitFiles(Location(os.sep), tuple(path.lstrip(os.sep) for path in paths))


def gone(where: Any) -> StorageError:
    """Return the error for an array that was deleted or replaced after it had been opened."""
    return StorageError(
        f"The array {where} was deleted or replaced, or moved away, after it had been opened: what was written to it"
        " since is lost, and what has gone would read as fill values.",
        remedy="find out what removes it; put it back and open it again, an output that was lost with resume='never'",
    )


def sync_file(path: str) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_written(folder: str, name: str) -> None:
    """Wait until the disk has a file that was written or deleted in a folder, and its name."""
    path = os.path.join(folder, name)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    while len(path) >= len(folder):
        sync_file(path)
        path = os.path.dirname(path)


def memory_identity(array: np.ndarray) -> Hashable:
    """Return the same value for all arrays that share memory, or map the same file."""
    if isinstance(array, np.memmap) and array.filename is not None:
        return ("file", os.path.realpath(array.filename), "")
    base: Any = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    if not isinstance(base, np.ndarray):
        try:
            base = np.frombuffer(base, np.uint8)
        except (TypeError, ValueError, AttributeError):  # an owner without a buffer, such as a C++ object
            return ("numpy", id(base))
    return ("numpy", int(base.__array_interface__["data"][0]))


def regular_chunks(chunks: Any, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return one chunk shape, also from dask's form (all sizes along every axis); None if there is none.

    Sizes along an axis must be equal, but for a smaller last one; otherwise there is no chunk shape.
    """
    if not chunks or isinstance(chunks, bool) or not hasattr(chunks, "__iter__"):
        return None
    regular: list[int] = []
    for part in chunks:
        sizes = [int(size) for size in part] if hasattr(part, "__iter__") else [int(part)]
        if not sizes or any(size != sizes[0] for size in sizes[:-1]) or sizes[-1] > sizes[0] or sizes[0] < 1:
            return None
        regular.append(sizes[0])
    return tuple(regular) if len(regular) == len(shape) else None


def native_dtype(array: Any) -> np.dtype:
    """Return the numpy dtype of an array-like, refusing objects whose dtype numpy does not know."""
    try:
        dtype: np.dtype = np.dtype(array.dtype)
        return dtype
    except TypeError:
        raise SourceTypeError(
            f"A {type(array).__qualname__} has the data type {array.dtype!r}, which numpy does not know.",
            remedy="convert it to a numpy array first",
        ) from None


def writable_flag(array: Any) -> bool:
    """Return what an array-like says of being writable, True if it says nothing."""
    for name, expected in (("read_only", False), ("readonly", False), ("writable", True), ("writeable", True)):
        value = getattr(array, name, None)
        if isinstance(value, bool):
            return value is expected
    mode = getattr(array, "mode", None)
    return not isinstance(mode, str) or mode != "r"
