"""Resources by number, and the labels that are defined for them."""

from __future__ import annotations

import abc
import bisect
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from ...errors import DatasetError
from ..annotations.annotation import Annotation
from ..annotations.label_sets import LabelSets
from .resource import Resource, as_resource


class Store(abc.ABC):
    """Resources by number, in an order that does not change."""

    project: str | None = None
    """Folder of the project; None where they come from none."""

    @property
    @abc.abstractmethod
    def ids(self) -> Sequence[str]:
        """Ids in order; no image is opened."""

    @abc.abstractmethod
    def resource(self, number: int) -> Resource:
        """Return a resource."""

    @abc.abstractmethod
    def definitions(self, worklists: Any) -> LabelSets | None:
        """Return the labels that are defined, by which worklists say; None where nothing is."""

    def authors(self) -> set[str] | None:
        """Who may have made annotations, where that is known without looking at them."""
        return None

    @property
    def titles(self) -> set[str]:
        """Titles of levels of grouping and names of tags, in lower case and as they are."""
        return set()


class ListStore(Store):
    """Resources of a list.

    Parameters
    ----------
    given : sequence
        Of `Resource` or source-like.

    Raises
    ------
    DatasetError
        Two have one id, or it is no list.
    """

    def __init__(self, given: Sequence[Any]) -> None:
        if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable):
            raise DatasetError(f"resources is {given!r:.100}, no list.", remedy="resources=[...], one or several in it")
        self._resources = tuple(as_resource(item, number) for number, item in enumerate(given))
        self._ids = tuple(resource.id for resource in self._resources)
        if len(set(self._ids)) < len(self._ids):
            twice = [id for id, count in Counter(self._ids).items() if count > 1]
            raise DatasetError(
                f"Several resources have the id {twice[0]!r}.", remedy="Resource(image, id=...), one for each"
            )

    @property
    def ids(self) -> Sequence[str]:
        """Ids in order."""
        return self._ids

    def resource(self, number: int) -> Resource:
        """Return a resource."""
        return self._resources[number]

    def definitions(self, worklists: Any) -> LabelSets | None:
        """None: a list defines nothing."""
        return None

    @property
    def titles(self) -> set[str]:
        """Titles of groups and names of tags."""
        return {title for resource in self._resources for title in (*resource.groups, *resource.tags)}


class JoinedStore(Store):
    """Resources of several stores, one after the other."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = tuple(stores)
        self.begins = tuple(itertools.accumulate((len(store.ids) for store in stores), initial=0))
        projects = {store.project for store in stores}
        self.project = projects.pop() if len(projects) == 1 else None

    @property
    def ids(self) -> Sequence[str]:
        """Ids of all; one may occur several times."""
        return [id for store in self._stores for id in store.ids]

    def place(self, number: int) -> tuple[int, int]:
        """Return which store a resource is of, and its number there."""
        part = bisect.bisect_right(self.begins, number) - 1
        return part, number - self.begins[part]

    def resource(self, number: int) -> Resource:
        """Return a resource."""
        part, own = self.place(number)
        return self._stores[part].resource(own)

    def definitions(self, worklists: Any) -> LabelSets | None:
        """None: each of them has its own."""
        return None

    @property
    def titles(self) -> set[str]:
        """Titles of all."""
        return {title for store in self._stores for title in store.titles}


def occurring(annotations: Iterable[Sequence[Annotation]]) -> LabelSets:
    """Return the labels of annotations, resource by resource, in alphabetic order."""
    found = LabelSets()
    for each in annotations:
        found = found.extended(LabelSets.inferred(each))
    return LabelSets(*(tuple(sorted(entries)) for entries in vars(found).values()))
