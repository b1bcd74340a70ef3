"""Which data sets a project has, for lists and filters; events tell which files have to be opened again."""

from __future__ import annotations

import bisect
import fnmatch
import itertools
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ..projects.storage.listing import Listing
from ..projects.values.records import DescriptorRecord, Summary, summarise
from .served import MOST, Gone, Served


class Row(NamedTuple):
    """A data set as a list shows it."""

    identifier: str
    summary: Summary


class Wanted(NamedTuple):
    """Which data sets a list is to show."""

    name: str = ""
    """Pattern: "*" and "?" as for files."""
    tags: Mapping[str, Any] = {}
    """Values by id; None: not set."""
    group: tuple[str, ...] = ()
    annotated: bool | None = None
    layer: str = ""
    only: frozenset[str] | None = None
    """The only ones that are there for who asks; None: all."""


class Index:
    """Summaries of the data sets of a project, as of an event.

    Parameters
    ----------
    served : Served
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._lock = threading.Lock()
        self._seq = -1
        self._summaries: dict[str, Summary] = {}
        self._order: list[str] = []
        self._named: list[tuple[str, str]] | None = None

    def page(self, wanted: Wanted, after: str, limit: int, sort: str = "identifier") -> tuple[list[Row], str]:
        """Return data sets in their order, those after a cursor; and the cursor of the next page, "" at the end.

        Parameters
        ----------
        wanted : Wanted
        after : str
            "" for the first page.
        limit : int
        sort : {"identifier", "name"}
        """
        with self._lock:
            self._refresh()
            summaries = self._summaries
            if sort == "name" and self._named is None:
                self._named = sorted((summary.name, one) for one, summary in summaries.items())
            order, named = self._order, self._named or []
        if sort == "name":
            name, _, identifier = after.rpartition("/")
            at = bisect.bisect_right(named, (name, identifier)) if after else 0
            candidates = [one for _, one in named[at:]]
        else:
            candidates = order[bisect.bisect_right(order, after) :] if after else order
        fitting: Iterator[tuple[str, Summary]] = zip(candidates, map(summaries.__getitem__, candidates), strict=True)
        for fits in _fitting(wanted):
            fitting = filter(fits, fitting)
        rows = [Row(*pair) for pair in itertools.islice(fitting, limit)]
        if next(fitting, None) is None:
            return rows, ""
        last = rows[-1]
        return rows, f"{last.summary.name}/{last.identifier}" if sort == "name" else last.identifier

    def summaries(self) -> Mapping[str, Summary]:
        """Return all, by identifier, as of now."""
        with self._lock:
            self._refresh()
            return self._summaries

    def count(self) -> int:
        """Return the number of data sets."""
        with self._lock:
            self._refresh()
            return len(self._order)

    def _refresh(self) -> None:
        changed: set[str] = set()
        if self._seq >= 0 and self._seq == self._served.newest():
            return
        try:
            while self._seq >= 0:
                page = self._served.events(self._seq, MOST)
                changed.update(change["name"] for event in page.events for change in event["changes"])
                if not page.events:
                    break
                self._seq = page.events[-1]["seq"]
        except Gone:
            self._seq = -1
        if self._seq < 0:
            self._load()
            return
        changed.discard("project")
        if changed:
            # who is listing meanwhile goes on with the old ones
            summaries = dict(self._summaries)
            for name in changed:
                document = self._served.folder.read(name).document
                if document is None:
                    summaries.pop(name, None)
                else:
                    summaries[name] = summarise(DescriptorRecord.parse(document))
            same = summaries.keys() == self._summaries.keys()
            self._order = self._order if same else sorted(summaries)
            self._summaries, self._named = summaries, None

    def _load(self) -> None:
        self._served.take_over()
        seq, listing, found = self._served.last(), Listing(self._served.folder), {}
        for name in list(listing.stamps):
            summary = listing.known(name)
            if summary is None:
                saved = self._served.folder.read(name)
                if saved.document is None:
                    continue
                record = DescriptorRecord.parse(saved.document)
                summary = summarise(record)
                listing.note(name, record, saved.stamp)
            found[name] = summary
        listing.store()
        self._summaries, self._order, self._named, self._seq = found, sorted(found), None, seq


def index_of(served: Served) -> Index:
    """Return the index of a project, which is kept."""
    if served.index is None:
        served.index = Index(served)
    found: Index = served.index
    return found


def _fitting(wanted: Wanted) -> list[Callable[[tuple[str, Summary]], bool]]:
    """Return what has to be true of a data set, only of what is asked for: there may be very many."""
    found: list[Callable[[tuple[str, Summary]], bool]] = []
    if wanted.only is not None:
        only = wanted.only
        found.append(lambda pair: pair[0] in only)
    if wanted.annotated is not None:
        found.append(lambda pair: pair[1].annotated == wanted.annotated)
    if wanted.layer:
        found.append(lambda pair: wanted.layer in pair[1].layers)
    if wanted.tags:
        tags = tuple(wanted.tags.items())
        found.append(lambda pair: all(pair[1].tags.get(tag) == value for tag, value in tags))
    if wanted.group:
        found.append(lambda pair: _is_in(pair[1], wanted.group))
    if wanted.name:
        matches = re.compile(fnmatch.translate(wanted.name)).match
        found.append(lambda pair: matches(pair[1].name) is not None)
    return found


def _is_in(summary: Summary, group: tuple[str, ...]) -> bool:
    levels = zip(group, summary.grouping, strict=False)
    return len(group) <= len(summary.grouping) and all(part in level for part, level in levels)
