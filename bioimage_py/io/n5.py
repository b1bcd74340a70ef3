"""n5, in any store: arrays through tensorstore, containers through z5py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..extras import needing
from ..sources import adapters
from ..sources.file import Opened
from ..sources.storage import detect_driver
from ..sources.stores import Location, locate
from .datasets import keep_local
from .keys import open_keyed


def construct(path: str, mode: str = "r", **kwargs: Any) -> Any:
    """Return the ``z5py.File`` of a path."""
    keep_local(path, "n5")
    with needing("z5py", "An n5 container"):
        import z5py
    return z5py.File(path, mode, **kwargs)


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open one array ("r" or "r+"); a multiscale group (s0, s1, ...) gives a level, s0 by default.

    Arguments other than ``level`` and ``storage_options`` go to z5py, which then opens the container.
    """
    arguments = dict(kwargs)
    level = arguments.pop("level", None)
    root = locate(path, arguments.pop("storage_options", None))
    if arguments:
        return Opened(construct(path, mode, **arguments)[key or ""], key or "")
    return open_keyed(root, key, level, _levels, lambda found: adapters.open_z5py(root, found, mode), "n5")


def _levels(group: Location) -> list[str]:
    found: list[str] = []
    while detect_driver(group / f"s{len(found)}") == "n5":
        found.append(f"s{len(found)}")
    return found
