"""What zarr and n5 arrays say of their axes: OME-Zarr 0.4 and 0.5, dimension names, N5 attributes. JSON only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...errors import AccessError, FormatError
from ...system.json_text import parse_json
from ..axes import Axis, default_axes
from ..axes import kind_of as kind_of
from ..axes import unit_name as unit_name
from ..stores.location import Location
from .conventions import OWN_ATTRIBUTE as OWN_ATTRIBUTE
from .conventions import conventional_axes

_ROOTWARD = 6
_IMAGE = 2
_SIZES = ("pixelResolution", "resolution", "offset", "units")
_LEVEL = re.compile(r"s\d+")


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


def refuse_damaged(place: Location) -> None:
    """Raise `FormatError` if metadata are there, but are no JSON: nobody can tell what lies there."""
    for document in ("zarr.json", ".zarray", "attributes.json"):
        content = place.read(document)
        if content is not None and not _is_object(content):
            raise FormatError(
                f"{place}/{document} is damaged: it is no JSON object ({len(content)} bytes).",
                remedy="restore the file from a copy",
            )


def _is_object(content: bytes) -> bool:
    try:
        return isinstance(parse_json(content), dict)
    except ValueError:
        return False


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
    if not isinstance(names, list) or len(names) != ndim or not all(isinstance(name, str) and name for name in names):
        names = None
    if driver == "n5" and _LEVEL.fullmatch(place.name):
        attributes = _of_image(place, depth) | attributes
    found = conventional_axes(attributes, ndim, x_first=driver == "n5", names=names)
    units = attributes.get("dimension_units")
    if isinstance(units, list) and len(units) == ndim:
        return tuple(map(_with_unit, found or default_axes(ndim), units))
    return found


def _of_image(place: Location, depth: int | None) -> dict[str, Any]:
    """Return what the groups of a level of an n5 pyramid say of the sizes of its finest voxels; the nearest decides."""
    for above, _ in _groups_above(place, _IMAGE if depth is None else min(depth, _IMAGE)):
        said = _readable_attributes(above, "n5")
        found: dict[str, Any] = {key: said[key] for key in _SIZES if key in said}
        if found:
            return found
    return {}


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
