"""Copies in chunks of images that are slow to read in parts, up to a size, shared by all processes.

An entry is a folder that appears whole by one rename. Its key is the resource, its version, and time, size and inode
of the file, so changed data is another entry. The least recently used entries go first.

Chunks are small, so that a plane of any axis decodes little beside itself; shards keep files few. Each chunk has its
checksum, so opening an entry looks at the sizes of its files only, and reading finds what else is damaged.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...errors import BioimageError, NotReopenableError, ParameterError
from ...io.create import create_array
from ...operations.copying import copy
from ...sources import Source
from ...sources.file import FileSource, open_source
from ...system.files import own_folder, read_small, write_once
from ...system.json_text import parse_json

VARIABLE = "BIOIMAGE_PY_CACHE"
"""Folder of the cache; with ":SIZE" behind it also its size in bytes."""
DEFAULT_BYTES = 20 * 2**30
_ABANDONED = 24 * 3600.0
"""Seconds after which an entry that is being made counts as left behind."""
_ABOUT, _DATA, _METADATA = "about.json", "data.zarr", "zarr.json"
_VOXELS = 2**15
"""Of a chunk, at most: 32³."""
_SHARD = 4
"""Chunks of a shard along each axis."""


def cache_folder() -> tuple[Path, int]:
    """Return the folder of the cache and its size in bytes, as the variable `VARIABLE` says.

    Raises
    ------
    ParameterError
        The size is no number.
    """
    said = os.environ.get(VARIABLE, "")
    path, size = said, DEFAULT_BYTES
    if match := re.fullmatch(r"(.*):([^:/]*)", said):
        path = match[1]
        if not match[2].isdigit():
            raise ParameterError(f"{VARIABLE}={said!r}: {match[2]!r} is no number of bytes.", remedy="FOLDER:BYTES")
        size = int(match[2])
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(path or os.path.join(home, "bioimage_py", "datasets")), size


def wants_cache(source: Source) -> bool:
    """Whether a source is slow to read in parts and can be told from another content."""
    slow = source.chunks is None or source.remote or source.streamed
    return isinstance(source, FileSource) and slow and source.size > 0


def is_cached(source: Source) -> bool:
    """Whether a source is such a copy."""
    return isinstance(source, FileSource) and Path(source.path).is_relative_to(cache_folder()[0])


def cached(id: str, version: str, source: Source, fetch: bool = False) -> Source:
    """Return the source, or a chunked copy of it where that is read faster; made once for all processes.

    Of a source that has chunks, but lies far away, a copy is made only with `fetch`: an item needs little of it.
    """
    if not wants_cache(source):
        return source
    root, limit = cache_folder()
    if source.nbytes > limit:
        return source
    try:
        key = _key(id, version, source)
    except (NotReopenableError, OSError):
        return source
    entry = root / key
    if not _whole(entry):
        if source.chunks is not None and not source.streamed and not fetch:
            return source
        _make(root, entry, source, limit)
    return _used(entry) or source


def of_server(name: str, open_it: Callable[[], Source], fetch: bool = False) -> Source:
    """Return the chunked copy of what a server keeps under a name for ever, else what it sends by chunk.

    A copy is made only with `fetch`, and needs no server.
    """
    root, limit = cache_folder()
    entry = root / hashlib.sha256(name.encode()).hexdigest()[:40]
    if not _whole(entry):
        source = open_it()
        if not fetch or source.nbytes > limit:
            return source
        _make(root, entry, source, limit)
    return _used(entry) or open_it()


def _used(entry: Path) -> Source | None:
    """Open a copy, which was used last now; None where somebody made room just now."""
    with suppress(OSError):
        os.utime(entry / _ABOUT)
    try:
        return open_source(entry / _DATA, "0", format="zarr")
    except (BioimageError, OSError):
        return None


def _key(id: str, version: str, source: Source) -> str:
    spec = source.to_spec()
    stored: list[Any] = []
    path = spec.path
    if path is not None and os.path.exists(path):
        status = os.stat(path)
        stored = [status.st_mtime_ns, status.st_size, status.st_ino]
    text = json.dumps([id, version, json.loads(spec.to_json()), stored, source.shape, source.dtype.str, _VOXELS])
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _make(root: Path, entry: Path, source: Source, limit: int) -> None:
    own_folder(root)
    with _alone(root / f".{entry.name}.lock"):
        if _whole(entry):
            return
        shutil.rmtree(entry, ignore_errors=True)  # what is damaged is made anew
        private = root / f".new-{entry.name}-{os.getpid()}"
        shutil.rmtree(private, ignore_errors=True)
        try:
            with _created(private / _DATA, source) as output:
                copy(source, output, job_type="local", progress=False)
            files = {str(path.relative_to(private)): (path.stat().st_size, _sum(path)) for path in _files(private)}
            size = sum(size for size, _ in files.values())
            write_once(private / _ABOUT, json.dumps({"files": files, "bytes": size}).encode())
            os.rename(private, entry)
        finally:
            shutil.rmtree(private, ignore_errors=True)
    with _alone(root / ".room.lock"):
        _make_room(root, limit, entry)


def _created(path: Path, source: Source) -> Source:
    from zarr.codecs import BloscCodec, Crc32cCodec

    chunks = chunks_of(source.shape)
    shards = tuple(size * min(_SHARD, -(-whole // size)) for size, whole in zip(chunks, source.shape, strict=True))
    # two to three times as fast to decode as zstd
    codecs = (BloscCodec(cname="lz4", clevel=5, typesize=source.dtype.itemsize), Crc32cCodec())
    return create_array(
        path,
        "0",
        shape=source.shape,
        dtype=source.dtype,
        chunks=chunks,
        shards=shards,
        axes=source.axes,
        compressor=codecs,
        format="zarr",
    )


def chunks_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the chunks of a copy: as long along all axes as the axes and `_VOXELS` let them be, a power of two."""
    long = 1
    while math.prod(min(2 * long, size) for size in shape) <= _VOXELS and long < max(shape):
        long *= 2
    return tuple(min(long, size) for size in shape)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _ABOUT:
            yield path


def _sum(path: str | Path) -> int:
    with open(path, "rb") as file:
        return zlib.crc32(file.read())


def _whole(entry: Path, to_the_bit: bool = False) -> bool:
    """Whether an entry is there, with files of the sizes that they had; `to_the_bit`: and with their content."""
    try:
        told = parse_json(read_small(entry / _ABOUT))["files"]
        for name, (size, checksum) in told.items():
            path = os.path.join(entry, name)
            small = name.endswith(_METADATA)  # of which no chunk's checksum tells
            if os.stat(path).st_size != size or ((small or to_the_bit) and _sum(path) != checksum):
                return False
    except (OSError, ValueError, TypeError, KeyError, AttributeError, BioimageError):
        return False
    return bool(told)


def drop_if_damaged(source: Source) -> None:
    """Remove a copy that could not be read, if it is not what was written; opening makes it anew."""
    if not isinstance(source, FileSource) or not is_cached(source):
        return
    root = cache_folder()[0]
    entry = root / Path(source.path).relative_to(root).parts[0]
    with _alone(root / f".{entry.name}.lock"):
        if entry.exists() and not _whole(entry, to_the_bit=True):
            _remove(root, entry)


def _remove(root: Path, entry: Path) -> None:
    gone = root / f".gone-{entry.name}-{secrets.token_hex(4)}"
    os.rename(entry, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _make_room(root: Path, limit: int, keep: Path) -> None:
    for path in [*root.glob(".new-*"), *root.glob(".gone-*")]:  # of processes that were killed
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)
    entries = []
    for path in root.glob("[!.]*"):
        with suppress(OSError, ValueError, BioimageError, KeyError, TypeError):
            about = parse_json(read_small(path / _ABOUT))
            entries.append(((path / _ABOUT).stat().st_mtime_ns, int(about["bytes"]), path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            return
        if path != keep:
            with suppress(OSError):
                _remove(root, path)
                total -= size


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
