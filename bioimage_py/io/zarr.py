"""zarr (2, 3, sharded) and OME-Zarr, in any store: arrays through tensorstore, containers through zarr-python."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np

from ..errors import DtypeError, ParameterError, SourceNotFoundError
from ..extras import missing
from ..sources.arrays import adapters
from ..sources.arrays.tensorstore import detect_driver
from ..sources.file import Opened
from ..sources.stores.location import Location, locate
from ..sources.stores.paths import for_zarr
from .details import NewArray
from .keys import key_among, ome_levels, open_keyed
from .mirror import mirrored_metadata


def construct(path: str, mode: str = "r", **kwargs: Any) -> Any:
    """Return the ``zarr.Group`` or ``zarr.Array`` at a path or URL."""
    import zarr

    try:
        return zarr.open(for_zarr(path, mode), mode=mode, **kwargs)  # type: ignore[arg-type]
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


def create(root: Location, key: str, array: NewArray) -> None:
    """Make an array in a container, which is made where it is missing."""
    import zarr

    if array.dtype.type in (np.longdouble, np.clongdouble):
        raise DtypeError(f"zarr has no data type {array.dtype}.", remedy="float64 or complex128, or format='hdf5'")
    version: Literal[2, 3] = 2 if root.exists(".zgroup") else 3
    if version == 2 and array.shards is not None:
        raise ParameterError(f"{root} is of zarr version 2, which has no shards.", remedy="write to a new container")
    place = root / key
    if detect_driver(place) is not None:
        place.delete()
    with mirrored_metadata(root, key.rpartition("/")[0] if key else "") as mirror:
        store: Any = mirror
        if key:
            parent = zarr.open_group(mirror, mode="a", zarr_format=version, use_consolidated=False)
            above = key.rpartition("/")[0]
            store = (parent.require_group(above) if above else parent).store_path
        zarr.create_array(
            store=store,
            name=key.rpartition("/")[2] or None,
            shape=array.shape,
            dtype=array.dtype,
            chunks=array.chunks,
            shards=array.shards,
            compressors=_zarr_compressor(array.compressor, version),
            fill_value=_fill(array.fill_value, array.dtype),
            dimension_names=[axis.name for axis in array.axes] if array.axes and version == 3 else None,
            attributes=array.own_attributes or None,
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

        makers: dict[str, Any] = {"zstd": numcodecs.Zstd, "gzip": numcodecs.GZip, "blosc": numcodecs.Blosc}
        makers["lz4"] = partial(numcodecs.Blosc, cname="lz4", shuffle=numcodecs.Blosc.SHUFFLE)
    else:
        makers = {"zstd": codecs.ZstdCodec, "gzip": codecs.GzipCodec, "blosc": codecs.BloscCodec}
        makers["lz4"] = partial(codecs.BloscCodec, cname="lz4", shuffle="shuffle")
    return _known(compressor, makers)()


def _known(compressor: str, makers: Mapping[str, Any]) -> Any:
    if compressor not in makers:
        raise ParameterError(f"Unknown compressor {compressor!r}.", remedy=f"use one of {', '.join(makers)}, raw")
    return makers[compressor]
