"""Opening one array of a file: the part of `open_source` that knows formats."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import FormatError, KeyNotFoundError, ParameterError
from ..sources.backing import Backing
from ..sources.file import FileSource, Opened, absolute_path, is_url
from ..sources.spec import load_qualified
from ..sources.storage import detect_driver
from .formats import (
    Format,
    constructor_for_format,
    format_named,
    infer_format,
    require_library,
    require_path,
    split_path,
)

CREATION = ("shape", "dtype", "chunks", "shards", "axes", "compressor", "fill_value")

_SHOWN = 50


def open_file_source(
    path: str | os.PathLike[str], key: str | None, format: str | None, mode: str, kwargs: Mapping[str, Any]
) -> FileSource:
    """Do what `open_source` says."""
    resolved = absolute_path(path)
    if key is None and format is None:
        resolved, key = split_path(resolved)
    if mode in ("r", "r+"):
        require_path(resolved)
    entry = format_named(format or infer_format(resolved))
    require_library(entry)
    key = None if key is None else key.strip("/")
    arguments = {name: value for name, value in kwargs.items() if name not in CREATION}
    creation = {name: value for name, value in kwargs.items() if name in CREATION}
    if creation and (mode in ("r", "r+") or not entry.writable):
        raise ParameterError(
            f"{', '.join(creation)} create an array, but mode is {mode!r} and the format {entry.name!r}.",
            remedy="use mode='a' or mode='w' with zarr, n5 or hdf5, or leave them out",
        )
    writes = entry.writable and mode != "r"
    if writes and mode != "r+":
        key = _prepare(resolved, key, entry, mode, creation)
    else:
        require_path(resolved)
    opened = _open(entry, resolved, key, "r+" if writes else "r", arguments)
    return FileSource(
        opened.array,
        path=resolved,
        internal_path=opened.key,
        format=entry.name,
        mode=mode,
        open_kwargs=arguments,
        writable=writes,
        axes=opened.axes,
        container=opened.container,
    )


def _prepare(path: str, key: str | None, entry: Format, mode: str, creation: Mapping[str, Any]) -> str | None:
    """Create or empty an array as the mode asks; this is the only place that does."""
    if not entry.opener:
        return key
    from .create import array_exists, clear_array, create_array

    exists = array_exists(path, key, entry.name)
    if mode in ("w-", "x") and exists:
        raise ParameterError(
            f"{path} has an array {key or ''!r} already.", remedy="use mode='r+', or mode='w' to empty it"
        )
    if "shape" in creation:
        if "dtype" not in creation:
            raise ParameterError("dtype is missing.", remedy="pass dtype=... together with shape=...")
        return create_array(path, key, format=entry.name, overwrite=mode == "w", **creation).internal_path
    if exists and mode == "w":
        clear_array(path, key, entry.name)
    elif not exists and not (mode == "a" and os.path.exists(path)):
        raise ParameterError(
            f"There is no array {key or ''!r} in {path}, and mode {mode!r} needs to know what to create.",
            remedy="pass shape=..., dtype=... and chunks=..., or use create_array(...)",
        )
    return key


def _open(entry: Format, path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    if entry.opener:
        opened: Opened = load_qualified(entry.opener)(path, key, mode, kwargs)
        return opened
    container = constructor_for_format(entry.name)(path, mode=mode, **kwargs)
    if hasattr(container, "shape") and hasattr(container, "dtype"):
        return Opened(container, "", container=container)
    key = getattr(container, "default_key", None) if key is None else key
    keys = [str(name) for name in container] if hasattr(container, "__iter__") else []
    if key is None:
        raise no_key(path, keys)
    try:
        array = container[key]
    except KeyError:
        raise wrong_key(path, key, keys) from None
    return Opened(array, key, container=container)


def open_folder(
    path: str, key: str | None, default: Callable[[str], str | None], opener: Callable[[str], Backing], name: str
) -> Opened:
    """Open an array in a container that is a folder of folders (zarr, n5).

    Parameters
    ----------
    path : str
        Container.
    key : str, optional
        Key of the array or of a group.
    default : callable
        Returns, for the path of a group, the key of its array to open by default, or None.
    opener : callable
        Opens the array of a key.
    name : str
        Name of the format, for messages.
    """
    folder = os.path.join(path, key or "")
    if not os.path.isdir(path):
        raise FormatError(f"{path} is a file, not a {name} folder.", remedy="pass format=... if it is something else")
    if detect_driver(folder) is None:
        inner = default(folder) if os.path.isdir(folder) else None
        if inner is None:
            keys = folder_keys(path)
            if not keys and not is_group(path):
                raise FormatError(f"{path} is no {name} container.", remedy="pass format=... if it is something else")
            raise no_key(path, keys) if key is None else wrong_key(path, key, keys)
        key = os.path.join(key or "", inner)
    return Opened(opener(key or ""), key or "")


def is_group(path: str) -> bool:
    """Tell whether a folder has the metadata of a group."""
    return any(os.path.isfile(os.path.join(path, name)) for name in ("zarr.json", ".zgroup", "attributes.json"))


def folder_keys(path: str) -> list[str]:
    """Return the keys of the first arrays in a container that is a folder, sorted level by level."""
    return list(itertools.islice(_walk(path), _SHOWN + 1))


def _walk(path: str) -> Iterable[str]:
    for folder, names, _ in os.walk(path):
        names.sort()
        if detect_driver(folder) is not None:
            names.clear()
            yield os.path.relpath(folder, path)


def no_key(path: str, keys: list[str]) -> ParameterError:
    """Return the error for a container with several arrays and no key."""
    return ParameterError(
        f"{path} is a container, and internal_path is not given. {_listed(keys)}",
        remedy=f"open_source({path!r}, {keys[0] if keys else '...'!r})",
    )


def wrong_key(path: str, key: str, keys: list[str]) -> KeyNotFoundError:
    """Return the error for a key that a container does not have."""
    close = [name for name in keys if name.endswith(key.rpartition("/")[2])] or keys
    return KeyNotFoundError(
        f"{path} has no array {key!r}. {_listed(keys)}",
        remedy=f"open_source({path!r}, {close[0] if close else '...'!r})",
    )


def _listed(keys: list[str]) -> str:
    if not keys:
        return "It has no arrays."
    more = ", ..." if len(keys) > _SHOWN else ""
    return f"It has: {', '.join(keys[:_SHOWN])}{more}."


def keep_local(path: str, name: str) -> None:
    """Raise for URLs in formats that are read from the file system only."""
    if is_url(path):
        raise FormatError(f"{path}: {name} files are read from the file system only.", remedy="download it first")
