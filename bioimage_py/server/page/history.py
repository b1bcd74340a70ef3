"""What has happened in a project, the newest first, and how far it is: by layer, and by person."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ..accounts.sights import Sight
from ..index import index_of
from ..served import MOST, Gone, Served

EVENTS = 50
"""Of one page."""
_SEARCHED = 5000
"""Events that are looked through for a page."""


class Events(NamedTuple):
    """A page of the history."""

    rows: list[dict[str, Any]]
    before: int
    """Number to go on from; 0 where nothing is left."""
    kept: bool
    """Whether all that has happened is there; old events may not be kept."""


def newest(served: Served, sight: Sight, before: int = 0, descriptor: str = "", user: str = "") -> Events:
    """Return events before a number (0: the newest) of one data set or user, or of all ("")."""
    served.take_over()
    top = min(before or 2**53, served.last() + 1)
    rows: list[dict[str, Any]] = []
    searched = 0
    while top > 1 and searched < _SEARCHED:
        low = max(1, top - (EVENTS if not (descriptor or user) else MOST))
        page = _between(served, low, top)
        for event in reversed(page):
            seen = sight.event(event)
            if _fits(seen, descriptor, user) and (seen["changes"] or not event["changes"]):
                rows.append(seen)
                if len(rows) == EVENTS:
                    return Events(rows, event["seq"] if event["seq"] > 1 else 0, True)
        searched += top - low
        if not page:
            return Events(rows, 0, False)
        top = low
    return Events(rows, top if top > 1 else 0, True)


def _between(served: Served, low: int, top: int) -> list[dict[str, Any]]:
    """Return the events of these numbers that are kept."""
    try:
        return served.events(low - 1, min(MOST, top - low)).events
    except Gone:
        if top - low <= 1:
            return []
        return _between(served, (low + top + 1) // 2, top)


def _fits(event: dict[str, Any], descriptor: str, user: str) -> bool:
    if user and event["user"] != user:
        return False
    return not descriptor or any(one["name"] == descriptor for one in event["changes"])


@dataclass(frozen=True)
class Person:
    """What somebody has done, as far as events are kept."""

    layers: Counter[str]
    """How many data sets have the person's annotations now, by id of the layer."""
    touched: int
    """Data sets that the person has changed."""
    last: str
    """When (ISO 8601)."""


@dataclass(frozen=True)
class Progress:
    """How far a project is."""

    total: int
    annotated: int
    layers: Counter[str]
    """How many data sets have annotations, by id of the layer."""
    people: dict[str, Person]


class _Authors:
    """Who has saved what, read from the events once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seq = 0
        self._known: frozenset[str] = frozenset()
        self.layers: dict[tuple[str, str], str] = {}
        self.touched: dict[str, dict[str, str]] = defaultdict(dict)

    def refreshed(self, served: Served, known: Callable[[Iterable[str]], frozenset[str]]) -> _Authors:
        with self._lock:
            if known(self.touched) != self._known:  # an account was removed, and the events are of a number now
                self._seq, self.layers, self.touched = 0, {}, defaultdict(dict)
            try:
                return self._read(served)
            finally:
                self._known = known(self.touched)

    def _read(self, served: Served) -> _Authors:
        while True:
            try:
                page = served.events(self._seq).events
            except Gone:
                page = self._oldest(served)
            for event in page:
                self._note(event)
            if not page:
                return self
            self._seq = page[-1]["seq"]

    def _oldest(self, served: Served) -> list[dict[str, Any]]:
        """Go on where the kept events begin."""
        low, high = self._seq, served.last()
        while low < high:
            middle = (low + high) // 2
            try:
                served.events(middle, 1)
            except Gone:
                low = middle + 1
            else:
                high = middle
        self._seq = low
        return served.events(low).events

    def _note(self, event: dict[str, Any]) -> None:
        user = event["user"]
        for change in event["changes"]:
            name = change["name"]
            if name == "project":
                continue
            self.touched[user][name] = event["time"]
            for path, _, new in change["fields"]:
                if path[:1] == ["layers"] and len(path) > 1:
                    if new is None:
                        self.layers.pop((name, path[1]), None)
                    else:
                        self.layers[name, path[1]] = user


_authors: WeakKeyDictionary[Served, _Authors] = WeakKeyDictionary()


def progress_of(
    served: Served, sight: Sight, visitor: str, known: Callable[[Iterable[str]], frozenset[str]]
) -> Progress:
    """Return how far a project is, of what is there for the visitor; who does not see all sees nobody else's work.

    `known` tells which names are those of accounts.
    """
    summaries, only = index_of(served).summaries(), sight.only
    seen = {one: summary for one, summary in summaries.items() if only is None or one in only}
    layers = Counter(layer for summary in seen.values() for layer in sight.layers(summary.layers))
    authors = _authors.setdefault(served, _Authors()).refreshed(served, known)
    own: dict[str, Counter[str]] = defaultdict(Counter)
    for (name, layer), user in list(authors.layers.items()):
        if name in seen and layer in seen[name].layers and layer not in sight.hidden:
            own[user][layer] += 1
    people = {}
    for user, times in list(authors.touched.items()):
        there = [time for name, time in list(times.items()) if name in seen]
        if there and (sight.is_whole or user == visitor):
            people[user] = Person(own[user], len(there), max(there))
    annotated = sum(summary.annotated for summary in seen.values())
    return Progress(len(seen), annotated, layers, dict(sorted(people.items())))
