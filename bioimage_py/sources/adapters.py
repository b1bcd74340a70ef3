"""How arrays of numpy, zarr-python, z5py, h5py and tensorstore become backings, and how their specs are reopened."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from ..errors import (
    FormatError,
    KeyNotFoundError,
    MissingDependencyError,
    NotReopenableError,
    SourceNotFoundError,
    SourceTypeError,
    StorageError,
)
from .backing import Backing, ForeignBacking, HDF5Backing, NumpyBacking, regular_chunks
from .base import Axis, Concurrency
from .handles import place_of_zarr, reopen_tensorstore, tensorstore_backing
from .index import Roi
from .metadata import kind_of
from .spec import SourceSpec
from .storage import ChunkedBacking, Layout, TensorHandle, UnsupportedError, detect_driver, open_storage, spec_of
from .stores import Location, locate


class ZarrBacking(Backing):
    """A zarr array in a store that tensorstore cannot reach, through zarr-python, without locks."""

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
            remedy="use job_type='local', or store it in a local folder or bucket: open_source(url, key)",
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
    root = place_of_zarr(array)
    if root is None:
        return ZarrBacking(array)
    writable = not array.read_only and root.writable
    handle = TensorHandle(root / array.path, _zarr_driver(array), writable=writable)
    return ChunkedBacking(handle, _zarr_layout(array), lambda: array, spec_of("zarr", root, array.path, writable))


def _zarr_driver(array: Any) -> str:
    return "zarr3" if array.metadata.zarr_format == 3 else "zarr"


def _zarr_layout(array: Any) -> Layout:
    shape = tuple(int(size) for size in array.shape)
    shards = getattr(array, "shards", None)
    dtype = np.dtype(array.dtype).newbyteorder("=")
    return Layout(shape, dtype, regular_chunks(array.chunks, shape), regular_chunks(shards, shape))


def _z5py(array: Any) -> Backing:
    root = Location(os.path.abspath(os.fspath(array.file.filename)))
    key = str(array.name).strip("/")
    # z5py says nothing of a dataset's mode but through the handle of its file.
    writable = array.file._handle.mode().mode() != "r"
    driver = detect_driver(root / key) or "n5"
    shape = tuple(int(size) for size in array.shape)
    shards = regular_chunks(getattr(array, "shards", None), shape)
    layout = Layout(shape, np.dtype(array.dtype), regular_chunks(array.chunks, shape), shards)
    handle = TensorHandle(root / key, driver, writable=writable)
    return ChunkedBacking(handle, layout, lambda: array, spec_of("z5py", root, key, writable))


def reopen(spec: SourceSpec) -> Backing:
    """Open what a spec of kind "zarr", "z5py", "h5py" or "tensorstore" describes, with its mode."""
    if spec.kind == "tensorstore":
        return reopen_tensorstore(spec)
    arguments = spec.arguments()
    mode = arguments.get("mode", "r")
    if spec.kind == "h5py":
        return open_h5py(spec.path or "", spec.internal_path or "", mode, arguments.get("locking"))
    root = locate(spec.path or "", arguments.get("storage_options"))
    return _CHUNKED[spec.kind](root, spec.internal_path or "", mode)


def open_zarr(root: Location, key: str, mode: str) -> Backing:
    """Open a zarr or n5 array ("r" or "r+"); zarr-python only if it is asked for or needed."""
    return _open_chunked("zarr", root, key, mode, _native_zarr)


def open_z5py(root: Location, key: str, mode: str) -> Backing:
    """Open an n5 or zarr array ("r" or "r+"); z5py only if it is asked for or needed."""
    return _open_chunked("z5py", root, key, mode, _native_z5py)


def _open_chunked(kind: str, root: Location, key: str, mode: str, library: Callable[[str, str, str], Any]) -> Backing:
    place = root / key
    driver = detect_driver(place)
    if driver is None:
        if root.folder is not None and not os.path.exists(root.folder):
            raise SourceNotFoundError(f"{root} does not exist.", remedy="check the path")
        raise KeyNotFoundError(f"{root} has no array {key!r}.", remedy="check the key")
    folder = root.folder
    native = None if folder is None else lambda: library(folder, key, mode)
    writable = mode != "r" and root.writable
    try:
        return open_storage(place, driver, native, spec_of(kind, root, key, writable), writable=writable)
    except UnsupportedError as error:
        if native is None:
            raise FormatError(
                f"{place}: this array can be opened in a local folder only: {error}", remedy="download it first"
            ) from error
        try:
            return backing_for(native())
        except (TypeError, ValueError, ArithmeticError, RecursionError) as reason:  # over what the metadata say
            raise FormatError(f"{place} makes no sense as an array: {reason}", remedy="check its metadata") from reason


def open_h5py(path: str, key: str, mode: str, locking: bool | None = None) -> Backing:
    """Open a dataset of an HDF5 file, "r" or "r+"; ``locking`` is that of ``h5py.File``."""
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("HDF5 needs h5py.", remedy="pip install 'bioimage_py[io]'") from error
    if not os.path.exists(path):
        raise SourceNotFoundError(f"{path} does not exist.", remedy="check the path")
    try:
        file = h5py.File(path, mode, locking=locking)
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
    is_zarr = detect_driver(Location(root) / key) != "n5"
    return z5py.File(root, "r" if mode == "r" else "r+", use_zarr_format=is_zarr)[key]


_LIBRARIES: dict[tuple[str, str], Callable[[Any], Backing]] = {
    ("zarr", "Array"): _zarr,
    ("z5py", "Dataset"): _z5py,
    ("h5py", "Dataset"): HDF5Backing,
    ("tensorstore", "TensorStore"): tensorstore_backing,
}
_CHUNKED: dict[str, Callable[[Location, str, str], Backing]] = {"zarr": open_zarr, "z5py": open_z5py}
