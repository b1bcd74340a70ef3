"""One record of a space, as a handle."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from ..errors import KeyNotFoundError, ParameterError
from .table import Table
from .values.audit import time_of
from .values.frames import GLOBAL
from .values.geometry import Bounds, Box, Geometry
from .values.grid import Units
from .values.ontology import Class

if TYPE_CHECKING:
    from .reading import Reading

Type = Literal["object", "classification"]


class Record:
    """An object or classification on one frame of a space; reads what is stored now.

    Raises
    ------
    KeyNotFoundError
        By everything but `id`, `type` and `frame`: the record was removed.
    """

    __slots__ = ("_frame", "_id", "_space", "type")

    def __init__(self, space: Reading, type_: Type, id: str, frame: int) -> None:
        self._space, self.type, self._id, self._frame = space, type_, id, frame

    @property
    def _table(self) -> Table:
        return self._space._tables[self.type]

    @property
    def id(self) -> str:
        """Id of the instance."""
        return self._id

    @property
    def frame(self) -> int | None:
        """Frame, 0 where there is only one; None for a classification of the whole space."""
        return None if self._frame == GLOBAL else self._frame

    @property
    def _number(self) -> int:
        found = self._table.row(self._id, self._frame)
        if found < 0:
            where = "" if self._frame <= 0 else f" on frame {self._frame}"
            raise KeyNotFoundError(f"The {self.type} {self._id!r}{where} was removed.", remedy="space.undo()")
        return found

    @property
    def _row(self) -> Any:
        return self._table.rows[self._number]

    @property
    def instance(self) -> Any:
        """The `ObjectInstance` or `ClassificationInstance`."""
        _ = self._number
        return self._space._instance(self.type, self._id)

    @property
    def class_(self) -> Class:
        """Class of the object, or the classification."""
        return self._space._class_of(self._table, self._number)

    @property
    def name(self) -> str:
        """Name of the class."""
        return self.class_.name

    @property
    def geometry(self) -> Geometry:
        """Geometry in world coordinates.

        Raises
        ------
        ParameterError
            It is a classification.
        """
        if self.type != "object":
            raise ParameterError(f"The classification {self._id!r} has no geometry.", remedy="record.instance")
        number = self._number
        found = self._table.geometry(number)
        return Box.of_bounds(self._table.rows["bounds"][number]) if found is None else found

    def geometry_in(self, units: Units) -> Geometry:
        """Return the geometry in "world", "pixel" or "normalised" coordinates."""
        return self._space.grid.convert(self.geometry, units, self._frame)

    @property
    def bounds(self) -> Bounds:
        """Smallest x, y, z, then largest, in world coordinates; infinite along z where it is flat."""
        return tuple(self._row["bounds"].tolist())

    @property
    def answers(self) -> dict[str, Any]:
        """Answers by name of the attribute, those of this frame too; of what is nested by path: "phase/M/plate"."""
        found = self._answers
        known = self.class_.all_attributes
        return {one.path: found[one.attribute.id] for one in known if one.attribute.id in found and one.asked(found)}

    @property
    def _answers(self) -> dict[str, Any]:
        """Answers by id, also of what is not asked now."""
        return {**self.instance.answers, **self._space._dynamic.get((self._id, self._frame), {})}

    @property
    def confidence(self) -> float:
        """0 to 1."""
        return float(self._row["confidence"])

    @property
    def manual_annotation(self) -> bool:
        """Whether it was made by hand."""
        return bool(self._row["manual"])

    @property
    def outside(self) -> bool:
        """Whether it reaches out of the image."""
        return bool(self._row["outside"])

    @property
    def created_at(self) -> datetime:
        """When it was made, UTC."""
        return time_of(self._row["created_at"])

    @property
    def last_edited_at(self) -> datetime:
        """When it was changed last, UTC."""
        return time_of(self._row["last_edited_at"])

    @property
    def created_by(self) -> str:
        """Who made it."""
        return self._table.words[int(self._row["created_by"])]

    @property
    def last_edited_by(self) -> str:
        """Who changed it last."""
        return self._table.words[int(self._row["last_edited_by"])]

    def __eq__(self, other: object) -> bool:
        mine = (self._space, self.type, self._id, self._frame)
        return isinstance(other, Record) and mine == (other._space, other.type, other._id, other._frame)

    def __hash__(self) -> int:
        return hash((self.type, self._id, self._frame))

    def __repr__(self) -> str:
        return f"Record({self.type!r}, {self._id!r}, frame={self.frame})"
