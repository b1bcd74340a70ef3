"""Steps of a space, each of which can be undone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .table import Rows, Table
from .values.audit import time_of

_NONE: Rows = np.zeros(0, np.int64)
MISSING: Any = object()


@dataclass
class Part:
    """What a step does to one table: rows that go, and rows that come."""

    table: Table
    gone: Rows = field(default_factory=lambda: _NONE)
    come: Rows = field(default_factory=lambda: _NONE)


@dataclass
class Step:
    """One change: rows of tables, and entries of dictionaries or answers (before and after)."""

    what: str
    author: str
    time: int
    parts: list[Part] = field(default_factory=list)
    entries: list[tuple[Any, Any, Any, Any]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.entries) or any(len(part.gone) or len(part.come) for part in self.parts)

    def do(self) -> None:
        """Do it."""
        for part in self.parts:
            part.table.switch(part.gone, part.come)
        for entries, key, _, after in self.entries:
            _put(entries, key, after)

    def undo(self) -> None:
        """Take it back."""
        for part in self.parts:
            part.table.switch(part.come, part.gone)
        for entries, key, before, _ in reversed(self.entries):
            _put(entries, key, before)

    def ids(self) -> list[str]:
        """Return the ids of the instances that it concerns."""
        rows = ((part.table, row) for part in self.parts for row in (*part.gone.tolist(), *part.come.tolist()))
        found = [table.ids[row] for table, row in rows]
        found += [key if isinstance(key, str) else key[0] for _, key, _, _ in self.entries]
        return list(dict.fromkeys(found))


def _put(entries: Any, key: Any, value: Any) -> None:
    if value is MISSING:
        entries.pop(key, None)
    else:
        entries[key] = value


@dataclass(frozen=True)
class Change:
    """A step as `Space.history` tells it.

    Parameters
    ----------
    what : str
        The method.
    author : str
    time : datetime
        UTC.
    ids : tuple of str
        Of the instances that it concerns.
    """

    what: str
    author: str
    time: Any
    ids: tuple[str, ...]


class History:
    """Steps that were done, and those that were taken back and may be done again."""

    def __init__(self) -> None:
        self._done: list[Step] = []
        self._undone: list[Step] = []
        self.stamp = 0
        """Another number after every change."""

    def __len__(self) -> int:
        return len(self._done)

    @property
    def n_undone(self) -> int:
        """Number of steps that can be done again."""
        return len(self._undone)

    def do(self, step: Step) -> None:
        """Do a step; whatever was taken back is forgotten."""
        if step:
            step.do()
            self.stamp += 1
            self._done.append(step)
            self._undone.clear()

    def undo(self, steps: int) -> int:
        """Take back up to so many steps; return how many."""
        count = min(steps, len(self._done))
        for _ in range(count):
            self._undone.append(self._done.pop())
            self._undone[-1].undo()
            self.stamp += 1
        return count

    def redo(self, steps: int) -> int:
        """Do again what was taken back; return how many."""
        count = min(steps, len(self._undone))
        for _ in range(count):
            self._done.append(self._undone.pop())
            self._done[-1].do()
            self.stamp += 1
        return count

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Let steps be done all, or, after an error, none, as if they had never been: what can be redone stays too."""
        done, undone = len(self._done), [*self._undone]
        try:
            yield
        except BaseException:
            self.undo(len(self._done) - done)
            self._undone[:] = undone
            raise

    def clear(self) -> None:
        """Forget all steps; the state stays."""
        self._done.clear()
        self._undone.clear()
        self.stamp += 1

    def told(self) -> list[Change]:
        """Return what was done."""
        return [Change(step.what, step.author, time_of(step.time), tuple(step.ids())) for step in self._done]
