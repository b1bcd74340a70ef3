"""What attributes of other programs say of the axes of an array, in whatever file they lie."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...system.json_text import parse_json
from ..axes import Axis, default_axes, kind_of, unit_name

OWN_ATTRIBUTE = "bioimage_py"

_VIGRA_KINDS = ((1, "channel"), (2, "space"), (8, "time"))


def conventional_axes(
    attributes: Mapping[str, Any], ndim: int, *, x_first: bool, names: Sequence[str] | None = None
) -> tuple[Axis, ...] | None:
    """Return the axes that attributes of other programs describe.

    Read are, besides what the format itself says: ``axistags`` (vigra, ilastik), ``axes``, ``axis_names`` and
    ``_ARRAY_DIMENSIONS`` (xarray); ``element_size_um`` (ilastik, PlantSeg), ``resolution``, ``voxel_size`` and
    ``pixelResolution`` (Paintera, n5-viewer, CREMI, daisy) with ``offset``, ``units``, and ``downsamplingFactors``.

    Parameters
    ----------
    attributes : mapping
        JSON values.
    ndim : int
        Number of axes.
    x_first : bool
        Whether lists of numbers and units are in x, y, z order, as in n5.
    names : sequence of str, optional
        Names that the format itself gives.

    Returns
    -------
    tuple of Axis, or None
        In the order of the array's axes; None if nothing is said.
    """
    tags = _vigra_axes(attributes.get("axistags"), ndim)
    if names is not None:
        tags = [Axis(name, kind_of(name)) for name in names]
    elif tags is None and (named := _names(attributes, ndim, x_first)) is not None:
        tags = [Axis(name, kind_of(name)) for name in named]
    sized = _sized(tags or list(default_axes(ndim)), attributes, x_first)
    return tuple(sized) if sized is not None else None if tags is None else tuple(tags)


def _names(attributes: Mapping[str, Any], ndim: int, x_first: bool) -> list[str] | None:
    for key in ("_ARRAY_DIMENSIONS", "axis_names", "axes"):
        names = attributes.get(key)
        if isinstance(names, str) and len(names) == ndim:
            names = list(names)
        if isinstance(names, list) and len(names) == ndim and all(isinstance(name, str) and name for name in names):
            return names[::-1] if x_first and key == "axes" else names
    return None


def _vigra_axes(tags: Any, ndim: int) -> list[Axis] | None:
    """Return the axes that vigra's tags (JSON text, or what it holds) give, in the order of the array."""
    try:
        listed = (parse_json(tags) if isinstance(tags, str) else tags)["axes"]
        named = [(str(tag["key"]), int(tag.get("typeFlags", 0)), float(tag.get("resolution") or 0)) for tag in listed]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if len(named) != ndim:
        return None
    kinds = [next((kind for flag, kind in _VIGRA_KINDS if flags & flag), kind_of(key)) for key, flags, _ in named]
    return [Axis(key, kind, None, size or 1.0) for (key, _, size), kind in zip(named, kinds, strict=True)]


def _sized(axes: list[Axis], attributes: Mapping[str, Any], x_first: bool) -> list[Axis] | None:
    """Return the axes with scale, unit and offset; None where no size is said."""
    sizes: Any = attributes.get("resolution", attributes.get("voxel_size"))
    units: Any = attributes.get("units")
    reverse = x_first
    meant = list(range(len(axes)))
    if isinstance(found := attributes.get("pixelResolution"), Mapping):
        sizes, units = found.get("dimensions"), found.get("unit")
    elif isinstance(found, list):
        sizes = found
    if "element_size_um" in attributes:
        sizes, units, reverse = attributes["element_size_um"], "micrometer", False
    if isinstance(sizes, list) and len(sizes) < len(axes):
        meant = [index for index in meant if axes[index].kind == "space"]
    count = len(meant)
    sizes = _numbers_of(sizes, count)
    if sizes is None:
        return None
    factors = _numbers_of(attributes.get("downsamplingFactors"), count) or [1.0] * count
    offsets = _numbers_of(attributes.get("offset"), count) or [0.0] * count
    each = isinstance(units, list) and len(units) == count
    sized = list(axes)
    for said, index in enumerate(meant[::-1] if reverse else meant):
        if each or axes[index].kind == "space":
            size, factor, offset = sizes[said], factors[said], offsets[said]
            named = units[said] if each else units
            unit = unit_name(named) if isinstance(named, str) else None
            # a voxel of a coarser level covers as many of the finest as its factor says
            begin = offset + size * (factor - 1) / 2
            sized[index] = replace(axes[index], unit=unit, scale=size * factor, offset=begin)
    return sized


def _numbers_of(value: Any, count: int) -> list[float] | None:
    good = isinstance(value, list) and len(value) == count and all(isinstance(item, int | float) for item in value)
    return [float(item) for item in value] if good else None


def warn_of_packing(attributes: Mapping[str, Any], where: str) -> None:
    """Warn where voxels are numbers packed by NetCDF's convention: what is read is what is stored."""
    said = [attributes.get(key, plain) for key, plain in (("scale_factor", 1), ("add_offset", 0))]
    said = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in said]
    if all(isinstance(value, int | float) for value in said) and said != [1, 0]:
        warnings.warn(
            f"{where} holds packed numbers (scale_factor, add_offset): {said[0]} * stored + {said[1]} is meant, and the"
            " stored ones are read.",
            stacklevel=2,
        )
