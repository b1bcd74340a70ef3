"""Reading spaces from documents that somebody else may have written: whatever is wrong is named by its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ..errors import BioimageError, ParameterError
from ..sources import Axis
from .bulk import outside_of
from .columns import read_columns
from .reading import space_class
from .schema import AUDIT, COLUMNS, ROWS, TIME, bad
from .table import ROW
from .values.audit import checked_author, checked_confidence
from .values.frames import GLOBAL
from .values.geometry import Box, usable
from .values.grid import Grid
from .values.ids import checked_id
from .values.instances import ClassificationInstance, ObjectInstance
from .values.ontology import Ontology
from .values.shapes import KINDS

_TOP = ("schema", "kind", "space_id", "size", "axes", "unit", "frames", "sizes", "ontology")
_RECORDS = ("objects", "classifications", "answers")
_TIME = re.compile(TIME, re.ASCII)


def from_document(document: Any, ontology: Ontology | None = None, *, lenient: bool = False, **given: Any) -> Any:
    """Return the space of a document.

    Parameters
    ----------
    document : dict
    ontology : Ontology, optional
        None: that of the document.
    lenient : bool, default False
        Leave out answers to attributes that the ontology has not (any more), or to which they are none.
    **given
        `user` and `pool` of the space.

    Raises
    ------
    FormatError
        An unknown or missing key, a newer schema, a record that is none; names the place, such as "objects[3].shape".
    """
    if not isinstance(document, Mapping):
        raise bad("the document", "it is no mapping")
    version = document.get("schema")
    if version not in (ROWS, COLUMNS) or isinstance(version, bool):
        raise bad("schema", f"it is {version!r}, known are {ROWS} and {COLUMNS}")
    for key in document:
        if key not in (*_TOP, *_RECORDS):
            raise bad(str(key), "there is no such key")
    for key in (*_TOP[:6], *_RECORDS):
        if key not in document:
            raise bad(key, "it is missing")
    if (version == COLUMNS) != isinstance(document["objects"], Mapping):
        raise bad("schema", f"it is {version}, but the objects are a {type(document['objects']).__name__}")
    if ontology is None:
        ontology = Ontology.from_document(document.get("ontology", {}))
    try:
        axes = [Axis(**axis) for axis in document["axes"]]
        grid = Grid(axes, document["size"], document.get("frames"), document.get("sizes"))
    except (BioimageError, TypeError, ValueError, OverflowError) as error:
        raise bad("axes", error) from None
    if document["unit"] != grid.unit:
        raise bad("unit", f"it is {document['unit']!r}, that of the axis x is {grid.unit!r}")
    try:
        kind = space_class(document["kind"])
    except (BioimageError, TypeError) as error:
        raise bad("kind", error) from None
    if (kind.kind == "sequence") != (grid.frames is not None) or (kind.kind == "image" and grid.ndim != 2):
        raise bad("kind", f"{document['kind']!r} with the axes {[axis.name for axis in grid.axes]}")
    space = kind(grid, ontology, _text(document["space_id"], "space_id"), **given)
    if version == COLUMNS:
        read_columns(space, document["objects"], partial(_answers, dynamic=True, lenient=lenient))
    else:
        read_objects(space, document["objects"], lenient)
    read_classifications(space, document["classifications"])
    read_answers(space, document["answers"], lenient)
    return space


def _text(value: Any, where: str) -> str:
    try:
        return checked_id(value, where)
    except BioimageError as error:
        raise bad(where, error) from None


class _Columns:
    """What is read of records, as columns."""

    def __init__(self, space: Any, type_: str, items: Any) -> None:
        self.space, self.type, self.table = space, type_, space._tables[type_]
        self.place = "objects" if type_ == "object" else "classifications"
        known = space.ontology.objects if type_ == "object" else space.ontology.classifications
        self.classes = {item.id: item for item in known}
        if not isinstance(items, list):
            raise bad(self.place, "it is no list")
        self.items = items
        self.rows = np.zeros(len(items), ROW)
        self.ids: list[str] = []
        self.frames: list[int] = []
        self.codes: list[int] = []
        self.seen: set[tuple[str, int]] = set()
        self.owner: dict[str, str] = {}

    def head(self, i: int, record: Any, optional: tuple[str, ...], needed: tuple[str, ...]) -> Any:
        """Read what all records have, and return the class."""
        where = f"{self.place}[{i}]"
        if not isinstance(record, dict):
            raise bad(where, "it is no mapping")
        if not (record.keys() >= {*needed} and record.keys() <= {*needed, *optional}):
            for key in record:
                if key not in needed and key not in optional:
                    raise bad(f"{where}.{key}", "there is no such key")
            raise bad(f"{where}.{next(key for key in needed if key not in record)}", "it is missing")
        class_ = self.classes.get(record["class"]) if isinstance(record["class"], str) else None
        if class_ is None:
            raise bad(f"{where}.class", f"there is no class {record['class']!r}")
        id = _text(record["id"], f"{where}.id")
        sequence = self.space.kind == "sequence"
        about_all = self.type == "classification" and class_.level == "global"
        frame = record.get("frame", 0 if not sequence else None)
        if about_all or not sequence:
            if "frame" in record:
                raise bad(f"{where}.frame", "it is about the whole space")
            frame = GLOBAL if about_all else 0
        elif isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < self.space.n_frames:
            raise bad(f"{where}.frame", f"{frame!r} is none of 0 to {self.space.n_frames - 1}")
        if (id, frame) in self.seen or self.owner.setdefault(id, class_.id) != class_.id:
            raise bad(f"{where}.id", f"{id!r} comes twice")
        self.seen.add((id, frame))
        self.ids.append(id)
        self.frames.append(frame)
        self.codes.append(self.table.code(class_.id))
        return class_, frame

    def _audit(self, name: str) -> list[Any]:
        """Return an audit field of all records; each value that occurs is looked at once."""
        values = [record[name] for record in self.items]
        try:
            different: Any = {(type(value), value) for value in values}
        except TypeError:  # a list or mapping
            different = ()
        for _, value in different:
            if not _fits(value, name):
                break
        else:
            if different or not values:
                return values
        i = next(i for i, value in enumerate(values) if not _fits(value, name))
        raise bad(f"{self.place}[{i}].{name}", f"{values[i]!r:.80} does not fit")

    def put(self, geometries: Mapping[int, Any]) -> None:
        """Make all records alive, as no step, in the place of those that are there."""
        rows, table = self.rows, self.table
        olds = np.array([table.row(*key) for key in zip(self.ids, self.frames, strict=True)], np.int64)
        known = olds >= 0
        columns = {name: self._audit(name) for name in AUDIT}
        rows["order"] = table.new_orders(len(rows))
        rows["order"][known] = table.rows["order"][olds[known]]
        rows["class_"], rows["frame"] = self.codes, self.frames
        for name in ("created_at", "last_edited_at"):
            try:
                rows[name] = np.array([text[:-1] for text in columns[name]], "M8[us]").astype("i8")
            except ValueError as error:
                raise bad(f"{self.place}.{name}", error) from None
        wrong = np.flatnonzero(rows["last_edited_at"] < rows["created_at"])
        if len(wrong):
            raise bad(f"{self.place}[{wrong[0]}].last_edited_at", "it is before created_at")
        for name in ("created_by", "last_edited_by"):
            rows[name] = [table.code(word) for word in columns[name]]
        rows["confidence"], rows["manual"] = columns["confidence"], columns["manual_annotation"]
        table.switch(olds[known], table.append(rows, self.ids, geometries))


def _fits(value: Any, name: str) -> bool:
    """Whether a value is one of an audit field."""
    try:
        if name == "confidence":
            return checked_confidence(value) is not None
        if name == "manual_annotation":
            return isinstance(value, bool)
        if name.endswith("_by"):
            return checked_author(value, name) is not None
    except BioimageError:
        return False
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def read_objects(space: Any, items: Any, lenient: bool = False) -> None:
    """Put the objects of a document, as no step; one that is there already is replaced."""
    found = _Columns(space, "object", items)
    geometries: dict[int, Any] = {}
    corners: list[Any] = []
    boxes: list[int] = []
    needed = ("id", "class", "shape", "geometry", *AUDIT)
    for i, record in enumerate(found.items):
        class_, frame = found.head(i, record, ("frame", "dynamic"), needed)
        where = f"objects[{i}]"
        if record["shape"] != class_.shape:
            raise bad(f"{where}.shape", f"{record['shape']!r}, objects of {class_.name!r} are {class_.shape!r}")
        if class_.shape == "bounding_box" and _is_box(record["geometry"]):
            boxes.append(i)
            corners.append((record["geometry"]["top_left"], record["geometry"]["lower_right"]))
        else:
            geometry, found.rows["bounds"][i] = _geometry(found, i, record, class_, frame)
            if geometry is not None:
                geometries[i] = geometry
        if "dynamic" in record:
            space._dynamic[record["id"], frame] = _answers(class_, record["dynamic"], f"{where}.dynamic", True, lenient)
        elif space._dynamic:
            space._dynamic.pop((record["id"], frame), None)
    if boxes and not _read_boxes(found, boxes, corners):
        for i in boxes:  # one of them is none; which one?
            record = found.items[i]
            found.rows["bounds"][i] = _geometry(found, i, record, found.classes[record["class"]], found.frames[i])[1]
    found.put(geometries)


_CORNERS = {"top_left", "lower_right"}


def _is_box(geometry: Any) -> bool:
    return isinstance(geometry, dict) and geometry.keys() == _CORNERS


def _geometry(found: _Columns, i: int, record: Any, class_: Any, frame: int) -> tuple[Any, Any]:
    try:
        geometry = KINDS[class_.shape].from_document(record["geometry"])
        _, bounds, found.rows["outside"][i] = found.space.grid.checked(geometry, frame, "keep")
    except (BioimageError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise bad(f"objects[{i}].geometry", error) from None
    return None if isinstance(geometry, Box) else geometry, bounds


def _read_boxes(found: _Columns, at: list[int], corners: list[Any]) -> bool:
    """Read many boxes at once; False where not all are boxes."""
    grid = found.space.grid
    d = grid.ndim
    try:
        numbers = np.array(corners)
    except ValueError:
        return False
    if numbers.dtype.kind not in "iuf" or numbers.shape != (len(at), 2, d):
        return False
    numbers = numbers.astype(np.float64)
    if not (usable(numbers).all() and (numbers[:, 1] > numbers[:, 0]).all()):
        return False
    bounds = np.tile([-np.inf] * 3 + [np.inf] * 3, (len(at), 1))
    bounds[:, :d], bounds[:, 3 : 3 + d] = numbers[:, 0], numbers[:, 1]
    found.rows["bounds"][at] = bounds
    found.rows["outside"][at] = outside_of(found.space, bounds, [found.frames[i] for i in at])
    return True


def read_classifications(space: Any, items: Any) -> None:
    """Put the classifications of a document, as no step; one that is there already is replaced."""
    found = _Columns(space, "classification", items)
    answered: set[tuple[str, int]] = set()
    for i, record in enumerate(found.items):
        class_, frame = found.head(i, record, ("frame",), ("id", "class", *AUDIT))
        if space._tables["object"].has(record["id"]):
            raise bad(f"classifications[{i}].id", f"{record['id']!r} is an object")
        if not class_.several and (class_.id, frame) in answered:
            raise bad(f"classifications[{i}].class", f"{class_.name!r} is answered twice")
        answered.add((class_.id, frame))
    found.put({})


def _answers(class_: Any, given: Any, where: str, dynamic: bool, lenient: bool = False) -> dict[str, Any]:
    known = {one.attribute.id: one.attribute for one in class_.all_attributes if one.attribute.dynamic == dynamic}
    if not isinstance(given, dict):
        raise bad(where, "it is no mapping")
    found = {}
    for key, value in given.items():
        try:
            if key in known:
                found[key] = known[key].check(value)
            elif not lenient:
                raise bad(f"{where}.{key}", f"{class_.name!r} has no such attribute")
        except ParameterError as error:
            if not lenient:
                raise bad(f"{where}.{key}", error) from None
    return found


def read_answers(space: Any, given: Any, lenient: bool = False) -> None:
    """Give instances the answers of a document, those that they have not yet."""
    if not isinstance(given, dict):
        raise bad("answers", "it is no mapping")
    for id, answers in given.items():
        type_ = next((name for name, table in space._tables.items() if table.has(id)), None)
        if type_ is None:
            raise bad(f"answers.{id}", "there is no such instance")
        table = space._tables[type_]
        class_ = space._class_of(table, next(iter(table.rows_of(id).values())))
        kind: Any = ObjectInstance if type_ == "object" else ClassificationInstance
        instance = space._instances.setdefault(id, kind(class_, id))
        found = _answers(class_, answers, f"answers.{id}", False, lenient)
        instance._answers.take({**found, **instance._answers.now})
