"""HDF5 data sets."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from ...errors import NotReopenableError, StorageError
from ..axes import Axis, axes_told
from ..base import Concurrency
from ..chunked.unit_files import UnitFiles
from ..forks import check_opened, count
from ..indexing import Roi
from ..sharing import Extent, of_hdf5
from ..spec import SourceSpec
from .backing import Backing, files_at, gone, regular_chunks, sync_file
from .hdf5_attributes import check_attributes
from .hdf5_conventions import hdf5_axes, meant_dtype, warn_if_packed
from .hdf5_parts import close_file, give_up, reading_structure, require_parts


class HDF5Backing(Backing):
    """A dataset of h5py, which guards itself against threads; only one process may write an HDF5 file.

    Parameters
    ----------
    dataset : h5py.Dataset
        The dataset.
    owned : bool, default False
        True if the file was opened for this object, so that `close` closes it.
    sync : bool, default False
        `flush` waits for the disk.
    """

    concurrency: Concurrency = "single-writer"

    def __init__(self, dataset: Any, *, owned: bool = False, sync: bool = False) -> None:
        self._native = dataset
        self._owned = owned
        self._forks = count()
        self._sync = sync
        self._path = os.path.abspath(os.fsdecode(dataset.file.filename))
        self._key = str(dataset.name).strip("/")
        self._mode = str(dataset.file.mode)
        require_parts(dataset, self._path)
        check_attributes(dataset, self._path)
        warn_if_packed(dataset, self._path)
        self.shape = tuple(int(size) for size in dataset.shape)
        self._stored = np.dtype(dataset.dtype).newbyteorder("=")
        self.dtype = meant_dtype(dataset, self._stored)
        self.chunks = regular_chunks(dataset.chunks, self.shape)
        self.writable = self._mode != "r"
        self._file: Any = None
        self._bytes = self._size()
        self._end = self._unclosed()

    @property
    def native(self) -> Any:
        return self._native

    @property
    def identity(self) -> Hashable:
        return ("file", os.path.realpath(self._path), self._key)

    def read(self, roi: Roi) -> np.ndarray:
        check_opened(self._forks, self._path)
        self._require_whole()
        try:
            return np.asarray(self._native[roi], self._stored).view(self.dtype)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed("read", error) from error

    def write(self, roi: Roi, value: np.ndarray) -> None:
        check_opened(self._forks, self._path)
        try:
            self._native[roi] = value.view(self._stored)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed("write", error) from error

    def stored_in(self, roi: Roi) -> UnitFiles | None:
        return files_at(hdf5_files(self._native))

    def extents(self) -> tuple[Extent, ...]:
        return of_hdf5(self._native)

    def axes(self) -> tuple[Axis, ...] | None:
        with reading_structure(self._path):
            return axes_told(f"{self._path}:/{self._key}", lambda: hdf5_axes(self._native))

    def _size(self) -> int | None:
        """Bytes of the file, where it is only read; None where HDF5 does not tell."""
        from h5py import h5i

        if self.writable:
            return None
        try:
            if self._file is None:
                self._file = h5i.get_file_id(self._native.id)
            return os.fstat(self._file.get_vfd_handle()).st_size
        except (OSError, RuntimeError, NotImplementedError, TypeError, ValueError):  # closed, or no file of its own
            return None

    def _require_whole(self) -> None:
        """Raise where the file has become shorter: HDF5 gives zeros for what is beyond its end."""
        size = self._size() if self._bytes is not None else None
        if size is not None and self._bytes is not None and size < self._bytes:
            raise StorageError(
                f"{self._path} is shorter than it was when it was opened: {size} bytes, not {self._bytes}.",
                remedy="open it again when it is complete; whoever writes it should write another, and rename that",
            )

    def _failed(self, what: str, error: Exception) -> StorageError:
        if not self._native:
            return StorageError(f"{self._path} is closed.", remedy="open it again with open_source(...)")
        damaged = "filter returned failure" in str(error) or "checksum" in str(error)
        remedy = "a chunk is damaged: copy the file again, or restore it" if damaged else "check the file and the disk"
        failed = StorageError(f"Cannot {what} {self._path}:/{self._key}: {error}", remedy=remedy)
        failed.errno = getattr(error, "errno", None)
        return failed

    def spec(self) -> SourceSpec:
        if not os.path.exists(self._path):
            raise NotReopenableError(
                f"The HDF5 file {self._path} exists in memory only.", remedy="write it to a file on disk first"
            )
        return SourceSpec("h5py", self._path, self._key, {"mode": "r+" if self.writable else "r"})

    def durable(self) -> Backing:
        return HDF5Backing(self._native, sync=True)

    def flush(self) -> None:
        # HDF5 flushes the voxels of what was opened together: each source flushes its own
        if not (self._native and self.writable):
            return
        try:
            self._native.file.flush()
        except (OSError, RuntimeError) as error:
            raise self._failed("write", error) from error
        if self._sync:
            sync_file(self._path)

    def check_there(self) -> None:
        try:
            # asked of the file on disk: HDF5 goes on writing into one that was deleted
            same = os.path.samestat(os.stat(self._path), os.fstat(self._native.file.id.get_vfd_handle()))
        except FileNotFoundError:
            same = False
        except (OSError, RuntimeError, NotImplementedError, TypeError):  # a driver of HDF5 without a file of its own
            same = True
        if not same or self._native.file.get(self._key) != self._native:
            raise gone(f"{self._path}:/{self._key}")

    def close(self) -> None:
        if not (self._owned and self._native):
            return
        file = self._native.file
        self._end.detach()
        try:
            close_file(file)
        except (OSError, RuntimeError) as error:
            raise _cut_off(self._path, error) from error

    def _unclosed(self) -> weakref.finalize[..., Any]:
        """What is done where nobody closes it: HDF5 would end the process over what a full disk does not take."""
        return weakref.finalize(self, _write_or_give_up, self._native.file if self._owned else None, self._forks)

    def renew(self, meanwhile: Callable[[], object]) -> bool:
        import h5py

        if not self._owned:
            meanwhile()
            return False
        self._end.detach()
        locked = self._native.file.id.get_access_plist().get_file_locking()[0]
        with contextlib.suppress(OSError, RuntimeError):  # a full disk: what could not be written is given up
            close_file(self._native.file)
        kinds = h5py.h5f.OBJ_FILE | h5py.h5f.OBJ_GROUP | h5py.h5f.OBJ_DATASET
        left = h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, kinds)
        names = {os.path.realpath(os.fsdecode(h5py.h5f.get_name(item))) for item in left}
        meanwhile()
        self._native = h5py.File(self._path, self._mode, locking=None if locked else False)[self._key]
        self._file = None
        self._bytes = self._size()
        self._end = self._unclosed()
        return os.path.realpath(self._path) not in names


def _write_or_give_up(file: Any, forks: int) -> None:
    """Write what HDF5 still holds of a file; a child process has only a copy of it, which is not for it to write."""
    if forks != count() or not file or file.mode == "r":
        return
    try:
        file.flush()
    except (OSError, RuntimeError) as error:
        path = file.filename
        give_up(file)
        raise _cut_off(path, error) from error  # Python prints it


def _cut_off(path: str, error: Exception) -> StorageError:
    failed = StorageError(
        f"Cannot write the end of {path}, which is damaged now: {error}",
        remedy="make room on the disk (df -h), and write it again",
    )
    failed.errno = getattr(error, "errno", None)
    return failed


def hdf5_files(dataset: Any) -> tuple[str, ...]:
    """Return the paths of all files that hold the values of a dataset: its own, of its virtual parts, external ones."""
    own = os.path.abspath(os.fsdecode(dataset.file.filename))
    named = [part[0] for part in dataset.external or ()]
    if dataset.is_virtual:
        named += [part.file_name for part in dataset.virtual_sources() if part.file_name != "."]
    others = (os.path.normpath(os.path.join(os.path.dirname(own), os.fsdecode(name))) for name in named)
    return (own, *dict.fromkeys(others))
