"""Axes of TIFF files, from the conventions of ImageJ and OME."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

from ...sources.axes import Axis, default_axes
from ...sources.chunked.attributes import kind_of, unit_name


def tif_axes(file: Any, series: Any) -> tuple[Axis, ...]:
    """Return the axes of a series, with what its file says of their units and scales."""
    scales = {
        name: (unit, number) for name, (unit, size) in _scales(file, series).items() if (number := distance(size))
    }
    letters = str(series.axes)
    unknown = [letter for letter in letters if letter not in "TCZYXS"]
    names: list[str] = []
    for index, letter in enumerate(letters):
        if letter in unknown:
            letter = "Z" if len(unknown) == 1 and "Z" not in letters else f"d{index}"
        names.append("c" if letter == "S" and "C" not in letters else letter.lower())
    return tuple(_axis(name, "channel" if name == "s" else kind_of(name), *_scale(scales, name)) for name in names)


def distance(said: Any) -> float | None:
    """Return a distance in space or time that a file says; None where what it says is none."""
    try:
        number = float(said)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < math.inf else None


@lru_cache(maxsize=256)
def _axis(name: str, kind: str, unit: str | None, scale: float) -> Axis:
    """An axis, which is a value: the check of its arguments takes as long as the rest of a look at a file."""
    return Axis(name, kind, unit, scale)


_MICROMETERS = {2: 25400.0, 3: 10000.0}
"""Of the units that tags know: inch and centimetre."""
_OF_PRINTERS = {72, 90, 96, 100, 120, 144, 150, 180, 200, 240, 300, 350, 360, 400, 600, 720, 1200, 2400}
"""Dots per inch that programs write who know nothing of the size of a pixel."""


def level_axes(axes: Sequence[Axis], fine: Sequence[int], coarse: Sequence[int]) -> tuple[Axis, ...]:
    """Return the axes of a coarser level, each voxel of which stands for a block of the finest one."""
    if tuple(fine) == tuple(coarse):
        return tuple(axes)
    if len(axes) != len(coarse):
        return default_axes(len(coarse))
    factors = [round(large / small) if small else 1 for large, small in zip(fine, coarse, strict=True)]
    return tuple(
        replace(axis, scale=axis.scale * factor, offset=axis.offset + (factor - 1) / 2 * axis.scale)
        for axis, factor in zip(axes, factors, strict=True)
    )


def _scales(file: Any, series: Any) -> dict[str, tuple[str | None, Any]]:
    """Return unit and scale by axis, from whoever says most of them; they may be anything."""
    if file.is_ome:
        return _ome_scales(file, series)
    if file.is_lsm:
        return _lsm_scales(file)
    found = _imagej_scales(file, series)
    return found if "x" in found or "y" in found else {**_tag_scales(series.keyframe), **found}


def _lsm_scales(file: Any) -> dict[str, tuple[str | None, Any]]:
    said = file.lsm_metadata or {}
    metres = {name: said.get(f"VoxelSize{name.upper()}") for name in "xyz"}
    scales: dict[str, tuple[str | None, Any]] = {
        name: ("micrometer", float(size) * 1e6) for name, size in metres.items() if size
    }
    if said.get("TimeIntervall"):
        scales["t"] = ("second", said["TimeIntervall"])
    return scales


def _tag_scales(page: Any) -> dict[str, tuple[str | None, float]]:
    unit = page.tags.get(296)
    known = unit is None or isinstance(unit.value, int)
    micrometers = _MICROMETERS.get(2 if unit is None else int(unit.value)) if known else None
    scales: dict[str, tuple[str | None, float]] = {}
    for name, tag in (("x", 282), ("y", 283)):
        number = _resolution(page, tag)
        if number is None or number == 1:
            continue
        if micrometers is None:
            scales[name] = (None, 1 / number)
        elif not any(abs(number / micrometers * 25400 - dots) < 0.6 for dots in _OF_PRINTERS):
            scales[name] = ("micrometer", micrometers / number)
    return scales


def _resolution(page: Any, tag: int) -> float | None:
    value = page.tags.get(tag)
    try:
        return distance(float(value.value[0]) / float(value.value[1]))
    except (AttributeError, TypeError, ValueError, ZeroDivisionError, IndexError):
        return None


def _scale(scales: Mapping[str, tuple[str | None, float]], name: str) -> tuple[str | None, float]:
    return scales.get(name, (None, 1.0))


def _imagej_scales(file: Any, series: Any) -> dict[str, tuple[str | None, Any]]:
    """Return unit and scale by axis; resolutions of other programs are mostly those of a printer, and not used."""
    found = file.imagej_metadata if file.is_imagej else None
    if not found:
        return {}
    unit = unit_name(str(found["unit"])) if "unit" in found else None
    scales: dict[str, tuple[str | None, Any]] = {}
    for name, tag in (("x", 282), ("y", 283)):
        number = _resolution(series.keyframe, tag)
        if number is not None and unit is not None:
            scales[name] = (unit, 1 / number)
    if "spacing" in found:
        scales["z"] = (unit, found["spacing"])
    if "finterval" in found:
        scales["t"] = ("second", found["finterval"])
    return scales


def _ome_scales(file: Any, series: Any) -> dict[str, tuple[str | None, Any]]:
    try:
        root = ElementTree.fromstring(file.ome_metadata or "")
    except ElementTree.ParseError:
        return {}
    pixels: Sequence[Any] = [node for node in root.iter() if node.tag.endswith("}Pixels")]
    # the library leaves images out that have no voxels in these files; then none can be told to be this one
    position = next(number for number, other in enumerate(file.series) if other is series)
    pixels = pixels[position : position + 1] if len(pixels) == len(file.series) or len(pixels) == 1 else []
    if not pixels:
        return {}
    scales: dict[str, tuple[str | None, Any]] = {}
    for name in "xyz":
        value = pixels[0].get(f"PhysicalSize{name.upper()}")
        if value is not None:
            # The schema's default for lengths without a unit is the micrometer.
            scales[name] = (unit_name(pixels[0].get(f"PhysicalSize{name.upper()}Unit", "µm")), value)
    if (interval := pixels[0].get("TimeIncrement")) is not None:
        scales["t"] = (unit_name(pixels[0].get("TimeIncrementUnit", "s")), interval)
    return scales
