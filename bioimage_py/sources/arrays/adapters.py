"""How arrays of numpy, zarr-python, z5py, h5py and tensorstore become backings, and how their specs are reopened."""

# ruff: noqa: D102 - overrides are described where they are declared
from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from ...errors import (
    BioimageError,
    FormatError,
    KeyNotFoundError,
    NotReopenableError,
    SourceNotFoundError,
    SourceTypeError,
    StorageError,
)
from ...extras import needing
from ..axes import Axis
from ..base import Concurrency
from ..chunked.attributes import kind_of, read_attributes, refuse_damaged
from ..chunked.conventions import warn_of_packing
from ..forks import lost
from ..indexing import Roi
from ..spec import SourceSpec
from ..stores.errors import REPACK
from ..stores.location import Location, locate
from ..stores.paths import for_zarr
from .backing import Backing, ForeignBacking, NumpyBacking, regular_chunks
from .handles import place_of_zarr, reopen_tensorstore, tensorstore_backing
from .hdf5 import HDF5Backing
from .hdf5_parts import open_file, reading_structure
from .tensor_handle import Layout, TensorHandle, UnsupportedError
from .tensorstore import ChunkedBacking, detect_driver, open_storage, spec_of


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
    if any(size < 1 for sizes in (array.chunks, shards) for size in sizes or ()):
        raise FormatError(f"{array!r} has chunks of no voxels: {array.chunks}.", remedy="restore its metadata")
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
        refuse_damaged(place)
        raise KeyNotFoundError(f"{root} has no array {key!r}.", remedy="check the key")
    folder = root.folder
    if place.folder is not None:
        _check_conventions(place, driver)
    native = None if folder is None else lambda: library(folder, key, mode)
    writable = mode != "r" and root.writable
    if lost() and native is not None and not writable and driver != "n5":
        return _by_library(native, place, UnsupportedError("the threads of the storage engine are its parent's"))
    try:
        return open_storage(place, driver, native, spec_of(kind, root, key, writable), writable=writable)
    except UnsupportedError as error:
        if place.archive:
            raise FormatError(f"{place}: {error}", remedy=REPACK) from error
        if native is None:
            raise FormatError(
                f"{place}: this array can be opened in a local folder only: {error}", remedy="download it first"
            ) from error
        return _by_library(native, place, error)


def _by_library(native: Callable[[], Any], place: Location, refused: UnsupportedError) -> Backing:
    """Open an array by its own library, which knows more codecs; what both refuse is damaged or not supported."""
    try:
        return backing_for(native())
    except BioimageError:
        raise
    except Exception as error:  # the libraries raise whatever reading the metadata runs into
        raise FormatError(
            f"{place} has metadata that no library here can read: {refused}; {type(error).__name__}: {error}",
            remedy="restore the metadata from a copy; if another program reads the array, convert it with that",
        ) from error


def _check_conventions(place: Location, driver: str) -> None:
    """Refuse or tell what attributes of other programs make of an array, where that is no plain one."""
    attributes = read_attributes(place, driver)
    if attributes.get("isLabelMultiset"):
        raise FormatError(
            f"{place} is a label multiset of Paintera: its voxels are lists of labels, which are not read.",
            remedy="convert it to plain labels with paintera-convert to-scalar",
        )
    warn_of_packing(attributes, str(place))


def open_h5py(path: str, key: str, mode: str, locking: bool | None = None) -> Backing:
    """Open a dataset of an HDF5 file, "r" or "r+"; ``locking`` is that of ``h5py.File``."""
    with needing("h5py", "An HDF5 file"):
        import h5py
    if not os.path.exists(path):
        raise SourceNotFoundError(f"{path} does not exist.", remedy="check the path")
    file = open_file(path, mode, locking=locking)
    try:
        with reading_structure(path):
            dataset = file.get(key)
            if isinstance(dataset, h5py.Dataset):
                return HDF5Backing(dataset, owned=True)
        raise KeyNotFoundError(f"{path} has no array {key!r}.", remedy="check the key")
    except BaseException:
        file.close()
        raise


def _native_zarr(root: str, key: str, mode: str) -> Any:
    import zarr

    return zarr.open_array(store=for_zarr(root, mode), path=key, mode="r" if mode == "r" else "r+")


def _native_z5py(root: str, key: str, mode: str) -> Any:
    with needing("z5py", "An array of z5py"):
        import z5py
    is_zarr = detect_driver(Location(root) / key) != "n5"
    return z5py.File(root, "r" if mode == "r" else "r+", use_zarr_format=is_zarr)[key]


_LIBRARIES: dict[tuple[str, str], Callable[[Any], Backing]] = {
    ("zarr", "Array"): _zarr,
    ("z5py", "Dataset"): _z5py,
    ("h5py", "Dataset"): HDF5Backing,
    ("tensorstore", "TensorStore"): tensorstore_backing,
}
_CHUNKED: dict[str, Callable[[Location, str, str], Backing]] = {"zarr": open_zarr, "z5py": open_z5py}
