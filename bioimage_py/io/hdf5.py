"""HDF5 files, through h5py."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import FormatError, ParameterError, StorageError
from ..extras import need
from ..sources.arrays.hdf5 import HDF5Backing
from ..sources.arrays.hdf5_conventions import attributes_of
from ..sources.arrays.hdf5_parts import close_file, open_file, reading_structure
from ..sources.chunked.conventions import OWN_ATTRIBUTE
from ..sources.file import Opened
from ..sources.stores.location import Location
from ..system.json_text import parse_json
from .details import Details, NewArray, own_channel_names, own_metadata
from .formats import keep_local
from .keys import key_among
from .written.said import with_own


def construct(path: str, mode: str = "r", **kwargs: Any) -> Any:
    """Return the ``h5py.File`` of a path."""
    import h5py

    keep_local(path, "HDF5")
    if os.path.exists(path) and mode != "w" and not h5py.is_hdf5(path):
        empty = " It is empty: 0 bytes." if os.path.getsize(path) == 0 else ""
        raise FormatError(f"{path} is no HDF5 file.{empty}", remedy="pass format=... if it is something else")
    return open_file(path, mode, **kwargs)


def keys(path: str) -> list[str]:
    """Return the keys of all arrays in a file."""
    need("h5py", "An HDF5 file")
    with construct(path) as file, reading_structure(path):
        return _keys(file)


@contextmanager
def closing(file: Any) -> Iterator[Any]:
    """Close a file that is written, also where its disk is full."""
    path = file.filename
    try:
        yield file
    except BaseException:
        with suppress(OSError, RuntimeError):  # the first error is the one to be told
            close_file(file)
        raise
    try:
        close_file(file)
    except (OSError, RuntimeError) as error:
        raise StorageError(f"Cannot write {path}: {error}", remedy="make room on the disk: df -h") from error


def _keys(file: Any) -> list[str]:
    import h5py

    keys: list[str] = []
    file.visititems(lambda name, item: keys.append(name) if isinstance(item, h5py.Dataset) else None)
    if len(set(keys)) < len(keys):
        twice = next(key for at, key in enumerate(keys) if key in keys[:at])
        raise FormatError(
            f"{file.filename} is damaged: it has two arrays of the name {twice!r}.",
            remedy="copy the file again, or restore it",
        )
    return keys


def open_dataset(path: str, key: str | None, mode: str, kwargs: Mapping[str, Any]) -> Opened:
    """Open one array, "r" or "r+"."""
    import h5py

    file = construct(path, mode, **kwargs)
    try:
        with reading_structure(path):
            dataset = file.get(key) if key else None
            if isinstance(dataset, h5py.Dataset):
                return Opened(HDF5Backing(dataset, owned=True), str(key))
            keys = _keys(file)
        only = key_among(path, key or None, keys)
        with reading_structure(path):
            return Opened(HDF5Backing(file[only], owned=True), only)
    except BaseException:
        file.close()
        raise


def details(path: str, key: str | None) -> Details:
    """Return the attributes of an array, the names of its channels, and its codec."""
    opened = open_dataset(path, key, "r", {}).array
    try:
        with reading_structure(path):
            raw = attributes_of(opened.native)
            own = parse_json(raw.pop(OWN_ATTRIBUTE, "{}"))
            names = own_channel_names({OWN_ATTRIBUTE: own})
            return Details(
                raw=with_own(raw, own_metadata({OWN_ATTRIBUTE: own})),
                standard={"channels": [{"name": name} for name in names]} if names else {},
                channel_names=names,
                compression=opened.native.compression,
            )
    finally:
        opened.close()


def create(root: Location, key: str, array: NewArray) -> None:
    """Make an array in a container, which is made where it is missing."""
    if not key:
        raise ParameterError(f"{root}: an HDF5 file needs a key for its array.", remedy="pass key='data'")
    if array.compressor not in (None, "gzip", "raw", "none"):
        raise ParameterError(f"Unknown compressor {array.compressor!r} for HDF5.", remedy="use gzip or raw")
    path = root.url
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fitting = tuple(max(1, min(chunk, size)) for chunk, size in zip(array.chunks, array.shape, strict=True))
    with closing(construct(path, "a")) as file:
        if file.get(key, getlink=True) is not None:  # also a link that leads nowhere
            if held := list(getattr(file.get(key), "keys", list)()):
                raise ParameterError(
                    f"{path}: {key!r} cannot become an array: it is a group that holds {', '.join(held[:5])}.",
                    remedy="give a key that is free",
                )
            del file[key]
        dataset = file.create_dataset(
            key,
            shape=array.shape,
            dtype=array.dtype,
            chunks=fitting,
            compression="gzip" if array.compressor in (None, "gzip") else None,
            fillvalue=None if array.fill_value is None else array.dtype.type(array.fill_value),
        )
        for index, axis in enumerate(array.axes):
            dataset.dims[index].label = axis.name
        for name, value in array.own_attributes.items():
            dataset.attrs[name] = json.dumps(value)
