"""The dictionary form of the Encord SDK, for people who move: fractions of the frame, answers beside the frames."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import numpy as np

from ...errors import BioimageError, ParameterError
from ..values.geometry import Box, Geometry, Polygon, RotatedBox
from ..values.instances import ClassificationInstance, ObjectInstance
from ..values.lines import Point, Polyline
from ..values.masks import Mask, from_run_lengths, run_lengths
from .common import Exported, bad

_KEYS = {
    "bounding_box": "boundingBox",
    "rotatable_bounding_box": "rotatableBoundingBox",
    "polygon": "polygons",
    "polyline": "polyline",
    "point": "point",
    "bitmask": "bitmask",
}


def to_encord(space: Any) -> Exported:
    """Return an image or a sequence in the vendor's form.

    The document has the keys "space", "object_answers" and "classification_answers". Coordinates are fractions of the
    frame's width and height; the run lengths of masks are row by row over their box.

    Parameters
    ----------
    space : ImageSpace or SequenceSpace

    Returns
    -------
    Exported
    """
    labels: dict[str, dict[str, list[Any]]] = {}
    lost, objects, answers = Exported({}).lost, {}, {}
    for record in space.get_annotations("object"):
        drawn = _drawn(record, space.grid) if space.grid.ndim == 2 else None
        if drawn is None:
            lost[record.class_.shape] += 1
            continue
        item = {"objectHash": record.id, **_common(record), "shape": record.class_.shape, **drawn}
        _frame(labels, record.frame)["objects"].append(item)
        objects[record.id] = {"objectHash": record.id, "classifications": _answers(record.instance)}
        if (record.id, record.frame) in space._dynamic:
            lost["dynamic answers"] += 1
    frames: dict[str, list[int]] = {}
    for record in space.get_annotations("classification"):
        place = {"classificationHash": record.id, **_common(record)}
        answers[record.id] = {"classificationHash": record.id, "classifications": _answers(record.instance)}
        if record.frame is not None:
            _frame(labels, record.frame)["classifications"].append(place)
            frames.setdefault(record.id, []).append(record.frame)
        else:
            answers[record.id].update(place)
    for id, numbers in frames.items():
        answers[id]["spaces"] = {space.space_id: {"range": ranges_of(numbers), "type": "frame"}}
    width, height = (int(n) for n in space.grid.size(0)[:2])
    kind = {"image": "image", "sequence": "video"}.get(space.kind, space.kind)
    body = {"space_type": kind, "width": width, "height": height, "labels": labels}
    document = {"space": body, "object_answers": objects, "classification_answers": answers}
    return Exported(document, {what: n for what, n in lost.items() if n})


def _frame(labels: dict[str, Any], frame: int) -> Any:
    return labels.setdefault(str(frame), {"objects": [], "classifications": []})


def ranges_of(numbers: list[int]) -> list[list[int]]:
    """Return numbers as closed ranges."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def _common(record: Any) -> dict[str, Any]:
    color = getattr(record.class_, "color", (255, 255, 255))
    return {
        "featureHash": record.class_.id,
        "name": record.name,
        "value": re.sub(r"\W+", "_", record.name.lower()),
        "color": "#{:02X}{:02X}{:02X}".format(*color),
        "createdAt": format_datetime(record.created_at, usegmt=True),
        "createdBy": record.created_by,
        "lastEditedAt": format_datetime(record.last_edited_at, usegmt=True),
        "lastEditedBy": record.last_edited_by,
        "confidence": record.confidence,
        "manualAnnotation": record.manual_annotation,
    }


def _answers(instance: Any) -> list[dict[str, Any]]:
    answers = instance.answers
    known = [one for one in instance.class_.all_attributes if one.attribute.id in answers and one.asked(answers)]
    return [
        {"featureHash": one.attribute.id, "name": one.attribute.name, "answers": answers[one.attribute.id]}
        for one in known
    ]


def _drawn(record: Any, grid: Any) -> dict[str, Any] | None:
    geometry = record.geometry
    key = _KEYS.get(geometry.shape)
    if key is None:
        return None
    if isinstance(geometry, Mask):
        (top, left), (height, width) = geometry.origin, geometry.crop.shape
        text = ",".join(map(str, run_lengths(geometry.crop)))
        return {key: {"top": top, "left": left, "height": height, "width": width, "rleString": text}}
    if isinstance(geometry, RotatedBox):
        pixels = grid.convert(geometry, "pixel")
        size = grid.size(record.frame)[:2]
        (x, y), (w, h) = (pixels.center - pixels.size / 2) / size, pixels.size / size
        return {key: {"x": float(x), "y": float(y), "w": float(w), "h": float(h), "theta": pixels.angle}}
    found = grid.convert(geometry, "normalised", record.frame)
    if isinstance(found, Box):
        (x, y), (w, h) = found.top_left.tolist(), found.size.tolist()
        return {key: {"h": h, "w": w, "x": x, "y": y}}
    if isinstance(found, Polygon):
        return {key: [[ring.ravel().tolist() for ring in part] for part in found.parts]}
    rows = [found.position] if isinstance(found, Point) else found.points
    return {key: {str(i): {"x": float(p[0]), "y": float(p[1])} for i, p in enumerate(rows)}}


def from_encord(space: Any, document: Any) -> int:
    """Put all that a document in the vendor's form has.

    Parameters
    ----------
    space : ImageSpace or SequenceSpace
        Empty; its ontology must have the classes, by id ("featureHash") or name.
    document : dict
        With the keys "space", "object_answers" and "classification_answers".

    Returns
    -------
    int
        Number of records.

    Raises
    ------
    FormatError
        Something is wrong; names the place, such as "space.labels.3.objects[0]". Nothing is put then.
    ParameterError
        The space is not empty.
    """
    if len(space):
        raise ParameterError(f"The space has {len(space)} records.", remedy="read into an empty one")
    with space._steps.whole():
        return _read(space, document)


def _read(space: Any, document: Any) -> int:
    body = _mapping(document, "the document").get("space")
    labels = _mapping(_mapping(body, "space").get("labels"), "space.labels")
    objects = _mapping(document.get("object_answers", {}), "object_answers")
    answers = _mapping(document.get("classification_answers", {}), "classification_answers")
    made: dict[Any, Any] = {}
    for key, frame in labels.items():
        place = f"space.labels.{key}"
        if not (isinstance(key, str) and key.isdecimal() and len(key) < 10 and int(key) < space.n_frames):
            raise bad(place, f"there are the frames 0 to {space.n_frames - 1}")
        for name, put in (("objects", _put_object), ("classifications", _put_classification)):
            items = _mapping(frame, place).get(name, [])
            if not isinstance(items, list):
                raise bad(f"{place}.{name}", "it is no list")
            for i, item in enumerate(items):
                where = f"{place}.{name}[{i}]"
                known = objects if name == "objects" else answers
                try:
                    put(space, _mapping(item, where), int(key), known, made)
                except (BioimageError, TypeError, ValueError, KeyError, OverflowError) as error:
                    raise bad(where, error) from None
    for id, item in answers.items():
        where = f"classification_answers.{id}"
        if id not in made and "featureHash" in _mapping(item, where):
            try:
                _put_classification(space, item, None, answers, made)
            except (BioimageError, TypeError, ValueError, KeyError, OverflowError) as error:
                raise bad(where, error) from None
    return len(space)


def _mapping(value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise bad(where, "it is no mapping")
    return value


def _audit(item: Any) -> dict[str, Any]:
    names = {"created_by": "createdBy", "last_edited_by": "lastEditedBy", "confidence": "confidence"}
    given = {mine: item.get(theirs) for mine, theirs in names.items()}
    for mine, theirs in (("created_at", "createdAt"), ("last_edited_at", "lastEditedAt")):
        text = item.get(theirs)
        if not isinstance(text, str | None):
            raise TypeError(f"{theirs} is no text")
        time: datetime | None = None if text is None else parsedate_to_datetime(text)
        given[mine] = time if time is None or time.tzinfo else time.replace(tzinfo=UTC)
    given["manual_annotation"] = item.get("manualAnnotation")
    return given


def _instance(kind: Any, class_: Any, id: str, answers: Any, made: dict[Any, Any]) -> Any:
    if id not in made:
        given = _mapping(answers.get(id, {}), id).get("classifications", ())
        made[id] = kind(class_, id, {answer["featureHash"]: answer["answers"] for answer in given})
    return made[id]


def _put_object(space: Any, item: Any, frame: int, answers: Any, made: dict[Any, Any]) -> None:
    class_ = _class(space.ontology.object_class, item)
    instance = _instance(ObjectInstance, class_, item["objectHash"], answers, made)
    geometry = _geometry(item, class_.shape, space.grid, frame)
    args = (frame, geometry) if space.kind == "sequence" else (geometry,)
    space.put_object_instance(instance, *args, **_audit(item))


def _put_classification(space: Any, item: Any, frame: int | None, answers: Any, made: dict[Any, Any]) -> None:
    class_ = _class(space.ontology.classification, item)
    instance = _instance(ClassificationInstance, class_, item["classificationHash"], answers, made)
    args = (frame,) if space.kind == "sequence" else ()
    how = "keep_both" if class_.several else "error"
    space.put_classification_instance(instance, *args, on_overlap=how, **_audit(item))


def _class(find: Any, item: Any) -> Any:
    try:
        return find(item["featureHash"])
    except BioimageError:
        return find(item["name"])


def _geometry(item: Any, shape: str, grid: Any, frame: int) -> Geometry:
    found = item[_KEYS[shape]]
    if shape == "bitmask":
        counts = [int(n) for n in found["rleString"].split(",")]
        return Mask(from_run_lengths(counts, (found["height"], found["width"])), (found["top"], found["left"]))
    if shape == "rotatable_bounding_box":
        size = grid.size(frame)[:2]
        lengths = np.array([found["w"], found["h"]], float) * size
        corner = np.array([found["x"], found["y"]], float) * size
        return grid.world(RotatedBox(corner + lengths / 2, lengths, found["theta"]), "pixel")  # type: ignore[no-any-return]
    made: Geometry
    if shape == "bounding_box":
        x, y, w, h = (float(found[key]) for key in "xywh")
        made = Box((x, y), (x + w, y + h))
    elif shape == "polygon":
        made = Polygon(parts=[[np.array(ring, float).reshape(-1, 2) for ring in part] for part in found])
    else:
        points = [(found[key]["x"], found[key]["y"]) for key in sorted(found, key=int)]
        made = Point(points[0]) if shape == "point" else Polyline(points)
    return grid.world(made, "normalised", frame)  # type: ignore[no-any-return]
