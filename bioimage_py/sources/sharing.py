"""Where voxels lie, so that two sources that reach the same ones in different ways are told from two that don't.

An extent is a range in a space: bytes of this process's memory, bytes of a file (by device and inode, whatever the path
or the mapping), objects of an HDF5 file, or a folder of chunks as a whole.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from .chunked.unit_files import UnitFiles

if TYPE_CHECKING:
    from .base import Source


@dataclass(frozen=True)
class Extent:
    """A range of a space."""

    space: tuple[Any, ...]
    begin: float = 0
    end: float = math.inf

    def meets(self, other: Extent) -> bool:
        """Whether the two have something in common."""
        return self.space == other.space and self.begin < other.end and other.begin < self.end


def of_memory(array: np.ndarray) -> tuple[Extent, ...]:
    """The bytes of an array in memory, and in the file or shared memory that is mapped there."""
    if not array.size:
        return ()
    begin, end = np.lib.array_utils.byte_bounds(array)
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    mapped = () if isinstance(owner, np.ndarray) else tuple(_mapped(begin, end)) or _map_of(array, begin, end)
    return (Extent(("memory",), begin, end), *mapped)


def _mapped(begin: int, end: int) -> Iterator[Extent]:
    """Files that the system says are mapped to a range of memory."""
    with suppress(OSError):
        with open("/proc/self/maps", "rb") as file:  # names of files may be of any bytes
            lines = file.read().split(b"\n")[:-1]  # in the order of addresses, and of no use but near the range
        at = max(0, bisect_right(lines, begin, key=lambda line: int(line.partition(b"-")[0], 16)) - 1)
        for line in lines[at:]:
            span, _, offset, device, inode = line.split(None, 5)[:5]
            first, last = (int(part, 16) for part in span.split(b"-"))
            if first >= end:
                return
            if inode != b"0" and begin < last:
                major, minor = (int(part, 16) for part in device.split(b":"))
                low, high = max(begin, first) - first, min(end, last) - first
                start = int(offset, 16)
                yield Extent(("file", os.makedev(major, minor), int(inode)), start + low, start + high)


def _map_of(array: np.ndarray, begin: int, end: int) -> tuple[Extent, ...]:
    """The file of a memory map, where the system says nothing of its mappings."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if isinstance(owner, np.memmap) and owner.filename is not None:
            return of_files([str(owner.filename)])
        owner = owner.base
    return ()


def of_files(paths: Iterable[str]) -> tuple[Extent, ...]:
    """All bytes of files."""
    return tuple(Extent(("file", *at)) for path in paths if (at := _node(path)))


def of_chunks(files: UnitFiles) -> tuple[Extent, ...]:
    """The folders that hold files of chunks: these are replaced, so a link to a file alone is broken by writing."""
    if files.folder is None:
        return ()
    folders: dict[str, None] = {}
    for name in files.names:
        above = name.rpartition("/")[0]
        folders[above] = None
        while "/" in above:
            above = above.rpartition("/")[0]
            folders[above] = None
    return tuple(Extent(("folder", *at)) for one in folders if (at := _node(os.path.join(files.folder, one))))


def of_hdf5(dataset: Any) -> tuple[Extent, ...]:
    """A data set by where it lies in its file, whatever its name there, and what its virtual or external parts are."""
    own = os.path.abspath(os.fsdecode(dataset.file.filename))
    found = [_of_object(own, dataset)]
    if (begin := dataset.id.get_offset()) is not None and (at := _node(own)):
        found.append(Extent(("file", *at), begin, begin + dataset.id.get_storage_size()))
    folder = os.path.dirname(own)
    for name, *_ in dataset.external or ():
        found += of_files([os.path.join(folder, os.fsdecode(name))])
    for part in dataset.virtual_sources() if dataset.is_virtual else ():
        found += _of_part(
            own if part.file_name == "." else os.path.join(folder, part.file_name), part.dset_name, dataset
        )
    return tuple(extent for extent in found if extent is not None)


def _of_object(path: str, dataset: Any) -> Extent | None:
    import h5py

    at = _node(path)
    address = h5py.h5o.get_info(dataset.id).addr
    return None if at is None else Extent(("hdf5", *at), address, address + 1)


def _of_part(path: str, key: str, whole: Any) -> tuple[Extent, ...]:
    """A part of a virtual data set; all of its file where that cannot be opened."""
    import h5py

    at = _node(path)
    with suppress(OSError, KeyError, ValueError, RuntimeError):
        if os.path.samefile(path, os.fsdecode(whole.file.filename)):
            return of_hdf5(whole.file[key])
    for mode in ("r", "r+"):  # a file that this process has open for writing opens as such only
        with suppress(OSError, KeyError, ValueError, RuntimeError), h5py.File(path, mode) as file:
            return of_hdf5(file[key])
    return () if at is None else (Extent(("hdf5", *at)), Extent(("file", *at)))


def _node(path: str) -> tuple[int, int] | None:
    with suppress(OSError):
        stat = os.stat(path)
        return stat.st_dev, stat.st_ino
    return None


def overlap(one: Source, other: Source) -> bool:
    """Whether two sources share storage; numpy arrays only where they share voxels, such as not two channels."""
    if one.identity != other.identity:  # asked first: a file's array object is only made when somebody wants it
        return any(a.meets(b) for a, b in product(one.extents(), other.extents()))
    first, second = getattr(one, "array", None), getattr(other, "array", None)
    if isinstance(first, np.memmap) or isinstance(second, np.memmap):
        return True
    if not (isinstance(first, np.ndarray) and isinstance(second, np.ndarray)):
        return True
    try:
        return np.shares_memory(first, second, max_work=10_000)  # type: ignore[arg-type] # the stubs know 0 and -1 only
    except np.exceptions.TooHardError:
        return True
