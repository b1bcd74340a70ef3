"""Spaces as JSON documents, in the order of put: a record a line, or many objects by column."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

from ..errors import BioimageError, FormatError, SourceNotFoundError, StorageError
from ..sources import Axis
from ..system import json_text
from ..system.files import write_once
from ..system.json_text import parse_json
from .columns import box, columns_of, records, times
from .parsing import from_document
from .schema import CHANGES, COLUMNS, ROWS
from .table import Rows, Table
from .values.frames import GLOBAL
from .values.ontology import Ontology

COLUMNS_FROM = 10_000
"""Objects from which on a space is stored by column: nobody compares so many lines."""


def to_document(space: Any, *, ontology: bool = True) -> dict[str, Any]:
    """Return the JSON form of a space, with an object a row.

    Parameters
    ----------
    space : Space
    ontology : bool, default True
        Whether the document tells its classes too.
    """
    return _document(space, ontology, ROWS, list(records_of(space, "object")))


def to_stored(space: Any, *, ontology: bool = True, columns_from: int | None = None) -> dict[str, Any]:
    """Return the JSON form of a space as it is stored: with many objects by column; parameters as of `write_space`."""
    if not by_column(space, columns_from):
        return to_document(space, ontology=ontology)
    return _document(space, ontology, COLUMNS, columns_of(space))


def by_column(space: Any, columns_from: int | None = None) -> bool:
    """Whether a space is stored by column."""
    return bool(space.count("object") >= (COLUMNS_FROM if columns_from is None else columns_from))


def _document(space: Any, ontology: bool, schema: int, objects: Any) -> dict[str, Any]:
    grid = space.grid
    document: dict[str, Any] = {
        "schema": schema,
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
    document["objects"] = objects
    document["classifications"] = list(records_of(space, "classification"))
    document["answers"] = in_order(answers_of(space))
    return document


def _axis(axis: Axis) -> dict[str, Any]:
    numbers = {"scale": float(axis.scale), "offset": float(axis.offset)}
    return {"name": axis.name, "kind": axis.kind, "unit": axis.unit, **numbers}


def answers_of(space: Any) -> dict[str, Any]:
    """Return the answers of all instances of a space that have any, by id, in no order."""
    return {id: dict(found) for id, found in all_answers(space).items() if id in space}


def all_answers(space: Any) -> dict[str, Mapping[str, Any]]:
    """Return the answers that there are now, also of what is not in the space, by id; what answers none is left out."""
    return {id: found for id, one in space._instances.items() if (found := one._answers.now)}


def in_order(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return answers as documents have them."""
    return {id: answers[id] for id in sorted(answers)}


def records_of(space: Any, type_: str, at: Rows | None = None) -> Iterator[dict[str, Any]]:
    """Return the records of some rows of a table, by default of all in the order of put."""
    table: Table = space._tables[type_]
    at = table.by_order() if at is None else at
    rows, words = table.rows[at], table.words
    class_, frames, made_by, edited_by, sure, manual = (
        rows[name].tolist() for name in ("class_", "frame", "created_by", "last_edited_by", "confidence", "manual")
    )
    ids = [table.ids[row] for row in at.tolist()]
    audit = (
        times(rows["created_at"]),
        [words[code] for code in made_by],
        times(rows["last_edited_at"]),
        [words[code] for code in edited_by],
        sure,
        manual,
    )
    shown = [None if frame == GLOBAL else frame for frame in frames] if space.kind == "sequence" else repeat(None)
    classes = [words[code] for code in class_]
    if type_ != "object":
        return records(ids, classes, shown, None, repeat(None), repeat(None), audit)
    shapes = {item.id: item.shape for item in space.ontology.objects}
    d = space.grid.ndim
    corners = rows["bounds"][:, [*range(d), *range(3, 3 + d)]].tolist()
    geometries = (
        box(values, d) if (found := table.geometry(row)) is None else found.to_document()
        for row, values in zip(at.tolist(), corners, strict=True)
    )
    known = space._dynamic
    dynamic = (dict(known.get(key, ())) for key in zip(ids, frames, strict=True)) if known else repeat(None)
    return records(ids, classes, shown, [shapes[id] for id in classes], geometries, dynamic, audit)


def to_text(document: Mapping[str, Any]) -> str:
    """Return a document as text, one record a line, so that versions can be compared."""
    lines = []
    for key, value in document.items():
        if key == "objects" and isinstance(value, Mapping):
            body = ",\n".join(f"{json.dumps(name)}: {_dumped(column)}" for name, column in value.items())
            lines.append(f'"objects": {{\n{body}\n}}')
        elif key in ("objects", "classifications"):
            body = ",\n".join(json.dumps(item, ensure_ascii=False, allow_nan=False) for item in value)
            lines.append(f"{json.dumps(key)}: [\n{body}\n]" if value else f"{json.dumps(key)}: []")
        elif key == "answers":
            body = ",\n".join(f"{json.dumps(id)}: {json.dumps(item, ensure_ascii=False)}" for id, item in value.items())
            lines.append(f'"answers": {{\n{body}\n}}' if value else '"answers": {}')
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _dumped(column: Any) -> str:
    # base64 is text that needs no look at each of its characters
    return f'"{column}"' if isinstance(column, str) else json.dumps(column, ensure_ascii=False, allow_nan=False)


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document as it is stored.

    Raises
    ------
    StorageError
        It is larger than what would be read again.
    """
    data = to_text(document).encode()
    if len(data) > json_text.LARGEST:
        number = count_of(document)
        raise StorageError(
            f"The {number} records of the space are {len(data)} bytes of JSON, and {json_text.LARGEST} at most would be"
            " read again. Nothing was written.",
            remedy="put a part of them into another space: descriptor.add_space(...), or Space.for_image(...)",
        )
    return data


def count_of(document: Mapping[str, Any]) -> int:
    """Return the number of records of a document, whichever form it has."""
    if document["schema"] == CHANGES:
        return int(document["records"])
    objects = document["objects"]
    return len(objects["ids"] if isinstance(objects, Mapping) else objects) + len(document["classifications"])


def write_space(space: Any, path: str | os.PathLike[str], *, columns_from: int | None = None) -> None:
    """Write a space as one JSON file, which appears whole.

    Parameters
    ----------
    space : Space
    path : path
    columns_from : int, optional
        Objects from which on they are written by column, which is faster and smaller; fewer get a line each, which git
        can compare. None: 10,000.

    Raises
    ------
    StorageError
        It is too large to be read again.
    """
    write_once(Path(path), to_bytes(to_stored(space, columns_from=columns_from)))


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
        return from_document(parse_json(file.read_bytes(), unique=True), ontology)
    except ValueError as error:
        if isinstance(error, BioimageError):
            raise
        raise FormatError(f"{file} is no JSON: {error}", remedy="give the path of a space's JSON file") from error
