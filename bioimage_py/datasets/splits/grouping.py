"""What resources have in common: groups that must not be torn, and strata that all parts should have."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import DatasetError, ParameterError
from ..annotations.label_sets import LabelSets
from ..names import unknown
from ..resources.resource import Resource

if TYPE_CHECKING:
    from ..parts import Parts

Key = Callable[[Resource], Any]
MISSING = ("individual", "group", "skip", "error")


@dataclass(frozen=True)
class Level:
    """Tells the group of a resource by a title: "patient", a level of grouping, or a tag. A value, so it is pickled."""

    title: str

    def __call__(self, resource: Resource) -> str | None:
        """Return the group; None where there is none."""
        return resource.patient if self.title == "patient" else resource.group(self.title)


def group_key(group_by: str | Key, titles: set[str]) -> Key:
    """Return what tells the group of a resource: "patient", a level of grouping, a tag, or a function.

    Raises
    ------
    KeyNotFoundError
        There is no such level or tag.
    """
    if callable(group_by):
        return group_by
    if group_by.lower() == "patient":
        return Level("patient")
    if group_by not in titles and group_by.lower() not in titles:
        raise unknown("level of grouping or tag", group_by, titles)
    return Level(group_by)


def grouped(dataset: Parts, numbers: Sequence[int], key: Key, none: str) -> dict[tuple[str, str], list[int]]:
    """Return resources by group, in order.

    Parameters
    ----------
    dataset : Parts
    numbers : sequence of int
        Resources.
    key : callable
    none : {"individual", "group", "skip", "error"}
        What becomes of resources without a group: a group each, one for all, left out, or an error.

    Raises
    ------
    DatasetError
        One has none, and none may.
    """
    if none not in MISSING:
        raise ParameterError(f"{none!r} is no way with missing groups.", remedy=f"use one of {list(MISSING)}")
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number in numbers:
        resource = dataset.store.resource(number)
        found = key(resource)
        if found is not None and found != "":
            groups[("group", str(found))].append(number)
        elif none == "error":
            raise DatasetError(
                f"{resource.name!r} (id {resource.id!r}) has no group.",
                remedy='give it one, or none_patient_id_strategy="individual", "group" or "skip"',
            )
        elif none != "skip":
            groups[("none", resource.id if none == "individual" else "")].append(number)
    return dict(groups)


def stratum_of(
    stratify: str | Callable[..., Any], labels: LabelSets, titles: set[str]
) -> Callable[[Resource, Sequence[Any]], Hashable]:
    """Return what tells the stratum of a resource: the value of a category or tag, or whether it has a label.

    Raises
    ------
    KeyNotFoundError
        There is no such category, tag or label.
    """
    if callable(stratify):
        return stratify
    name = stratify
    if name in {category for category, _ in labels.image_categories}:
        return lambda resource, annotations: next(
            (a.text_value for a in annotations if a.is_category() and a.identifier == name), None
        )
    if name in labels.names():
        return lambda resource, annotations: any(a.identifier == name for a in annotations)
    if name in titles or name.lower() in titles:
        return lambda resource, annotations: resource.group(name)
    raise unknown("label, category or tag", name, labels.names() | titles)


def common(strata: Sequence[Hashable]) -> Hashable:
    """Return what a group mostly is; of several the first in order of their text."""
    counts = Counter(strata)
    return min(counts, key=lambda kind: (-counts[kind], str(kind)))


def counted(parts: Mapping[str, Sequence[Hashable]]) -> dict[Hashable, dict[str, int]]:
    """Return the number of items by stratum and part."""
    kinds = dict.fromkeys(itertools.chain.from_iterable(parts.values()))
    return {kind: {name: list(found).count(kind) for name, found in parts.items()} for kind in kinds}
