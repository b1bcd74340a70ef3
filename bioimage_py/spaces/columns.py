"""Many objects in a document: by column, numbers as the bytes that they are, so that a million takes seconds.

Each column of numbers is base64 of little-endian values, one for each object in the order of put. `boxes` has the
corners of those whose class is a bounding box, `polygons` has the polygons, `geometries` the others, as the rows of a
smaller document have them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BioimageError
from .bulk import outside_of
from .polygons import flat, polygons_of
from .schema import bad
from .table import ROW, Table
from .values.audit import YEARS, checked_author
from .values.geometry import Box, Polygon, usable
from .values.ids import checked_ids
from .values.shapes import KINDS

NUMBERS = {
    "class": ("<i4", "class_"),
    "frame": ("<i4", "frame"),
    "confidence": ("<f8", "confidence"),
    "created_at": ("<i8", "created_at"),
    "created_by": ("<i4", "created_by"),
    "last_edited_at": ("<i8", "last_edited_at"),
    "last_edited_by": ("<i4", "last_edited_by"),
    "manual_annotation": ("|u1", "manual"),
}
"""Type of each column of numbers, and its name in a table."""
TEXTS = ("ids", "classes", "authors", "boxes", "polygons", "geometries", "dynamic")
Array = npt.NDArray[Any]


def columns_of(space: Any) -> dict[str, Any]:
    """Return the objects of a space by column, as JSON."""
    table: Table = space._tables["object"]
    at = table.by_order()
    rows = table.rows[at]
    used = {name: np.unique(rows[name]).tolist() for name in ("class_", "created_by", "last_edited_by")}
    shapes = {item.id: item.shape for item in space.ontology.objects}
    classes = sorted(table.words[code] for code in used["class_"])
    authors = sorted({table.words[code] for name in ("created_by", "last_edited_by") for code in used[name]})
    numbers = np.zeros(len(table.words), "<i4")  # of a word, in the document
    document: dict[str, Any] = {
        "ids": [table.ids[row] for row in at.tolist()],
        "classes": {id: shapes[id] for id in classes},
        "authors": authors,
    }
    for name, (dtype, field) in NUMBERS.items():
        if name == "frame" and space.kind != "sequence":
            continue
        values = rows[field]
        if field in used:
            for code in used[field]:
                word = table.words[code]
                numbers[code] = classes.index(word) if field == "class_" else authors.index(word)
            values = numbers[values]
        document[name] = _text(values.astype(dtype))
    boxes, polygons = (
        np.isin(rows["class_"], [code for code in used["class_"] if shapes[table.words[code]] == kind.shape])
        for kind in (Box, Polygon)
    )
    document["boxes"] = _text(rows["bounds"][boxes][:, _corners(space.grid.ndim)].astype("<f8"))
    columns = flat([table.geometry(row) for row in at[polygons].tolist()])
    document["polygons"] = {name: _text(values) for name, values in columns.items()}
    document["geometries"] = [table.geometry(row).to_document() for row in at[~(boxes | polygons)].tolist()]
    place = {row: i for i, row in enumerate(at.tolist())} if space._dynamic else {}
    found = {place.get(table.row(*key), -1): answers for key, answers in space._dynamic.items()}
    document["dynamic"] = [[i, dict(found[i])] for i in sorted(found) if i >= 0]
    return document


def _corners(ndim: int) -> list[int]:
    return [*range(ndim), *range(3, 3 + ndim)]


def _text(values: Array) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _array(given: Any, dtype: str, n: int, where: str) -> Array:
    """Return the numbers of a column."""
    try:
        found = base64.b64decode(given, validate=True) if isinstance(given, str) else None
    except (binascii.Error, ValueError):
        found = None
    if found is None or len(found) != n * np.dtype(dtype).itemsize:
        raise bad(where, f"it is no base64 of {n} numbers of the type {dtype}")
    return np.frombuffer(found, dtype)


def _first(wrong: Any, where: str, what: str) -> None:
    """Raise for the first number of a column that is wrong."""
    if wrong.any():
        raise bad(f"{where}[{int(np.argmax(wrong))}]", what)


class _Read:
    """The columns of a document, of the right types and lengths, and in their ranges."""

    def __init__(self, given: Any, ndim: int, n_frames: int, sequence: bool) -> None:
        if not isinstance(given, Mapping):
            raise bad("objects", "it is no mapping")
        names = [name for name in NUMBERS if sequence or name != "frame"]
        for key in given:
            if key not in (*names, *TEXTS):
                raise bad(f"objects.{key}", "there is no such key")
        for key in (*TEXTS, *names):
            if key not in given:
                raise bad(f"objects.{key}", "it is missing")
        self.ids = _ids(given["ids"])
        n = len(self.ids)
        self.numbers = {name: _array(given[name], NUMBERS[name][0], n, f"objects.{name}") for name in names}
        self.numbers.setdefault("frame", np.zeros(n, "i4"))
        self.classes, self.authors = _words(given)
        self._check(n_frames)
        self.boxed, self.outlined = (
            np.array([shape == kind.shape for shape in self.classes.values()], bool)[self.numbers["class"]]
            for kind in (Box, Polygon)
        )
        corners = _array(given["boxes"], "<f8", int(self.boxed.sum()) * 2 * ndim, "objects.boxes")
        self.corners = corners.reshape(-1, 2 * ndim)
        with np.errstate(invalid="ignore"):
            good = usable(self.corners).all(axis=1) & (self.corners[:, ndim:] > self.corners[:, :ndim]).all(axis=1)
        _first(~good, "objects.boxes", "it is no box")
        self.polygons, self.bounds = polygons_of(given["polygons"], int(self.outlined.sum()), _array)
        self.geometries, left = given["geometries"], n - len(self.corners) - len(self.polygons)
        if not isinstance(self.geometries, list) or len(self.geometries) != left:
            raise bad("objects.geometries", f"it is no list of {left}")
        self.dynamic = _dynamic(given["dynamic"], n)

    def _check(self, n_frames: int) -> None:
        numbers = self.numbers
        for name, count in (
            ("class", len(self.classes)),
            ("created_by", len(self.authors)),
            ("last_edited_by", len(self.authors)),
            ("frame", n_frames),
            ("manual_annotation", 2),
        ):
            wrong = (numbers[name] < 0) | (numbers[name] >= count)
            _first(wrong, f"objects.{name}", f"it is none of 0 to {count - 1}")
        sure = numbers["confidence"]
        _first(~((sure >= 0) & (sure <= 1)), "objects.confidence", "it is not from 0 to 1")
        made, edited = numbers["created_at"], numbers["last_edited_at"]
        for name in ("created_at", "last_edited_at"):
            wrong = (numbers[name] < YEARS[0]) | (numbers[name] > YEARS[1])
            _first(wrong, f"objects.{name}", "it is no time of the years 1 to 9999")
        _first(edited < made, "objects.last_edited_at", "it is before created_at")


def _ids(given: Any) -> list[str]:
    if not isinstance(given, list):
        raise bad("objects.ids", "it is no list")
    try:
        checked_ids(given)
    except BioimageError as error:
        raise bad("objects.ids", error) from None
    return given


def _words(given: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    classes, authors = given["classes"], given["authors"]
    if not isinstance(classes, Mapping) or any(not isinstance(s, str) or s not in KINDS for s in classes.values()):
        raise bad("objects.classes", "it does not tell the shapes of classes")
    if not isinstance(authors, list):
        raise bad("objects.authors", "it is no list")
    for i, author in enumerate(authors):
        try:
            good = checked_author(author, "author") is not None
        except BioimageError:
            good = False
        if not good:
            raise bad(f"objects.authors[{i}]", f"{author!r} does not fit")
    return dict(classes), authors


def _dynamic(given: Any, n: int) -> dict[int, Any]:
    if not isinstance(given, list):
        raise bad("objects.dynamic", "it is no list")
    found: dict[int, Any] = {}
    for i, pair in enumerate(given):
        row = pair[0] if isinstance(pair, list) and len(pair) == 2 else None
        if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < n or row in found:
            raise bad(f"objects.dynamic[{i}]", f"it is no number of 0 to {n - 1} with answers")
        found[row] = pair[1]
    return found


def read_columns(space: Any, given: Any, answers: Any) -> None:
    """Put the objects of columns into an empty space, as no step.

    Parameters
    ----------
    space : Space
    given : dict
    answers : callable
        Checks the dynamic answers of a class: (class, answers, place).

    Raises
    ------
    FormatError
        Something is wrong; names the place.
    """
    grid, table = space.grid, space._tables["object"]
    found = _Read(given, grid.ndim, space.n_frames, space.kind == "sequence")
    known = {item.id: item for item in space.ontology.objects}
    for id, shape in found.classes.items():
        if id not in known or known[id].shape != shape:
            raise bad(f"objects.classes.{id}", f"there is no such class of the shape {shape!r}")
    frames, n = found.numbers["frame"], len(found.ids)
    _unique(found)
    rows = np.zeros(n, ROW)
    rows["order"] = table.new_orders(n)
    codes = {
        "class": np.array([table.code(id) for id in found.classes], "i4"),
        "created_by": np.array([table.code(name) for name in found.authors], "i4"),
    }
    codes["last_edited_by"] = codes["created_by"]
    for name, (_, field) in NUMBERS.items():
        values = found.numbers[name]
        rows[field] = codes[name][values] if name in codes else values
    if found.polygons and grid.ndim != 2:
        raise bad("objects.polygons", f"polygons in a space of {grid.ndim} coordinates")
    for which, numbers in ((found.boxed, found.corners), (found.outlined, found.bounds)):
        if len(numbers):
            bounds = np.tile([-np.inf] * 3 + [np.inf] * 3, (len(numbers), 1))
            bounds[:, _corners(grid.ndim)] = numbers
            rows["bounds"][which] = bounds
            rows["outside"][which] = outside_of(space, bounds, frames[which])
    shapes = list(found.classes.values())
    geometries: dict[int, Any] = dict(zip(np.flatnonzero(found.outlined).tolist(), found.polygons, strict=True))
    others = np.flatnonzero(~(found.boxed | found.outlined)).tolist()
    for i, (row, document) in enumerate(zip(others, found.geometries, strict=True)):
        kind = KINDS[shapes[found.numbers["class"][row]]]
        try:
            geometry, rows["bounds"][row], rows["outside"][row] = grid.checked(
                kind.from_document(document), int(frames[row]), "keep"
            )
        except (BioimageError, TypeError, ValueError, KeyError, OverflowError) as error:
            raise bad(f"objects.geometries[{i}]", error) from None
        geometries[row] = geometry
    ids = list(found.classes)
    for row, value in found.dynamic.items():
        class_ = known[ids[found.numbers["class"][row]]]
        space._dynamic[found.ids[row], int(frames[row])] = answers(class_, value, f"objects.dynamic.{row}")
    table.switch(np.zeros(0, np.int64), table.append(rows, [*found.ids], geometries))


def _unique(found: _Read) -> None:
    frames, classes = found.numbers["frame"], found.numbers["class"]
    if len(set(found.ids)) == len(found.ids):
        return
    seen: set[tuple[str, int]] = set()
    owner: dict[str, int] = {}
    for i, (id, frame, class_) in enumerate(zip(found.ids, frames.tolist(), classes.tolist(), strict=True)):
        if (id, frame) in seen or owner.setdefault(id, class_) != class_:
            raise bad(f"objects.ids[{i}]", f"{id!r} comes twice")
        seen.add((id, frame))


def rows_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a whole document a row each, whichever form they have."""
    given = document["objects"]
    if isinstance(given, list):
        return given
    try:
        names = {axis["name"].lower() for axis in document["axes"]} - {document.get("frames")}
        sequence = document["kind"] == "sequence"
    except (TypeError, KeyError, AttributeError) as error:
        raise bad("axes", error) from None
    ndim = len(names & {*"xyz"})
    found = _Read(given, ndim, 2**31, sequence)
    numbers, classes = found.numbers, list(found.classes.items())
    boxes, others, polygons = iter(found.corners.tolist()), iter(found.geometries), iter(found.polygons)
    ids, shapes = zip(*(classes[code] for code in numbers["class"].tolist()), strict=True) if found.ids else ((), ())
    geometries = (
        box(next(boxes), ndim) if boxed else next(polygons).to_document() if outlined else next(others)
        for boxed, outlined in zip(found.boxed.tolist(), found.outlined.tolist(), strict=True)
    )
    who = {name: [found.authors[i] for i in numbers[name].tolist()] for name in ("created_by", "last_edited_by")}
    audit = (
        times(numbers["created_at"]),
        who["created_by"],
        times(numbers["last_edited_at"]),
        who["last_edited_by"],
        numbers["confidence"].tolist(),
        numbers["manual_annotation"].astype(bool).tolist(),
    )
    given_frames = numbers["frame"].tolist() if sequence else repeat(None, len(found.ids))
    dynamic = (found.dynamic.get(i) for i in range(len(found.ids)))
    return list(records(found.ids, ids, given_frames, shapes, geometries, dynamic, audit))


def box(corners: list[float], ndim: int) -> dict[str, Any]:
    """Return the JSON form of a box."""
    return {"top_left": corners[:ndim], "lower_right": corners[ndim:]}


def times(stamps: Array) -> list[str]:
    """Return microseconds as RFC 3339 texts."""
    return [f"{text}Z" for text in np.datetime_as_string(stamps.astype("i8").astype("M8[us]")).tolist()]


def records(
    ids: Iterable[str],
    classes: Iterable[str],
    frames: Iterable[int | None],
    shapes: Iterable[str] | None,
    geometries: Iterable[Any],
    dynamic: Iterable[Any],
    audit: tuple[Iterable[Any], ...],
) -> Iterator[dict[str, Any]]:
    """Return records a row each; without `shapes` they are classifications."""
    kinds = repeat(None) if shapes is None else shapes
    for id, class_, frame, shape, geometry, extra, made, author, edited, editor, sure, manual in zip(
        ids, classes, frames, kinds, geometries, dynamic, *audit, strict=False
    ):
        record: dict[str, Any] = {"id": id, "class": class_}
        if frame is not None:
            record["frame"] = frame
        if shape is not None:
            record["shape"] = shape
            record["geometry"] = geometry
            if extra:
                record["dynamic"] = extra
        record["created_at"] = made
        record["created_by"] = author
        record["last_edited_at"] = edited
        record["last_edited_by"] = editor
        record["confidence"] = sure
        record["manual_annotation"] = manual
        yield record
