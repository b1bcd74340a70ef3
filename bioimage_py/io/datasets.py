"""Opening one array of a file: the part of `open_source` that knows formats."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from ..errors import BioimageError, FormatError, ParameterError
from ..sources.file import FileSource, Opened
from ..sources.spec import load_qualified
from ..sources.stores.location import locate
from ..sources.stores.paths import is_url, resolve
from ..system.swap import recover
from .formats import Format, format_named, require_library, require_path, split_path
from .keys import key_among, wrong_key
from .recognize import recognized

CREATION = ("shape", "dtype", "chunks", "shards", "axes", "compressor", "fill_value")


def open_file_source(
    path: str | os.PathLike[str],
    key: str | None,
    format: str | Format | None,
    mode: str,
    kwargs: Mapping[str, Any],
    level: int | str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> FileSource:
    """Do what `open_source` says; a format may also be one that the table does not have."""
    resolved = resolve(path)
    if key is None and format is None:
        resolved, key = split_path(resolved)
    if mode in ("r", "r+"):
        require_path(resolved)
    if isinstance(format, Format):
        entry = format
    else:
        entry = format_named(format) if format else recognized(locate(resolved, storage_options))
    for name, what, given, taken in (
        ("level", "levels", level is not None, entry.levels),
        ("storage_options", "stores", bool(storage_options), entry.stores),
    ):
        if given and not taken:
            raise ParameterError(
                f"{resolved} is of the format {entry.name!r}, which has no {what}.",
                remedy=f"leave {name} out, or use zarr or n5",
            )
    require_library(entry)
    if not entry.stores and ".zip" in resolved.lower() and not os.path.exists(resolved):
        _refuse_packed(resolved)
    if not (key is None or isinstance(key, str)):
        raise ParameterError(f"internal_path={key!r} is not text", remedy='internal_path="raw"')
    key = None if key is None else key.strip("/")
    if key and entry.stores and not is_url(resolved):
        recover(os.path.join(resolved, key))
    arguments = {name: value for name, value in kwargs.items() if name not in CREATION}
    if storage_options:
        arguments["storage_options"] = dict(storage_options)
    creation = {name: value for name, value in kwargs.items() if name in CREATION}
    if creation and (mode in ("r", "r+") or entry.create is None):
        wrong = ParameterError if mode in ("r", "r+") else FormatError
        raise wrong(
            f"{', '.join(creation)} create an array, but mode is {mode!r} and the format {entry.name!r}.",
            remedy="use mode='a' or mode='w' with zarr, n5 or hdf5, or leave them out",
        )
    writes = entry.writable and mode != "r"
    if writes and mode != "r+":
        key = _prepare(resolved, key, entry, mode, creation, storage_options)
    elif mode not in ("r", "r+"):
        require_path(resolved)
    chosen = {} if level is None else {"level": level}
    opened = _open(entry, resolved, key, "r+" if writes else "r", {**arguments, **chosen})
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


def _refuse_packed(path: str) -> None:
    """A file in an archive has to be unpacked, which the six functions do."""
    above = os.path.dirname(path)
    while above and not os.path.exists(above):
        above = os.path.dirname(above)
    if os.path.isfile(above):
        raise FormatError(
            f"{path} is packed in the archive {above}, from which only zarr and n5 are opened.",
            remedy=f"bioimage_py.imopen({path!r}, 'r').source(), or unzip {shlex.quote(above)}",
        )


def _prepare(
    path: str,
    key: str | None,
    entry: Format,
    mode: str,
    creation: Mapping[str, Any],
    storage_options: Mapping[str, Any] | None,
) -> str | None:
    """Create or empty an array as the mode asks; this is the only place that does."""
    if entry.create is None:  # its constructor knows the modes
        if entry.inside is not None and mode in ("w", "w-", "x"):
            raise FormatError(f"mode {mode!r} creates an array, and {entry.name} has none to be.", remedy="mode='r+'")
        return key
    from .create import array_exists, clear_array, create_array

    exists = array_exists(path, key, entry.name, storage_options)
    if mode in ("w-", "x") and exists:
        raise ParameterError(
            f"{path} has an array {key or ''!r} already.", remedy="use mode='r+', or mode='w' to empty it"
        )
    if "shape" in creation:
        if "dtype" not in creation:
            raise ParameterError("dtype is missing.", remedy="pass dtype=... together with shape=...")
        created = create_array(
            path, key, format=entry.name, overwrite=mode == "w", storage_options=storage_options, **creation
        )
        return created.internal_path
    if exists and mode == "w":
        clear_array(path, key, entry.name, storage_options)
    elif not exists and not (mode == "a" and (is_url(path) or os.path.exists(path))):
        raise ParameterError(
            f"There is no array {key or ''!r} in {path}, and mode {mode!r} needs to know what to create.",
            remedy="pass shape=..., dtype=... and chunks=..., or use create_array(...)",
        )
    return key


def _open(entry: Format, path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    if entry.opener:
        try:
            opened: Opened = load_qualified(entry.opener)(path, key, mode, kwargs)
        except BioimageError:
            raise
        except (IsADirectoryError, NotADirectoryError) as error:
            raise FormatError(
                f"{path} is none of the format {entry.name!r}: {error}", remedy="check the path"
            ) from error
        except (
            ValueError,
            ArithmeticError,
            LookupError,
            AttributeError,
            RecursionError,
        ) as error:  # of a library, over what the file says
            raise FormatError(f"{path} makes no sense as {entry.name}: {error}", remedy="check the file") from error
        return opened
    make = load_qualified(entry.constructor) if isinstance(entry.constructor, str) else entry.constructor
    container = make(path, mode=mode, **kwargs)
    if hasattr(container, "shape") and hasattr(container, "dtype"):
        return Opened(container, "", container=container)
    key = getattr(container, "default_key", None) if key is None else key
    keys = [str(name) for name in container] if hasattr(container, "__iter__") else []
    if key is None:
        key = key_among(path, None, keys)
    try:
        array = container[key]
    except KeyError:
        raise wrong_key(path, key, keys) from None
    return Opened(array, key, container=container)
