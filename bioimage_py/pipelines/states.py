"""What is known of stored data without reading them: where they lie, and a text that changes when they are written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import NotReopenableError
from ..sources.base import Source
from ..sources.chunked.marks import marks_of
from ..sources.file import absolute_path
from ..sources.run_array import RunArray
from ..sources.stores.paths import is_url
from ..wrapper.base import WrapperSource

MISSING = "missing"
"""State of what is not there."""

_OBJECTS = 1000
"""Objects of a bucket that are asked for; of more, nothing is told."""
_FOLDERS = ("zarr", "n5")
_HDF5_BYTES = 4 * 2**30
"""HDF5 files that are read for their state, at about 1 GB/s; of larger ones time and size are told."""
_SUPERBLOCK = 48
"""Bytes at the beginning of an HDF5 file, which say whether it is open."""
_digests: dict[tuple[str, int, int, int], str] = {}


@dataclass(frozen=True)
class Unit:
    """A file, a folder or an array in a bucket, that is written as one as far as can be told.

    Parameters
    ----------
    name : str
        Its path or URL.
    source : Source
        A source that lies in it.
    """

    name: str
    source: Source

    def state(self) -> str | None:
        """Changes when the data are written; None where nothing is told of them."""
        if is_url(self.name):
            return self._of_objects()
        path = Path(self.name)
        try:
            if path.is_dir():
                return _hash(_files(path))
            if (content := _hdf5_content(path)) is not None:
                return content
            return _hash([("", path.stat()), *self._siblings(path)])
        except FileNotFoundError:
            return MISSING

    def _of_objects(self) -> str | None:
        files = self.source.stored_in(tuple(slice(0, size) for size in self.source.shape)) if self.source.size else None
        if files is None or len(files.names) > _OBJECTS:
            return None
        marks = marks_of(files.place, [*files.names, "zarr.json", ".zarray", "attributes.json", "info"])
        return None if not marks else hashlib.blake2b(repr(sorted(marks.items())).encode(), digest_size=16).hexdigest()

    def _siblings(self, path: Path) -> Iterator[tuple[str, os.stat_result]]:
        """Other files that hold voxels of an image of several files."""
        files = self.source.stored_in(tuple(slice(0, size) for size in self.source.shape)) if self.source.size else None
        if files is None or files.folder is None:
            return
        for name in files.names:
            other = Path(files.folder, name)
            if other != path:
                yield str(other), other.stat()


def _hdf5_content(path: Path) -> str | None:
    """Digest of an HDF5 file, whose times change whenever it is opened for writing; None where it is no such file."""
    stat = path.stat()
    if stat.st_size > _HDF5_BYTES:
        return None
    with open(path, "rb") as file:
        if file.read(8) != b"\x89HDF\r\n\x1a\n":
            return None
        known = (str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if known not in _digests:
            file.seek(_SUPERBLOCK)
            _digests[known] = hashlib.file_digest(file, "sha256").hexdigest()[:32]
        return _digests[known]


def units_of(sources: Sequence[Source]) -> dict[str, Unit]:
    """Where sources lie, by name; nothing for arrays in memory, whose content is part of what a call is."""
    units = {}
    for source in sources:
        for part in _bases(source):
            if (name := _name_of(part)) is not None:
                units[name] = Unit(name, part)
    return units


def in_memory(source: Source) -> bool:
    """Whether a part of a source has no place that another process can look at."""
    return any(_name_of(part) is None for part in _bases(source))


def _bases(source: Source) -> Iterator[Source]:
    if isinstance(source, WrapperSource):
        for inner in source.sources:
            yield from _bases(inner)
    elif not isinstance(source, RunArray):  # it is nobody's but the run's
        yield source


def _name_of(part: Source) -> str | None:
    try:
        spec = part.to_spec()
    except NotReopenableError:
        return None
    if spec.path is None:
        return None
    if is_url(spec.path):
        return f"{spec.path}/{spec.internal_path or ''}".rstrip("/")
    archive, pipe, _ = spec.path.partition("|zip:")
    whole = Path(absolute_path(archive))
    inside = whole / (spec.internal_path or "")
    in_folder = inside.is_dir() or (not whole.exists() and spec.params.get("format") in _FOLDERS)
    return str(inside if in_folder and not pipe else whole)


def _files(folder: Path, above: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Files below a folder with their paths in it; what begins with a dot belongs to a run."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and not entry.name.startswith((".z",)):
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path), f"{above}{entry.name}/")
            else:
                yield above + entry.name, entry.stat()


def _hash(files: Iterator[tuple[str, os.stat_result]] | Sequence[tuple[str, os.stat_result]]) -> str:
    told = sorted(f"{name} {stat.st_ino} {stat.st_mtime_ns} {stat.st_size}" for name, stat in files)
    return hashlib.blake2b("\n".join(told).encode(), digest_size=16).hexdigest()
