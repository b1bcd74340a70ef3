"""The writer: layers as OME-Zarr with coarser levels, scale and units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..sources import Axis, Source, as_source
from ..sources.axes import kind_of
from ..wrapper import AxesSource
from .reading import LazyArray, placing

_UNITS = {"pixel", "", "dimensionless"}


def write_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write an image layer of napari, and return the path; an image that is there is replaced."""
    return _write(path, data, meta, labels=False)


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a labels layer of napari: coarser levels have ids that are there, no means of ids."""
    return _write(path, data, meta, labels=True)


def _write(path: str, data: Any, meta: dict[str, Any], labels: bool) -> list[str]:
    from ..workflows import convert

    source = source_of(data, meta)
    convert(source, path, pyramid=True, labels=labels and source.dtype.kind != "b", overwrite=True)
    return [path]


def source_of(data: Any, meta: Mapping[str, Any]) -> Source:
    """What a layer shows, as a source with the scale and place that it has there."""
    levels = meta.get("multiscale") or isinstance(data, list)
    finest = data[0] if levels else data
    source = finest.source if isinstance(finest, LazyArray) else as_source(finest)
    axes = axes_of(meta, source)
    return source if tuple(axes) == tuple(source.axes) else AxesSource(source, axes)


def axes_of(meta: Mapping[str, Any], source: Source) -> list[Axis]:
    """Axes of a layer; of the source, what the layer has no place for: its unit, or a channel's scale."""
    ndim = source.ndim
    own = placing(list(source.axes))
    scale, offset = (list(meta.get(name) or own[name]) for name in ("scale", "translate"))
    labels, units = list(meta.get("axis_labels") or ()), [str(unit) for unit in meta.get("units") or ()]
    found = []
    for axis, one in enumerate(source.axes):
        name = labels[axis] if len(labels) == ndim and not labels[axis].startswith("-") else one.name
        kind = one.kind if name == one.name else kind_of(name)
        unit = units[axis] if len(units) == ndim and units[axis] != own["units"][axis] else None
        found.append(
            Axis(
                name,
                kind,
                one.unit if unit is None else None if unit in _UNITS else unit,
                one.scale if scale[axis] == own["scale"][axis] else float(scale[axis]),
                one.offset if offset[axis] == own["translate"][axis] else float(offset[axis]),
            )
        )
    return found
