"""Reading spaces from documents that somebody else may have written: whatever is wrong is named by its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import BioimageError, FormatError
from ..sources import Axis
from .bulk import outside_of
from .space import space_class
from .table import ROW
from .values.audit import checked_author, checked_confidence
from .values.frames import GLOBAL
from .values.geometry import Box, Ellipse, Geometry, Polygon, RotatedBox
from .values.grid import Grid
from .values.ids import checked_id
from .values.instances import ClassificationInstance, ObjectInstance
from .values.lines import Mesh, Point, Polyline, Skeleton
from .values.masks import Mask
from .values.ontology import Ontology

SCHEMA = 1
KINDS: dict[str, type[Geometry]] = {
    kind.shape: kind for kind in (Box, RotatedBox, Polygon, Polyline, Point, Skeleton, Ellipse, Mesh)
} | {"bitmask": Mask}
_TOP = ("schema", "kind", "space_id", "size", "axes", "unit", "frames", "sizes", "ontology")
_RECORDS = ("objects", "classifications", "answers")
AUDIT = ("created_at", "created_by", "last_edited_at", "last_edited_by", "confidence", "manual_annotation")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def _bad(where: str, what: Any) -> FormatError:
    remedy = getattr(what, "remedy", "") or "mend it by hand, or restore it from a backup"
    return FormatError(f"{where}: {getattr(what, 'message', what)}", remedy=remedy)


def from_document(document: Any, ontology: Ontology | None = None, **given: Any) -> Any:
    """Return the space of a document.

    Parameters
    ----------
    document : dict
    ontology : Ontology, optional
        None: that of the document.
    **given
        `user` and `pool` of the space.

    Raises
    ------
    FormatError
        An unknown or missing key, a newer schema, a record that is none; names the place, such as "objects[3].shape".
    """
    if not isinstance(document, Mapping):
        raise _bad("the document", "it is no mapping")
    version = document.get("schema")
    if version != SCHEMA or isinstance(version, bool):
        raise _bad("schema", f"it is {version!r}, known is {SCHEMA}")
    for key in document:
        if key not in (*_TOP, *_RECORDS):
            raise _bad(str(key), "there is no such key")
    for key in (*_TOP[:6], *_RECORDS):
        if key not in document:
            raise _bad(key, "it is missing")
    if ontology is None:
        ontology = Ontology.from_document(document.get("ontology", {}))
    try:
        axes = [Axis(**axis) for axis in document["axes"]]
        grid = Grid(axes, document["size"], document.get("frames"), document.get("sizes"))
    except (BioimageError, TypeError, ValueError, OverflowError) as error:
        raise _bad("axes", error) from None
    try:
        kind = space_class(document["kind"])
    except (BioimageError, TypeError) as error:
        raise _bad("kind", error) from None
    if (kind.kind == "sequence") != (grid.frames is not None) or (kind.kind == "image" and grid.ndim != 2):
        raise _bad("kind", f"{document['kind']!r} with the axes {[axis.name for axis in grid.axes]}")
    space = kind(grid, ontology, _text(document["space_id"], "space_id"), **given)
    _read_objects(space, document["objects"])
    _read_classifications(space, document["classifications"])
    _read_answers(space, document["answers"])
    return space


def _text(value: Any, where: str) -> str:
    try:
        return checked_id(value, where)
    except BioimageError as error:
        raise _bad(where, error) from None


class _Columns:
    """What is read of records, as columns."""

    def __init__(self, space: Any, type_: str, items: Any) -> None:
        self.space, self.type, self.table = space, type_, space._tables[type_]
        self.place = "objects" if type_ == "object" else "classifications"
        known = space.ontology.objects if type_ == "object" else space.ontology.classifications
        self.classes = {item.id: item for item in known}
        if not isinstance(items, list):
            raise _bad(self.place, "it is no list")
        self.items = items
        self.rows = np.zeros(len(items), ROW)
        self.ids: list[str] = []
        self.frames: list[int] = []
        self.codes: list[int] = []
        self.columns: dict[str, list[Any]] = {name: [] for name in AUDIT}
        self.seen: set[tuple[str, int]] = set()
        self.owner: dict[str, str] = {}

    def head(self, i: int, record: Any, optional: tuple[str, ...], needed: tuple[str, ...]) -> Any:
        """Read what all records have, and return the class."""
        where = f"{self.place}[{i}]"
        if not isinstance(record, dict):
            raise _bad(where, "it is no mapping")
        if not (record.keys() >= {*needed} and record.keys() <= {*needed, *optional}):
            for key in record:
                if key not in needed and key not in optional:
                    raise _bad(f"{where}.{key}", "there is no such key")
            raise _bad(f"{where}.{next(key for key in needed if key not in record)}", "it is missing")
        class_ = self.classes.get(record["class"]) if isinstance(record["class"], str) else None
        if class_ is None:
            raise _bad(f"{where}.class", f"there is no class {record['class']!r}")
        id = _text(record["id"], f"{where}.id")
        sequence = self.space.kind == "sequence"
        about_all = self.type == "classification" and class_.level == "global"
        frame = record.get("frame", 0 if not sequence else None)
        if about_all or not sequence:
            if "frame" in record:
                raise _bad(f"{where}.frame", "it is about the whole space")
            frame = GLOBAL if about_all else 0
        elif isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < self.space.n_frames:
            raise _bad(f"{where}.frame", f"{frame!r} is none of 0 to {self.space.n_frames - 1}")
        if (id, frame) in self.seen or self.owner.setdefault(id, class_.id) != class_.id:
            raise _bad(f"{where}.id", f"{id!r} comes twice")
        self.seen.add((id, frame))
        self.ids.append(id)
        self.frames.append(frame)
        self.codes.append(self.table.code(class_.id))
        for name in AUDIT:
            self.columns[name].append(_audited(record[name], name, f"{where}.{name}"))
        if record["last_edited_at"] < record["created_at"]:
            raise _bad(f"{where}.last_edited_at", f"{record['last_edited_at']} is before created_at")
        return class_, frame

    def put(self, geometries: list[Any]) -> None:
        """Make all records alive, as no step."""
        rows, table, columns = self.rows, self.table, self.columns
        rows["order"] = table.new_orders(len(rows))
        rows["class_"], rows["frame"] = self.codes, self.frames
        for name in ("created_at", "last_edited_at"):
            try:
                rows[name] = np.array([text[:-1] for text in columns[name]], "M8[us]").astype("i8")
            except ValueError as error:
                raise _bad(f"{self.place}.{name}", error) from None
        for name in ("created_by", "last_edited_by"):
            rows[name] = [table.code(word) for word in columns[name]]
        rows["confidence"], rows["manual"] = columns["confidence"], columns["manual_annotation"]
        table.switch(np.zeros(0, np.int64), table.append(rows, self.ids, geometries))


def _audited(value: Any, name: str, where: str) -> Any:
    try:
        if name == "confidence":
            return checked_confidence(value)
        if name == "manual_annotation":
            good = isinstance(value, bool)
        elif name.endswith("_by"):
            good = checked_author(value, name) is not None
        else:
            good = isinstance(value, str) and _TIME.fullmatch(value) is not None
    except BioimageError as error:
        raise _bad(where, error) from None
    if not good:
        raise _bad(where, f"{value!r} does not fit")
    return value


def _read_objects(space: Any, items: Any) -> None:
    found = _Columns(space, "object", items)
    geometries: list[Any] = []
    corners: list[Any] = []
    boxes: list[int] = []
    needed = ("id", "class", "shape", "geometry", *AUDIT)
    for i, record in enumerate(found.items):
        class_, frame = found.head(i, record, ("frame", "dynamic"), needed)
        where = f"objects[{i}]"
        if record["shape"] != class_.shape:
            raise _bad(f"{where}.shape", f"{record['shape']!r}, objects of {class_.name!r} are {class_.shape!r}")
        if class_.shape == "bounding_box" and _is_box(record["geometry"]):
            boxes.append(i)
            corners.append((record["geometry"]["top_left"], record["geometry"]["lower_right"]))
            geometry, bounds = None, _UNREAD
        else:
            geometry, bounds = _geometry(found, i, record, class_, frame)
        found.rows["bounds"][i] = bounds
        geometries.append(geometry)
        if "dynamic" in record:
            space._dynamic[record["id"], frame] = _answers(class_, record["dynamic"], f"{where}.dynamic", True)
    if boxes and not _read_boxes(found, boxes, corners):
        for i in boxes:  # one of them is none; which one?
            record = found.items[i]
            found.rows["bounds"][i] = _geometry(found, i, record, found.classes[record["class"]], found.frames[i])[1]
    found.put(geometries)


_UNREAD = (0.0,) * 6
_CORNERS = {"top_left", "lower_right"}


def _is_box(geometry: Any) -> bool:
    return isinstance(geometry, dict) and geometry.keys() == _CORNERS


def _geometry(found: _Columns, i: int, record: Any, class_: Any, frame: int) -> tuple[Any, Any]:
    try:
        geometry = KINDS[class_.shape].from_document(record["geometry"])
        _, bounds, found.rows["outside"][i] = found.space.grid.checked(geometry, frame, "keep")
    except (BioimageError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise _bad(f"objects[{i}].geometry", error) from None
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
    if not (np.isfinite(numbers).all() and (numbers[:, 1] > numbers[:, 0]).all()):
        return False
    bounds = np.tile([-np.inf] * 3 + [np.inf] * 3, (len(at), 1))
    bounds[:, :d], bounds[:, 3 : 3 + d] = numbers[:, 0], numbers[:, 1]
    found.rows["bounds"][at] = bounds
    found.rows["outside"][at] = outside_of(found.space, bounds, [found.frames[i] for i in at])
    return True


def _read_classifications(space: Any, items: Any) -> None:
    found = _Columns(space, "classification", items)
    answered: set[tuple[str, int]] = set()
    for i, record in enumerate(found.items):
        class_, frame = found.head(i, record, ("frame",), ("id", "class", *AUDIT))
        if space._tables["object"].has(record["id"]):
            raise _bad(f"classifications[{i}].id", f"{record['id']!r} is an object")
        if not class_.several and (class_.id, frame) in answered:
            raise _bad(f"classifications[{i}].class", f"{class_.name!r} is answered twice")
        answered.add((class_.id, frame))
    found.put([None] * len(found.items))


def _answers(class_: Any, given: Any, where: str, dynamic: bool) -> dict[str, Any]:
    known = {attribute.id: attribute for attribute in class_.attributes if attribute.dynamic == dynamic}
    if not isinstance(given, dict):
        raise _bad(where, "it is no mapping")
    found = {}
    for key, value in given.items():
        if key not in known:
            raise _bad(f"{where}.{key}", f"{class_.name!r} has no such attribute")
        try:
            found[key] = known[key].check(value)
        except (BioimageError, TypeError) as error:
            raise _bad(f"{where}.{key}", error) from None
    return found


def _read_answers(space: Any, given: Any) -> None:
    if not isinstance(given, dict):
        raise _bad("answers", "it is no mapping")
    for id, answers in given.items():
        type_ = next((name for name, table in space._tables.items() if table.has(id)), None)
        if type_ is None:
            raise _bad(f"answers.{id}", "there is no such instance")
        table = space._tables[type_]
        class_ = space._class_of(table, next(iter(table.rows_of(id).values())))
        kind: Any = ObjectInstance if type_ == "object" else ClassificationInstance
        instance = space._instances.setdefault(id, kind(class_, id))
        for key, value in _answers(class_, answers, f"answers.{id}", False).items():
            instance.answers.setdefault(key, value)
