"""The read side of a space: list, get, count, query."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from ..errors import KeyNotFoundError, ParameterError
from .history import Change, History
from .index import Index
from .records import Record, Type
from .table import Rows, Table
from .values.audit import checked_confidence, this_user
from .values.frames import frame_numbers, whole_number
from .values.geometry import Box, Geometry
from .values.grid import Grid, Units
from .values.instances import ClassificationInstance, ObjectInstance
from .values.ontology import Class, Ontology

TYPES = ("object", "classification")


SPACES: dict[str, Any] = {}
"""The classes of spaces, by kind."""


def space_class(kind: str) -> Any:
    """Return the class of a kind of space; KeyNotFoundError for another one."""
    if kind in SPACES:
        return SPACES[kind]
    raise KeyNotFoundError(f"There is no kind {kind!r} of space.", remedy=f"use one of {list(SPACES)}")


class Reading:
    """The records of one extent of an image, and what may be annotated there.

    Parameters
    ----------
    grid : Grid
        Axes and size.
    ontology : Ontology
    space_id : str, default "root"
    user : str, optional
        Author of what is put without one; None: user@host.
    pool : dict, optional
        Instances by id that several spaces share.
    """

    kind: str

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if "kind" in vars(cls):
            SPACES.setdefault(cls.kind, cls)

    def __init__(
        self,
        grid: Grid,
        ontology: Ontology,
        space_id: str = "root",
        user: str | None = None,
        pool: dict[str, Any] | None = None,
    ) -> None:
        self.grid, self.ontology, self.space_id = grid, ontology, space_id
        self.user = this_user() if user is None else user
        self._instances: dict[str, Any] = {} if pool is None else pool
        self._dynamic: dict[tuple[str, int], dict[str, Any]] = {}
        self._tables = {"object": Table(), "classification": Table()}
        self._index = Index(self._tables["object"])
        self._steps = History()
        self._save: Callable[[Any], bool] | None = None
        self._elsewhere: Callable[[str], bool] | None = None
        self._refuse_taken: Callable[[Sequence[str]], None] | None = None

    @property
    def name(self) -> str:
        """The same as `space_id`."""
        return self.space_id

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.grid.n_frames

    def get_object_instances(self) -> list[ObjectInstance]:
        """Return the objects, in the order of first put."""
        return [self._instance("object", id) for id in self._tables["object"].instances()]

    def get_classification_instances(self) -> list[ClassificationInstance]:
        """Return the classification instances, in the order of first put."""
        return [self._instance("classification", id) for id in self._tables["classification"].instances()]

    def get_annotations(self, type_: Type, filter_instance_hashes: Collection[str] | None = None) -> Iterator[Record]:
        """Return records, lazily: by frame, then in the order of put; those of the whole space come last.

        Parameters
        ----------
        type_ : {"object", "classification"}
        filter_instance_hashes : collection of str, optional
            Only of instances with these ids.

        Raises
        ------
        ParameterError
            Another type.
        """
        table = self._tables[self._type(type_)]
        if isinstance(filter_instance_hashes, str):
            raise ParameterError(f"filter_instance_hashes={filter_instance_hashes!r} is one text.", remedy="use a list")
        wanted = None if filter_instance_hashes is None else set(filter_instance_hashes)
        rows = table.sorted()
        return (r for r in self._records(type_, rows) if wanted is None or r.id in wanted)

    annotations = get_annotations

    def get(self, id: str, frame: int | None = None) -> Record:
        """Return a record.

        Parameters
        ----------
        id : str
            Of the object or classification instance.
        frame : int, optional
            None: the first one that it is on.

        Raises
        ------
        KeyNotFoundError
            There is none.
        """
        frame = None if frame is None else whole_number(frame, "frame")
        for type_, table in self._tables.items():
            rows = table.rows_of(id) if isinstance(id, str) else {}
            if rows and (frame is None or frame in rows):
                return Record(self, type_, id, next(iter(rows)) if frame is None else frame)  # type: ignore[arg-type]
        raise self._unknown(id, "" if frame is None else f" on frame {frame}")

    def _unknown(self, id: str, where: str = "") -> KeyNotFoundError:
        return KeyNotFoundError(
            f"The space {self.space_id!r} has no record {id!r}{where}.", remedy="look at space.get_object_instances()"
        )

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and any(table.has(id) for table in self._tables.values())

    def __len__(self) -> int:
        return sum(table.n_alive for table in self._tables.values())

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Record]:
        for type_ in TYPES:
            yield from self.get_annotations(type_)  # type: ignore[arg-type]

    def count(self, type_: Type | None = None, class_: Any = None, frames: Any = None) -> int:
        """Return the number of records.

        Parameters
        ----------
        type_ : {"object", "classification"}, optional
            None: both.
        class_ : str or class, optional
            Only of this class or classification, by name, id or itself.
        frames : optional
            Only on these.
        """
        kinds = TYPES if type_ is None else (self._type(type_),)
        return sum(len(self._chosen(kind, np.flatnonzero(self._tables[kind].alive), class_, frames)) for kind in kinds)

    def _chosen(self, type_: str, rows: Rows, class_: Any, frames: Any) -> Rows:
        table = self._tables[type_]
        if class_ is not None:
            rows = rows[table.rows["class_"][rows] == table.known(self._class_id(class_, type_))]
        if frames is not None:
            rows = rows[np.isin(table.rows["frame"][rows], frame_numbers(frames, self.n_frames))]
        return rows

    def _class_id(self, class_: Any, type_: str) -> str:
        known = self.ontology.objects if type_ == "object" else self.ontology.classifications
        key = class_ if isinstance(class_, str) else getattr(class_, "id", None)
        for item in known:
            if key in (item.id, item.name):
                return item.id
        if all(key not in (item.id, item.name) for item in self.ontology):
            raise KeyNotFoundError(
                f"There is no class {key!r}.", remedy=f"there are: {[item.name for item in self.ontology]}"
            )
        return ""

    def query(
        self,
        box: Box | Any = None,
        frames: Any = None,
        class_: Any = None,
        author: str | None = None,
        min_confidence: float | None = None,
        predicate: Literal["intersects", "within"] = "intersects",
        units: Units = "world",
    ) -> Iterator[Record]:
        """Return objects by region, frame, class, author and confidence, in the order of put.

        The first query makes an index, which all later ones use.

        Parameters
        ----------
        box : Box, optional
            Region; a flat one reaches through all of z. Touching edges intersect.
        frames, class_, author, min_confidence : optional
            Only objects that fit; `author` made or last changed them.
        predicate : {"intersects", "within"}
            Whether objects may reach out of the region.
        units : {"world", "pixel", "normalised"}
            Of the box.

        Raises
        ------
        ParameterError
            One of them makes no sense.
        """
        if predicate not in ("intersects", "within"):
            raise ParameterError(f"predicate={predicate!r}", remedy="use 'intersects' or 'within'")
        if box is not None and not isinstance(box, Box):
            raise ParameterError(f"box={box!r} is no Box.", remedy="box=Box((0, 0), (10, 10))")
        if author is not None and not isinstance(author, str):
            raise ParameterError(f"author={author!r} is no text.", remedy="author='ada@lab'")
        table = self._tables["object"]
        rows = np.flatnonzero(table.alive) if box is None else self._in_box(self.grid.world(box, units), predicate)
        rows = self._chosen("object", rows, class_, frames)
        values = table.rows[rows]
        if author is not None:
            code = table.known(author)
            keep = (values["created_by"] == code) | (values["last_edited_by"] == code)
            rows, values = rows[keep], values[keep]
        if min_confidence is not None:
            rows = rows[values["confidence"] >= checked_confidence(min_confidence)]
        rows = rows[np.argsort(table.rows["order"][rows], kind="stable")]
        return self._records("object", rows)

    def _in_box(self, box: Geometry, predicate: str) -> Rows:
        table = self._tables["object"]
        found = np.array(box.bounds(self.grid))
        rows = self._index.rows(found[:3], found[3:])
        bounds = table.rows["bounds"][rows]
        inside = ((bounds[:, :3] >= found[:3]) & (bounds[:, 3:] <= found[3:])).all(axis=1)
        if predicate == "within":
            return rows[inside]
        exact = [row for row in rows[~inside].tolist() if self._meets(table.geometry(row), found)]
        return np.sort(np.concatenate([rows[inside], np.array(exact, np.int64)]))

    def _meets(self, geometry: Geometry | None, bounds: Any) -> bool:
        if geometry is None:
            return True
        from .values.planar import touches

        return touches(geometry, bounds, self.grid)

    def _records(self, type_: Any, rows: Rows) -> Iterator[Record]:
        table = self._tables[type_]
        frames = table.rows["frame"]
        for row in rows.tolist():
            yield Record(self, type_, table.ids[row], int(frames[row]))

    def _type(self, type_: Any) -> str:
        if type_ not in TYPES:
            raise ParameterError(f"type_={type_!r}", remedy="use 'object' or 'classification'")
        return str(type_)

    def _instance(self, type_: str, id: str) -> Any:
        found = self._instances.get(id)
        if found is None:
            table = self._tables[type_]
            item = self._class_of(table, next(iter(table.rows_of(id).values())))
            kind: Any = ObjectInstance if type_ == "object" else ClassificationInstance
            found = self._instances[id] = kind(item, id)
        return found

    def _is_left(self, id: str) -> bool:
        """Whether an instance that is known has no record any more, here or in a space that shares instances."""
        return id in self._instances and id not in self and (self._elsewhere is None or not self._elsewhere(id))

    def _class_of(self, table: Table, row: int) -> Class:
        id = table.words[table.rows["class_"][row]]
        for item in self.ontology:
            if item.id == id:
                return item
        raise KeyNotFoundError(f"There is no class {id!r}.", remedy=f"there are: {[i.name for i in self.ontology]}")

    def pixels(self, geometry: Geometry) -> Geometry:
        """Return a geometry of world coordinates in pixels: pixel ``i`` covers ``[i, i + 1)``."""
        return self.grid.convert(geometry, "pixel")

    def normalised(self, geometry: Geometry, frame: int = 0) -> Geometry:
        """Return a geometry of world coordinates in fractions of the image's (or the frame's) size."""
        return self.grid.convert(geometry, "normalised", frame)

    def get_dynamic_answer(self, instance: Any, frame: int, attribute: Any = None) -> Any:
        """Return the answer of an object on a frame, None where there is none."""
        known = instance._known(attribute)
        found = self._dynamic.get((instance.id, whole_number(frame, "frame")), {})
        return found.get(known.attribute.id) if known.asked(found) else None

    def history(self, id: str | None = None) -> list[Change]:
        """Return the changes that can be undone, the oldest first; of one instance, or all."""
        return [change for change in self._steps.told() if id is None or id in change.ids]

    def validate(self) -> Iterator[str]:
        """Tell what is odd, though allowed: polygons that cross themselves, objects outside, answers that lack."""
        for record in self:
            if record.type == "object" and record.outside:
                yield f"{record.id}: the {record.name} reaches out of the image"
            if record.type == "object" and record.geometry.shape == "polygon":
                from .values.planar import crosses_itself

                if crosses_itself(record.geometry):
                    yield f"{record.id}: the {record.name} crosses itself"
            answers = record._answers
            for one in record.class_.all_attributes:
                if one.attribute.required and one.attribute.id not in answers and one.asked(answers):
                    yield f"{record.id}: {record.name} lacks {one.path}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.space_id!r}, {self.grid.shape}, {len(self)} records)"
