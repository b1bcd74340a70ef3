"""The write side of a space: every call is checked whole, then done as one step that can be undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import KeyNotFoundError, LabelRowError, ParameterError, ReadOnlyError
from .history import MISSING, Part, Step
from .reading import Reading
from .records import Record
from .table import ROW, Table
from .values.audit import Given, check_order, checked_audit, now
from .values.frames import GLOBAL, frame_numbers
from .values.geometry import Bounds, Box, Geometry
from .values.grid import Outside, Units
from .values.instances import ClassificationInstance, ObjectInstance

FrameOverlapStrategy = Literal["error", "replace", "skip", "keep_both"]
STRATEGIES = ("error", "replace", "skip", "keep_both")
_FLAT: Bounds = (0.0,) * 6


def checked_strategy(value: Any, allowed: Sequence[str] = STRATEGIES) -> str:
    """Return a strategy that is allowed here."""
    if value not in allowed:
        raise ParameterError(f"on_overlap={value!r} is none of {list(allowed)}.", remedy="on_overlap='replace'")
    return str(value)


class Putting(Reading):
    """Putting, changing and removing records."""

    def _check_instance(self, instance: Any, kind: Any) -> Any:
        """Return the class, as this space's ontology has it."""
        if not isinstance(instance, kind):
            raise ParameterError(f"{instance!r} is no {kind.__name__}.", remedy=f"{kind.__name__}(class_)")
        known = self.ontology.objects if kind is ObjectInstance else self.ontology.classifications
        item = next((item for item in known if item.id == instance.class_.id), None)
        if item is None:
            raise KeyNotFoundError(
                f"There is no class {instance.class_.id!r} ({instance.name!r}).",
                remedy=f"there are: {[(item.id, item.name) for item in known]}",
            )
        if item.archived:
            raise ReadOnlyError(f"The class {item.name!r} is archived.", remedy="use another class, or edit() it")
        mine = self._instances.get(instance.id)
        others = self._tables["classification" if kind is ObjectInstance else "object"]
        other = mine is not None and mine.class_.id != item.id and not self._is_left(instance.id)
        if others.has(instance.id) or other:
            raise LabelRowError(
                f"The id {instance.id!r} belongs to something of another class.", remedy="leave the id out"
            )
        if instance._known_elsewhere and self._refuse_taken is not None and mine is not instance:
            self._refuse_taken([instance.id])
        return item

    def _rows(self, table: Table, class_: Any, frames: list[int], shaped: list[tuple[Any, Bounds, bool]],
              olds: list[int], given: Given, time: int) -> npt.NDArray[Any]:  # fmt: skip
        rows = np.zeros(len(frames), ROW)
        code = table.code(class_.id)
        fresh = table.new_orders(len(frames)).tolist()
        for i, (frame, (_, bounds, outside), old) in enumerate(zip(frames, shaped, olds, strict=True)):
            before = table.rows[old] if old >= 0 else None
            created, edited = self._times(given, before, time)
            user = given.last_edited_by or given.created_by or self.user
            rows[i] = (
                fresh[i] if before is None else before["order"],
                code,
                frame,
                _or(given.confidence, 1.0 if before is None else before["confidence"]),
                created,
                edited,
                _author(table, given.created_by, self.user if before is None else None, before, "created_by"),
                table.code(user if before is None else given.last_edited_by or self.user),
                _or(given.manual_annotation, True if before is None else before["manual"]),
                outside,
                bounds,
            )
        return rows

    @staticmethod
    def _times(given: Given, before: Any, time: int) -> tuple[int, int]:
        edited = given.last_edited_at
        created = given.created_at
        if created is None:
            created = int(before["created_at"]) if before is not None else time if edited is None else min(time, edited)
        if edited is None:
            edited = max(time, created)
            if before is not None:
                edited = max(edited, int(before["last_edited_at"]) + 1)
        check_order(created, edited)
        return created, edited

    def _step(self, what: str, time: int | None = None) -> Step:
        return Step(what, self.user, now() if time is None else time)

    def _remember(self, step: Step, instance: Any) -> None:
        """Share an instance and its answers with all spaces that it lies in; two objects of one id become one."""
        known = self._instances.setdefault(instance.id, instance)
        instance._known_elsewhere = True
        if known is instance or known._answers is instance._answers:
            return
        if self._is_left(instance.id):  # its answers went with its records, until that is undone
            step.entries.append((self._instances, instance.id, known, instance))
        else:
            for key, value in instance.answers.items():
                if known.answers.get(key, MISSING) != value:
                    step.entries.append((known._answers, key, known.answers.get(key, MISSING), value))
            instance._answers = known._answers

    def _put_object(
        self,
        instance: ObjectInstance,
        frames: list[int],
        coordinates: Geometry,
        on_overlap: Any,
        audit: Mapping[str, Any],
        units: Units,
        outside: Outside,
    ) -> list[Record]:
        strategy = checked_strategy(on_overlap, STRATEGIES[:3])
        given = checked_audit(**audit)
        class_ = self._check_instance(instance, ObjectInstance)
        check_shape(coordinates, class_)
        table = self._tables["object"]
        known = {frame: row for frame in frames if (row := table.row(instance.id, frame)) >= 0}
        if known and strategy == "error":
            raise _exists(instance.id, known, self.n_frames)
        new = [frame for frame in frames if strategy == "replace" or frame not in known]
        shaped = [
            self.grid.checked(self.grid.world(coordinates, units, frame), frame, outside) for frame in frames
        ]  # also of what is skipped
        chosen = [shape for frame, shape in zip(frames, shaped, strict=True) if frame in set(new)]
        time = now()
        olds = [known.get(frame, -1) for frame in new]
        rows = self._rows(table, class_, new, chosen, olds, given, time)
        step = self._step("put_object_instance", time)
        step.parts.append(_replaced(table, rows, [instance.id] * len(new), [_stored(g) for g, _, _ in chosen], olds))
        self._remember(step, instance)
        self._steps.do(step)
        return [Record(self, "object", instance.id, frame) for frame in frames]

    def _put_classification(
        self, instance: ClassificationInstance, frames: Any, on_overlap: Any, audit: Mapping[str, Any]
    ) -> list[Record]:
        strategy = checked_strategy(on_overlap)
        given = checked_audit(**audit)
        class_ = self._check_instance(instance, ClassificationInstance)
        numbers = self._frames_of(class_, frames)
        if strategy == "keep_both" and not class_.several:
            raise ParameterError(
                f"The classification {class_.name!r} has one answer a frame.", remedy="on_overlap='replace'"
            )
        table = self._tables["classification"]
        there = self._answered(class_.id, numbers)
        known = {frame: row for frame in numbers if (row := table.row(instance.id, frame)) >= 0}
        if strategy == "keep_both":
            there = {frame: rows for frame, rows in there.items() if frame in known}
        if there and strategy in ("error", "keep_both"):
            where = "the whole space" if class_.level == "global" else f"the frames {list(there)[:10]}"
            raise LabelRowError(
                f"{class_.name!r} is answered already for {where}.",
                remedy="on_overlap='replace', or 'skip' to keep what is there",
            )
        new = [frame for frame in numbers if strategy == "replace" or frame not in there]
        time, step = now(), self._step("put_classification_instance")
        olds = [known.get(frame, -1) for frame in new]
        rows = self._rows(table, class_, new, [(None, _FLAT, False)] * len(new), olds, given, time)
        part = _replaced(table, rows, [instance.id] * len(new), [None] * len(new), olds)
        if strategy == "replace":
            part.gone = np.unique(np.concatenate([part.gone, *[there[frame] for frame in new if frame in there]]))
        step.parts.append(part)
        self._remember(step, instance)
        self._steps.do(step)
        kept = {frame: table.ids[rows[0]] for frame, rows in there.items() if frame not in new}
        return [Record(self, "classification", kept.get(frame, instance.id), frame) for frame in numbers]

    def _frames_of(self, class_: Any, frames: Any) -> list[int]:
        """Return the frames of a classification: given for frames, none for the whole space."""
        if class_.level == "global":
            if frames is not None and self.kind == "sequence":
                raise ParameterError(
                    f"The classification {class_.name!r} is about the whole space, frames={frames!r}.",
                    remedy="leave frames out",
                )
            return [GLOBAL]
        if self.kind != "sequence":
            return [0]
        if frames is None:
            raise ParameterError(f"The classification {class_.name!r} needs frames.", remedy="frames=0, or Range(0, 7)")
        return frame_numbers(frames, self.n_frames)

    def _answered(self, item: str, frames: list[int]) -> dict[int, npt.NDArray[np.int64]]:
        """Return the living rows that answer a classification, by frame."""
        table = self._tables["classification"]
        rows = np.flatnonzero(table.alive & (table.rows["class_"] == table.known(item)))
        numbers = table.rows["frame"][rows]
        rows = rows[np.isin(numbers, frames)]
        found: dict[int, list[int]] = {}
        for row in rows.tolist():
            found.setdefault(int(table.rows["frame"][row]), []).append(row)
        return {frame: np.array(found[frame]) for frame in frames if frame in found}

    def _remove(self, type_: Any, id: str, frames: Any, missing: str) -> Any:
        check_missing(missing)
        table = self._tables[type_]
        known = table.rows_of(id) if isinstance(id, str) else {}
        wanted = None if frames is None else frame_numbers(frames, self.n_frames)
        gone = {f: row for f, row in known.items() if wanted is None or f in wanted}
        if not known or (not gone and missing == "error"):
            if missing == "error":
                raise self._unknown(id)
            return None
        instance = self._instance(type_, id)
        step = self._step(f"remove_{type_}_instance")
        step.parts.append(Part(table, gone=np.array(list(gone.values()), np.int64)))
        if type_ == "object":
            keys = [(id, frame) for frame in gone if (id, frame) in self._dynamic]
            step.entries += [(self._dynamic, key, self._dynamic[key], MISSING) for key in keys]
        self._steps.do(step)
        return instance

    def update(
        self,
        id: str,
        frames: Any = None,
        *,
        geometry: Geometry | None = None,
        answers: Mapping[str, Any] | None = None,
        units: Units = "world",
        outside: Outside = "keep",
        **audit: Any,
    ) -> Record:
        """Change a record in its place; what is not given stays.

        Parameters
        ----------
        id : str
            Of the object or classification instance.
        frames : optional
            None: all frames that it is on.
        geometry : Geometry, optional
        answers : mapping, optional
            By name or id of the attribute; they hold on all frames and in all spaces.
        units : {"world", "pixel", "normalised"}
            Of the geometry.
        outside : {"keep", "clip", "error"}
            What of a geometry that reaches out of the image.
        **audit
            Audit fields, as of `put_object_instance`.

        Returns
        -------
        Record
            On the first of the frames.

        Raises
        ------
        KeyNotFoundError
            There is no such record.
        ParameterError
            A value makes no sense; nothing changes then.
        """
        if id not in self:
            raise self._unknown(id)
        type_ = next(type_ for type_, table in self._tables.items() if table.has(id))
        table = self._tables[type_]
        known = table.rows_of(id)
        numbers = list(known) if frames is None else frame_numbers(frames, self.n_frames)
        if lost := [frame for frame in numbers if frame not in known]:
            raise self._unknown(id, f" on frame {lost[0]}")
        given = self._given(audit)
        instance = self._instance(type_, id)
        class_ = self._class_of(table, known[numbers[0]])
        olds = [known[frame] for frame in numbers]
        shaped: list[tuple[Any, Bounds, bool]] = [
            (table.geometry(r), tuple(table.rows["bounds"][r].tolist()), bool(table.rows["outside"][r])) for r in olds
        ]
        if geometry is not None:
            check_shape(geometry, class_)
            shaped = [self.grid.checked(self.grid.world(geometry, units, f), f, outside) for f in numbers]
        step = self._step("update")
        changed = [
            (known := instance._known(key), known.attribute.check(value)) for key, value in (answers or {}).items()
        ]
        after = {**instance.answers, **{known.attribute.id: value for known, value in changed}}
        for known, value in changed:
            known.check_asked(after)
            before = instance.answers.get(known.attribute.id, MISSING)
            step.entries.append((instance._answers, known.attribute.id, before, value))
        rows = self._rows(table, class_, numbers, shaped, olds, given, step.time)
        step.parts.append(_replaced(table, rows, [id] * len(olds), [_stored(g) for g, _, _ in shaped], olds))
        self._steps.do(step)
        return Record(self, type_, id, numbers[0])  # type: ignore[arg-type]

    def _given(self, audit: Mapping[str, Any]) -> Given:
        try:
            return checked_audit(**audit)
        except TypeError:
            raise ParameterError(
                f"There is no audit field among {sorted(audit)} that is not known.",
                remedy="use created_at, created_by, last_edited_at, last_edited_by, confidence, manual_annotation",
            ) from None

    def undo(self, steps: int = 1) -> int:
        """Take back the last changes.

        Parameters
        ----------
        steps : int, default 1

        Returns
        -------
        int
            How many there are still to take back.

        Raises
        ------
        ParameterError
            There are not so many.
        """
        _check_steps(steps, len(self._steps), "undo")
        self._steps.undo(steps)
        return len(self._steps)

    def redo(self, steps: int = 1) -> int:
        """Do again what was taken back; parameters, return value and errors as of `undo`."""
        _check_steps(steps, self._steps.n_undone, "redo")
        self._steps.redo(steps)
        return self._steps.n_undone


def check_shape(geometry: Any, class_: Any) -> None:
    """Raise ParameterError where a geometry is not of the shape of a class."""
    if not isinstance(geometry, Geometry) or geometry.shape != class_.shape:
        given = geometry.shape if isinstance(geometry, Geometry) else type(geometry).__name__
        raise ParameterError(
            f"Objects of the class {class_.name!r} are of the shape {class_.shape!r}, not {given!r}.",
            remedy=f"give a {class_.shape}, or an object of another class",
        )


def check_missing(missing: str) -> None:
    """Raise ParameterError unless it says what becomes of what is not there."""
    if missing not in ("ignore", "error"):
        raise ParameterError(f"missing={missing!r}", remedy="use 'ignore' or 'error'")


def _stored(geometry: Any) -> Any:
    return None if isinstance(geometry, Box) else geometry


def _replaced(table: Table, rows: Any, ids: list[str], geometries: list[Any], olds: list[int]) -> Part:
    come = table.append(rows, ids, {at: found for at, found in enumerate(geometries) if found is not None})
    return Part(table, np.array([row for row in olds if row >= 0], np.int64), come)


def _or(given: Any, other: Any) -> Any:
    return other if given is None else given


def _author(table: Table, given: str | None, user: str | None, before: Any, name: str) -> int:
    if given is not None:
        return table.code(given)
    return int(before[name]) if user is None else table.code(user)


def _exists(id: str, known: Mapping[int, int], count: int) -> LabelRowError:
    where = f" on the frames {list(known)[:10]}" if count > 1 else ""
    return LabelRowError(
        f"The object {id!r} is there already{where}.",
        field=id,
        remedy="on_overlap='replace', or 'skip' to keep what is there",
    )


def _check_steps(steps: Any, there: int, what: str) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= there:
        raise ParameterError(f"{what}({steps!r}), but there are {there} steps.", remedy=f"{what}(1), after a change")
