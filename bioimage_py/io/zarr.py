"""zarr (2, 3, sharded) and OME-Zarr, in any store: arrays through tensorstore, containers through zarr-python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import SourceNotFoundError
from ..extras import missing
from ..sources import adapters
from ..sources.file import Opened
from ..sources.stores import locate
from .keys import key_among, ome_levels, open_keyed


def construct(path: str, mode: str = "r", **kwargs: Any) -> Any:
    """Return the ``zarr.Group`` or ``zarr.Array`` at a path or URL."""
    import zarr

    try:
        return zarr.open(path, mode=mode, **kwargs)  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"{path}: {error}", remedy="check the path") from error
    except ImportError as error:
        raise missing(path, "zarr[remote]", error) from error


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open one array ("r" or "r+"); a group of OME-Zarr gives a level, the first by default.

    Arguments other than ``level`` and ``storage_options`` go to zarr-python, which then opens the container.
    """
    arguments = dict(kwargs)
    level = arguments.pop("level", None)
    options = arguments.pop("storage_options", None)
    root = locate(path, options)
    if arguments:
        return _open_native(path, key, mode, arguments)
    return open_keyed(root, key, level, ome_levels, lambda found: adapters.open_zarr(root, found, mode), "zarr")


def _open_native(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    import zarr

    root = construct(path, mode, **kwargs)
    node = root
    if key:
        node = root.get(key) if isinstance(root, zarr.Group) else None
    if isinstance(node, zarr.Array):
        return Opened(node, key or "")
    keys = [name for name, member in root.members(max_depth=4) if isinstance(member, zarr.Array)]
    only = key_among(path, key, keys)
    return Opened(root[only], only)
