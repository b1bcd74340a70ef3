"""What a call is given as a file, made a path: names, URLs, bytes, file objects and members of zip archives."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import stat
import tempfile
import weakref
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ...errors import (
    BioimageError,
    FormatError,
    MemoryBudgetError,
    ParameterError,
    SourceNotFoundError,
    SourceTypeError,
    StorageError,
)
from ...sources.stores.location import locate
from ...sources.stores.paths import is_url, resolve
from ..formats import format_for_extension, format_named, split_path

MOST_STREAMED = 256 * 2**20
"""Bytes that are taken from what cannot be rewound."""
MOST_UNPACKED = 2**36
"""Bytes of a member of an archive that are unpacked to a temporary file."""
KEPT_FREE = 2**30
"""Bytes that this leaves on the disk."""
PRECOMPUTED = "precomputed://"
"""In front of a path or URL, as Neuroglancer has it: what is there says so by itself."""
_PIECE = 2**20
_MEMBER = re.compile(r"^(.*?\.zip)[/\\](.+)$", re.IGNORECASE | re.DOTALL)


class Scratch:
    """A file that is removed with the last who refers to it.

    Parameters
    ----------
    suffix : str
        Ending of its name.
    """

    def __init__(self, suffix: str) -> None:
        handle, self.path = tempfile.mkstemp(suffix=suffix, prefix="bioimage-")
        os.close(handle)
        self._finish = weakref.finalize(self, _remove, self.path)

    def close(self) -> None:
        """Remove it now."""
        self._finish()


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


@dataclass(frozen=True)
class Resource:
    """Where an image is to be read.

    Parameters
    ----------
    uri : object
        What was given.
    path : str
        Local path or URL.
    scratch : Scratch, optional
        The file, where it is a copy.
    """

    uri: Any
    path: str
    scratch: Scratch | None = None

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self.path if self.scratch is None else f"<{type(self.uri).__name__}>"


def resource_of(uri: Any, extension: str | None = None) -> Resource:
    """Return where the file of a call lies; what is in memory or in an archive is put into a file.

    Raises
    ------
    SourceNotFoundError, ParameterError, SourceTypeError, StorageError
    """
    if isinstance(uri, bytes | bytearray | memoryview):
        scratch = Scratch(extension or "")
        with open(scratch.path, "wb") as file:
            file.write(uri)
        return Resource(uri, scratch.path, scratch)
    if hasattr(uri, "read") and not isinstance(uri, os.PathLike):
        return _of_file_object(uri, extension)
    if not (isinstance(uri, str | os.PathLike) or hasattr(uri, "geturl")):
        raise SourceTypeError(
            f"A {type(uri).__name__} is no file: {uri!r:.80}.", remedy="pass a path, a URL, bytes or an open file"
        )
    text = os.fspath(uri) if isinstance(uri, str | os.PathLike) else str(uri.geturl())
    if text.startswith("<") and text.endswith(">"):
        raise ParameterError(f"{text} cannot be read.", remedy="pass a path, a URL, bytes or an open file")
    if text.lower().startswith("imageio:"):
        return Resource(uri, _standard_image(text))
    path = resolve(text.removeprefix(PRECOMPUTED))
    if is_url(path):
        return _of_url(uri, path)
    member = _MEMBER.match(path)
    if member and not os.path.exists(path) and os.path.isfile(member[1]):
        return _of_member(uri, member[1], member[2])
    if stat.S_ISFIFO(_mode(path)):  # it can be read once, and a format looks twice
        with open(path, "rb") as pipe:
            return _of_file_object(pipe, extension)
    return Resource(uri, path)


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0


def require_open(uri: Any) -> None:
    """Raise where a file object is closed, or gives text."""
    if getattr(uri, "closed", False) is True:
        raise StorageError(f"{uri!r} is closed.", remedy="open it again, or pass its path")
    if isinstance(uri, io.TextIOBase):
        raise SourceTypeError(f"{uri!r} was opened as text.", remedy='open(path, "rb"), or "wb" to write')


def _of_file_object(uri: Any, extension: str | None) -> Resource:
    require_open(uri)
    position = uri.tell() if _seekable(uri) else None
    path = _real_path(uri)
    if path is not None and position == 0:
        return Resource(uri, path)
    name = getattr(uri, "name", "")
    ending = extension or (os.path.splitext(name)[1] if isinstance(name, str) else "")
    scratch = Scratch(ending)
    total = 0
    with open(scratch.path, "wb") as file:
        while piece := uri.read(_PIECE):
            if isinstance(piece, str):
                raise SourceTypeError(f"{uri!r} was opened as text.", remedy='open(path, "rb")')
            total += len(piece)
            if position is None and total > MOST_STREAMED:
                raise MemoryBudgetError(
                    f"{uri!r} cannot be rewound and has more than {MOST_STREAMED} bytes.", remedy="save it to a file"
                )
            file.write(piece)
    if position is not None:
        uri.seek(position)
    return Resource(uri, scratch.path, scratch)


def _seekable(uri: Any) -> bool:
    return bool(uri.seekable()) if hasattr(uri, "seekable") else hasattr(uri, "seek")


def _real_path(uri: Any) -> str | None:
    """The path of a file object that is nothing but an open file."""
    name, mode = getattr(uri, "name", None), getattr(uri, "mode", None)
    if not isinstance(name, str) or mode not in ("rb", "r+b", "rb+"):
        return None
    try:
        if mode != "rb":
            uri.flush()
        same = os.path.samestat(os.fstat(uri.fileno()), os.stat(name))
    except (OSError, AttributeError, ValueError):
        return None
    return os.path.abspath(name) if same else None


def _of_member(uri: Any, archive: str, name: str) -> Resource:
    """A file in a zip archive; a container in it is left to who reads containers."""
    name = name.replace(os.sep, "/")
    try:
        with zipfile.ZipFile(archive) as packed:
            names = set(packed.namelist())
            if name not in names:
                if split_path(archive + "/" + name)[1] or any(one.startswith(f"{name}/") for one in names):
                    return Resource(uri, f"{archive}/{name}")
                held = sorted(one for one in names if not one.endswith("/"))
                raise SourceNotFoundError(
                    f"{archive} has no file {name!r}; it has {', '.join(held[:5]) or 'none'}.",
                    remedy=f"{archive}/{held[0]}" if held else f"unzip -l {shlex.quote(archive)}",
                )
            info = packed.getinfo(name)
            free = shutil.disk_usage(tempfile.gettempdir()).free - KEPT_FREE
            if info.file_size > min(free, MOST_UNPACKED):
                raise MemoryBudgetError(
                    f"{archive}/{name} claims {info.file_size} bytes; {max(0, free)} may be unpacked to"
                    f" {tempfile.gettempdir()}.",
                    remedy="unpack it yourself, or set TMPDIR",
                )
            scratch = Scratch(os.path.splitext(name)[1])
            with packed.open(info) as source, open(scratch.path, "wb") as target:
                while piece := source.read(_PIECE):
                    target.write(piece)
    except BioimageError:
        raise
    except Exception as error:  # of the codecs too, over what is damaged
        raise FormatError(f"{archive} is a damaged archive: {error}", remedy="copy the file again") from error
    return Resource(uri, scratch.path, scratch)


def _of_url(uri: Any, url: str) -> Resource:
    """A URL of a store that is read where it lies, else a copy of the file."""
    container = split_path(url)[0]
    ending = os.path.splitext(container.partition("?")[0])[1].lower()
    name = format_for_extension(ending) if ending else None
    if name is None or format_named(name).stores:
        return Resource(uri, url)
    place = locate(url)
    parent = place.parent
    if parent is None:
        raise ParameterError(f"{url} names no file.", remedy="add its name")
    content = parent.read(place.name)
    if content is None:
        raise SourceNotFoundError(f"{url} does not exist.", remedy="check the address")
    scratch = Scratch(ending)
    try:
        with open(scratch.path, "wb") as file:
            file.write(content)
    except OSError as error:
        raise StorageError(f"Cannot keep a copy of {url}: {error}", remedy="free space, or set TMPDIR") from error
    return Resource(uri, scratch.path, scratch)


def _standard_image(text: str) -> str:
    """One of the images of imageio, if it has them on this disk."""
    name = text.partition(":")[2]
    folders: list[str] = []
    with suppress(ImportError):
        from imageio.core import util as imageio_util

        util: Any = imageio_util
        folders = [*util.resource_dirs(), util.appdata_dir("imageio")]
    for folder in folders:
        path = os.path.join(folder, "images", os.path.basename(name))
        if os.path.isfile(path):
            return path
    raise SourceNotFoundError(
        f"{text}: imageio has no such image on this disk, and nothing is downloaded.",
        remedy=f'imageio.v3.imread("{text}") once, which downloads it',
    )
