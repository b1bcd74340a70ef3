"""n5 folders: arrays through tensorstore, containers through z5py."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import MissingDependencyError
from ..sources import adapters
from ..sources.file import Opened
from ..sources.storage import detect_driver
from .datasets import keep_local, open_folder


def construct(path: str, mode: str = "r", **kwargs: Any) -> Any:
    """Return the ``z5py.File`` of a path."""
    keep_local(path, "n5")
    try:
        import z5py
    except ImportError as error:
        raise MissingDependencyError("n5 containers need z5py.", remedy="pip install 'bioimage_py[io]'") from error
    return z5py.File(path, mode, **kwargs)


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open one array ("r" or "r+"); a multiscale group (s0, s1, ...) gives its s0."""
    keep_local(path, "n5")
    if kwargs:
        return Opened(construct(path, mode, **kwargs)[key or ""], key or "")
    return open_folder(path, key, _first_level, lambda found: adapters.open_z5py(path, found, mode), "n5")


def _first_level(folder: str) -> str | None:
    return "s0" if detect_driver(os.path.join(folder, "s0")) == "n5" else None
