"""What documents of spaces are made of, and their JSON schema (draft 2020-12)."""

from __future__ import annotations

from typing import Any

from ..errors import FormatError
from .values.attributes import KINDS
from .values.ontology import SHAPES

ROWS, COLUMNS, CHANGES = 1, 2, 3
"""Schema of a document with an object a line, of one with the objects by column, and of one with changes to another."""
TIME = r"(?!0000)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
"""Of the digits 0 to 9 only."""
AUDIT = ("created_at", "created_by", "last_edited_at", "last_edited_by", "confidence", "manual_annotation")


def bad(where: str, what: Any) -> FormatError:
    """The error for something in a stored document that is wrong."""
    remedy = getattr(what, "remedy", "") or "mend it by hand, or restore it from a backup"
    return FormatError(f"{where}: {getattr(what, 'message', what)}", remedy=remedy)


_POINT = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3}
_RING = {"type": "array", "items": {**_POINT, "maxItems": 2}, "minItems": 3}
_POINTS = {"type": "array", "items": _POINT, "minItems": 1}
_COUNTS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 3}
_NUMBER = {"type": "number"}
_RUNS = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_TEXTS = {"type": "array", "items": {"type": "string"}}


def _object(fields: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    needed = [name for name in fields if name not in optional]
    return {"type": "object", "properties": fields, "required": needed, "additionalProperties": False}


_GEOMETRY: dict[str, dict[str, Any]] = {
    "bounding_box": _object({"top_left": _POINT, "lower_right": _POINT}),
    "rotatable_bounding_box": _object({"center": _POINT, "size": _POINT, "angle": _NUMBER}),
    "polygon": _object({"parts": {"type": "array", "items": {"type": "array", "items": _RING, "minItems": 1}}}),
    "polyline": _object({"points": _POINTS}),
    "point": _object({"position": _POINT}),
    "skeleton": _object({"points": _POINTS, "names": _TEXTS, "states": _TEXTS}),
    "bitmask": _object({"origin": _COUNTS, "shape": _COUNTS, "counts": _RUNS}),
    "ellipse": _object({"center": _POINT, "radii": _POINT, "angle": _NUMBER}),
    "mesh": _object({"vertices": _POINTS, "faces": {"type": "array", "items": {"type": "array"}}}),
}
_TIME = {"type": "string", "pattern": f"^{TIME}$"}
_NAME = {"type": "string", "minLength": 1, "maxLength": 254}
_ID = {"type": "string", "minLength": 1, "maxLength": 128}
_AUDIT = {
    "created_at": _TIME,
    "created_by": _NAME,
    "last_edited_at": _TIME,
    "last_edited_by": _NAME,
    "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    "manual_annotation": {"type": "boolean"},
}
_FRAME = {"type": "integer", "minimum": 0}
_BYTES = {"type": "string", "contentEncoding": "base64"}
_NUMBERS = ("class", "frame", "confidence", "created_at", "created_by", "last_edited_at", "last_edited_by")
_COLUMNS = _object(
    {
        "ids": {"type": "array", "items": _ID},
        "classes": {"type": "object", "additionalProperties": {"enum": list(SHAPES)}},
        "authors": {"type": "array", "items": _NAME},
        **dict.fromkeys((*_NUMBERS, "manual_annotation", "boxes"), _BYTES),
        "polygons": _object(dict.fromkeys(("parts", "rings", "points", "xy"), _BYTES)),
        "geometries": {"type": "array", "items": {"anyOf": list(_GEOMETRY.values())}},
        "dynamic": {"type": "array", "items": {"type": "array", "minItems": 2, "maxItems": 2}},
    },
    ("frame",),
)


def schema() -> dict[str, Any]:
    """Return the JSON schema that every document of `to_document` follows.

    What a schema cannot say, `from_document` checks: that ids are unique, classes there, answers fit, frames exist.
    """
    attribute = {"name": _NAME, "kind": {"enum": list(KINDS)}, "options": _TEXTS, "dynamic": {"type": "boolean"}}
    nested = {"type": "object", "additionalProperties": {"type": "array", "items": {"$ref": "#/$defs/attribute"}}}
    attribute |= {"required": {"type": "boolean"}, "id": _ID, "nested": nested}
    to_attribute = {"$ref": "#/$defs/attribute"}
    class_ = {"name": _NAME, "shape": {"enum": list(SHAPES)}, "color": {"type": "array", "minItems": 3, "maxItems": 3}}
    class_ |= {"attributes": {"type": "array", "items": to_attribute}, "required": {"type": "boolean"}}
    class_ |= {"archived": {"type": "boolean"}, "parent": {"type": ["string", "null"]}}
    question = {"name": _NAME, "attribute": to_attribute, "level": {"enum": ["frame", "global"]}}
    question |= {"several": {"type": "boolean"}, "archived": {"type": "boolean"}}
    ontology = {
        "objects": {"type": "object", "additionalProperties": _object(class_)},
        "classifications": {"type": "object", "additionalProperties": _object(question)},
    }
    axis = {"name": _NAME, "kind": _NAME, "unit": {"type": ["string", "null"]}, "scale": _NUMBER, "offset": _NUMBER}
    shapes = [
        _object(
            {
                "id": _ID,
                "class": _ID,
                "frame": _FRAME,
                "shape": {"const": shape},
                "geometry": geometry,
                "dynamic": {"type": "object"},
                **_AUDIT,
            },
            ("frame", "dynamic"),
        )
        for shape, geometry in _GEOMETRY.items()
    ]
    fields = {
        "schema": {"enum": [ROWS, COLUMNS]},
        "kind": {"enum": ["image", "sequence", "volume"]},
        "space_id": _ID,
        "size": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "axes": {"type": "array", "items": _object(axis)},
        "unit": {"type": ["string", "null"]},
        "frames": {"type": ["string", "null"]},
        "sizes": {"type": ["array", "null"]},
        "ontology": _object(ontology),
        "objects": {"if": {"type": "array"}, "then": {"items": {"oneOf": shapes}}, "else": _COLUMNS},
        "classifications": {
            "type": "array",
            "items": _object({"id": _ID, "class": _ID, "frame": _FRAME, **_AUDIT}, ("frame",)),
        },
        "answers": {"type": "object", "additionalProperties": {"type": "object"}},
    }
    found = {
        "$defs": {"attribute": _object(attribute, ("nested",))},
        **_object(fields, ("frames", "sizes", "ontology")),
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "annotation space", **found}
