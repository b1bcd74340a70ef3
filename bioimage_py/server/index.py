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
from .accounts.personal import Pseudonyms
from .accounts.sights import Sight
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


class _Left(NamedTuple):
    """Summaries without what is left out for some: by which levels of groups, and from which ones they were made."""

    levels: tuple[str, ...]
    whole: Mapping[str, Summary]
    left: Mapping[str, Summary]


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
        self._named: list[tuple[Mapping[str, Summary], list[tuple[str, str]]] | None] = [None, None]
        self._left: _Left | None = None

    def page(
        self, wanted: Wanted, after: str, limit: int, sort: str = "identifier", sight: Sight | None = None
    ) -> tuple[list[Row], str]:
        """Return data sets in their order, those after a cursor; and the cursor of the next page, "" at the end.

        Parameters
        ----------
        wanted : Wanted
        after : str
            "" for the first page.
        limit : int
        sort : {"identifier", "name"}
        sight : Sight, optional
            Of who asks, for whom names and groups may be others.
        """
        with self._lock:
            self._refresh()
            summaries, order = self._seen(sight), self._order
            named = self._by_name(summaries) if sort == "name" else []
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

    def summaries(self, sight: Sight | None = None) -> Mapping[str, Summary]:
        """Return all, by identifier, as of now, and as they are there for somebody."""
        with self._lock:
            self._refresh()
            return self._seen(sight)

    def _by_name(self, summaries: Mapping[str, Summary]) -> list[tuple[str, str]]:
        at = int(summaries is not self._summaries)
        found = self._named[at]
        if found is None or found[0] is not summaries:
            named = sorted((summary.name, one) for one, summary in summaries.items())
            found = self._named[at] = summaries, named
        return found[1]

    def _seen(self, sight: Sight | None) -> Mapping[str, Summary]:
        """Return summaries without what is left out for somebody, made once for each state of a data set."""
        if sight is None or not sight.withholds:
            return self._summaries
        levels = tuple(self._served.documents.settings().grouping_hierarchy)
        before = self._left if self._left is not None and self._left.levels == levels else _Left(levels, {}, {})
        if self._left is None or self._left.whole is not self._summaries or before is not self._left:
            pseudonyms, found = sight.pseudonyms(levels), {}
            for one, summary in self._summaries.items():
                same = before.whole.get(one) is summary
                found[one] = before.left[one] if same else self._without(one, summary, pseudonyms)
            self._left = _Left(levels, self._summaries, found)
        return self._left.left

    def _without(self, identifier: str, summary: Summary, pseudonyms: Pseudonyms) -> Summary:
        if summary.personal:
            document = self._served.folder.read(identifier).document
            if document is not None:
                return summarise(DescriptorRecord.parse(pseudonyms.document(document)))
            return summary._replace(name=identifier, grouping=())  # removed just now
        return summary._replace(grouping=pseudonyms.grouping(summary.grouping)) if pseudonyms.has_people() else summary

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
