"""How arrays of numpy, zarr-python, z5py and h5py become backings, and how their specs are opened again."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from ..errors import (
    KeyNotFoundError,
    MissingDependencyError,
    NotReopenableError,
    SourceNotFoundError,
    SourceTypeError,
    StorageError,
)
from .backing import Backing, ForeignBacking, HDF5Backing, NumpyBacking, regular_chunks
from .base import Axis, Concurrency
from .index import Roi
from .metadata import kind_of
from .spec import SourceSpec
from .storage import ChunkedBacking, Layout, TensorHandle, UnsupportedError, detect_driver, open_storage


class ZarrBacking(Backing):
    """A zarr array in a store that is no local folder (memory, zip, remote), through zarr-python, without locks."""

    concurrency: Concurrency = "aligned"

    def __init__(self, array: Any) -> None:
        self._native = array
        self._lock = threading.Lock()
        layout = _zarr_layout(array)
        self.shape, self.dtype = layout.shape, layout.dtype
        self.chunks, self.shards = layout.chunks, layout.shards
        self.writable = not array.read_only

    @property
    def native(self) -> Any:
        return self._native

    @property
    def identity(self) -> Hashable:
        store = self._native.store
        data = getattr(store, "_store_dict", None)
        return (type(store).__name__, id(data) if data is not None else str(store), self._native.path)

    def read(self, roi: Roi) -> np.ndarray:
        try:
            return np.array(self._native[roi], dtype=self.dtype, copy=None)
        except (ValueError, OSError, RuntimeError) as error:
            raise StorageError(f"Cannot read {self._native!r}: {error}", remedy="check the store") from error

    def write(self, roi: Roi, value: np.ndarray) -> None:
        self._native[roi] = value

    def axes(self) -> tuple[Axis, ...] | None:
        names = getattr(self._native.metadata, "dimension_names", None)
        if not names or not all(names):
            return None
        return tuple(Axis(str(name), kind_of(str(name))) for name in names)

    def spec(self) -> SourceSpec:
        raise NotReopenableError(
            f"A zarr array in a {type(self._native.store).__name__} cannot be opened by another process.",
            remedy="use job_type='local', or store it in a local folder; a remote one opens with open_source(url, key)",
        )


def backing_for(array: Any) -> Backing:
    """Return the backing for an array object, by the library that its type comes from."""
    if isinstance(array, np.ma.MaskedArray):
        raise SourceTypeError(
            "A masked array would lose its mask: operations take masks apart from the data.",
            remedy="pass array.filled(0), and mask=~array.mask where the operation has it",
        )
    if isinstance(array, np.ndarray):
        return NumpyBacking(array)
    for base in type(array).__mro__:
        make = _LIBRARIES.get((base.__module__.partition(".")[0], base.__name__))
        if make is not None:
            return make(array)
    return ForeignBacking(array)


def _zarr(array: Any) -> Backing:
    import zarr

    if not isinstance(array.store, zarr.storage.LocalStore):
        return ZarrBacking(array)
    root = os.path.abspath(array.store.root)
    path = os.path.normpath(os.path.join(root, array.path))
    writable = not array.read_only
    handle = TensorHandle(path, "zarr3" if array.metadata.zarr_format == 3 else "zarr", writable=writable)
    spec = SourceSpec("zarr", root, array.path or None, {"mode": "r+" if writable else "r"})
    return ChunkedBacking(handle, _zarr_layout(array), lambda: array, spec)


def _zarr_layout(array: Any) -> Layout:
    shape = tuple(int(size) for size in array.shape)
    shards = getattr(array, "shards", None)
    dtype = np.dtype(array.dtype).newbyteorder("=")
    return Layout(shape, dtype, regular_chunks(array.chunks, shape), regular_chunks(shards, shape))


def _z5py(array: Any) -> Backing:
    root = os.path.abspath(os.fspath(array.file.filename))
    key = str(array.name).strip("/")
    path = os.path.join(root, key)
    # z5py says nothing of a dataset's mode but through the handle of its file.
    mode = array.file._handle.mode().mode()
    writable = mode != "r"
    driver = detect_driver(path) or "n5"
    shape = tuple(int(size) for size in array.shape)
    shards = regular_chunks(getattr(array, "shards", None), shape)
    layout = Layout(shape, np.dtype(array.dtype), regular_chunks(array.chunks, shape), shards)
    spec = SourceSpec("z5py", root, key or None, {"mode": "r+" if writable else "r"})
    return ChunkedBacking(TensorHandle(path, driver, writable=writable), layout, lambda: array, spec)


def reopen(spec: SourceSpec) -> Backing:
    """Open what a spec of kind "zarr", "z5py" or "h5py" describes, with its mode."""
    mode = spec.params.get("mode", "r")
    return _OPENERS[spec.kind](spec.path or "", spec.internal_path or "", mode)


def open_zarr(root: str, key: str, mode: str) -> Backing:
    """Open a local zarr or n5 array ("r" or "r+"); zarr-python only if it is asked for or needed."""
    return _open_chunked("zarr", root, key, mode, lambda: _native_zarr(root, key, mode))


def open_z5py(root: str, key: str, mode: str) -> Backing:
    """Open a local n5 or zarr array ("r" or "r+"); z5py only if it is asked for or needed."""
    return _open_chunked("z5py", root, key, mode, lambda: _native_z5py(root, key, mode))


def _open_chunked(kind: str, root: str, key: str, mode: str, native: Callable[[], Any]) -> Backing:
    path = os.path.normpath(os.path.join(root, key))
    driver = detect_driver(path)
    if driver is None:
        if not os.path.exists(root):
            raise SourceNotFoundError(f"{root} does not exist.", remedy="check the path")
        raise KeyNotFoundError(f"{root} has no array {key!r}.", remedy="check the key")
    spec = SourceSpec(kind, root, key or None, {"mode": "r" if mode == "r" else "r+"})
    try:
        return open_storage(path, driver, native, spec, writable=mode != "r")
    except UnsupportedError:
        return backing_for(native())


def open_h5py(path: str, key: str, mode: str) -> Backing:
    """Open a dataset of an HDF5 file, "r" or "r+"."""
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("HDF5 needs h5py.", remedy="pip install 'bioimage_py[io]'") from error
    if not os.path.exists(path):
        raise SourceNotFoundError(f"{path} does not exist.", remedy="check the path")
    try:
        file = h5py.File(path, mode)
    except OSError as error:
        raise StorageError(
            f"Cannot open {path}: {error}",
            remedy="close it in the process that writes it: HDF5 allows one writer alone",
        ) from error
    if not isinstance(file.get(key), h5py.Dataset):
        file.close()
        raise KeyNotFoundError(f"{path} has no array {key!r}.", remedy="check the key")
    return HDF5Backing(file[key], owned=True)


def _native_zarr(root: str, key: str, mode: str) -> Any:
    import zarr

    return zarr.open_array(store=root, path=key, mode="r" if mode == "r" else "r+")


def _native_z5py(root: str, key: str, mode: str) -> Any:
    try:
        import z5py
    except ImportError as error:
        raise MissingDependencyError("n5 objects need z5py.", remedy="pip install 'bioimage_py[io]'") from error
    is_zarr = detect_driver(os.path.join(root, key)) != "n5"
    return z5py.File(root, "r" if mode == "r" else "r+", use_zarr_format=is_zarr)[key]


_LIBRARIES: dict[tuple[str, str], Callable[[Any], Backing]] = {
    ("zarr", "Array"): _zarr,
    ("z5py", "Dataset"): _z5py,
    ("h5py", "Dataset"): HDF5Backing,
}
_OPENERS: dict[str, Callable[[str, str, str], Backing]] = {"zarr": open_zarr, "z5py": open_z5py, "h5py": open_h5py}
