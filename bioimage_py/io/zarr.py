"""zarr: versions 2 and 3, sharded arrays, OME-Zarr; local folders through tensorstore, URLs through zarr-python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import MissingDependencyError, SourceNotFoundError
from ..sources import adapters
from ..sources.file import Opened, is_url
from ..sources.metadata import multiscales_of, parse_axes, read_attributes
from .datasets import no_key, open_folder, wrong_key


def construct(path: str, mode: str = "r", **kwargs: Any) -> Any:
    """Return the ``zarr.Group`` or ``zarr.Array`` at a path or URL."""
    import zarr

    try:
        return zarr.open(path, mode=mode, **kwargs)  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"{path}: {error}", remedy="check the path") from error
    except ImportError as error:
        raise MissingDependencyError(f"{path}: {error}", remedy="pip install 'zarr[remote]'") from error


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open one array ("r" or "r+"); a group of OME-Zarr gives its first level."""
    if is_url(path) or kwargs:
        return _open_remote(path, key, mode, kwargs)
    return open_folder(path, key, _first_level, lambda found: adapters.open_zarr(path, found, mode), "zarr")


def _first_level(folder: str) -> str | None:
    for entry in multiscales_of(read_attributes(folder)):
        if entry["datasets"] and isinstance(entry["datasets"][0].get("path"), str):
            return str(entry["datasets"][0]["path"]).strip("/")
    return None


def _open_remote(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    import zarr

    root = construct(path, mode, **kwargs)
    node = root
    if key:
        node = root.get(key) if isinstance(root, zarr.Group) else None
    found, axes = key or "", None
    if isinstance(node, zarr.Group):
        for entry in multiscales_of(dict(node.attrs)):
            dataset = entry["datasets"][0]
            found = f"{found}/{dataset['path']}".strip("/")
            node = node.get(dataset["path"])
            if isinstance(node, zarr.Array):
                axes = parse_axes(entry, dataset, node.ndim)
            break
    if isinstance(node, zarr.Array):
        return Opened(node, found, axes)
    keys = [name for name, member in root.members(max_depth=4) if isinstance(member, zarr.Array)]
    raise no_key(path, keys) if key is None else wrong_key(path, key, keys)
