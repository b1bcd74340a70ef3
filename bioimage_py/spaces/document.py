"""Spaces as JSON documents: one record a line, in the order of put."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BioimageError, FormatError, SourceNotFoundError, StorageError
from ..sources import Axis
from ..system import json_text
from ..system.files import write_once
from ..system.json_text import parse_json
from .parsing import AUDIT, SCHEMA, from_document
from .table import Table
from .values.frames import GLOBAL
from .values.geometry import Box
from .values.ontology import Ontology


def to_document(space: Any, *, ontology: bool = True) -> dict[str, Any]:
    """Return the JSON form of a space.

    Parameters
    ----------
    space : Space
    ontology : bool, default True
        Whether the document tells its classes too.
    """
    grid = space.grid
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": space.kind,
        "space_id": space.space_id,
        "size": list(grid.shape),
        "axes": [_axis(axis) for axis in grid.axes],
        "unit": grid.unit,
        "frames": grid.frames,
        "sizes": None if grid.sizes is None else [list(size) for size in grid.sizes],
    }
    if ontology:
        document["ontology"] = space.ontology.to_document()
    document["objects"] = list(_records(space, "object"))
    document["classifications"] = list(_records(space, "classification"))
    document["answers"] = answers_of(space)
    return document


def _axis(axis: Axis) -> dict[str, Any]:
    numbers = {"scale": float(axis.scale), "offset": float(axis.offset)}
    return {"name": axis.name, "kind": axis.kind, "unit": axis.unit, **numbers}


def answers_of(space: Any) -> dict[str, Any]:
    """Return the answers of all instances of a space that have any, by id."""
    known = {id: instance.answers for id, instance in space._instances.items() if instance.answers and id in space}
    return {id: dict(known[id]) for id in sorted(known)}


def _records(space: Any, type_: str) -> Iterator[dict[str, Any]]:
    table: Table = space._tables[type_]
    at = table.by_order()
    rows = table.rows[at]
    times = [[f"{t}Z" for t in np.datetime_as_string(rows[name].astype("M8[us]"))] for name in AUDIT[::2][:2]]
    columns = (
        rows[name].tolist() for name in ("class_", "frame", "created_by", "last_edited_by", "confidence", "manual")
    )
    words, shapes = table.words, {item.id: item.shape for item in space.ontology.objects}
    bounds, flat, sequence = rows["bounds"].tolist(), space.grid.ndim == 2, space.kind == "sequence"
    for row, class_, frame, author, editor, sure, manual, made, edited, box in zip(
        at.tolist(), *columns, *times, bounds, strict=True
    ):
        id = table.ids[row]
        record: dict[str, Any] = {"id": id, "class": words[class_]}
        if sequence and frame != GLOBAL:
            record["frame"] = frame
        if type_ == "object":
            geometry = table.geometries[row]
            record["shape"] = shapes[words[class_]]
            if geometry is None:
                corners = (box[:2], box[3:5]) if flat else (box[:3], box[3:])
                record["geometry"] = dict(zip(Box.fields, corners, strict=True))
            else:
                record["geometry"] = geometry.to_document()
            if (id, frame) in space._dynamic:
                record["dynamic"] = dict(space._dynamic[id, frame])
        values = (made, words[author], edited, words[editor], sure, manual)
        record.update(zip(AUDIT, values, strict=True))
        yield record


def to_text(document: Mapping[str, Any]) -> str:
    """Return a document as text, one record a line, so that versions can be compared."""
    lines = []
    for key, value in document.items():
        if key in ("objects", "classifications"):
            body = ",\n".join(json.dumps(item, ensure_ascii=False, allow_nan=False) for item in value)
            lines.append(f"{json.dumps(key)}: [\n{body}\n]" if value else f"{json.dumps(key)}: []")
        elif key == "answers":
            body = ",\n".join(f"{json.dumps(id)}: {json.dumps(item, ensure_ascii=False)}" for id, item in value.items())
            lines.append(f'"answers": {{\n{body}\n}}' if value else '"answers": {}')
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document as it is stored.

    Raises
    ------
    StorageError
        It is larger than what would be read again.
    """
    data = to_text(document).encode()
    if len(data) > json_text.LARGEST:
        number = len(document["objects"]) + len(document["classifications"])
        raise StorageError(
            f"The {number} records of the space are {len(data)} bytes of JSON, and {json_text.LARGEST} at most would be"
            " read again. Nothing was written.",
            remedy="put a part of them into another space: descriptor.add_space(...), or Space.for_image(...)",
        )
    return data


def write_space(space: Any, path: str | os.PathLike[str]) -> None:
    """Write a space as one JSON file, which appears whole; StorageError where it is too large to be read again."""
    write_once(Path(path), to_bytes(to_document(space)))


def read_space(path: str | os.PathLike[str], ontology: Ontology | None = None) -> Any:
    """Read a space that `write_space` wrote.

    Raises
    ------
    SourceNotFoundError
        There is no such file.
    FormatError
        It is none; names the place inside.
    """
    file = Path(path)
    if not file.is_file():
        raise SourceNotFoundError(f"{file} does not exist.", remedy="give the path of a space's JSON file")
    try:
        return from_document(parse_json(file.read_bytes()), ontology)
    except ValueError as error:
        if isinstance(error, BioimageError):
            raise
        raise FormatError(f"{file} is no JSON: {error}", remedy="give the path of a space's JSON file") from error
