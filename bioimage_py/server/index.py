"""Which data sets a project has, for lists and filters; events tell which files have to be opened again."""

from __future__ import annotations

import bisect
import fnmatch
import threading
from collections.abc import Callable, Mapping
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
            order, summaries = self._order, self._summaries
        fits = _fitting(wanted)
        rows: list[Row] = []
        if sort == "name":
            named = sorted((summaries[one].name, one) for one in order)
            name, _, identifier = after.rpartition("/")
            at = bisect.bisect_right(named, (name, identifier)) if after else 0
            candidates = [one for _, one in named[at:]]
        else:
            candidates = order[bisect.bisect_right(order, after) :] if after else order
        for one in candidates:
            if (wanted.only is None or one in wanted.only) and fits(summaries[one]):
                if len(rows) == limit:
                    last = rows[-1]
                    return rows, f"{last.summary.name}/{last.identifier}" if sort == "name" else last.identifier
                rows.append(Row(one, summaries[one]))
        return rows, ""

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
            self._summaries = summaries

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
        self._summaries, self._order, self._seq = found, sorted(found), seq


def index_of(served: Served) -> Index:
    """Return the index of a project, which is kept."""
    if served.index is None:
        served.index = Index(served)
    found: Index = served.index
    return found


def _fitting(wanted: Wanted) -> Callable[[Summary], bool]:
    def fits(summary: Summary) -> bool:
        levels = zip(wanted.group, summary.grouping, strict=False)
        return (
            (not wanted.name or fnmatch.fnmatchcase(summary.name, wanted.name))
            and all(summary.tags.get(tag) == value for tag, value in wanted.tags.items())
            and len(wanted.group) <= len(summary.grouping)
            and all(part in level for part, level in levels)
            and (wanted.annotated is None or summary.annotated == wanted.annotated)
            and (not wanted.layer or wanted.layer in summary.layers)
        )

    return fits
