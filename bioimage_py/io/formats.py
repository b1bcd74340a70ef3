"""The open registry of file formats, and how a path tells its format."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from typing import Any

from ..errors import FormatError, ParameterError, SourceNotFoundError
from ..extras import need
from ..sources.file import absolute_path
from ..sources.registry import load_plugins
from ..sources.spec import load_qualified
from ..sources.stores.location import Location, locate
from ..sources.stores.paths import is_url
from ..system.swap import recover
from .details import Creator
from .table import ROWS, Constructor
from .table import Format as Format

_formats: dict[str, Format] = {}
_by_extension: dict[str, str] = {}
_signs: list[tuple[int, bytes, Format]] = []
_longest = 0
_lock = threading.Lock()


def register_format(
    name: str,
    extensions: Sequence[str],
    constructor: Constructor | str,
    *,
    writable: bool = False,
    create: Creator | str | None = None,
) -> None:
    """Add a file format, or replace one.

    Parameters
    ----------
    name : str
        Name of the format.
    extensions : sequence of str
        File name endings with the dot, such as [".mrc", ".rec"].
    constructor : callable or str
        ``constructor(path, mode=..., **kwargs)`` returns a mapping from keys to arrays, which may have a
        ``default_key`` and ``close()``; or one array. As a string: "module:function", imported when needed.
    writable : bool, default False
        True if it honours the modes "r+", "a" and "w"; with `create` it need not know more than "r+".
    create : callable or str, optional
        ``create(place, key, array)`` makes an array: the file is ``place.folder``, and what is wanted is `array`, a
        `NewArray`. Operations then write to paths of the format.
    """
    if isinstance(extensions, str):
        raise ParameterError(f"extensions is the string {extensions!r}.", remedy=f"pass a list: [{extensions!r}]")
    endings = tuple(_clean(extension) for extension in extensions)
    add_format(Format(name, endings, constructor, writable or create is not None, create=create, reads=None))


def add_format(entry: Format) -> None:
    """Add a format with all its details."""
    global _longest
    with _lock:
        _formats[entry.name] = entry
        _signs[:] = [(at, sign, known) for known in _formats.values() for at, sign in known.magic]
        _longest = max((at + len(sign) for at, sign, _ in _signs), default=0)
        for extension in entry.extensions:
            _by_extension[extension] = entry.name


def _clean(extension: str) -> str:
    lower = extension.lower()
    return lower if not lower or lower.startswith(".") else f".{lower}"


def fits(head: bytes) -> list[Format]:
    """Return the formats whose files begin so (see `longest_sign`), in the order of the table."""
    found = {entry.name: entry for at, sign, entry in _signs if head.startswith(sign, at)}
    return list(found.values())


def longest_sign() -> int:
    """Return how many bytes of a file tell its format."""
    return _longest


def supported_formats() -> list[str]:
    """Return the names of all formats."""
    return list(_formats)


def supported_extensions() -> list[str]:
    """Return all file name endings, with the dot; "" stands for a folder."""
    return list(_by_extension)


def format_for_extension(ext: str) -> str | None:
    """Return the name of the format of a file name ending, None if unknown."""
    return _by_extension.get(_clean(ext))


def format_named(name: str) -> Format:
    """Return a format by name.

    Raises
    ------
    FormatError
        If there is none of that name.
    """
    if name not in _formats:
        load_plugins()
    if name not in _formats:
        raise FormatError(f"Unknown format {name!r}; known are {', '.join(_formats)}.", remedy=_REGISTER)
    return _formats[name]


_REGISTER = "register_format(name, extensions, constructor), or pass format=... with a known one"


def constructor_for_format(name: str) -> Constructor:
    """Return the function that opens containers of a format."""
    found = format_named(name).constructor
    if isinstance(found, str):
        loaded: Constructor = load_qualified(found)
        return loaded
    return found


def is_writable_format(name: str) -> bool:
    """Tell whether arrays in files of a format can be written; no array can in a format that is not known."""
    return name in supported_formats() and format_named(name).writable


def creatable_formats() -> list[Format]:
    """Return the formats in which arrays can be created."""
    return [entry for entry in _formats.values() if entry.create is not None]


def array_keys_of(path: str) -> list[str] | None:
    """Return the keys of all arrays of a local file; None where its format has but one in a file."""
    entry = format_named(infer_format(path))
    if not entry.keys:
        return None
    require_library(entry)
    keys: list[str] = load_qualified(entry.keys)(path)
    return keys


def infer_format(path: str | os.PathLike[str], ext: str | None = None) -> str:
    """Return the name of the format of a path.

    Parameters
    ----------
    path : str or os.PathLike
        File, folder or URL.
    ext : str, optional
        Take this ending instead of the path's.

    Raises
    ------
    FormatError
        If the ending is unknown; lists the known ones.
    """
    if ext is None:
        return format_of(locate(path))
    found = format_for_extension(ext)
    if found is None:
        raise _unknown(ext)
    return found


def format_of(place: Location) -> str:
    """Return the name of the format of a place: by its name, else by what a folder (or its like) holds."""
    found = _served_by(place.url) or _named_by(_named_part(place.url))
    if found is not None:
        return found
    if place.folder is None or os.path.isdir(place.folder):
        kinds = [_known_inside, _grouped] if place.folder is not None else [_grouped, _known_inside]
        for (
            kind
        ) in kinds:  # a dataset of layers may be a zarr group too, which is rare behind a URL, and a request each
            if (found := kind(place)) is not None:
                return found
        if place.folder is not None:
            return "folder"
    ending = os.path.splitext(_named_part(place.url))[1]
    if not ending and "" in _by_extension and place.folder is not None:
        return _by_extension[""]
    raise _unknown(ending)


def _served_by(url: str) -> str | None:
    """The format of which servers have such URLs."""
    patterns = ((one.name, one.served) for one in _formats.values() if one.served)
    return next((name for name, pattern in patterns if re.match(f"https?://[^/]+{pattern}", url)), None)


def _known_inside(place: Location) -> str | None:
    for one in _formats.values():
        if one.inside is not None and one.inside[1] in place.read_json(one.inside[0]):
            return one.name
    return None


def _grouped(place: Location) -> str | None:
    if any(place.exists(name) for name in ("zarr.json", ".zarray", ".zgroup")):
        return "zarr"
    attributes = place.read_json("attributes.json")
    return "n5" if "n5" in attributes or "dimensions" in attributes else None


def _named_part(path: str) -> str:
    """Return the path without the query of a URL and what follows the name of an archive at its end."""
    bare = path.partition("?")[0] if is_url(path) else path
    return bare.rstrip("/").removesuffix("|zip:")


def _named_by(path: str) -> str | None:
    found = _registered_by(path)
    if found is None and os.path.splitext(path)[1]:
        load_plugins()
        found = _registered_by(path)
    return found


def _registered_by(path: str) -> str | None:
    name = os.path.basename(path.rstrip("/")).lower()
    parts = name.split(".")
    endings = ("." + ".".join(parts[number:]) for number in range(1, len(parts)))  # the longest first
    return next((_by_extension[ending] for ending in endings if ending in _by_extension), None)


def _unknown(ending: str) -> FormatError:
    known = ", ".join(sorted(extension for extension in _by_extension if extension))
    return FormatError(f"Unknown file name ending {ending!r}; known are {known}.", remedy=_REGISTER)


def split_path(path: str | os.PathLike[str]) -> tuple[str, str | None]:
    """Split a path into a container: "a.zarr/raw/s0" gives ("a.zarr", "raw/s0"); None where there is no key.

    In an archive the key is what follows ``|zip:``, unless that holds a container of its own ("a.zip|zip:b.zarr/raw").
    Only endings of formats that hold several arrays split.
    """
    text = os.fspath(path)
    head, mark, query = text.partition("?") if is_url(text) else (text, "", "")
    archive, pipe, inner = head.partition("|zip:")
    if pipe and not _named_inside(inner):
        container = archive if locate(archive).archive else archive + pipe
        return container + mark + query, inner.strip("/") or None
    head = head.rstrip("/")
    keys: list[str] = []
    while os.path.basename(head):
        found = _named_by(head)
        if found is not None and (_formats[found].container or not (keys or _is_key(head, _formats[found]))):
            return head + mark + query, "/".join(reversed(keys)) or None
        keys.append(os.path.basename(head))
        head = os.path.dirname(head)
    return text, None


def _is_key(path: str, entry: Format) -> bool:
    """Whether a name that ends as a file of one image is that of an array: there is no such file, but a container."""
    if entry.keys:
        return False
    above = map(_named_by, os.path.dirname(path).split("/"))
    return not os.path.lexists(path) and any(name is not None and _formats[name].container for name in above)


def _named_inside(inner: str) -> bool:
    named = map(_named_by, inner.split("/"))
    return any(name is not None and _formats[name].container for name in named)


def open_file(
    path: str | os.PathLike[str], mode: str = "r", ext: str | None = None, format: str | None = None, **kwargs: Any
) -> Any:
    """Open a container with the library of its format.

    Parameters
    ----------
    path : str or os.PathLike
        File, folder or URL.
    mode : str, default "r"
        Mode of the library; "w" empties the whole container.
    ext : str, optional
        Take this ending instead of the path's.
    format : str, optional
        Name of the format; wins over `ext`.
    **kwargs
        For the library.

    Returns
    -------
    object
        ``h5py.File``, ``zarr.Group`` or ``zarr.Array``, ``z5py.File``; a mapping with the key "" for image files.

    Raises
    ------
    SourceNotFoundError, FormatError, MissingDependencyError
    """
    resolved = absolute_path(path)
    if mode in ("r", "r+"):
        require_path(resolved)
    entry = format_named(format or infer_format(resolved, ext))
    require_library(entry)
    return constructor_for_format(entry.name)(resolved, mode=mode, **kwargs)


def require_path(path: str) -> None:
    """Raise if a local path does not exist, naming the part of it that does; of an archive, if its file does not.

    Raises
    ------
    SourceNotFoundError
    FormatError
        If it is a pipe, a socket or a device, for which a reader would wait.
    """
    if os.path.exists(path):
        if not (os.path.isfile(path) or os.path.isdir(path)):
            raise FormatError(
                f"{path} is no file or folder, but a device, pipe or socket.",
                remedy=f"bioimage_py.imread({path!r}), which reads what comes from a pipe as a whole",
            )
        return
    path = locate(path).url.partition("|zip:")[0]
    if is_url(path) or os.path.exists(path) or (recover(path) and os.path.exists(path)):
        return
    parent = os.path.dirname(path)
    while not os.path.exists(parent) and parent != os.path.dirname(parent):
        parent = os.path.dirname(parent)
    raise SourceNotFoundError(f"{path} does not exist.", remedy=f"check the path; {parent} exists")


def require_library(entry: Format) -> None:
    """Raise if the library of a format is not installed."""
    if entry.requires:
        need(entry.requires, f"The format {entry.name!r}")


def keep_local(path: str, name: str) -> None:
    """Raise for URLs in formats that are read from the file system only."""
    if is_url(path):
        raise FormatError(f"{path}: {name} files are read from the file system only.", remedy="download it first")


for _entry in ROWS:
    add_format(_entry)
