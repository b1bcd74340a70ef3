"""Values of the blocks of a stage: in memory, or in the files of workers, where an index by block finds them."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, overload

import cloudpickle
import numpy as np

from ...errors import ParameterError, StorageError
from ...system.files import naming, read_by_others
from ...system.frames import frames_in, read_frame
from ..planning.id_sets import Ids, pieces

_ENTRY = np.dtype([("file", "<i4"), ("place", "<i4"), ("frame", "<i8")])
"""Where a value is: number of the file (from 1; 0 is no value), place in its frame, where the frame begins."""
_SPAN = 1024
"""Values that are looked up at once."""
MAPPED_BYTES = 2**20
"""Arrays in the value of a once stage from this size on become files of their own, which workers map."""
LEAST_MAPPED = 2**16
"""The same of stages whose values are read in parts."""


@dataclass(frozen=True)
class FileValues:
    """A list of values in a frame of a file."""

    path: Path
    offset: int

    def intact(self, *, whole: bool = False) -> bool:
        """Whether the checksum fits; with ``whole`` also whether the files of large arrays are there."""
        try:
            return bool(self.load()) if whole else read_frame(self.path, self.offset) is not None
        except StorageError:
            return False

    def load(self) -> list[Any]:
        """The values; StorageError names a damaged file."""
        return self.unpacked(read_frame(self.path, self.offset))

    def unpacked(self, payload: bytes | None) -> list[Any]:
        """The values in the bytes of the frame."""
        if payload is None:
            raise StorageError(f"{self.path} is damaged at byte {self.offset}: its checksum does not fit")
        data, arrays = pickle.loads(payload)
        for name, size in arrays:
            path = self.path.with_name(name)
            if not path.exists() or path.stat().st_size != size:
                raise StorageError(f"{path} is damaged: it should have {size} bytes", remedy="remove it and call again")
        mapped = [np.memmap(self.path.with_name(name), mode="r") for name, _ in arrays]
        values: list[Any] = pickle.loads(data, buffers=mapped)
        return values


def dump_values(values: list[Any], stem: Path | None, *, sync: bool = False, least: int = MAPPED_BYTES) -> bytes:
    """Values as bytes; with ``stem``, arrays of ``least`` bytes or more become files of that name."""
    arrays: list[tuple[str, int]] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        data = buffer.raw()
        if stem is None or data.nbytes < least:
            return True
        path = stem.with_name(f"{stem.name}.{len(arrays)}")
        with naming(path), open(path, "wb", opener=read_by_others) as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        arrays.append((path.name, data.nbytes))
        return False

    try:
        return pickle.dumps((cloudpickle.dumps(values, protocol=5, buffer_callback=stays), arrays))
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise ParameterError(
            f"a value that the function returned cannot be kept in the run folder: {error}",
            remedy="return numbers, arrays, or other values that can be pickled",
        ) from error


class BlockValues:
    """The values of a stage, by block id.

    Those in memory are kept as they are. Of those in files an index is kept, 16 bytes a block, itself in a file without
    a name: so memory stays the same however many blocks there are, and whatever dies leaves nothing behind.

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
        self._memory: dict[int, Any] = {}
        self._index: Any = None if scratch is None else TemporaryFile(dir=scratch)  # noqa: SIM115 - as long as self
        self._files: dict[Path, int] = {}
        self._merged: tuple[Any, list[int]] | None = None
        self._lock = threading.Lock()

    def put(self, ids: Ids, values: list[Any] | FileValues) -> None:
        """Blocks have these values."""
        if not isinstance(values, FileValues):
            self._memory.update(zip(ids.tolist(), values, strict=True))
            return
        entries = np.zeros(len(ids), _ENTRY)
        entries["file"] = self._files.setdefault(values.path, len(self._files) + 1)
        entries["frame"] = values.offset
        entries["place"] = np.arange(len(ids))
        with naming(self._scratch or values.path):
            for start, stop in pieces(np.diff(ids) != 1, len(ids)):
                self._index.seek(int(ids[start]) * _ENTRY.itemsize)
                self._index.write(entries[start:stop].tobytes())
            self._index.flush()  # it is read by its number, so that threads need no turn

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Ids and values, ascending."""
        if self._ids is not None:
            return self.at(self._ids)
        n = os.fstat(self._index.fileno()).st_size // _ENTRY.itemsize if self._index else 0
        return self.at(range(n) if self._index else sorted(self._memory))

    def at(self, asked: Sequence[int] | Ids) -> Iterator[tuple[int, Any]]:
        """Some ids and their values, in their order, without those that have none."""
        if self._index is None:
            yield from ((i, self._memory[i]) for i in map(int, asked) if i in self._memory)
            return
        frame, values, paths = (0, 0), list[Any](), list(self._files)
        for begin in range(0, len(asked), _SPAN):
            ids = np.asarray(asked[begin : begin + _SPAN])
            for start, stop in pieces(np.diff(ids) != 1, len(ids)):
                size, where = (stop - start) * _ENTRY.itemsize, int(ids[start]) * _ENTRY.itemsize
                entries = np.frombuffer(os.pread(self._index.fileno(), size, where), _ENTRY).tolist()
                for block_id, (file, place, offset) in enumerate(entries, int(ids[start])):
                    if file:
                        if frame != (file, offset):
                            frame, values = (file, offset), self._load(FileValues(paths[file - 1], offset))
                        yield block_id, values[place]

    def _load(self, frame: FileValues) -> list[Any]:
        if self._merged is None:
            return frame.load()
        merged, begins = self._merged
        with self._lock:
            payloads = frames_in(merged, begins[self._files[frame.path] - 1] + frame.offset, begins[-1])
            return frame.unpacked(next((payload for _, payload in payloads), None))

    def detach(self) -> None:
        """Copy the values to a file without a name: those that they are in will go."""
        if self._scratch is None:
            return
        merged, begins = TemporaryFile(dir=self._scratch), [0]  # noqa: SIM115 - open as long as the values are there
        with naming(self._scratch):
            for path in self._files:
                with open(path, "rb") as file:
                    shutil.copyfileobj(file, merged, 2**20)
                begins.append(merged.tell())
            merged.flush()
        self._merged = merged, begins


class ValueList(Sequence[Any]):
    """Values of some ids, in their order; what lies on disk is read when it is looked at. Equal to a list of the same.

    Parameters
    ----------
    values : BlockValues
    ids : array of int64 or range
    """

    def __init__(self, values: BlockValues, ids: Ids | range) -> None:
        self._values = values
        self._ids = ids

    def detached(self) -> ValueList:
        """Itself, when the files of its values may go."""
        self._values.detach()
        return self

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._values.at(self._ids))

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(ValueList(self._values, self._ids[index]))
        return next(iter(ValueList(self._values, np.array([self._ids[index]]))))

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
