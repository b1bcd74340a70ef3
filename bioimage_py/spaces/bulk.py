"""Many objects at once, as columns: all of them, or none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import BioimageError, LabelRowError, ParameterError, ReadOnlyError, ShapeError
from .history import MISSING, Part
from .putting import STRATEGIES, check_shape, checked_strategy
from .table import ROW
from .values.audit import check_order, checked_author, checked_confidence, checked_time, now
from .values.frames import frame_numbers
from .values.geometry import Box, usable
from .values.grid import Outside, Units, check_outside, check_units
from .values.ids import checked_id, new_ids
from .values.masks import Mask

if TYPE_CHECKING:
    from .putting import Putting

Ids = npt.NDArray[np.str_]


def put_many(
    space: Putting,
    classes: Any,
    geometries: Any,
    frames: Any = 0,
    ids: Sequence[str] | None = None,
    *,
    on_overlap: str = "error",
    units: Units = "world",
    outside: Outside = "keep",
    source: str | None = None,
    confidence: Any = None,
    created_at: datetime | None = None,
    created_by: str | Sequence[str] | None = None,
    last_edited_at: datetime | None = None,
    last_edited_by: str | Sequence[str] | None = None,
    manual_annotation: Any = None,
) -> Ids:
    """Put many objects; see `Space.put_many`."""
    strategy = checked_strategy(on_overlap, STRATEGIES[:3])
    check_outside(outside)
    if source not in (None, "manual", "model"):
        raise ParameterError(f"source={source!r:.80} is neither 'manual' nor 'model'.", remedy="source='model'")
    if not isinstance(geometries, Sequence | np.ndarray):
        raise ParameterError(f"geometries={geometries!r:.80} are no list.", remedy="an array (n, 4), or list(...)")
    n = len(geometries)
    table = space._tables["object"]
    numbers = _column(frames, n, "frames")
    allowed = range(space.n_frames)
    for frame in np.unique(numbers):
        frame_numbers(frame, len(allowed))
    chosen, codes = _classes(space, classes, n)
    rows = np.zeros(n, ROW)
    shapes = _geometries(space, geometries, numbers, chosen, codes, units, outside, rows["bounds"])
    names = _ids(ids, n)
    time = now()
    created, edited = checked_time(created_at, "created_at"), checked_time(last_edited_at, "last_edited_at")
    check_order(created, edited)
    authors = _authors(created_by, "created_by", n)
    editors = _authors(last_edited_by, "last_edited_by", n)
    manual = _flags(source != "model" if manual_annotation is None else manual_annotation, n)
    words = np.array([table.code(item.id) for item in chosen], np.int32)
    rows["class_"] = words if len(words) == 1 else words[codes] if n else 0
    rows["frame"] = numbers
    rows["confidence"] = _confidence(confidence, n)
    rows["created_at"] = created if created is not None else time if edited is None else min(time, edited)
    rows["last_edited_at"] = edited if edited is not None else np.maximum(rows["created_at"], time)
    rows["created_by"] = [table.code(name) for name in authors] if authors else table.code(space.user)
    rows["last_edited_by"] = [table.code(name) for name in editors] if editors else rows["created_by"]
    rows["manual"] = manual
    rows["outside"] = outside_of(space, rows["bounds"], numbers)
    if ids is not None and space._refuse_taken is not None:
        space._refuse_taken(names)
    olds = _olds(space, names, numbers, [chosen[code].id for code in codes.tolist()] if ids is not None else None)
    if olds is not None and (olds >= 0).any():
        there = np.flatnonzero(olds >= 0)
        if strategy == "error":
            raise LabelRowError(
                f"Row {there[0]}: the object {names[there[0]]!r} is there already ({len(there)} such rows).",
                field=names[there[0]],
                remedy="on_overlap='replace', or 'skip' to keep what is there",
            )
        if strategy == "skip":
            keep = np.flatnonzero(olds < 0)
            rows, olds = rows[keep], olds[keep]
            kept_names = [names[i] for i in keep.tolist()]
            kept_shapes = {at: shapes[i] for at, i in enumerate(keep.tolist()) if i in shapes}
        else:
            kept_names, kept_shapes = names, shapes
            before = table.rows[olds[there]]
            for field in ("order", "created_at", "created_by"):
                if field == "order" or (field == "created_at" and created is None) or (
                    field == "created_by" and created_by is None
                ):  # fmt: skip
                    rows[field][there] = before[field]
            if edited is None:
                rows["last_edited_at"][there] = np.maximum(time, before["last_edited_at"] + 1)
            if confidence is None:
                rows["confidence"][there] = before["confidence"]
    else:
        kept_names, kept_shapes = names, shapes
    fresh = np.ones(len(rows), bool) if olds is None else olds < 0
    rows["order"][fresh] = table.new_orders(int(fresh.sum()))
    step = space._step("put_many", time)
    if ids is not None:  # what was removed is not the same again
        left = {name for name in names if space._is_left(name)}
        step.entries += [(space._instances, name, space._instances[name], MISSING) for name in left]
    gone = np.zeros(0, np.int64) if olds is None else olds[olds >= 0]
    step.parts.append(Part(table, gone, table.append(rows, kept_names, kept_shapes)))
    space._steps.do(step)
    return np.array(names, dtype=str)


def _column(value: Any, n: int, name: str) -> npt.NDArray[np.int64]:
    found = np.asarray(value)
    if found.dtype.kind not in "iu" or found.ndim > 1 or (found.ndim == 1 and len(found) != n):
        raise ParameterError(
            f"{name} has the shape {found.shape}, {found.dtype}.", remedy=f"one number, or {n} of them"
        )
    return np.broadcast_to(found.astype(np.int64), n)


def _classes(space: Putting, classes: Any, n: int) -> tuple[list[Any], npt.NDArray[np.int64]]:
    """Return the classes that occur, and which of them each row has."""
    if isinstance(classes, str) or not isinstance(classes, Sequence | np.ndarray):
        keys, codes = [classes], np.broadcast_to(np.int64(0), n)
    else:
        if len(classes) != n:
            raise ShapeError(f"{len(classes)} classes for {n} geometries.", remedy="give one class, or one a row")
        places: dict[Any, int] = {}
        codes = np.fromiter((places.setdefault(key, len(places)) for key in classes), np.int64, n)
        keys = list(places)
    chosen = [space.ontology.object_class(str(key) if isinstance(key, np.str_) else key) for key in keys]
    for item in chosen:
        if item.archived:
            raise ReadOnlyError(f"The class {item.name!r} is archived.", remedy="use another class, or edit() it")
    return chosen, codes


def _geometries(
    space: Putting, geometries: Any, frames: Any, chosen: list[Any], codes: Any, units: Units, outside: Outside,
    bounds: npt.NDArray[np.float64],
) -> dict[int, Any]:  # fmt: skip
    """Write the bounds of geometries, and return those that are no boxes, by row."""
    n = len(geometries)
    if isinstance(geometries, np.ndarray) and geometries.dtype.kind in "iuf":
        _boxes(space, geometries.astype(np.float64, copy=False), frames, chosen, units, outside, bounds)
        return {}
    shapes: dict[int, Any] = {}
    first: tuple[int, BioimageError] | None = None
    bad = 0
    for i, (geometry, code, frame) in enumerate(zip(geometries, codes.tolist(), frames.tolist(), strict=True)):
        try:
            check_shape(geometry, chosen[code])
            found, bounds[i], _ = space.grid.checked(space.grid.world(geometry, units, frame), frame, outside)
            if found.shape != "bounding_box":
                shapes[i] = found
        except BioimageError as error:
            first, bad = first or (i, error), bad + 1
    if first:
        row, cause = first
        kind = ShapeError if isinstance(geometries[row], Mask) else ParameterError
        raise kind(f"Row {row}: {cause.message} ({bad} bad rows of {n})", remedy=cause.remedy)
    return shapes


def _boxes(
    space: Putting, given: Any, frames: Any, chosen: list[Any], units: Units, outside: Outside, bounds: Any
) -> None:
    d = space.grid.ndim
    if given.ndim != 2 or given.shape[1] != 2 * d:
        raise ShapeError(f"Boxes of the shape {given.shape}.", remedy=f"an array (n, {2 * d}): top left, lower right")
    for item in chosen:
        if item.shape != "bounding_box":
            raise ParameterError(
                f"Objects of the class {item.name!r} are of the shape {item.shape!r}, not 'bounding_box'.",
                remedy=f"give a list of {item.shape}",
            )
    _check_boxes(given, given, d, "")
    grid = space.grid
    bounds[:, 2], bounds[:, 5] = -math.inf, math.inf
    bounds[:, :d], bounds[:, 3 : 3 + d] = given[:, :d], given[:, d:]
    if check_units(units) != "world":
        factor, shift = np.broadcast_to(grid.scale[:d], (len(given), d)), grid.corner[:d]
        if units == "normalised":
            factor = (
                factor * np.array([grid.size(int(f))[:d] for f in frames]) if grid.sizes else factor * grid.size()[:d]
            )
        for begin in (0, 3):
            with np.errstate(over="ignore"):
                bounds[:, begin : begin + d] = bounds[:, begin : begin + d] * factor + shift
        _check_boxes(bounds[:, [*range(d), *range(3, 3 + d)]], given, d, " in world coordinates")
    if outside != "keep":
        for i in np.flatnonzero(outside_of(space, bounds, frames)).tolist():
            try:
                bounds[i] = grid.checked(Box.of_bounds(bounds[i]), int(frames[i]), outside)[1]
            except ParameterError as error:
                raise ParameterError(f"Row {i}: {error.message}", remedy=error.remedy) from None


def _check_boxes(corners: Any, given: Any, d: int, where: str) -> None:
    """Raise ParameterError for the first row that is no box: as small differences may be lost, in every unit."""
    with np.errstate(invalid="ignore"):
        bad = ~(usable(corners).all(axis=1) & (corners[:, d:] > corners[:, :d]).all(axis=1))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ParameterError(
            f"Row {row}: the box {given[row].tolist()} is not finite, or a size is not above 0{where}"
            f" ({int(bad.sum())} bad rows of {len(given)}).",
            remedy="leave such rows out",
        )


def outside_of(space: Putting, bounds: Any, frames: Any) -> Any:
    """Return which bounds reach out of the image or of their frame."""
    grid = space.grid
    if grid.sizes is not None:
        return np.array([grid.is_outside(b, int(f)) for b, f in zip(bounds, frames, strict=True)], bool)
    low, high = grid.edges()
    d = grid.ndim
    slack = 1e-9 * (high[:d] - low[:d])
    return ((bounds[:, :d] < low[:d] - slack) | (bounds[:, 3 : 3 + d] > high[:d] + slack)).any(axis=1)


def _ids(ids: Sequence[str] | None, n: int) -> list[str]:
    if ids is None:
        return new_ids(n)
    names = [checked_id(str(id) if isinstance(id, np.str_) else id, f"ids[{i}]") for i, id in enumerate(ids)]
    if len(names) != n:
        raise ShapeError(f"{len(names)} ids for {n} geometries.", remedy="give one id a row")
    return names


def _olds(space: Putting, names: list[str], frames: Any, classes: list[str] | None) -> Any:
    """Return the rows that are there already, -1 where none is; None where no id is known."""
    if classes is None:
        return None
    keys = list(zip(names, frames.tolist(), strict=True))
    of: dict[str, str] = {}
    if len(set(keys)) < len(keys):
        seen: set[Any] = set()
        row = next(i for i, key in enumerate(keys) if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise LabelRowError(f"Row {row}: the object {names[row]!r} comes twice.", field=names[row], remedy="other ids")
    table = space._tables["object"]
    others = space._tables["classification"].all_known(names)
    for row, (name, class_) in enumerate(zip(names, classes, strict=True)):
        mine = space._instances.get(name)
        known = mine.class_.id if mine is not None and not space._is_left(name) else of.setdefault(name, class_)
        if name in others or known != class_ or (
            table.has(name) and space._class_of(table, next(iter(table.rows_of(name).values()))).id != class_
        ):  # fmt: skip
            raise LabelRowError(f"Row {row}: the id {name!r} belongs to another class.", field=name, remedy="other ids")
    if table.n_alive == 0:
        return None
    return np.array([table.row(name, frame) for name, frame in keys], np.int64)


def _confidence(value: Any, n: int) -> Any:
    if value is None or np.ndim(value) == 0:
        return 1.0 if value is None else checked_confidence(value)
    found = np.asarray(value)
    if found.shape != (n,) or found.dtype.kind not in "iuf":
        raise ShapeError(f"confidence has the shape {found.shape}, {found.dtype}.", remedy=f"one number, or {n}")
    bad = np.flatnonzero(~((found >= 0) & (found <= 1)))
    if len(bad):
        raise ParameterError(
            f"Row {bad[0]}: confidence={found[bad[0]]} is not from 0 to 1 ({len(bad)} bad rows).", remedy="use 0 to 1"
        )
    return found


def _authors(value: Any, name: str, n: int) -> list[str]:
    """Return one author for all rows or one for each; none where none is given."""
    if value is None or isinstance(value, str):
        return [] if (found := checked_author(value, name)) is None else [found]
    if not isinstance(value, Sequence | np.ndarray) or len(value) != n:
        raise ShapeError(f"{name} is neither a text nor {n} of them.", remedy=f"{name}='me', or one a row")
    for author in {*value} if all(isinstance(author, str) for author in value) else value:
        checked_author(author, name)
    return [str(author) for author in value]


def _flags(value: Any, n: int) -> Any:
    found = np.asarray(value)
    if found.dtype.kind != "b" or found.shape not in ((), (n,)):
        raise ParameterError(f"manual_annotation={value!r:.80}.", remedy=f"True or False, or {n} of them")
    return found
