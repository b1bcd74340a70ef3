"""What the storage engine leaves out of a zip archive, so that its voxels would read as the fill value.

It passes over entries that are encrypted, or compressed by a method that it lacks or far beyond what voxels are, and
finds none whose name is not written plainly ("raw//0", or with backslashes).
"""

from __future__ import annotations

import functools
import io
import os
import posixpath
import zipfile
from typing import Any

from ...errors import FormatError
from ...system.json_text import LARGEST
from .errors import REPACK, failed
from .location import Location, open_kvstore

_TAIL = 1 << 16
_UTF8 = 0x800
"""The bit of an entry whose name is written in it; else it is in the code page of the first archives."""


def left_out(place: Location) -> str:
    """Say what the engine leaves out of what lies below a place in an archive; empty where that is nothing.

    Raises
    ------
    StorageError
        If the archive's directory cannot be read.
    """
    archive, pipe, inner = place.url.partition("|zip:")
    root = Location(archive + pipe, place.options)
    begin = f"{inner.strip('/')}/" if inner else ""
    found = [(name, why) for name, why in _left_out(root, _version(archive)) if _plain(name).startswith(begin)]
    if not found:
        return ""
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return f"the storage engine passes over the entry {found[0][0]!r} of the archive ({found[0][1]}{more})"


def refuse_left_out(place: Location) -> None:
    """FormatError where voxels of what lies at a place would read as the fill value; see `left_out`."""
    if place.archive and (hidden := left_out(place)):
        raise FormatError(f"{place}: {hidden}", remedy=REPACK)


def _plain(name: str) -> str:
    return posixpath.normpath("/" + name.replace("\\", "/")).lstrip("/")


def _version(archive: str) -> tuple[int, ...]:
    """What tells a local archive that was written again."""
    try:
        stat = os.stat(archive)
        return stat.st_ino, stat.st_mtime_ns, stat.st_size
    except OSError:
        return ()


@functools.lru_cache(32)
def _left_out(root: Location, _: tuple[int, ...]) -> tuple[tuple[str, str], ...]:
    listed = set(root.names() or ())
    found = []
    for entry in _directory(root):
        written = entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF8 else "cp437")
        name = written.decode(errors="replace")
        if not entry.is_dir() and (name not in listed or name != _plain(name)):
            found.append((name, _why(entry)))
    return tuple(found)


def _directory(root: Location) -> list[zipfile.ZipInfo]:
    archive = root.url.partition("|zip:")[0]
    try:
        with zipfile.ZipFile(archive if root.scheme == "file" else _end_of(root, archive)) as file:
            return file.infolist()
    except Exception as error:  # zipfile raises whatever reading a damaged directory runs into
        raise failed("read the directory of", root, error) from error


def _end_of(root: Location, archive: str) -> io.BytesIO:
    """The end of an archive in a store, from the first entry of its directory on."""
    above, _, name = archive.partition("?")[0].rpartition("/")
    store: Any = open_kvstore(Location(above + archive[len(above) + 1 + len(name) :], root.options))
    size = _TAIL
    while True:
        try:
            content = bytes(store.read(name, byte_range=slice(-size, None)).result().value)
        except ValueError as error:
            if "OUT_OF_RANGE" not in str(error):
                raise
            content = bytes(store.read(name).result().value)  # it is smaller than that
        try:
            zipfile.ZipFile(io.BytesIO(content)).close()
            return io.BytesIO(content)
        except zipfile.BadZipFile:
            if len(content) < size or size > LARGEST:
                raise
            size *= 16


def _why(entry: zipfile.ZipInfo) -> str:
    if entry.flag_bits & 1:
        return "it is encrypted"
    if entry.orig_filename != _plain(entry.orig_filename):
        return "its name is no plain path"
    if entry.compress_size and entry.file_size > 1000 * entry.compress_size:
        return f"it says that {entry.compress_size} bytes unpack to {entry.file_size}"
    return f"compressed by method {entry.compress_type}"
