"""Creating arrays in zarr, n5 and hdf5 containers."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from ..errors import DtypeError, FormatError, ParameterError, ShapeError
from ..sources.base import Axis
from ..sources.file import FileSource, absolute_path, is_url, open_source
from ..sources.metadata import OWN_ATTRIBUTE, read_json
from ..sources.storage import detect_driver
from .datasets import folder_keys
from .formats import format_named, infer_format, require_library, split_path

Shape = Sequence[int]

_METADATA_FILES = ("zarr.json", ".zarray", ".zattrs", "attributes.json")


def create_array(
    path: str | os.PathLike[str],
    key: str | None = None,
    *,
    shape: Shape,
    dtype: Any,
    chunks: Shape | None = None,
    shards: Shape | None = None,
    format: str | None = None,
    axes: Sequence[Axis] = (),
    compressor: Any = None,
    fill_value: Any = 0,
    overwrite: bool = False,
) -> FileSource:
    """Create an array, or open an existing one of the same shape and data type.

    Parameters
    ----------
    path : str or os.PathLike
        Container; made if it is missing. A path into one ("a.zarr/raw") is split where `key` is None.
    key : str, optional
        Key of the array; groups above it are made. None or "": the container is the array (zarr, n5).
    shape : sequence of int
        Shape.
    dtype : dtype_like
        Data type.
    chunks : sequence of int, optional
        Chunk shape. None: 64 voxels along the last three axes, 512 along two, 1 along those before.
    shards : sequence of int, optional
        Shape of the shards, multiples of the chunks (zarr version 3 only).
    format : {"zarr", "n5", "hdf5"}, optional
        None: by the name of the container, else zarr. zarr is version 3, or the version of the container.
    axes : sequence of Axis, optional
        Axes, stored as attributes of the array (and as the dimension names of zarr version 3; HDF5 keeps the names
        alone). For other programs, OME-Zarr describes them in the group: see `write_multiscales`.
    compressor : str or object, optional
        None: zstd for zarr, gzip else. "zstd", "gzip", "blosc", "raw", or for zarr a codec object.
    fill_value : scalar, default 0
        Value of voxels never written (n5: 0 only).
    overwrite : bool, default False
        Replace an existing array by an empty one.

    Returns
    -------
    FileSource
        Open for reading and writing.

    Raises
    ------
    ShapeError, DtypeError
        If an array of another shape or data type exists and `overwrite` is False.
    ParameterError
        If chunks or shards do not fit, or the format cannot do what is asked.
    """
    root = absolute_path(path)
    if key is None and format is None:
        root, key = split_path(root)
    name = format or _format_of(root)
    if name not in _CREATORS:
        raise FormatError(f"Arrays cannot be created in the format {name!r}.", remedy="use zarr, n5 or hdf5")
    require_library(format_named(name))
    key = (key or "").strip("/")
    size = _positive("shape", shape, None)
    grid = _positive("chunks", chunks, len(size)) if chunks is not None else default_chunks(size)
    outer = None if shards is None else _shards(shards, grid, name)
    if axes and len(axes) != len(size):
        raise ParameterError(f"{len(axes)} axes for the shape {size}.", remedy="pass one Axis for each")
    kind = np.dtype(dtype)
    if not overwrite and array_exists(root, key, name):
        return _existing(root, key, name, size, kind)
    _refuse_group(root, key, name)
    _CREATORS[name](root, key, size, kind, grid, outer, tuple(axes), compressor, fill_value)
    return open_source(root, key, format=name, mode="r+")


def default_chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the chunk shape for an array that asks for none."""
    if len(shape) <= 2:
        return tuple(max(1, min(size, 512)) for size in shape)
    return (*(1 for _ in shape[:-3]), *(max(1, min(size, 64)) for size in shape[-3:]))


def array_exists(path: str, key: str | None, format: str) -> bool:
    """Tell whether a container has an array of that key."""
    if format == "hdf5":
        if not os.path.exists(path):
            return False
        import h5py

        from .hdf5 import construct

        with construct(path) as file:
            return bool(key) and isinstance(file.get(key), h5py.Dataset)
    if is_url(path):
        return False
    return detect_driver(os.path.join(path, key or "")) is not None


def clear_array(path: str, key: str | None, format: str) -> None:
    """Empty an array: all its voxels get the fill value, shape and grid stay."""
    if format == "hdf5":
        with open_source(path, key, format=format, mode="r+") as source:
            source[...] = source.array.fillvalue
        return
    for entry in os.scandir(os.path.join(path, key or "")):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.name not in _METADATA_FILES:
            os.unlink(entry.path)


def _format_of(path: str) -> str:
    try:
        found = infer_format(path)
    except FormatError:
        return "zarr"
    return "zarr" if found == "folder" else found


def _positive(name: str, values: Shape, ndim: int | None) -> tuple[int, ...]:
    try:
        found = tuple(int(value) for value in values)
    except TypeError:
        raise ParameterError(f"{name} is {values!r}.", remedy=f"pass a tuple: {name}=(64, 64, 64)") from None
    if ndim is not None and len(found) != ndim:
        raise ParameterError(f"{name} is {found}, the array has {ndim} axes.", remedy=f"pass {ndim} numbers")
    if any(value < (0 if name == "shape" else 1) for value in found):
        raise ParameterError(f"{name} is {found}.", remedy="pass positive numbers")
    return found


def _shards(shards: Shape, chunks: tuple[int, ...], format: str) -> tuple[int, ...]:
    if format != "zarr":
        raise ParameterError(f"The format {format!r} has no shards.", remedy="leave shards out, or use format='zarr'")
    found = _positive("shards", shards, len(chunks))
    if any(shard % chunk for shard, chunk in zip(found, chunks, strict=True)):
        near = tuple(math.ceil(shard / chunk) * chunk for shard, chunk in zip(found, chunks, strict=True))
        raise ParameterError(f"shards {found} are no multiples of chunks {chunks}.", remedy=f"use shards={near}")
    return found


def _existing(path: str, key: str, format: str, shape: tuple[int, ...], dtype: np.dtype) -> FileSource:
    source = open_source(path, key, format=format, mode="r+")
    where = f"{path} has an array {key!r}" if key else f"{path} is an array"
    remedy = "write elsewhere, or pass overwrite=True to replace it"
    if source.shape != shape:
        source.close()
        raise ShapeError(f"{where} of shape {source.shape}, but {shape} is asked for.", remedy=remedy)
    if source.dtype != dtype.newbyteorder("="):
        source.close()
        raise DtypeError(f"{where} of data type {source.dtype}, but {dtype} is asked for.", remedy=remedy)
    return source


def _refuse_group(path: str, key: str, format: str) -> None:
    """Refuse to put an array where a group with arrays is."""
    folder = os.path.join(path, key)
    if format == "hdf5" or is_url(path) or not os.path.isdir(folder) or detect_driver(folder) is not None:
        return
    keys = folder_keys(folder)
    if keys or (not key and not _is_empty(folder)):
        inside = f"the arrays {', '.join(keys[:5])}" if keys else "other files"
        raise ParameterError(
            f"{folder} cannot become an array: it holds {inside}.", remedy="give a key that is free, or another path"
        )


def _is_empty(folder: str) -> bool:
    metadata = {"zarr.json", ".zgroup", ".zattrs", "attributes.json"}
    return all(entry.name in metadata for entry in os.scandir(folder))


def _create_zarr(
    path: str,
    key: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None,
    axes: tuple[Axis, ...],
    compressor: Any,
    fill_value: Any,
) -> None:
    import zarr

    version: Literal[2, 3] = 2 if os.path.isfile(os.path.join(path, ".zgroup")) else 3
    if version == 2 and shards is not None:
        raise ParameterError(f"{path} is of zarr version 2, which has no shards.", remedy="write to a new container")
    store: Any = path
    name: str | None = None
    if key:
        parent, _, name = key.rpartition("/")
        group = zarr.open_group(path, mode="a", zarr_format=version)
        store = (group.require_group(parent) if parent else group).store_path
    zarr.create_array(
        store=store,
        name=name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        compressors=_zarr_compressor(compressor, version),
        fill_value=_fill(fill_value, dtype),
        dimension_names=[axis.name for axis in axes] if axes and version == 3 else None,
        attributes={OWN_ATTRIBUTE: {"axes": [asdict(axis) for axis in axes]}} if axes else None,
        zarr_format=version,
        overwrite=True,
    )


def _fill(value: Any, dtype: np.dtype) -> Any:
    return value if value is None else dtype.type(value)


def _zarr_compressor(compressor: Any, version: int) -> Any:
    if compressor is None:
        return "auto"
    if not isinstance(compressor, str):
        return compressor
    if compressor in ("raw", "none"):
        return None
    from zarr import codecs

    if version == 2:
        import numcodecs

        makers: Mapping[str, Any] = {"zstd": numcodecs.Zstd, "gzip": numcodecs.GZip, "blosc": numcodecs.Blosc}
    else:
        makers = {"zstd": codecs.ZstdCodec, "gzip": codecs.GzipCodec, "blosc": codecs.BloscCodec}
    return _known(compressor, makers)()


def _known(compressor: str, makers: Mapping[str, Any]) -> Any:
    if compressor not in makers:
        raise ParameterError(f"Unknown compressor {compressor!r}.", remedy=f"use one of {', '.join(makers)}, raw")
    return makers[compressor]


def _create_n5(
    path: str,
    key: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None,
    axes: tuple[Axis, ...],
    compressor: Any,
    fill_value: Any,
) -> None:
    if dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype == np.float16:
        raise DtypeError(f"n5 cannot store {dtype}.", remedy="use uint8 for bool, or format='zarr'")
    if fill_value not in (0, None):
        raise ParameterError(f"n5 cannot store the fill value {fill_value!r}.", remedy="use 0, or format='zarr'")
    folder = os.path.join(path, key)
    if detect_driver(folder) is not None:
        shutil.rmtree(folder)
    os.makedirs(folder, exist_ok=True)
    root = os.path.join(path, "attributes.json")
    if key and "n5" not in read_json(root):
        _write_json(root, {**read_json(root), "n5": "2.0.0"})
    compression = {"type": "raw"} if compressor in ("raw", "none") else _N5_CODECS.get(compressor)
    if compression is None:
        raise ParameterError(f"Unknown compressor {compressor!r} for n5.", remedy="use gzip, zstd or raw")
    attributes: dict[str, Any] = {} if key else {"n5": "2.0.0"}
    attributes |= {
        "dimensions": list(reversed(shape)),
        "blockSize": list(reversed(chunks)),
        "dataType": dtype.name,
        "compression": compression,
    }
    if axes:
        attributes["axes"] = [axis.name for axis in reversed(axes)]
        attributes["units"] = [axis.unit or "" for axis in reversed(axes)]
        attributes["resolution"] = [axis.scale for axis in reversed(axes)]
        attributes["offset"] = [axis.offset for axis in reversed(axes)]
    _write_json(os.path.join(folder, "attributes.json"), attributes)


def _write_json(path: str, content: Mapping[str, Any]) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
    os.replace(temporary, path)


_N5_CODECS: dict[Any, dict[str, Any]] = {
    None: {"type": "gzip", "level": 5},
    "gzip": {"type": "gzip", "level": 5},
    "zstd": {"type": "zstd", "level": 3},
}


def _create_hdf5(
    path: str,
    key: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None,
    axes: tuple[Axis, ...],
    compressor: Any,
    fill_value: Any,
) -> None:
    from .hdf5 import construct

    if not key:
        raise ParameterError(f"{path}: an HDF5 file needs a key for its array.", remedy="pass key='data'")
    if compressor not in (None, "gzip", "raw", "none"):
        raise ParameterError(f"Unknown compressor {compressor!r} for HDF5.", remedy="use gzip or raw")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fitting = tuple(max(1, min(chunk, size)) for chunk, size in zip(chunks, shape, strict=True))
    with construct(path, "a") as file:
        if key in file:
            del file[key]
        dataset = file.create_dataset(
            key,
            shape=shape,
            dtype=dtype,
            chunks=fitting,
            compression="gzip" if compressor in (None, "gzip") else None,
            fillvalue=fill_value,
        )
        for index, axis in enumerate(axes):
            dataset.dims[index].label = axis.name


_CREATORS = {"zarr": _create_zarr, "n5": _create_n5, "hdf5": _create_hdf5}
