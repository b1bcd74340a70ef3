"""Voxels in wkw files, read and written through the wkw library.

A wkw array is a folder with a header and one file for each cube of ``file_len`` blocks a side, all channels interleaved
(https://github.com/scalableminds/webknossos-wrap). The library changes raw files in place, and takes files that it
cannot open for missing ones; so files are checked here before they are read, and replaced whole.
"""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import struct
import tempfile
import threading
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np

from ...errors import SourceNotFoundError, StorageError
from ...extras import need
from ..arrays.backing import Backing, gone, sync_file
from ..base import Concurrency
from ..chunked.unit_files import UnitFiles
from ..indexing import Roi
from ..stores.errors import DELETED
from ..stores.location import Location

HEADER = "header.wkw"

# Positions are 32-bit numbers; an array has no size of its own.
_END = 2**31
_RAW = 1
_HEAD_BYTES = 16
# Writers of one file take turns, whichever handle they use.
_LOCKS = tuple(threading.Lock() for _ in range(64))
_OS_CODE = re.compile(r"os error (\d+)")


class WKWBacking(Backing):
    """A wkw array on the local file system, with the axes channel, x, y, z. Any number of threads may use it.

    Parameters
    ----------
    path : str
        Absolute path of the folder with the header.
    writable : bool
        Whether it may be written.
    sync : bool, default False
        Wait for the disk at every file.

    Raises
    ------
    SourceNotFoundError
        If the folder has no header.
    StorageError
        If the header is damaged.
    """

    concurrency: Concurrency = "aligned"
    lossless = True

    def __init__(self, path: str, *, writable: bool, sync: bool = False) -> None:
        self.path = path
        self.writable = writable
        self._sync = sync
        try:
            with open(os.path.join(path, HEADER), "rb") as file:
                self._stored = file.read()
        except FileNotFoundError as error:
            raise SourceNotFoundError(f"{path} has no {HEADER}.", remedy="check the path of the dataset") from error
        need("wkw", "A wkw array")
        self._head = self._stored[:_HEAD_BYTES]
        with self._open() as array:
            self._header = array.header
        block, files = int(self._header.block_len), int(self._header.file_len)
        channels = int(self._header.num_channels)
        self._blocks = files**3
        self.dtype = np.dtype(self._header.voxel_type)
        self.shape = (channels, _END, _END, _END)
        self.chunks = (channels, block, block, block)
        self._unit = (channels, block * files, block * files, block * files)
        self.shards = self._unit if files > 1 else None

    @property
    def native(self) -> Any:
        return self._open()

    @property
    def identity(self) -> Hashable:
        return ("file", os.path.realpath(self.path), "")

    def read(self, roi: Roi) -> np.ndarray:
        for position in self._positions(roi):
            self._check(self._file(position))
        with self._open() as array:
            region = _read(array, [part.start for part in roi[1:]], [part.stop - part.start for part in roi[1:]])
        channels = roi[0]
        return region if channels == slice(0, self.shape[0]) else region[channels]

    def write(self, roi: Roi, value: np.ndarray) -> None:
        for position in self._positions(roi):
            begin = [0, *(p * size for p, size in zip(position, self._unit[1:], strict=True))]
            inside = tuple(
                slice(max(part.start - b, 0), min(part.stop - b, size))
                for part, b, size in zip(roi, begin, self._unit, strict=True)
            )
            taken = tuple(
                slice(part.start + b - whole.start, part.stop + b - whole.start)
                for part, b, whole in zip(inside, begin, roi, strict=True)
            )
            file = self._file(position)
            with _LOCKS[hash(os.path.realpath(file)) % len(_LOCKS)]:
                self._replace(file, inside, value[taken])

    def _replace(self, file: str, inside: Roi, value: np.ndarray) -> None:
        """Write a box of one file: into a copy of it, which then takes its place, so that a kill tears nothing."""
        partial = inside != tuple(slice(0, size) for size in self._unit)
        if partial:
            self._check(file)
        try:
            with tempfile.TemporaryDirectory(prefix=".writing-", dir=self.path, ignore_cleanup_errors=True) as folder:
                scratch = os.path.join(folder, _name((0, 0, 0)))
                if partial and os.path.exists(file):
                    os.makedirs(os.path.dirname(scratch))
                    shutil.copyfile(file, scratch)
                self._write_into(folder, inside, value)
                if self._sync:
                    sync_file(scratch)
                os.makedirs(os.path.dirname(file), exist_ok=True)
                os.replace(scratch, file)
                if self._sync:
                    sync_file(os.path.dirname(file))
        except OSError as error:
            raise _failed("write", file, error) from error

    def _write_into(self, folder: str, inside: Roi, value: np.ndarray) -> None:
        """Write a box into an array of one file."""
        import wkw

        shutil.copyfile(os.path.join(self.path, HEADER), os.path.join(folder, HEADER))
        with _opened(folder) as array:
            offset = [part.start for part in inside[1:]]
            if self._header.block_type != _RAW and value.shape != self._unit:
                # compressed files are written whole
                whole = _read(array, [0, 0, 0], self._unit[1:])
                whole[inside] = value
                offset, value = [0, 0, 0], whole
            elif value.shape[0] != self.shape[0]:
                whole = _read(array, offset, value.shape[1:])
                whole[inside[0]] = value
                value = whole
            try:
                array.write(offset, value)
            except wkw.wkw.WKWException as error:
                if shutil.disk_usage(folder).free < value.nbytes:  # which the library does not say of compressed files
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
                raise _failed("write", folder, error) from error

    def _check(self, file: str) -> None:
        """Refuse a file that is not whole; one that does not exist holds zeros."""
        try:
            with open(file, "rb") as stream:
                head = stream.read(_HEAD_BYTES)
                size = os.fstat(stream.fileno()).st_size
                expected = self._expected_size(head, stream)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed("read", file, error) from error
        if expected is None and len(head) == _HEAD_BYTES and head[:3] == self._head[:3]:
            raise StorageError(
                f"The wkw file {file} is one of another array: its header is not that of {HEADER}.",
                remedy=f"restore whichever is not that of the data set, the file or {HEADER}",
            )
        if expected != size:
            says = "is no wkw file" if expected is None else f"has {size} bytes instead of {expected}"
            raise StorageError(f"The wkw file {file} is damaged: it {says}.", remedy=DELETED.format(fill=0))

    def _expected_size(self, head: bytes, stream: Any) -> int | None:
        """Return the size that a file says it has; None if its header is not that of the array."""
        if len(head) < _HEAD_BYTES or head[:8] != self._head[:8]:
            return None
        if self._header.block_type == _RAW:
            return _HEAD_BYTES + self.dtype.itemsize * int(np.prod(self._unit))
        stream.seek(_HEAD_BYTES + 8 * (self._blocks - 1))
        last = stream.read(8)  # where the last compressed block ends
        return int(struct.unpack("<Q", last)[0]) if len(last) == 8 else None

    def _positions(self, roi: Roi) -> Iterator[tuple[int, ...]]:
        spans = [range(p.start // size, -(-p.stop // size)) for p, size in zip(roi[1:], self._unit[1:], strict=True)]
        return itertools.product(*spans)

    def _file(self, position: tuple[int, ...]) -> str:
        return os.path.join(self.path, _name(position))

    def _open(self) -> Any:
        return _opened(self.path)

    def durable(self) -> Backing:
        return WKWBacking(self.path, writable=self.writable, sync=True)

    def check_there(self) -> None:
        if Location(self.path).read(HEADER) != self._stored:
            raise gone(self.path)

    def unit_files(self, roi: Roi) -> UnitFiles:
        return UnitFiles(Location(self.path), tuple(_name(position) for position in self._positions(roi)))

    def stored_units(self) -> np.ndarray:
        found = []
        for folder, folders, names in os.walk(self.path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                place = os.path.relpath(os.path.join(folder, name), self.path)
                if match := re.fullmatch(r"z(\d+)[/\\]y(\d+)[/\\]x(\d+)\.wkw", place):
                    found.append([0, *(int(part) for part in reversed(match.groups()))])
        return np.array(found, np.int64).reshape(-1, 4)

    def moved(self, folder: str) -> Backing:
        return WKWBacking(folder, writable=False)


def _name(position: tuple[int, ...]) -> str:
    x, y, z = position
    return f"z{z}/y{y}/x{x}.wkw"


def _opened(folder: str) -> Any:
    """Open an array: it costs microseconds, so nothing is shared between threads."""
    import wkw

    try:
        return wkw.Dataset.open(folder)
    except (wkw.wkw.WKWException, AssertionError, IndexError) as error:
        raise StorageError(
            f"Cannot open the wkw array {folder}: {error}", remedy=f"check its {HEADER}; it may be damaged"
        ) from error


def _read(array: Any, offset: list[int], shape: Any) -> np.ndarray:
    import wkw

    try:
        return np.asarray(array.read(offset, tuple(shape)))
    except wkw.wkw.WKWException as error:
        raise _failed("read", array.root, error) from error


def _failed(what: str, path: str, error: Exception) -> StorageError:
    if isinstance(error, StorageError):
        return error
    failed = StorageError(f"Cannot {what} {path}: {error}", remedy="check the disk and the permissions")
    code = _OS_CODE.search(str(error))
    failed.errno = int(code[1]) if code else getattr(error, "errno", None)
    return failed
