"""Boxes and landmarks of a data set, as columns.

Points are world coordinates (x, y, z), float64, in the descriptor's unit; the centre of voxel i lies at ``offset + i *
scale``. Corners of boxes are edges: a box around voxel i alone reaches from ``offset + (i - 0.5) * scale`` to ``offset
+ (i + 0.5) * scale``.
"""

from __future__ import annotations

import abc
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ...errors import FormatError, IndexingError, KeyNotFoundError, ParameterError, ShapeError

if TYPE_CHECKING:
    from ...sources import Axis
    from ..descriptor import Descriptor

Points = npt.NDArray[np.float64]
Selector = int | slice | Sequence[int] | npt.NDArray[Any]


class Box(NamedTuple):
    """One box."""

    type: str
    frame: int
    top_left: Points
    lower_right: Points


class Point(NamedTuple):
    """One landmark."""

    type: str
    frame: int
    world: Points


class AnnotationSet(abc.ABC):
    """Rows of a type, a frame and points.

    Parameters
    ----------
    types : sequence of str, optional
        Names that are allowed, in the order of the layer; None: any.
    """

    columns: ClassVar[tuple[str, ...]]
    stored: ClassVar[tuple[str, ...]]
    """Names of the columns in files."""
    _row: ClassVar[type[Any]]

    def __init__(self, types: Iterable[str] | None = None) -> None:
        self.types: list[str] | None = None if types is None else list(types)
        self._types: list[str] = []
        self._frames: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._points: dict[str, Points] = {name: np.zeros((0, 3)) for name in self.columns}

    @classmethod
    def from_descriptor(cls, descriptor: Descriptor, layer_name: str) -> Self:
        """Return an empty set for a layer of a descriptor.

        Raises
        ------
        KeyNotFoundError
            The layer does not exist.
        """
        layers = descriptor._table_layers(cls)
        return cls([label.name for label in layers[layer_name].annotations])

    def _add(self, type: str | Sequence[str], frame: Any, points: Mapping[str, Any]) -> None:
        columns = {name: as_points(value, name) for name, value in points.items()}
        lengths = {name: len(value) for name, value in columns.items() if len(value) != 1}
        lengths |= {} if isinstance(type, str) else {"type": len(type)}
        lengths |= {"frame": np.size(frame)} if np.ndim(frame) else {}
        count = next(iter(lengths.values()), 1)
        if set(lengths.values()) > {count}:
            raise ShapeError(f"The columns have different lengths: {lengths}.", remedy="give one value, or one a row")
        names = [type] * count if isinstance(type, str) else [str(name) for name in type]
        frames = np.broadcast_to(_as_frames(frame), count)
        columns = {name: np.broadcast_to(value, (count, 3)) for name, value in columns.items()}
        self._check(names, columns)
        self._types += names
        self._frames = np.concatenate([self._frames, frames])
        for name, value in columns.items():
            self._points[name] = np.concatenate([self._points[name], value])

    def _check(self, names: Sequence[str], points: Mapping[str, Points]) -> None:
        for name in dict.fromkeys(names):
            if self.types is not None and name not in self.types:
                raise KeyNotFoundError(f"The layer has no type {name!r}.", remedy=f"use one of {self.types}")

    def _edit(self, index: Selector, type: str | Sequence[str] | None, frame: Any, points: Mapping[str, Any]) -> None:
        rows = self._rows(index)
        given = {name: value for name, value in points.items() if value is not None}
        columns = {name: self._points[name][rows].copy() for name in self.columns}
        for name, value in given.items():
            columns[name][...] = as_points(value, name)
        names = [self._types[row] for row in rows]
        if type is not None:
            names = [type] * len(rows) if isinstance(type, str) else list(type)
            if len(names) != len(rows):
                raise ShapeError(f"{len(names)} types for {len(rows)} rows.", remedy="give one, or one a row")
        self._check(names, columns)
        for row, name in zip(rows, names, strict=True):
            self._types[row] = name
        if frame is not None:
            self._frames[rows] = _as_frames(frame)
        for name, value in columns.items():
            self._points[name][rows] = value

    def _rows(self, index: Selector) -> npt.NDArray[np.intp]:
        at = index if isinstance(index, slice) else np.asarray(index)
        if isinstance(at, np.ndarray) and at.size == 0:
            at = at.astype(np.intp)  # an empty list is an array of floats
        try:
            return np.atleast_1d(np.arange(len(self))[at])
        except IndexError:
            raise IndexingError(f"{index!r} is no row of {len(self)}.", remedy=f"use 0 to {len(self) - 1}") from None

    def delete(self, index: Selector) -> None:
        """Delete rows, by number, slice, list of numbers or mask."""
        gone = set(self._rows(index).tolist())
        self._keep([row for row in range(len(self)) if row not in gone])

    def _keep(self, rows: Sequence[int]) -> None:
        at = np.asarray(rows, np.intp)
        self._types = [self._types[row] for row in rows]
        self._frames = self._frames[at]
        self._points = {name: value[at] for name, value in self._points.items()}

    def _selected(self, rows: Sequence[int]) -> Self:
        twin = type(self)(self.types)
        twin._types, twin._frames, twin._points = self._types, self._frames, self._points
        twin._keep(rows)
        return twin

    def frame(self, which: int) -> Self:
        """Return a new set with the rows of one frame."""
        return self._selected(np.flatnonzero(self._frames == which).tolist())

    def type(self, type: str | int) -> Self:
        """Return a new set with the rows of one type, by name or by position among `types`.

        Raises
        ------
        IndexingError, KeyNotFoundError
            There is no such type.
        """
        known = self.types if self.types is not None else list(dict.fromkeys(self._types))
        if isinstance(type, int):
            try:
                type = known[type]
            except IndexError:
                raise IndexingError(f"There is no type {type} of {len(known)}.", remedy=f"use one of {known}") from None
        if type not in known:
            raise KeyNotFoundError(f"There is no type {type!r}.", remedy=f"use one of {known}")
        return self._selected([row for row, name in enumerate(self._types) if name == type])

    def asdict(self) -> dict[str, Any]:
        """Return copies of the columns: "type" (list of str), "frame" (int64, (n,)), points (float64, (n, 3))."""
        points = {name: value.copy() for name, value in self._points.items()}
        return {"type": list(self._types), "frame": self._frames.copy(), **points}

    def __len__(self) -> int:
        return len(self._types)

    def __iter__(self) -> Iterator[Any]:
        for row, name in enumerate(self._types):
            points = (self._points[column][row].copy() for column in self.columns)
            yield self._row(name, int(self._frames[row]), *points)

    def __getitem__(self, index: int) -> Any:
        row = int(self._rows(index)[0])
        return self._row(
            self._types[row], int(self._frames[row]), *(self._points[name][row].copy() for name in self.columns)
        )

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, AnnotationSet)
        return (
            self._types == other._types
            and np.array_equal(self._frames, other._frames)
            and all(np.array_equal(self._points[name], other._points[name]) for name in self.columns)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} rows, types={self.types})"


class BoxSet(AnnotationSet):
    """Boxes between two corners, which are edges: half a voxel before the centre of the first voxel, and half a one
    behind that of the last.
    """

    columns = ("top_left", "lower_right")
    stored = ("low", "high")
    _row = Box

    def add(self, type: str | Sequence[str], frame: Any, top_left: Any, lower_right: Any) -> None:
        """Add one box, or many.

        Parameters
        ----------
        type : str or sequence of str
            Name of the type; one for all, or one a box.
        frame : int or array of int
            Frame from 0; one for all, or one a box.
        top_left, lower_right : array_like
            Corners in world coordinates (x, y, z), edges of voxels: shape (3,), (3, 1) or (n, 3).

        Raises
        ------
        KeyNotFoundError
            The layer has no such type.
        ShapeError, ParameterError
            Lengths that differ, a corner that is not finite, or one that is above the other.
        """
        self._add(type, frame, {"top_left": top_left, "lower_right": lower_right})

    def edit(
        self,
        index: Selector,
        *,
        type: str | Sequence[str] | None = None,
        frame: Any = None,
        top_left: Any = None,
        lower_right: Any = None,
    ) -> None:
        """Change rows, chosen by number, slice, list of numbers or mask; what is None stays."""
        self._edit(index, type, frame, {"top_left": top_left, "lower_right": lower_right})

    def _check(self, names: Sequence[str], points: Mapping[str, Points]) -> None:
        super()._check(names, points)
        wrong = np.flatnonzero((points["top_left"] > points["lower_right"]).any(axis=1))
        if len(wrong):
            first = [points[name][wrong[0]].tolist() for name in self.columns]
            raise ParameterError(
                f"Box {wrong[0]}: top_left {first[0]} lies above lower_right {first[1]} along an axis.",
                remedy="give the smaller coordinates as top_left",
            )


class LandmarkSet(AnnotationSet):
    """Landmarks: points in world coordinates."""

    columns = stored = ("world",)
    _row = Point

    def add(self, type: str | Sequence[str], frame: Any, world: Any) -> None:
        """Add one landmark, or many; see `BoxSet.add`. `world` is (x, y, z): shape (3,), (3, 1) or (n, 3)."""
        self._add(type, frame, {"world": world})

    def edit(
        self, index: Selector, *, type: str | Sequence[str] | None = None, frame: Any = None, world: Any = None
    ) -> None:
        """Change rows, chosen by number, slice, list of numbers or mask; what is None stays."""
        self._edit(index, type, frame, {"world": world})


def as_points(value: Any, name: str) -> Points:
    """Return points as float64 of shape (n, 3), from (3,), (3, 1) or (n, 3).

    Raises
    ------
    ShapeError, ParameterError
        Another shape, or a coordinate that is not finite.
    """
    points = np.asarray(value, np.float64)
    if points.shape in ((3,), (3, 1)):
        points = points.reshape(1, 3)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ShapeError(f"{name} has the shape {points.shape}.", remedy="pass (x, y, z), or an array (n, 3)")
    if not np.isfinite(points).all():
        raise ParameterError(f"{name} holds a coordinate that is not finite.", remedy="leave such rows out")
    return points


def _as_frames(value: Any) -> npt.NDArray[np.int64]:
    frames = np.asarray(value)
    if frames.size and (frames.dtype.kind not in "iu" or frames.min() < 0):
        raise ParameterError(f"frame is {value!r}.", remedy="use whole numbers from 0")
    return frames.astype(np.int64).reshape(-1)


def scale_of(axes: Iterable[Axis]) -> Points:
    """Return the sizes of a voxel along x, y and z; 1 along one that is not there."""
    known = {axis.name.lower(): axis.scale for axis in axes if axis.kind == "space"}
    return np.array([known.get(name, 1.0) for name in "xyz"], np.float64)


def to_table(rows: AnnotationSet, ids: Mapping[str, str]) -> str:
    """Return the rows as CSV text: a header, then type id, frame and coordinates (exact).

    Parameters
    ----------
    rows : AnnotationSet
    ids : mapping
        Id of every type by its name.

    Raises
    ------
    KeyNotFoundError
        The layer has no such type.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_header(type(rows)))
    for row in range(len(rows)):
        name = rows._types[row]
        if name not in ids:
            raise KeyNotFoundError(f"The layer has no type {name!r}.", remedy=f"use one of {list(ids)}")
        numbers = [repr(float(x)) for column in rows.columns for x in rows._points[column][row]]
        writer.writerow([ids[name], int(rows._frames[row]), *numbers])
    return text.getvalue()


def from_table(
    text: str, kind: type[AnnotationSet], names: Mapping[str, str], where: str, scale: Any = None
) -> AnnotationSet:
    """Return the rows of CSV text; those of types that the layer has no longer are left out.

    Parameters
    ----------
    text : str
    kind : type
        `BoxSet` or `LandmarkSet`.
    names : mapping
        Name of every type by its id.
    where : str
        Path, for messages.
    scale : array_like of 3, optional
        Sizes of a voxel along x, y and z, by which boxes of older tables are moved: their corners counted from the
        centre of voxel 0, half a voxel behind the edges.

    Raises
    ------
    FormatError
        The text is no table of that kind; or it is an older one, and there is no `scale`.
    """
    reader = csv.reader(io.StringIO(text))
    found = kind(list(names.values()))
    head, shift = next(reader, None), np.zeros(3)
    if head != _header(kind):
        if head != _older_header(kind):
            raise FormatError(f"{where} has not the columns {_header(kind)}.", remedy="restore it from a backup")
        if scale is None:
            raise FormatError(f"{where} is an older table of boxes.", remedy="load and save it in its project")
        shift = -0.5 * np.asarray(scale, np.float64)
    rows = [row for row in reader if row and row[0] in names]
    try:
        numbers = np.array([[float(x) for x in row[2:]] for row in rows]).reshape(len(rows), len(kind.columns), 3)
        points = {name: numbers[:, i] + shift for i, name in enumerate(kind.columns)}
        found._add([names[row[0]] for row in rows], np.array([int(row[1]) for row in rows], np.int64), points)
    except ValueError as error:
        raise FormatError(f"{where} is damaged: {error}", remedy="restore it from a backup") from error
    return found


def _header(kind: type[AnnotationSet]) -> list[str]:
    return ["type", "frame", *(f"{column}_{axis}" for column in kind.stored for axis in "xyz")]


def _older_header(kind: type[AnnotationSet]) -> list[str]:
    """Columns of files in which corners of boxes counted from the centre of voxel 0."""
    return ["type", "frame", *(f"{column}_{axis}" for column in kind.columns for axis in "xyz")]
