"""Values of the blocks of a stage: in memory or in the frames of files, found through an index by block."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, overload

import cloudpickle
import numpy as np

from ...errors import ParameterError, StorageError
from ...system.frames import frames_in, read_frame
from ..planning.id_sets import Ids, pieces

_ENTRY = np.dtype([("file", "<i4"), ("place", "<i4"), ("frame", "<i8")])
"""Where a value is: file number (from 1; 0 is no value, -1 memory), place in its frame, where the frame begins."""
_SPOOLED = 2**24
"""Bytes that are kept in memory before they go to a file without a name: the index of a million blocks."""
_FRAMES = 2**24
"""Bytes, as far as they can be told, of frames that are kept unpacked while values are gone through."""
_OBJECT = 64
"""Bytes of a small Python object in a list."""
_SPAN = 1024
"""Values that are looked up at once when they are gone through."""


@dataclass(frozen=True)
class FileValues:
    """A list of values in a frame of a file."""

    path: Path
    offset: int

    def intact(self, *, whole: bool = False) -> bool:
        """Whether the checksum fits; with ``whole`` also whether the files of large arrays are there."""
        if not whole:
            return read_frame(self.path, self.offset) is not None
        try:
            self.load()
        except StorageError:
            return False
        return True

    def load(self) -> list[Any]:
        """The values; StorageError names a damaged file."""
        return _unpacked(read_frame(self.path, self.offset), self.path, self.offset)


def _unpacked(payload: bytes | None, path: Path, offset: int) -> list[Any]:
    if payload is None:
        raise StorageError(f"{path} is damaged at byte {offset}: its checksum does not fit")
    values: list[Any] = ValueUnpickler(payload, path.parent).load()
    return values


def _spooled(folder: Path) -> Any:
    return SpooledTemporaryFile(_SPOOLED, dir=str(folder))


class BlockValues:
    """The values of a stage.

    A block has a position: its id or, where some ids were asked for, its place among them in ascending order. The
    index has 16 bytes a block, which beyond a million blocks lie in a file without a name, so memory stays the same
    however many blocks there are, and nothing is left behind by whatever dies.

    Parameters
    ----------
    ids : array of int64, optional
        The ids that were asked for; by default all. Values of others are left out.
    scratch : Path, optional
        Folder for files without a name, where the values lie in files; by default they are in memory.
    """

    def __init__(self, ids: Ids | None = None, scratch: Path | None = None) -> None:
        self._ids = None if ids is None else np.unique(ids)
        self._scratch = scratch
        # an index of values that are in memory need not be smaller than they are
        self._index: Any = io.BytesIO() if scratch is None else _spooled(scratch)
        self._files: dict[Path, int] = {}
        self._paths: list[Path] = []
        self._lists: list[list[Any]] = []
        self._merged: tuple[Any, list[int]] | None = None
        self._frames: OrderedDict[tuple[int, int], tuple[list[Any], int]] = OrderedDict()
        self._lock = threading.RLock()

    def put(self, ids: Ids, values: list[Any] | FileValues) -> None:
        """Blocks have these values."""
        entries = np.zeros(len(ids), _ENTRY)
        entries["place"] = np.arange(len(ids))
        if isinstance(values, FileValues):
            entries["file"], entries["frame"] = self._file(values.path), values.offset
        else:
            entries["file"], entries["frame"] = -1, len(self._lists)
            self._lists.append(values)
        positions = self.positions(ids)
        known = positions >= 0
        self._write(positions[known], entries[known])

    def _file(self, path: Path) -> int:
        if path not in self._files:
            self._paths.append(path)
            self._files[path] = len(self._paths)
        return self._files[path]

    def positions(self, ids: Ids) -> Ids:
        """The position of each id, -1 for those that were not asked for."""
        if self._ids is None:
            return ids
        if not len(self._ids):
            return np.full(len(ids), -1)
        found = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[found] == ids, found, -1)

    def _write(self, positions: Ids, entries: np.ndarray) -> None:
        with self._lock:
            for start, stop in pieces(np.diff(positions) != 1, len(positions)):
                self._index.seek(int(positions[start]) * _ENTRY.itemsize)
                self._index.write(entries[start:stop].tobytes())

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Ids and values, ascending."""
        with self._lock:
            total = self._index.seek(0, io.SEEK_END) // _ENTRY.itemsize
        for begin in range(0, total, _SPAN):
            positions = np.arange(begin, min(begin + _SPAN, total))
            entries = self._entries(positions)
            there = np.flatnonzero(entries["file"])
            ids = positions[there] if self._ids is None else self._ids[positions[there]]
            yield from zip(ids.tolist(), self._found(entries[there]), strict=True)

    def at(self, positions: Ids | range) -> Iterator[Any]:
        """The values at some positions, in their order; all have one."""
        for begin in range(0, len(positions), _SPAN):
            yield from self._found(self._entries(np.asarray(positions[begin : begin + _SPAN])))

    def _entries(self, positions: Ids) -> np.ndarray:
        low, high = int(positions.min()), int(positions.max()) + 1
        if high - low > 16 * _SPAN:
            return np.concatenate([self._entries(positions[i : i + 1]) for i in range(len(positions))])
        with self._lock:
            self._index.seek(low * _ENTRY.itemsize)
            data = self._index.read((high - low) * _ENTRY.itemsize)
        entries: np.ndarray = np.frombuffer(data, _ENTRY)[positions - low]
        return entries

    def _found(self, entries: np.ndarray) -> Iterator[Any]:
        turns = (np.diff(entries["file"]) != 0) | (np.diff(entries["frame"]) != 0)
        for start, stop in pieces(turns, len(entries)):
            values = self._frame(int(entries["file"][start]), int(entries["frame"][start]))
            for place in entries["place"][start:stop].tolist():
                yield values[place]

    def _frame(self, file: int, offset: int) -> list[Any]:
        if file < 0:
            return self._lists[offset]
        with self._lock:
            if (file, offset) in self._frames:
                self._frames.move_to_end((file, offset))
                return self._frames[file, offset][0]
            path = self._paths[file - 1]
            payload = read_frame(path, offset) if self._merged is None else self._read_merged(file, offset)
            values = _unpacked(payload, path, offset)
            self._frames[file, offset] = (values, len(payload or b"") + _OBJECT * len(values))
            while sum(size for _, size in self._frames.values()) > _FRAMES and len(self._frames) > 1:
                self._frames.popitem(last=False)
            return values

    def _read_merged(self, file: int, offset: int) -> bytes | None:
        assert self._merged is not None
        merged, bases = self._merged
        return next((payload for _, payload in frames_in(merged, bases[file - 1] + offset, bases[-1])), None)

    def detach(self) -> None:
        """Copy the values to a file without a name: those that they are in will go."""
        if self._scratch is None:
            return
        merged = _spooled(self._scratch)
        bases = [0]
        for path in self._paths:
            with open(path, "rb") as file:
                shutil.copyfileobj(file, merged, 2**20)
            bases.append(merged.tell())
        self._merged = merged, bases


class ValueList(Sequence[Any]):
    """Values in the order of the blocks that were asked for; what lies on disk is read when it is looked at.

    Equal to a list of the same values.

    Parameters
    ----------
    values : BlockValues
    positions : array of int64 or range
    """

    def __init__(self, values: BlockValues, positions: Ids | range) -> None:
        self._values = values
        self._positions = positions

    def detached(self) -> ValueList:
        """Itself, when the files of its values may go."""
        self._values.detach()
        return self

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[Any]:
        return self._values.at(self._positions)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(self._values.at(self._positions[index]))
        position = self._positions[index]
        return next(self._values.at(np.array([position])))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, ValueList)):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:5]))
        return f"<{len(self)} values: {shown}{', ...' if len(self) > 5 else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


MAPPED_BYTES = 2**20
"""Arrays in the value of a once stage from this size on become files of their own, which workers map."""


class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles a value; large arrays go to files beside it."""

    def __init__(self, file: io.BytesIO, stem: Path, *, sync: bool) -> None:
        super().__init__(file)
        self._stem = stem
        self._sync = sync
        self._n = 0

    def persistent_id(self, obj: Any) -> Any:
        """Name and size of the file of a large array."""
        if type(obj) is not np.ndarray or obj.nbytes < MAPPED_BYTES or obj.dtype.hasobject:
            return None
        path = self._stem.with_name(f"{self._stem.name}.{self._n}.npy")
        self._n += 1
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o644)) as file:
            np.save(file, obj)
            size = file.tell()
            if self._sync:
                file.flush()
                os.fsync(file.fileno())
        return path.name, size


class ValueUnpickler(pickle.Unpickler):
    """Reads a value; arrays in files are mapped."""

    def __init__(self, payload: bytes, folder: Path) -> None:
        super().__init__(io.BytesIO(payload))
        self._folder = folder

    def persistent_load(self, pid: Any) -> Any:
        """The array of a file."""
        name, size = pid
        path = self._folder / name
        if not path.exists() or path.stat().st_size != size:
            raise StorageError(f"{path} is damaged: it should have {size} bytes", remedy="remove it and call again")
        return np.load(path, mmap_mode="r")


def dump_value(value: Any, stem: Path | None, *, sync: bool = False) -> bytes:
    """A value as bytes; with ``stem``, large arrays become files of that name."""
    try:
        if stem is None:
            data: bytes = cloudpickle.dumps(value)
            return data
        file = io.BytesIO()
        ValuePickler(file, stem, sync=sync).dump(value)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise ParameterError(
            f"a value that the function returned cannot be kept in the run folder: {error}",
            remedy="return numbers, arrays, or other values that can be pickled",
        ) from error
    return file.getvalue()
