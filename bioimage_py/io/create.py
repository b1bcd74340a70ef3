"""Creating arrays: what is checked for every format, before the format itself makes one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..arguments import data_type, named
from ..errors import BioimageError, DtypeError, KeyNotFoundError, ParameterError, ReadOnlyError, ShapeError
from ..sources.arrays.tensorstore import detect_driver
from ..sources.axes import Axis, default_axes, require_sizes
from ..sources.chunked.unit_files import METADATA_FILES
from ..sources.file import FileSource, open_source
from ..sources.stores.location import Location, locate
from ..sources.stores.paths import check_path
from ..system.swap import remove
from .chunks import Shape, check_chunks, whole_numbers
from .details import NewArray
from .formats import Format, format_named, require_library
from .keys import array_keys, is_group
from .ome import check_axes, write_multiscales
from .target import OwnPath, Target, target_of


@named
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
    channel_names: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> FileSource:
    """Create an array, or open an existing one of the same shape and data type.

    Parameters
    ----------
    path : str or os.PathLike
        Container; made if it is missing. A path into one ("a.zarr/raw") is split where `key` is None. zarr and n5
        also ``s3://bucket/a.zarr``, ``gs://bucket/a.zarr`` and, for this process only, ``memory://a.zarr``.
    key : str, optional
        Key of the array; groups above it are made. None or "": the container is the array (zarr, n5). None for a
        container called ".ome.zarr": its finest level, "0"; one that is new is described as an image of this level.
    shape : sequence of int
        Shape.
    dtype : dtype_like
        Data type.
    chunks : int or sequence of int, optional
        Chunk shape; one number for every axis. None: 64 voxels along three axes of space (the last ones, where `axes`
        is empty), 512 along fewer, 1 along all others.
    shards : int or sequence of int, optional
        Shape of the shards, multiples of the chunks (zarr version 3 only).
    format : str, optional
        "zarr", "n5", "hdf5", or one that is registered with ``create=``. None: by the name of the container, zarr where
        it has no ending. zarr is version 3, or the version of the container.
    axes : sequence of Axis, optional
        Axes, stored as attributes of the array (and as the dimension names of zarr version 3, the labels of HDF5).
        For other programs, OME-Zarr describes them in the group: see `write_multiscales`.
    compressor : str or object, optional
        None: zstd for zarr, gzip else. "zstd", "gzip", "blosc", "raw", for zarr also a codec object, or "lz4": bytes
        sorted by their weight, by blosc, which images of more than a byte are read fastest from.
    fill_value : scalar, default 0
        Value of voxels never written (n5: 0 only).
    channel_names : sequence of str, default ()
        Names of the channels, stored as attributes of the array.
    metadata : mapping, optional
        Further entries that JSON can hold, stored with them; `immeta` returns them.
    overwrite : bool, default False
        Replace an existing array by an empty one.
    storage_options : mapping, optional
        How a bucket is reached; see `open_source`.

    Returns
    -------
    FileSource
        Open for reading and writing.

    Raises
    ------
    ShapeError, DtypeError
        If an array of another shape or data type exists and `overwrite` is False.
    ParameterError
        If chunks, shards or axes do not fit, or the format cannot do what is asked.
    FormatError
        If the name of the container ends as files of another format do ("out.png").
    ReadOnlyError
        If the store cannot be written (zip archives, web servers).
    """
    place = target_of(path, key, format, storage_options)
    root, container, key, name, _ = place
    entry = format_named(name)
    require_library(entry)
    if root.folder is not None and entry.stores:
        check_path(root.folder)
    if entry.stores and (root / key).archive and root.writable:  # refuses names that lead elsewhere, too
        raise ParameterError(f"An array cannot be called {key!r}.", remedy="leave out '|zip:'")
    if key and not entry.container:
        raise ParameterError(f"A {name} file is one array, without a key such as {key!r}.", remedy="leave key out")
    size = whole_numbers("shape", shape, None)
    axes = _checked_axes(axes, size)
    grid, outer = check_chunks(chunks, shards, size, axes, entry)
    kind = data_type(dtype)
    _refuse_other_than_numbers(kind, f"{container}/{key}".rstrip("/"))
    kind = np.dtype(kind.str)  # C has two types of 64 bits, and zarr knows one
    _check_fill(fill_value, kind)
    if isinstance(compressor, bool | int | float):
        raise ParameterError(f"compressor={compressor!r} is neither a name nor a codec", remedy='compressor="zstd"')
    names, said = tuple(map(str, channel_names)), _checked_metadata(metadata)
    if place.image:
        check_axes(axes or default_axes(len(size)))
    if not root.writable:
        raise ReadOnlyError(
            f"{root} cannot be written: zip archives and web servers are read only.",
            remedy="write to a folder or a bucket (s3://, gs://)",
        )
    refuse_inside(container, key, name, storage_options)
    if isinstance(path, OwnPath) and not overwrite and not fits(place, size, kind, storage_options):
        remove(os.path.join(container, key))
    if not overwrite and array_exists(container, key, name, storage_options):
        found = _existing(root, key, name, size, kind)
    else:
        _refuse_group(root, key, entry)
        if key and entry.stores:
            unlink(root, key)
        create = entry.creator
        assert create is not None, "target_of lets no other format through"
        create(root, key, NewArray(size, kind, grid, outer, axes, compressor, fill_value, names, said))
        found = open_source(container, key, format=name, mode="r+", storage_options=storage_options)
    return _described(found, place, storage_options)


def unlink(root: Location, key: str) -> None:
    """Remove a symbolic link to an array, in whose place another one is made: what it leads to is not replaced."""
    place = root / key
    if place.folder is not None and os.path.islink(place.folder) and detect_driver(place) is not None:
        os.unlink(place.folder)


def _checked_metadata(given: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        json.dumps(found := dict(given or {}), allow_nan=False)  # JSON has no nan, and n5 would not be read again
    except (TypeError, ValueError, RecursionError) as error:
        raise ParameterError(f"metadata are nothing that JSON holds: {error}", remedy='metadata={"name": 1}') from error
    return found


def _check_fill(value: Any, dtype: np.dtype) -> None:
    try:
        if value is not None:
            dtype.type(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterError(f"fill_value={value!r} is no value of {dtype}: {error}", remedy="fill_value=0") from None


def _checked_axes(axes: Any, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    many = isinstance(axes, Iterable) and not isinstance(axes, str)
    if not many or not all(isinstance(axis, Axis) for axis in axes):
        example = ", ".join(f'Axis("{axis.name}")' for axis in default_axes(len(shape)))
        raise ParameterError(f"axes is {axes!r}, which are not of the type Axis.", remedy=f"axes=[{example}]")
    if axes and len(axes) != len(shape):
        raise ParameterError(f"{len(axes)} axes for the shape {shape}.", remedy="pass one Axis for each")
    require_sizes(axes)
    return tuple(axes)


def _described(found: FileSource, place: Target, storage_options: Mapping[str, Any] | None) -> FileSource:
    """Describe the container of a new OME-Zarr image; after the array is there, so that a repeated call does it."""
    if not place.image:
        return found
    levels = [(place.key, found.axes)]
    write_multiscales(place.path, levels=levels, storage_options=storage_options)
    found.close()
    return open_source(place.path, place.key, format="zarr", mode="r+", storage_options=storage_options)


def array_exists(path: str, key: str | None, format: str, storage_options: Mapping[str, Any] | None = None) -> bool:
    """Tell whether a container has an array of that key."""
    entry = format_named(format)
    if entry.stores:
        return detect_driver(locate(path, storage_options) / (key or "")) is not None
    if not os.path.exists(path) or bool(key) != entry.container:
        return False
    try:
        open_source(path, key, format=format).close()
    except KeyNotFoundError:
        return False
    return True


def refuse_inside(container: str, key: str, format: str, storage_options: Mapping[str, Any] | None = None) -> None:
    """Refuse a key that leads into an array: formats have no place there, and what would be written would be lost.

    Raises
    ------
    ParameterError
        Names the array.
    """
    parts = key.split("/") if key else []
    for count in range(len(parts)):
        above = "/".join(parts[:count])
        if array_exists(container, above, format, storage_options):
            array = f"{container}/{above}".rstrip("/")
            beside = f"{os.path.dirname(array)}/{parts[-1]}" if above else "a container of another name"
            raise ParameterError(
                f"{container}/{key} would lie inside of {array}, which is an array, and holds no others.",
                remedy=f"write beside it: {beside}",
            )


def fits(
    place: Target, shape: tuple[int, ...], dtype: np.dtype, storage_options: Mapping[str, Any] | None = None
) -> bool:
    """Tell whether there is an array of a shape and data type at a place, or nothing."""
    if not os.path.exists(os.path.join(place.path, place.key)):
        return True
    try:
        with open_source(place.path, place.key, format=place.format, storage_options=storage_options) as there:
            return there.shape == shape and there.dtype == dtype.newbyteorder("=")
    except BioimageError:  # half made, by a call that was killed
        return False


def clear_array(path: str, key: str | None, format: str, storage_options: Mapping[str, Any] | None = None) -> None:
    """Empty an array: all its voxels get the fill value, shape and grid stay."""
    if not format_named(format).stores:
        with open_source(path, key, format=format, mode="r+") as source:
            source[...] = getattr(source.array, "fillvalue", 0)
        return
    place = locate(path, storage_options) / (key or "")
    if place.folder is None:
        for name in place.names() or []:
            if name not in METADATA_FILES:
                place.delete(name)
        return
    for entry in os.scandir(place.folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.name not in METADATA_FILES:
            os.unlink(entry.path)


def _refuse_other_than_numbers(dtype: np.dtype, where: str) -> None:
    if dtype.kind not in "biufc":
        what = "of several fields" if dtype.names else "of no numbers"
        raise DtypeError(
            f"{where} would be an array {what}, data type {dtype}: only numbers are written.",
            remedy=f"take one field of the data: array[{dtype.names[0]!r}]" if dtype.names else "convert it to numbers",
        )


def _existing(root: Location, key: str, format: str, shape: tuple[int, ...], dtype: np.dtype) -> FileSource:
    source = open_source(root.url, key, format=format, mode="r+", storage_options=dict(root.options) or None)
    where = f"{root} has an array {key!r}" if key else f"{root} is an array"
    remedy = "write elsewhere, or pass overwrite=True to replace it"
    if source.shape != shape:
        source.close()
        raise ShapeError(f"{where} of shape {source.shape}, but {shape} is asked for.", remedy=remedy)
    if source.dtype != dtype.newbyteorder("="):
        source.close()
        raise DtypeError(f"{where} of data type {source.dtype}, but {dtype} is asked for.", remedy=remedy)
    return source


def _refuse_group(root: Location, key: str, entry: Format) -> None:
    """Refuse to put an array where a group with arrays is."""
    place = root / key
    missing = place.folder is not None and not os.path.isdir(place.folder)
    if not entry.stores or missing or detect_driver(place) is not None:
        return
    keys = array_keys(place)
    if keys or not _may_hold(place, key):
        inside = f"the arrays {', '.join(keys[:5])}" if keys else "other files"
        raise ParameterError(
            f"{place} cannot become an array: it holds {inside}.", remedy="give a key that is free, or another path"
        )


def _may_hold(place: Location, key: str) -> bool:
    """Whether there is nothing that an array would hide: in a bucket, nothing in a group of that name."""
    metadata = {"zarr.json", ".zgroup", ".zattrs", "attributes.json"}
    if place.folder is None:
        return not is_group(place) or set(place.names() or []) <= metadata
    # a process that was killed while it wrote metadata leaves the lock of the storage engine
    return bool(key) or all(entry.name.removesuffix(".__lock") in metadata for entry in os.scandir(place.folder))
