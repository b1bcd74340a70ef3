"""CVAT XML 1.1 in pixels: images hold shapes, the objects of a sequence are tracks, answers are attributes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from ...errors import BioimageError, ParameterError
from ...system import json_text
from ..raster import rasterise_geometry
from ..values.geometry import Box, Ellipse, Geometry, Polygon, RotatedBox
from ..values.ids import new_id
from ..values.instances import ClassificationInstance
from ..values.lines import Point, Polyline, Skeleton
from ..values.masks import Mask, from_run_lengths, run_lengths
from .common import Exported, Found, bad, put_all

_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SHAPES = ("box", "polygon", "polyline", "points", "mask", "ellipse", "skeleton")
_INPUTS = {"text": "text", "numeric": "text", "radio": "radio"}


def to_cvat_xml(space: Any, *, file_name: str = "image") -> Exported:
    """Return an image or a sequence as CVAT XML 1.1; the document is a text.

    An image becomes "CVAT for images", a sequence "CVAT for video": a track for each object. Run lengths of masks are
    row by row inside of their box; polygons with holes or of several parts become masks, for CVAT has none.

    Parameters
    ----------
    space : ImageSpace or SequenceSpace
    file_name : str, default "image"
        Of the image.

    Returns
    -------
    Exported

    Raises
    ------
    ParameterError
        A name or an answer has a character that XML has no place for.
    """
    root, lost = Element("annotations"), Exported({}).lost
    SubElement(root, "version").text = "1.1"
    _meta(root, space)
    height, width = space.grid.mask_shape(0)[-2:]
    image: Any = root
    if space.kind != "sequence":
        image = SubElement(root, "image", id="0", name=file_name, width=str(width), height=str(height))
    tracks: dict[str, Any] = {}
    last: dict[str, tuple[Any, int]] = {}
    for record in space.get_annotations("object"):
        drawn = _drawn(record, space.grid) if space.grid.ndim == 2 else None
        if drawn is None:
            lost[record.class_.shape] += 1
            continue
        place = image
        if space.kind == "sequence":
            place = tracks.get(record.id)
            if place is None:
                track = {"id": str(len(tracks)), "label": record.name, "source": _source(record)}
                place = tracks[record.id] = SubElement(root, "track", track)
            if record.id in last and last[record.id][1] + 1 < record.frame:
                _gone(place, *last[record.id])
            drawn.set("frame", str(record.frame))
            drawn.set("keyframe", "1")
            _hide(drawn, "0")
            last[record.id] = drawn, record.frame
        else:
            drawn.set("label", record.name)
            drawn.set("source", _source(record))
        place.append(drawn)
        lost["checklists"] += _answer(drawn, record)
        for what in ("ids", "authors and times"):
            lost[what] += 1
        lost["confidence"] += record.confidence != 1
    for id, (drawn, frame) in last.items():
        if frame + 1 < space.n_frames:
            _gone(tracks[id], drawn, frame)
    for record in space.get_annotations("classification"):
        if space.kind == "sequence":
            lost["classifications"] += 1
        else:
            lost["checklists"] += _answer(SubElement(image, "tag", label=record.name, source=_source(record)), record)
    ElementTree.indent(root)
    text = '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
    if found := _ILLEGAL.search(text):
        raise ParameterError(
            f"A name or an answer has the character {found[0]!r}, which XML has no place for.", remedy="rename it"
        )
    return Exported(text, {what: n for what, n in lost.items() if n})


def _meta(root: Any, space: Any) -> None:
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "size").text = str(space.n_frames)
    SubElement(task, "mode").text = "interpolation" if space.kind == "sequence" else "annotation"
    labels = SubElement(task, "labels")
    for item in space.ontology:
        label = SubElement(labels, "label")
        SubElement(label, "name").text = item.name
        SubElement(label, "color").text = "#{:02x}{:02x}{:02x}".format(*getattr(item, "color", (255, 255, 255)))
        attributes = SubElement(label, "attributes")
        for one in item.all_attributes:
            attribute = one.attribute
            if attribute.kind in _INPUTS:
                found = SubElement(attributes, "attribute")
                SubElement(found, "name").text = one.path
                SubElement(found, "mutable").text = str(attribute.dynamic)
                SubElement(found, "input_type").text = _INPUTS[attribute.kind]
                SubElement(found, "default_value").text = ""
                SubElement(found, "values").text = "\n".join(attribute.options)


def _source(record: Any) -> str:
    return "manual" if record.manual_annotation else "auto"


def _answer(place: Any, record: Any) -> int:
    """Write the answers of a record; return how many have no place."""
    lost = 0
    for name, answer in record.answers.items():
        if isinstance(answer, list):
            lost += 1
        else:
            SubElement(place, "attribute", name=name).text = str(answer)
    return lost


def _gone(track: Any, drawn: Any, frame: int) -> None:
    """Say that the object of a track is not on the frame behind."""
    twin = deepcopy(drawn)
    twin.set("frame", str(frame + 1))
    _hide(twin, "1")
    track.append(twin)


def _hide(drawn: Any, outside: str) -> None:
    """Say whether a shape of a track is there; of a skeleton its points say so, beside which of them are seen."""
    for part in drawn.findall("points") if drawn.tag == "skeleton" else [drawn]:
        if outside == "1" or part.get("outside") is None:
            part.set("outside", outside)


def _numbers(points: Any) -> str:
    return ";".join(f"{x!r},{y!r}" for x, y in np.asarray(points, float).tolist())


def _corners(low: Any, high: Any) -> dict[str, str]:
    return dict(zip(("xtl", "ytl", "xbr", "ybr"), map(repr, (*low.tolist(), *high.tolist())), strict=True))


def _drawn(record: Any, grid: Any) -> Any:
    """Return the element of a shape, None where CVAT has none."""
    found = record.geometry_in("pixel")
    whole = {"occluded": "0", "z_order": "0"}
    if isinstance(found, Polygon) and (len(found.parts) > 1 or len(found.parts[0]) > 1):
        covered = rasterise_geometry(record.geometry, grid, tuple(slice(0, n) for n in grid.mask_shape(record.frame)))
        if not covered.any():
            return None
        found = Mask(covered)
    if isinstance(found, Mask):
        (top, left), (height, width) = found.origin, found.crop.shape
        place = {"left": left, "top": top, "width": width, "height": height}
        rle = ", ".join(map(str, run_lengths(found.crop)))
        return Element("mask", {"rle": rle, **{key: str(n) for key, n in place.items()}, **whole})
    if isinstance(found, RotatedBox):
        turned = _corners(found.center - found.size / 2, found.center + found.size / 2)
        return Element("box", {**turned, "rotation": repr(found.angle), **whole})
    if isinstance(found, Box):
        return Element("box", {**_corners(found.top_left, found.lower_right), **whole})
    if isinstance(found, Ellipse):
        (cx, cy), (rx, ry) = found.center.tolist(), found.radii.tolist()
        numbers = {"cx": cx, "cy": cy, "rx": rx, "ry": ry, "rotation": found.angle}
        return Element("ellipse", {**{key: repr(value) for key, value in numbers.items()}, **whole})
    if isinstance(found, Skeleton):
        skeleton = Element("skeleton", whole)
        for name, state, at in zip(found.names, found.states, found.points, strict=True):
            flags = {"occluded": str(int(state == "occluded")), "outside": str(int(state == "invisible"))}
            SubElement(skeleton, "points", {"label": name, "points": _numbers([at]), **flags})
        return skeleton
    if isinstance(found, Polygon):
        return Element("polygon", {"points": _numbers(found.parts[0][0]), **whole})
    if isinstance(found, Polyline):
        return Element("polyline", {"points": _numbers(found.points), **whole})
    return Element("points", {"points": _numbers([found.position]), **whole}) if isinstance(found, Point) else None


class _Builder(ElementTree.TreeBuilder):
    """Refuses declarations of entities, which can blow up a small file."""

    def doctype(self, name: str, public: str, system: str) -> None:
        raise bad("the document", "it has a DOCTYPE, which files of CVAT have not")


def from_cvat_xml(space: Any, document: str | bytes, *, image_id: int | None = None) -> int:
    """Put the objects, and the tags of images, of a CVAT XML document: all or none.

    Parameters
    ----------
    space : ImageSpace or SequenceSpace
        Its ontology must have the labels and their attributes, by name; an object becomes what its class wants.
    document : str or bytes
        "CVAT for images" or "CVAT for video". The images of the first are the frames of a sequence, by their id.
    image_id : int, optional
        Of an image space: which image. None: the only one.

    Returns
    -------
    int
        Number of records.

    Raises
    ------
    FormatError
        Something is wrong; names the place, such as "image[0].box[3]".
    """
    if not isinstance(document, str | bytes) or len(document) > json_text.LARGEST:
        raise bad("the document", f"it is no text of at most {json_text.LARGEST} bytes")
    try:
        root = ElementTree.fromstring(document, ElementTree.XMLParser(target=_Builder()))
    except BioimageError:
        raise
    except (ElementTree.ParseError, ValueError) as error:
        raise bad("the document", error) from None
    if root.tag != "annotations":
        raise bad(root.tag, "the root is no <annotations>")
    found, tags = [], []
    for where, node, frame, id, source in _shapes(space, root, image_id):
        try:
            if node.tag == "tag":
                tags.append((where, _classified(space, node), frame, source != "auto"))
                continue
            item = space.ontology.object_class(node.get("label") or "")
            several = node.tag == "points" and item.shape == "point"
            drawn = [Point(at) for at in _points(node)] if several else [_geometry(node)]
            answers = _answers(item, node)
        except (BioimageError, TypeError, ValueError, KeyError, OverflowError) as error:
            raise bad(where, error) from None
        if len(drawn) > 1 and id is not None:
            raise bad(where, "a track of several points")
        found += [Found(where, item, g, frame, id, None, source != "auto", None, answers) for g in drawn]
    with space._steps.whole():
        count = put_all(space, found)
        for where, instance, frame, manual in tags:
            level = space.kind == "sequence" and instance.class_.level == "frame"
            args = (instance, frame) if level else (instance,)
            try:
                space.put_classification_instance(*args, manual_annotation=manual)
            except BioimageError as error:
                raise bad(where, error) from None
    return count + len(tags)


def _shapes(space: Any, root: Any, image_id: int | None) -> Iterator[tuple[str, Any, int, str | None, str]]:
    """Yield place, element, frame, id and source of every shape and tag; of a shape of a track, with its label."""
    images = root.findall("image")
    if space.kind != "sequence" and image_id is None and len(images) > 1:
        raise bad("image", f"there are {len(images)} of them; image_id={images[0].get('id')!r} takes one")
    for i, image in enumerate(images):
        if space.kind != "sequence" and image_id is not None and image.get("id") != str(image_id):
            continue
        frame = _frame(space, image.get("id"), f"image[{i}].id") if space.kind == "sequence" else 0
        for j, node in enumerate(image):
            where = f"image[{i}].{node.tag}[{j}]"
            if node.tag not in (*_SHAPES, "tag"):
                raise bad(where, "it is not read")
            yield where, node, frame, None, node.get("source", "manual")
    for i, track in enumerate(root.findall("track")):
        id = new_id()
        for j, node in enumerate(track):
            where = f"track[{i}].{node.tag}[{j}]"
            if node.tag not in _SHAPES:
                raise bad(where, "it is not read")
            parts = node.findall("points") if node.tag == "skeleton" else [node]
            if all(part.get("outside") == "1" for part in parts):
                continue
            node.set("label", track.get("label", ""))
            frame = _frame(space, node.get("frame"), f"{where}.frame")
            yield where, node, frame, id, track.get("source", "manual")


def _frame(space: Any, given: str | None, where: str) -> int:
    if given is None or not given.isdecimal() or len(given) > 9 or int(given) >= space.n_frames:
        raise bad(where, f"{given!r} is none of 0 to {space.n_frames - 1}")
    return int(given)


def _classified(space: Any, node: Any) -> Any:
    instance = ClassificationInstance(space.ontology.classification(node.get("label") or ""))
    instance._answers.take(_answers(instance.class_, node))
    return instance


def _answers(item: Any, node: Any) -> dict[str, Any]:
    """Return the answers of the attributes of an element, by id."""
    known = {one.path: one.attribute for one in item.all_attributes}
    found = {}
    for child in node.findall("attribute"):
        name = child.get("name")
        if name not in known:
            raise ParameterError(f"{item.name!r} has no attribute {name!r}.", remedy=f"there are {list(known)}")
        text = child.text or ""
        if text or known[name].kind == "text":  # what was never answered is an empty text there
            found[known[name].id] = known[name].check(float(text) if known[name].kind == "numeric" else text)
    return found


def _points(node: Any) -> list[list[float]]:
    return [[float(number) for number in pair.split(",")] for pair in node.attrib["points"].split(";")]


def _geometry(node: Any) -> Geometry:
    """Return the geometry of an element, in pixels."""

    def number(*names: str) -> list[float]:
        return [float(node.attrib[name]) for name in names]

    if node.tag == "box":
        low, high = np.array(number("xtl", "ytl")), np.array(number("xbr", "ybr"))
        angle = float(node.get("rotation", 0))
        return RotatedBox((low + high) / 2, high - low, angle) if angle else Box(low, high)
    if node.tag == "mask":
        counts = [int(n) for n in node.attrib["rle"].split(",")]
        place = {name: int(node.attrib[name]) for name in ("left", "top", "width", "height")}
        crop = from_run_lengths(counts, (place["height"], place["width"]))
        return Mask(crop, (place["top"], place["left"]))
    if node.tag == "ellipse":
        return Ellipse(number("cx", "cy"), number("rx", "ry"), float(node.get("rotation", 0)))
    if node.tag == "skeleton":
        parts = node.findall("points")
        states = ["invisible" if p.get("outside") == "1" else _seen(p) for p in parts]
        return Skeleton([_points(part)[0] for part in parts], [part.get("label", "") for part in parts], states)
    return (Polyline if node.tag == "polyline" else Polygon)(_points(node))


def _seen(part: Any) -> str:
    return "occluded" if part.get("occluded") == "1" else "visible"
