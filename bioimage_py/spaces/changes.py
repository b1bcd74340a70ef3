"""What changed in a space since a moment: a small document, so that an edit does not write a million records.

The rows of a table never change, they come and go. So a moment is which rows were there, and what changed since is
found without looking at any record that stayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import compress
from math import isqrt
from operator import eq, is_not
from typing import Any

import numpy as np

from .document import all_answers, in_order, records_of, to_stored
from .parsing import read_answers, read_classifications, read_objects
from .schema import CHANGES, bad
from .table import Rows, Table
from .values.frames import GLOBAL

_PLACES = {"object": "objects", "classification": "classifications"}
_KEYS = ("schema", "records", "removed", *_PLACES.values(), "answers")
_NONE: Rows = np.zeros(0, np.int64)


class Moment:
    """A space as it is now, whatever happens to it later."""

    def __init__(self, space: Any) -> None:
        self._space, self._stamp = space, space._steps.stamp
        self._kind, self._given = type(space), (space.grid, space.ontology, space.space_id, space.user)
        self._tables: dict[str, Table] = space._tables
        self._alive = {name: table.alive.copy() for name, table in self._tables.items()}
        self._dynamic = dict(space._dynamic)
        self._answers = all_answers(space)

    def document(self) -> dict[str, Any]:
        """Return it as it would be stored."""
        space = self._kind(*self._given)
        space._tables = {name: table.only(self._alive[name]) for name, table in self._tables.items()}
        space._dynamic = dict(self._dynamic)
        answers = {id: dict(found) for id, found in self._answers.items() if id in space}
        return {**to_stored(space, ontology=False), "answers": in_order(answers)}

    def is_over(self) -> bool:
        """Whether something was done to the space since, or an answer given."""
        return self.has_steps() or bool(self._others(all_answers(self._space)))

    def has_steps(self) -> bool:
        """Whether records of the space came or went since, told at once however many there are."""
        return bool(self._stamp != self._space._steps.stamp)

    def is_as(self, other: Moment) -> bool:
        """Whether nothing was done to the space between both."""
        return self._stamp == other._stamp and not self._others(other._answers)

    def is_like(self, now: Moment) -> bool:
        """Whether nothing is different at a later moment of the same space."""
        return (
            self._tables is now._tables
            and not any(len(rows) for name in self._tables for rows in self._switched(name, now))
            and self._dynamic == now._dynamic
            and not self._others(now._answers)
        )

    def changes(self, now: Moment) -> dict[str, Any] | None:
        """Return what changed until a later moment, at which the space still is, as a document.

        Returns
        -------
        dict or None
            None where that is more than the square root of the number of records (a whole document then costs less,
            over all edits), or where a record came back to a place between others.
        """
        if self._tables is not now._tables:
            return None
        space, others = now._space, set(self._others(now._answers))
        count, changed = space.count(), len(others)
        document: dict[str, Any] = {"schema": CHANGES, "records": count, "removed": {}}
        left = set()  # by a record, so that they had one
        for name, place in _PLACES.items():
            table, (gone, come) = self._tables[name], self._switched(name, now)
            if name == "object" and self._dynamic != space._dynamic:
                come = np.union1d(come, self._other_dynamic(space))
            changed += len(gone) + len(come)
            if changed > isqrt(count):
                return None
            found = self._placed(table, name, gone, come)
            if found is None:
                return None
            left |= {table.ids[row] for row in gone.tolist()}
            others |= {table.ids[row] for row in come.tolist()}
            removed, come = found
            document["removed"][place] = removed
            document[place] = list(records_of(space, name, come))
        answers: dict[str, Any] = {}
        for id in others | left:
            before = self._answers.get(id) if id in left or self._has(id) else None
            after = now._answers.get(id) if id in space else None
            if before != after:
                answers[id] = None if after is None else dict(after)
        return {**document, "answers": in_order(answers)}

    def _others(self, answers: Mapping[str, Any]) -> list[str]:
        """Return what is in the space and was answered otherwise; the answers may be of other spaces, too."""
        mine = self._answers
        if len(mine) == len(answers) and all(map(eq, mine, answers)):  # far faster than a look at each
            known = [*compress(mine, map(is_not, mine.values(), answers.values()))]
        else:
            known = [id for id in mine.keys() | answers.keys() if mine.get(id) is not answers.get(id)]
        return [id for id in known if id in self._space and mine.get(id) != answers.get(id)]

    def _has(self, id: str) -> bool:
        """Whether a record that is there now was there then."""
        rows = ((self._alive[name], row) for name in self._tables for row in self._tables[name].rows_of(id).values())
        return any(row < len(then) and then[row] for then, row in rows)

    def _switched(self, name: str, now: Moment) -> tuple[Rows, Rows]:
        """Rows that went and rows that came since."""
        after = now._alive[name]
        before = np.zeros(len(after), bool)
        before[: len(self._alive[name])] = self._alive[name]
        return np.flatnonzero(before & ~after), np.flatnonzero(after & ~before)

    def _other_dynamic(self, space: Any) -> Rows:
        before, now, table = self._dynamic, space._dynamic, space._tables["object"]
        rows = [table.row(*key) for key in before.keys() | now.keys() if before.get(key) != now.get(key)]
        return np.array([row for row in rows if row >= 0], np.int64)

    def _placed(self, table: Table, name: str, gone: Rows, come: Rows) -> tuple[list[Any], Rows] | None:
        """Return keys that are removed, and rows that are put in their order; None where one lies between others."""
        orders, frames, then = table.rows["order"], table.rows["frame"], self._alive[name]
        places = {(table.ids[row], int(frames[row])): int(orders[row]) for row in gone.tolist()}
        come = come[np.argsort(orders[come], kind="stable")]
        kept = np.flatnonzero(then & table.alive[: len(then)])
        staying, coming = [int(orders[kept].max(initial=-1))], [int(table.next_order)]
        for row in come.tolist():
            key = table.ids[row], int(frames[row])
            if places.get(key) == orders[row]:
                staying.append(places.pop(key))
            elif not (row < len(then) and then[row]):
                coming.append(int(orders[row]))
        if min(coming) < max(staying):
            return None
        return [[id, None if frame == GLOBAL else frame] for id, frame in places], come


def apply_changes(space: Any, document: Any, *, lenient: bool = False, fitting: bool = False) -> None:
    """Bring a space from what a base says to what a document of `Moment.changes` says.

    Parameters
    ----------
    space : Space
        As the base has it.
    document : dict
    lenient : bool, default False
        Leave out what is about classes that are not in the ontology (any more), and about their records.
    fitting : bool, default False
        Leave out answers that fit no attribute (any more).

    Raises
    ------
    FormatError
        The document is none, or stands on something else; names the place.
    """
    if not isinstance(document, Mapping) or set(document) != {*_KEYS} or document["schema"] != CHANGES:
        raise bad("the document", f"it has not the schema {CHANGES} with the keys {list(_KEYS)}")
    if not isinstance(document["removed"], Mapping) or set(document["removed"]) != {*_PLACES.values()}:
        raise bad("removed", f"it has not the keys {list(_PLACES.values())}")
    known = {item.id for item in space.ontology}
    for name, read in (("object", partial(read_objects, lenient=fitting)), ("classification", read_classifications)):
        place, table = _PLACES[name], space._tables[name]
        gone = []
        for i, (id, frame) in enumerate(_removed(document["removed"][place], f"removed.{place}")):
            row = table.row(id, frame)
            if row < 0 and not lenient:
                raise bad(f"removed.{place}[{i}]", f"{id!r} is not there")
            gone += [row] if row >= 0 else []
            space._dynamic.pop((id, frame), None)
        table.switch(np.unique(gone).astype(np.int64), _NONE)
        given = document[place]
        if lenient and isinstance(given, list):
            given = [r for r in given if isinstance(r, dict) and r.get("class") in known]
        read(space, given)
    _check(space, document)
    answers = document["answers"]
    if not isinstance(answers, Mapping):
        raise bad("answers", "it is no mapping")
    for id in answers:
        space._instances.pop(id, None)
    given_ = {id: a for id, a in answers.items() if a is not None and (id in space or not lenient)}
    read_answers(space, given_, fitting)
    if not lenient and document["records"] != space.count():
        raise bad("records", f"it says {document['records']!r}, there are {space.count()}")


def _removed(given: Any, where: str) -> Iterator[tuple[str, int]]:
    if not isinstance(given, list):
        raise bad(where, "it is no list")
    for i, pair in enumerate(given):
        id, frame = pair if isinstance(pair, list) and len(pair) == 2 else (None, None)
        if not isinstance(id, str) or isinstance(frame, bool) or not isinstance(frame, int | None):
            raise bad(f"{where}[{i}]", "it is no id and frame")
        yield id, GLOBAL if frame is None else frame


def _check(space: Any, document: Mapping[str, Any]) -> None:
    """Refuse records that go together by themselves, but not with those of the base."""
    several = {item.id for item in space.ontology.classifications if item.several}
    others = {"object": space._tables["classification"], "classification": space._tables["object"]}
    for name, place in _PLACES.items():
        table = space._tables[name]
        for i, id in enumerate(record["id"] for record in document[place]):
            classes = table.rows["class_"][[*table.rows_of(id).values()]]
            if others[name].has(id) or len(np.unique(classes)) > 1:
                raise bad(f"{place}[{i}].id", f"{id!r} belongs to something else")
    table = space._tables["classification"]
    alive = table.rows[table.alive]
    single = [code for code, word in enumerate(table.words) if word not in several]
    answered = alive[np.isin(alive["class_"], single)][["class_", "frame"]]
    if document["classifications"] and len(np.unique(answered)) < len(answered):
        raise bad("classifications", "a question is answered twice")
