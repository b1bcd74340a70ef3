"""What zarr and n5 arrays say of their axes: OME-Zarr 0.4 and 0.5, dimension names, N5 attributes. JSON only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import AccessError
from .base import Axis, default_axes
from .stores import Location

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


def read_attributes(place: Location, driver: str | None = None) -> dict[str, Any]:
    """Return the user attributes of a group or array.

    Parameters
    ----------
    place : Location
        The group or array.
    driver : {"zarr3", "zarr", "n5"}, optional
        Look for the metadata of this format alone, which saves requests.
    """
    if driver in (None, "zarr3"):
        attributes = place.read_json("zarr.json").get("attributes")
        if isinstance(attributes, dict) or driver:
            return attributes if isinstance(attributes, dict) else {}
    if driver in (None, "zarr"):
        found = place.read_json(".zattrs")
        if found or driver:
            return found
    return place.read_json("attributes.json")


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


def describe_axes(axes: Sequence[Axis]) -> dict[str, Any]:
    """Return ``{"axes": ..., "coordinateTransformations": ...}`` as OME-Zarr writes them (0.4 and 0.5).

    The transformations map voxel indices to positions: a scale, and a translation if any offset is not zero.
    """
    named = []
    for axis in axes:
        described: dict[str, Any] = {"name": axis.name, "type": axis.kind}
        if unit := unit_name(axis.unit):
            described["unit"] = unit
        named.append(described)
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": [float(axis.scale) for axis in axes]}]
    if any(axis.offset for axis in axes):
        steps.append({"type": "translation", "translation": [float(axis.offset) for axis in axes]})
    return {"axes": named, "coordinateTransformations": steps}


def unit_name(unit: str | None) -> str | None:
    """Return the full name that OME-Zarr demands for a unit of length or time ("um" gives "micrometer")."""
    if unit is None:
        return None
    text = unit.strip().replace("\\u00B5", "µ").replace("μ", "µ")
    return _UNITS.get(text, _UNITS.get(text.lower(), text)) or None


def kind_of(name: str) -> str:
    """Return the kind of an axis of that name."""
    return _KINDS.get(name.lower(), "other")


def read_axes(place: Location, driver: str, ndim: int, depth: int | None = None) -> tuple[Axis, ...] | None:
    """Return the axes of an array: from a group above it, its own attributes or names.

    Parameters
    ----------
    place : Location
        The array.
    driver : {"zarr3", "zarr", "n5"}
        Its format.
    ndim : int
        Number of its axes.
    depth : int, optional
        How many groups above it are asked; None: up to six, as far as there are any.

    Returns
    -------
    tuple of Axis, or None
        None if nothing is said.
    """
    for above, key in _groups_above(place, _ROOTWARD if depth is None else depth):
        for entry in multiscales_of(_readable_attributes(above, driver)):
            for dataset in entry["datasets"]:
                if isinstance(dataset, Mapping) and str(dataset.get("path", "")).strip("/") == key:
                    return parse_axes(entry, dataset, ndim)
    attributes = read_attributes(place, driver)
    if (own := _own_axes(attributes, ndim)) is not None:
        return own
    names = place.read_json("zarr.json").get("dimension_names") if driver == "zarr3" else None
    if not names:
        names = attributes.get("_ARRAY_DIMENSIONS")
    named = None
    if isinstance(names, list) and len(names) == ndim and all(isinstance(name, str) and name for name in names):
        named = [Axis(name, kind_of(name)) for name in names]
    units = attributes.get("dimension_units")
    if isinstance(units, list) and len(units) == ndim:
        return tuple(map(_with_unit, named or default_axes(ndim), units))
    if named:
        return tuple(named)
    return _n5_axes(attributes, ndim) if driver == "n5" else None


def _with_unit(axis: Axis, unit: Any) -> Axis:
    """Add what tensorstore writes as the unit of an axis: "4 nm", or None."""
    found = re.fullmatch(r"([0-9.eE+-]+)?\s*(\S+)", unit) if isinstance(unit, str) else None
    return axis if found is None else replace(axis, unit=unit_name(found[2]), scale=float(found[1] or 1))


def _groups_above(place: Location, depth: int) -> Iterator[tuple[Location, str]]:
    """Yield the groups above an array, nearest first, each with the key of the array in it."""
    key, above = "", place
    for _ in range(depth):
        name, parent = above.name, above.parent
        if parent is None:
            return
        key = f"{name}/{key}" if key else name
        above = parent
        yield above, key


def _readable_attributes(place: Location, driver: str) -> dict[str, Any]:
    """Attributes of a group; none where a bucket does not let us see what is above the array."""
    try:
        return read_attributes(place, driver)
    except AccessError:
        return {}


def _own_axes(attributes: Mapping[str, Any], ndim: int) -> tuple[Axis, ...] | None:
    """Return the axes that `create_array` stored with the array."""
    own = attributes.get(OWN_ATTRIBUTE)
    stored = own.get("axes") if isinstance(own, Mapping) else None
    if not isinstance(stored, list) or len(stored) != ndim:
        return None
    try:
        return tuple(Axis(**axis) for axis in stored)
    except TypeError:
        return None


def _n5_axes(attributes: Mapping[str, Any], ndim: int) -> tuple[Axis, ...] | None:
    """Return the axes by the attributes that Paintera and other N5 viewers write, which are in x, y, z order."""
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
    axes = (Axis("xyz"[i], "space", unit_name(units[i]), float(resolution[i]), float(offset[i])) for i in range(ndim))
    return tuple(reversed(tuple(axes)))


def _numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(isinstance(item, int | float) for item in value)
