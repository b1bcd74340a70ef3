"""HDF5 files, through h5py."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import FormatError, StorageError
from ..sources.backing import HDF5Backing
from ..sources.file import Opened
from .datasets import keep_local
from .keys import key_among


def construct(path: str, mode: str = "r", **kwargs: Any) -> Any:
    """Return the ``h5py.File`` of a path."""
    import h5py

    keep_local(path, "HDF5")
    if os.path.exists(path) and mode != "w" and not h5py.is_hdf5(path):
        raise FormatError(f"{path} is no HDF5 file.", remedy="pass format=... if it is something else")
    try:
        return h5py.File(path, mode, **kwargs)
    except OSError as error:
        raise StorageError(
            f"Cannot open {path}: {error}",
            remedy="close it in the process that writes it: HDF5 allows one writer alone",
        ) from error


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open one array, "r" or "r+"."""
    import h5py

    file = construct(path, mode, **kwargs)
    dataset = file.get(key) if key else None
    if isinstance(dataset, h5py.Dataset):
        return Opened(HDF5Backing(dataset, owned=True), str(key))
    keys: list[str] = []
    file.visititems(lambda name, item: keys.append(name) if isinstance(item, h5py.Dataset) else None)
    try:
        only = key_among(path, key or None, keys)
    except BaseException:
        file.close()
        raise
    return Opened(HDF5Backing(file[only], owned=True), only)
