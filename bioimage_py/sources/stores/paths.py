"""Paths and URLs."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote

from ...errors import ParameterError, SourceTypeError


def over_network(path: str) -> bool:
    """Tell URLs of which reading waits for a network, also behind a format ("precomputed://gs://...")."""
    return re.search(r"(^|://)(https?|s3|gs)://", path, re.IGNORECASE) is not None


def is_url(path: str) -> bool:
    """Tell URLs from paths; ``file://`` is a path."""
    scheme, separator, _ = path.partition("://")
    return bool(separator) and scheme.lower() != "file" and scheme.replace("+", "").isalnum()


def _names_a_scheme(path: Any) -> bool:
    return hasattr(path, "scheme") or hasattr(path, "protocol")


def resolve(path: Any) -> str:
    """Return the absolute path, or the URL without a slash at its end; ``~`` and ``file://`` are resolved.

    Besides strings and os.PathLike, it takes the URL objects of urllib, yarl and universal_pathlib.
    """
    if isinstance(path, str) and path.startswith("/") and "\0" not in path:
        return os.path.normpath(path)
    if isinstance(path, str | os.PathLike):
        text = os.fspath(path)
    else:
        if not (hasattr(path, "geturl") or (hasattr(path, "path") and _names_a_scheme(path))):
            array = hasattr(path, "shape") and hasattr(path, "dtype")
            raise SourceTypeError(
                f"A {type(path).__name__} is not a path: {path!r}.",
                remedy="pass it as it is, or bioimage_py.sources.as_source(array)"
                if array
                else 'pass a path: "a.zarr"',
            )
        text = path.geturl() if hasattr(path, "geturl") else str(path)
    if not text:
        raise ParameterError("The path is empty.", remedy='pass one, such as "a.tif"; "." is the folder one is in')
    if is_url(text):
        scheme, _, rest = text.partition("://")
        return f"{scheme.lower()}://{rest.rstrip('/') if '?' not in rest else rest}"
    if text.lower().startswith("file://"):
        text = unquote(text[len("file://") :])
    if "\0" in text:
        raise ParameterError(f"No file can be called {text!r}.", remedy="leave out the character NUL")
    return os.path.abspath(os.path.expanduser(text))


def for_zarr(path: str, mode: str = "r+") -> Any:
    """Return what zarr-python takes for a path: a store where it would take a local name with ``::`` for two URLs."""
    if "::" not in path or is_url(path):
        return path
    from zarr.storage import LocalStore

    return LocalStore(path, read_only=mode == "r")


def check_path(path: str) -> None:
    """Refuse a local name that the storage engine would look for, or write, elsewhere or not at all.

    Raises
    ------
    ParameterError
        It has a backslash, which the engine takes for a slash, or signs that are no text.
    """
    if "\\" in path or "\0" in path or not (path.isascii() or _is_text(path)):
        raise ParameterError(
            f"The storage engine has no file called {path!r}.", remedy="name folders with '/', and files without '\\'"
        )


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
