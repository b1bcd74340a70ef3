"""n5, in any store: arrays through tensorstore, containers through z5py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DtypeError, ParameterError
from ..extras import needing
from ..sources.arrays import adapters
from ..sources.arrays.tensorstore import detect_driver
from ..sources.file import Opened
from ..sources.stores.location import Location, locate
from .details import NewArray
from .formats import keep_local
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


def create(root: Location, key: str, array: NewArray) -> None:
    """Make an array in a container, which is made where it is missing."""
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8 or array.dtype == np.float16:
        raise DtypeError(f"n5 cannot store {array.dtype}.", remedy="use uint8 for bool, or format='zarr'")
    if array.fill_value not in (0, None):
        raise ParameterError(f"n5 cannot store the fill value {array.fill_value!r}.", remedy="use 0, or format='zarr'")
    compression = _N5_CODECS.get(array.compressor) if isinstance(array.compressor, str | None) else None
    if compression is None:
        raise ParameterError(f"Unknown compressor {array.compressor!r} for n5.", remedy="use gzip, zstd or raw")
    place = root / key
    if detect_driver(place) is not None:
        place.delete()
    above = root.read_json("attributes.json")
    if key and "n5" not in above:
        _write_json(root, {**above, "n5": "2.0.0"})
    attributes: dict[str, Any] = {} if key else {"n5": "2.0.0"}
    attributes |= {
        "dimensions": list(reversed(array.shape)),
        "blockSize": list(reversed(array.chunks)),
        "dataType": array.dtype.name,
        "compression": compression,
    }
    if array.axes:
        attributes["axes"] = [axis.name for axis in reversed(array.axes)]
        attributes["units"] = [axis.unit or "" for axis in reversed(array.axes)]
        attributes["resolution"] = [axis.scale for axis in reversed(array.axes)]
        attributes["offset"] = [axis.offset for axis in reversed(array.axes)]
    _write_json(place, attributes | array.own_attributes)


def _write_json(place: Location, content: Mapping[str, Any]) -> None:
    place.write("attributes.json", json.dumps(content, indent=2).encode())


_N5_CODECS: dict[Any, dict[str, Any]] = {
    None: {"type": "gzip", "level": 5},
    "gzip": {"type": "gzip", "level": 5},
    "zstd": {"type": "zstd", "level": 3},
    "raw": {"type": "raw"},
    "none": {"type": "raw"},
}
