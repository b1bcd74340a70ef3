"""Records as columns: rows are added and marked as gone, never changed, so that every change can be undone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

ROW = np.dtype(
    [
        ("order", "i8"),  # of the first put: a record that replaces one stands in its place
        ("class_", "i4"),
        ("frame", "i4"),
        ("confidence", "f8"),
        ("created_at", "i8"),
        ("last_edited_at", "i8"),
        ("created_by", "i4"),
        ("last_edited_by", "i4"),
        ("manual", "?"),
        ("outside", "?"),
        ("bounds", "f8", (6,)),
    ]
)
Rows = npt.NDArray[np.int64]


class Table:
    """Rows of records, of which those that are alive are the state.

    Only geometries that are no boxes are kept, by row: a box is its row's bounds, so dense boxes cost no object each.
    """

    def __init__(self) -> None:
        self.n = 0
        self._rows: npt.NDArray[Any] = np.zeros(16, ROW)
        self._alive: npt.NDArray[np.bool_] = np.zeros(16, bool)
        self.ids: list[str] = []
        self._geometries: dict[int, Any] = {}
        self.words: list[str] = []
        self._codes: dict[str, int] = {}
        self._at: dict[str, int | dict[int, int]] = {}
        self.next_order = 0
        self.n_alive = 0
        self.version = 0
        self._sorted: tuple[int, Rows] = (-1, np.zeros(0, np.int64))

    @property
    def rows(self) -> npt.NDArray[Any]:
        """All rows, also those that are gone."""
        return self._rows[: self.n]

    @property
    def alive(self) -> npt.NDArray[np.bool_]:
        """Which rows are there."""
        return self._alive[: self.n]

    def code(self, word: str) -> int:
        """Return the number that stands for an author or a class."""
        found = self._codes.get(word)
        if found is None:
            found = self._codes[word] = len(self.words)
            self.words.append(word)
        return found

    def known(self, word: str) -> int:
        """Return the number of a word, -1 where no row has it."""
        return self._codes.get(word, -1)

    def geometry(self, row: int) -> Any:
        """Return the geometry of a row; None stands for the box of its bounds."""
        return self._geometries.get(row)

    def append(self, rows: npt.NDArray[Any], ids: Iterable[str], geometries: Mapping[int, Any]) -> Rows:
        """Add rows, which are not alive yet, and return their numbers.

        `geometries` has those that are no boxes, by their place among the new rows. The rows belong to the table from
        now on: the first ones are taken over as they are, ids too, for there may be a million.
        """
        begin, end = self.n, self.n + len(rows)
        if not begin and end > len(self._rows):
            self._rows, self._alive = rows, np.zeros(end, bool)
        elif end > len(self._rows):
            size = max(end, 2 * len(self._rows)) if len(rows) < self.n else end
            for name in ("_rows", "_alive"):
                old = getattr(self, name)
                new = np.zeros(size, old.dtype)
                new[:begin] = old[:begin]
                setattr(self, name, new)
        if self._rows is not rows:
            self._rows[begin:end] = rows
        if begin or not isinstance(ids, list):
            self.ids.extend(ids)
        else:
            self.ids = ids
        self._geometries.update((begin + at, geometry) for at, geometry in geometries.items())
        self.n = end
        return np.arange(begin, end)

    def only(self, alive: npt.NDArray[np.bool_]) -> Table:
        """Return a table of some rows, of which all are alive."""
        found, at = Table(), np.flatnonzero(alive)
        found.words, found._codes, found.next_order = [*self.words], dict(self._codes), self.next_order
        places = at.tolist()
        shapes = {i: self._geometries[row] for i, row in enumerate(places) if row in self._geometries}
        found.switch(at[:0], found.append(self.rows[at], (self.ids[row] for row in places), shapes))
        return found

    def new_orders(self, count: int) -> Rows:
        """Return places behind all records."""
        begin, self.next_order = self.next_order, self.next_order + count
        return np.arange(begin, self.next_order)

    def switch(self, gone: Rows, come: Rows) -> None:
        """Let rows go and others come."""
        self._alive[gone] = False
        self._alive[come] = True
        self.n_alive += len(come) - len(gone)
        self.version += 1
        frames = self._rows["frame"]
        for row in gone.tolist():
            self._drop(self.ids[row], int(frames[row]))
        if len(come) > 1 and not frames[come].any():
            dense = int(come[-1]) - int(come[0]) + 1 == len(come) and (np.diff(come) == 1).all()
            names = self.ids[come[0] : come[-1] + 1] if dense else [self.ids[row] for row in come.tolist()]
            if not self._at or self._at.keys().isdisjoint(names):
                self._at.update(zip(names, range(come[0], come[-1] + 1) if dense else come.tolist(), strict=True))
                return
        for row in come.tolist():
            self._add(self.ids[row], int(frames[row]), row)

    def _add(self, id: str, frame: int, row: int) -> None:
        known = self._at.get(id)
        if known is None and frame == 0:
            self._at[id] = row  # by far the most frequent case, at the cost of a number
        elif isinstance(known, dict):
            known[frame] = row
        else:
            self._at[id] = {frame: row} if known is None else {0: known, frame: row}

    def _drop(self, id: str, frame: int) -> None:
        known = self._at[id]
        if isinstance(known, dict):
            del known[frame]
            if known:
                return
        del self._at[id]

    def row(self, id: str, frame: int = 0) -> int:
        """Return the row of a record, -1 where there is none."""
        known = self._at.get(id, -1)
        return known.get(frame, -1) if isinstance(known, dict) else known if frame == 0 else -1

    def rows_of(self, id: str) -> dict[int, int]:
        """Return the rows of an instance by frame, in order of the frames."""
        known = self._at.get(id)
        if known is None:
            return {}
        return dict(sorted(known.items())) if isinstance(known, dict) else {0: known}

    def has(self, id: str) -> bool:
        """Whether an instance has a record."""
        return id in self._at

    def all_known(self, ids: Iterable[str]) -> set[str]:
        """Return those of some ids that have a record."""
        return self._at.keys() & set(ids)

    def instances(self) -> list[str]:
        """Return the ids of all instances, in the order of their first records."""
        return list(dict.fromkeys(self.ids[row] for row in self.by_order().tolist()))

    def by_order(self) -> Rows:
        """Return rows in the order in which they were put."""
        found = np.flatnonzero(self.alive)
        return found[np.argsort(self.rows["order"][found], kind="stable")]

    def sorted(self) -> Rows:
        """Return rows by frame, then in the order of put; what is about the whole space comes last."""
        if self._sorted[0] != self.version:
            found = self.by_order()
            frames = self.rows["frame"][found].astype(np.int64)
            frames[frames < 0] = np.iinfo(np.int64).max
            self._sorted = (self.version, found[np.argsort(frames, kind="stable")])
        return self._sorted[1]
