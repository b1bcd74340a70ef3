"""What a tif file says of its images: OME-XML, ImageJ, LSM and tags."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from ...system.json_text import parse_json
from ..details import Details, own_metadata
from ..formats import keep_local
from ..written.said import name_of, value_of, with_own
from .axes import distance
from .descriptions import INFO, INFO_MARK, NAMESPACE
from .known import recall, state_of
from .whole import open_tif, reading_structure

_FLAGS = ("is_imagej", "is_ome", "is_shaped", "is_lsm")
_TAGS = {
    270: "ImageDescription",
    271: "Make",
    272: "Model",
    282: "XResolution",
    283: "YResolution",
    296: "ResolutionUnit",
    305: "Software",
    306: "DateTime",
    315: "Artist",
    316: "HostComputer",
}
"""By their numbers: by a name, the library goes through all tags."""
_LARGEST = 64 * 2**20


def details(path: str, key: str | None) -> Details:
    """Return what a file says of one of its series; the key is its number."""
    keep_local(path, "tif")
    if os.path.isdir(path):
        return Details()
    number = int((key or "0").partition("/")[0] or 0)
    if known := recall(path, number, state_of(path)):
        return known.describe()
    with reading_structure(path), open_tif(path) as file:
        return series_details(path, file, number)


def series_details(path: str, file: Any, number: int) -> Details:
    """Return what a file that was opened says of one of its series; it may be closed by now."""
    with reading_structure(path):
        series = file.series[number]
        page: Any = series.keyframe
        flavor, standard, said = _flavor(file, number)
        found = {name: page.tags.get(code) for code, name in _TAGS.items() if name not in flavor}
        tags = {name: _plain(tag.value) for name, tag in found.items() if tag is not None}
        rgb = bool(page.photometric in (2, 6) and page.samplesperpixel in (3, 4) and page.planarconfig == 1)
        flags: dict[str, Any] = {"byteorder": file.byteorder, **{name: bool(getattr(file, name)) for name in _FLAGS}}
        channels = [entry for entry in standard.get("channels", ()) if entry.get("name")]
        colors = [entry.get("color") for entry in standard.get("channels", ())]
        bits = int(page.bitspersample)
        return Details(
            raw=with_own({**tags, **flavor}, said),
            file=flags,
            standard=standard,
            channel_names=tuple(entry["name"] for entry in channels) or None,
            channel_colors=tuple(str(color) for color in colors) if colors and all(colors) else None,
            time_step=_time_step(flavor, standard),
            positions=standard.get("positions"),
            compression=page.compression.name.lower() if page.compression != 1 else None,
            bits=bits if bits != page.dtype.itemsize * 8 else None,
            is_rgb=rgb,
            applied={"PhotometricInterpretation": "YCBCR"} if page.photometric == 6 else {},
        )


def _flavor(file: Any, number: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The dictionary of the program that wrote a file, what all formats share of it, and what was said in writing."""
    if file.is_ome:
        return _ome(file, number)
    if file.is_imagej:
        found = {str(name): _plain(value) for name, value in (file.imagej_metadata or {}).items()}
        try:
            names = parse_json(found.get("channel_names") or "[]")
        except (TypeError, ValueError):
            names = []
        standard = {"channels": [{"name": str(name)} for name in names]} if isinstance(names, list) and names else {}
        first, *lines = str(found.get("Info", "")).split("\n")
        if first != INFO:
            return found, standard, {}
        del found["Info"]
        pairs = [line.partition(INFO_MARK) for line in lines]
        return found, standard, {name_of(name): value_of(value) for name, mark, value in pairs if mark}
    if file.is_lsm:
        return {str(name): _plain(value) for name, value in (file.lsm_metadata or {}).items()}, {}, {}
    if file.is_shaped:
        shaped = file.shaped_metadata or ()
        found = dict(shaped[number]) if number < len(shaped) else {}
        names = found.get("channel_names")
        standard = {"channels": [{"name": str(name)} for name in names]} if isinstance(names, list) else {}
        return found, standard, own_metadata(found)
    return {}, {}, {}


def _ome(file: Any, number: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    text = file.ome_metadata or ""
    raw: dict[str, Any] = {"ome_xml": text}
    if len(text) > _LARGEST:
        return raw, {}, {}
    root = ElementTree.fromstring(text)
    images = [node for node in root.iter() if _name(node) == "Image"]
    if number >= len(images):
        return raw, {}, {}
    return raw, ome_model(root, images[number]), _annotated(root, images[number])


def _annotated(root: ElementTree.Element, image: ElementTree.Element) -> dict[str, Any]:
    """What was said of an image when it was written, in the annotations that it refers to."""
    meant = {node.get("ID") for node in image if _name(node) == "AnnotationRef"}
    found: dict[str, Any] = {}
    for node in root.iter():
        if _name(node) == "MapAnnotation" and node.get("Namespace") == NAMESPACE and node.get("ID") in meant:
            pairs = [(pair.get("K"), pair.text or "") for pair in node.iter() if _name(pair) == "M"]
            found |= {name_of(name): value_of(text) for name, text in pairs if name is not None}
    return found


def ome_model(root: ElementTree.Element, image: ElementTree.Element) -> dict[str, Any]:
    """Return the part of OME-XML that all formats share, of one image."""
    pixels = next((node for node in image if _name(node) == "Pixels"), ElementTree.Element("Pixels"))
    found: dict[str, Any] = {"image": {"name": image.get("Name"), "id": image.get("ID")}}
    for node in image:
        if _name(node) == "AcquisitionDate":
            found["acquired"] = node.text
        if _name(node) == "Description" and node.text:
            found["image"]["description"] = node.text
    for name, wanted in (("instrument", "Microscope"), ("objective", "Objective")):
        said = [one for one in root.iter() if _name(one) == wanted]
        if said:
            found[name] = dict(said[0].attrib)
    channels = [node for node in pixels if _name(node) == "Channel"]
    found["channels"] = [_channel(node) for node in channels]
    found["pixel_sizes"] = {
        name.lower(): (size, pixels.get(f"PhysicalSize{name}Unit", "µm"))
        for name in "XYZ"
        if (size := distance(pixels.get(f"PhysicalSize{name}")))
    }
    if step := distance(pixels.get("TimeIncrement")):
        found["time_step"] = (step, pixels.get("TimeIncrementUnit", "s"))
    planes = [node.attrib for node in pixels if _name(node) == "Plane"]
    places = [tuple(float(one[f"Position{name}"]) for name in "ZYX" if f"Position{name}" in one) for one in planes]
    if any(places):
        found["positions"] = tuple(dict.fromkeys(place for place in places if place))
        found["stage"] = found["positions"][0]
    return found


def _channel(node: ElementTree.Element) -> dict[str, Any]:
    found: dict[str, Any] = {"name": node.get("Name"), **dict(node.attrib)}
    color = node.get("Color")
    if color is not None and color.lstrip("-").isdigit():
        found["color"] = f"#{(int(color) & 0xFFFFFFFF) >> 8:06x}"  # red, green, blue, alpha
    return found


def _time_step(flavor: Mapping[str, Any], standard: Mapping[str, Any]) -> float | None:
    if "finterval" in flavor:
        return distance(flavor["finterval"])
    step, unit = standard.get("time_step", (None, "s"))
    seconds = {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}.get(unit)
    return None if step is None or seconds is None else float(step) * seconds


def _name(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]


def _plain(value: Any) -> Any:
    """A value of a tag as plain Python."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip("\0")
    if isinstance(value, enum.Enum):
        return value.name if isinstance(value.value, str) else int(value.value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return value if isinstance(value, str | int | float) else str(value)
