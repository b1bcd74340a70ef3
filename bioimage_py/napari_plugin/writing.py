"""The writer: layers as OME-Zarr with coarser levels, scale and units."""

from __future__ import annotations

from typing import Any

from ..sources import Axis, Source, as_source
from ..wrapper import AxesSource

_UNITS = {"pixel", "", "dimensionless"}


def write_layers(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a layer of napari, and return the path; an image that is there is replaced."""
    from ..workflows import convert

    source = (meta.get("metadata") or {}).get("source")
    if not isinstance(source, Source) or tuple(source.shape) != tuple(_finest(data, meta).shape):
        source = as_source(_finest(data, meta))
    convert(AxesSource(source, axes_of(meta, source)), path, pyramid=True, overwrite=True)
    return [path]


def _finest(data: Any, meta: dict[str, Any]) -> Any:
    levels = meta.get("multiscale") or isinstance(data, list)
    return data[0] if levels else data


def axes_of(meta: dict[str, Any], source: Source) -> list[Axis]:
    """Axes of a layer; those of the source where the layer has no names for them."""
    ndim = source.ndim
    scale, offset = list(meta.get("scale") or [1.0] * ndim), list(meta.get("translate") or [0.0] * ndim)
    labels, units = list(meta.get("axis_labels") or ()), [str(unit) for unit in meta.get("units") or ()]
    found = []
    for axis, one in enumerate(source.axes):
        name = labels[axis] if len(labels) == ndim and not labels[axis].startswith("-") else one.name
        unit = units[axis] if len(units) == ndim and units[axis] not in _UNITS else None
        kind = {"t": "time", "c": "channel"}.get(name, "space" if name in ("z", "y", "x") else one.kind)
        found.append(Axis(name, kind, unit or one.unit, float(scale[axis]), float(offset[axis])))
    return found
