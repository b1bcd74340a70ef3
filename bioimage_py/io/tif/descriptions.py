"""What a tif file that is written says of an image: as OME-XML, as ImageJ does, or as tifffile does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...errors import ParameterError
from ...sources.axes import Axis
from ...sources.chunked.conventions import OWN_ATTRIBUTE
from ..details import Image
from ..written.said import kept_metadata, lost_metadata, name_text, text_of

_SHORT = {
    "micrometer": "µm",
    "nanometer": "nm",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "picometer": "pm",
    "angstrom": "Å",
    "inch": "in",
    "second": "s",
    "millisecond": "ms",
    "microsecond": "µs",
    "nanosecond": "ns",
    "minute": "min",
    "hour": "h",
    "day": "d",
}
NAMESPACE = f"{OWN_ATTRIBUTE}/metadata"
"""Of the annotation of OME-XML that holds what was said of an image."""
INFO = f"[{NAMESPACE}]"
"""First line of ImageJ's text about an image, of what was said of it."""
INFO_MARK = " = "
_TAGS = ("ImageDescription", "XResolution", "YResolution", "ResolutionUnit", "Software")
_OME = (*_TAGS, "ome_xml")
_PLAIN = (*_TAGS, "shape", "axes", "channel_names", "truncate")
_IMAGEJ: tuple[str, ...] = (
    "ImageJ",
    "images",
    "channels",
    "slices",
    "frames",
    "hyperstack",
    "mode",
    "loop",
    "unit",
    "spacing",
)
_IMAGEJ += ("finterval", "fps", "channel_names", "axes", "min", "max", "Labels", "Ranges", "LUTs", "version")
_METERS = {"micrometer": 1e-6, "nanometer": 1e-9, "millimeter": 1e-3, "centimeter": 1e-2, "meter": 1.0, "inch": 0.0254}


def letters_of(axes: Sequence[Axis], rgb: bool) -> str:
    """Return the letters by which tifffile knows axes; S for colours of a voxel."""
    names = [axis.name.upper() for axis in axes]
    return "".join([*names[:-1], "S"] if rgb else names)


def is_rgb(image: Image) -> bool:
    """Whether the last axis of an image is colour."""
    return image.details.is_rgb and image.array.dtype.kind == "u"


def _note_lost(image: Image, lost: list[str], kept: str, said: Iterable[str]) -> None:
    for axis, size in zip(image.axes, image.array.shape, strict=True):
        if axis.offset:
            lost.append(f"offset of the axis {axis.name}")
        if axis.name not in kept and (axis.unit or axis.scale != 1):
            lost.append(f"scale of the axis {axis.name}")
        if size == 1:
            lost.append(f"axis {axis.name} of length 1")
    lost += lost_metadata(image, said)
    lost += ["labels"] if image.details.is_label else []
    if image.details.affine is not None:
        lost.append("affine")


def _ome_metadata(image: Image, lost: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    found: dict[str, Any] = {"axes": letters_of(image.axes, is_rgb(image))}
    for axis in image.axes:
        if axis.unit is None and axis.scale == 1:
            continue
        unit = _SHORT.get(axis.unit or "", axis.unit)
        if axis.name in "xyz":
            # a length without a unit is one of pixels: the schema's default would be the micrometer
            found[f"PhysicalSize{axis.name.upper()}"] = axis.scale
            found[f"PhysicalSize{axis.name.upper()}Unit"] = unit or "pixel"
        elif axis.name == "t":
            found["TimeIncrement"], found["TimeIncrementUnit"] = axis.scale, unit or "s"
    if image.details.channel_names and is_rgb(image):
        lost.append("channel names")
    elif image.details.channel_names:
        found["Channel"] = {"Name": list(image.details.channel_names)}
    if image.name:
        found["Name"] = image.name
    said = kept_metadata(image, taken=_OME)
    if said:
        pairs = {name_text(name, "$^"): text_of(value) for name, value in said.items()}
        found["MapAnnotation"] = {"Namespace": NAMESPACE, "Value": pairs}
    _note_lost(image, lost, "xyzt", said)
    return found, {}


def _imagej_metadata(image: Image, lost: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    by_name = {axis.name: axis for axis in image.axes}
    found: dict[str, Any] = {"axes": letters_of(image.axes, is_rgb(image))}
    units = {axis.unit for axis in image.axes if axis.kind == "space"}
    more: dict[str, Any] = {}
    if len(units) > 1:
        raise ParameterError(f"ImageJ has one unit for all axes of space, not {units}.", remedy='flavor="ome"')
    unit = units.pop() if units else None
    if unit is not None:
        found["unit"] = "um" if unit == "micrometer" else _SHORT.get(unit, unit)
    x, y = by_name.get("x"), by_name.get("y")
    if x is not None and y is not None and (unit or x.scale != 1 or y.scale != 1):
        more["resolution"] = (1 / x.scale, 1 / y.scale)
        found.setdefault("unit", "pixel")
    if "z" in by_name and (unit or by_name["z"].scale != 1):
        found["spacing"] = by_name["z"].scale
    if "t" in by_name and by_name["t"].unit == "second":
        found["finterval"] = by_name["t"].scale
    if image.details.channel_names:
        names, planes = image.details.channel_names, found["axes"].rstrip("S")[:-2]
        found["channel_names"] = json.dumps(names)
        if "C" in planes:
            at = planes.index("C")
            found["Labels"] = [names[where[at]] for where in np.ndindex(image.array.shape[: len(planes)])]
    said = kept_metadata(image, taken=(*_TAGS, *_IMAGEJ))
    if said:
        lines = [f"{name_text(name, '=')}{INFO_MARK}{text_of(value)}" for name, value in said.items()]
        found["Info"] = "\n".join([INFO, *lines])
    _note_lost(image, lost, "xyz" + ("t" if "finterval" in found else ""), said)
    return found, more


def _plain_metadata(image: Image, lost: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    letters = letters_of(image.axes, is_rgb(image))
    found: dict[str, Any] = {}
    if len(letters) == image.array.ndim and set(letters) <= set("TCZYXSQ"):
        found["axes"] = letters
    else:
        lost.append("names of the axes")
    if image.details.channel_names:
        found["channel_names"] = list(image.details.channel_names)
    by_name = {axis.name: axis for axis in image.axes}
    x, y = by_name.get("x"), by_name.get("y")
    more: dict[str, Any] = {}
    kept = ""
    if x is not None and y is not None and x.unit in _METERS and y.unit in _METERS:
        more["resolution"] = (0.01 / (x.scale * _METERS[x.unit]), 0.01 / (y.scale * _METERS[y.unit]))
        more["resolutionunit"] = "CENTIMETER"
        kept = "xy"
    said = kept_metadata(image, taken=_PLAIN)
    if said:
        found[OWN_ATTRIBUTE] = {"metadata": said}
    _note_lost(image, lost, kept, said)
    return found, more


DESCRIPTIONS = {"ome": _ome_metadata, "imagej": _imagej_metadata, "plain": _plain_metadata}
