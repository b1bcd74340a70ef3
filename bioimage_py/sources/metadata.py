"""What zarr and n5 folders say of their axes: OME-Zarr 0.4 and 0.5, dimension names, N5 attributes. JSON only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from .base import Axis

OWN_ATTRIBUTE = "bioimage_py"

_ROOTWARD = 6
_UNITS = {
    "": "",
    "pixel": "",
    "pixels": "",
    "Å": "angstrom",
    "nm": "nanometer",
    "µm": "micrometer",
    "um": "micrometer",
    "micron": "micrometer",
    "microns": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "inch": "inch",
    "s": "second",
    "sec": "second",
    "ms": "millisecond",
    "min": "minute",
}
_KINDS = {"t": "time", "time": "time", "c": "channel", "channel": "channel", "x": "space", "y": "space", "z": "space"}


def read_json(path: str) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if there is no such file or it is no object."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_attributes(folder: str) -> dict[str, Any]:
    """Return the user attributes of a zarr group or array (either version), or of an n5 one."""
    attributes = read_json(os.path.join(folder, "zarr.json")).get("attributes")
    if isinstance(attributes, dict):
        return attributes
    return read_json(os.path.join(folder, ".zattrs")) or read_json(os.path.join(folder, "attributes.json"))


def multiscales_of(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the multiscales entries of OME-Zarr attributes, of 0.5 (under "ome") or earlier versions."""
    ome = attributes.get("ome")
    entries = (ome if isinstance(ome, Mapping) else attributes).get("multiscales")
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("datasets"), list)]


def parse_axes(entry: Mapping[str, Any], dataset: Mapping[str, Any], ndim: int) -> tuple[Axis, ...]:
    """Return the axes of one dataset of a multiscales entry.

    The scale and translation of the dataset are followed by those of the whole entry, as the format demands.
    """
    named = entry.get("axes") or [None] * ndim
    scale, offset = [1.0] * ndim, [0.0] * ndim
    for step in [*(dataset.get("coordinateTransformations") or []), *(entry.get("coordinateTransformations") or [])]:
        values = step.get(step.get("type")) if isinstance(step, dict) else None
        if not isinstance(values, list) or len(values) != ndim:
            continue
        if step["type"] == "scale":
            scale = [a * float(b) for a, b in zip(scale, values, strict=True)]
            offset = [a * float(b) for a, b in zip(offset, values, strict=True)]
        elif step["type"] == "translation":
            offset = [a + float(b) for a, b in zip(offset, values, strict=True)]
    if len(named) != ndim:
        named = [None] * ndim
    return tuple(_axis(named[i], i, ndim, scale[i], offset[i]) for i in range(ndim))


def _axis(named: Any, index: int, ndim: int, scale: float, offset: float) -> Axis:
    if isinstance(named, str):  # version 0.3 and earlier give names only
        return Axis(named, kind_of(named), None, scale, offset)
    if isinstance(named, Mapping) and isinstance(named.get("name"), str):
        kind = named.get("type") or kind_of(named["name"])
        return Axis(named["name"], str(kind), named.get("unit"), scale, offset)
    name = "tczyx"[-ndim:][index] if ndim <= 5 else f"d{index}"
    return Axis(name, kind_of(name), None, scale, offset)


def unit_name(unit: str | None) -> str | None:
    """Return the full name that OME-Zarr demands for a unit of length or time ("um" gives "micrometer")."""
    if unit is None:
        return None
    text = unit.strip().replace("\\u00B5", "µ").replace("μ", "µ")
    return _UNITS.get(text, _UNITS.get(text.lower(), text)) or None


def kind_of(name: str) -> str:
    """Return the kind of an axis of that name."""
    return _KINDS.get(name.lower(), "other")


def read_axes(folder: str, ndim: int) -> tuple[Axis, ...] | None:
    """Return the axes of the array in ``folder``: from a group above it, its own attributes or names.

    Parameters
    ----------
    folder : str
        Absolute path of the array's own folder.
    ndim : int
        Number of its axes.

    Returns
    -------
    tuple of Axis, or None
        None if nothing is said.
    """
    above = folder
    for _ in range(_ROOTWARD):
        key, above = os.path.relpath(folder, os.path.dirname(above)), os.path.dirname(above)
        for entry in multiscales_of(read_attributes(above)):
            for dataset in entry["datasets"]:
                if isinstance(dataset, Mapping) and str(dataset.get("path", "")).strip("/") == key:
                    return parse_axes(entry, dataset, ndim)
        if above == os.path.dirname(above):
            break
    if (own := _own_axes(folder, ndim)) is not None:
        return own
    names = read_json(os.path.join(folder, "zarr.json")).get("dimension_names")
    if not names:
        names = read_json(os.path.join(folder, ".zattrs")).get("_ARRAY_DIMENSIONS")
    if isinstance(names, list) and len(names) == ndim and all(isinstance(name, str) and name for name in names):
        return tuple(Axis(name, kind_of(name)) for name in names)
    return _n5_axes(folder, ndim)


def _own_axes(folder: str, ndim: int) -> tuple[Axis, ...] | None:
    """Return the axes that `create_array` stored with the array."""
    own = read_attributes(folder).get(OWN_ATTRIBUTE)
    stored = own.get("axes") if isinstance(own, Mapping) else None
    if not isinstance(stored, list) or len(stored) != ndim:
        return None
    try:
        return tuple(Axis(**axis) for axis in stored)
    except TypeError:
        return None


def _n5_axes(folder: str, ndim: int) -> tuple[Axis, ...] | None:
    """Return the axes by the attributes that Paintera and other N5 viewers write, which are in x, y, z order."""
    attributes = read_json(os.path.join(folder, "attributes.json"))
    resolution, units = attributes.get("resolution"), attributes.get("units")
    if isinstance(found := attributes.get("pixelResolution"), Mapping):
        resolution, units = found.get("dimensions"), found.get("unit")
    elif isinstance(found, list):
        resolution = found
    if not _numbers(resolution, ndim) or ndim > 3:
        return None
    offset = attributes.get("offset")
    offset = offset if _numbers(offset, ndim) else [0.0] * ndim
    units = [units] * ndim if isinstance(units, str) else units
    units = units if isinstance(units, list) and len(units) == ndim else [None] * ndim
    assert isinstance(resolution, Sequence)
    assert isinstance(offset, Sequence)
    axes = (Axis("xyz"[i], "space", units[i], float(resolution[i]), float(offset[i])) for i in range(ndim))
    return tuple(reversed(tuple(axes)))


def _numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(isinstance(item, int | float) for item in value)
