"""Changing what may be annotated: which records go with a class, and taking them away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...errors import ParameterError
from ...spaces import Ontology
from ..values.names import is_space

if TYPE_CHECKING:
    from ..descriptor import Descriptor
    from ..project import Project


def compare(old: Ontology, new: Ontology) -> tuple[list[Any], list[Any], list[tuple[Any, Any]]]:
    """Return the classes that go, that come, and those that stay (before and after).

    Raises
    ------
    ParameterError
        A class changes its shape, its level, the kind of an attribute or whether it is dynamic, or has one answer in
        the place of several.
    """
    before, after = {item.id: item for item in old}, {item.id: item for item in new}
    both = [(before[id], item) for id, item in after.items() if id in before]
    for was, item in both:
        if type(was) is not type(item) or _form(was) != _form(item):
            raise ParameterError(
                f"The class {item.name!r} changes its shape or level.",
                remedy="remove it, and add a new one (without id)",
            )
        if getattr(was, "several", False) and not getattr(item, "several", False):
            raise ParameterError(
                f"The classification {item.name!r} has several answers, and is to have one.",
                remedy="leave it several, or remove it, and add a new one (without id)",
            )
        kinds = {one.attribute.id: (one.attribute.kind, one.attribute.dynamic) for one in was.all_attributes}
        for attribute in (one.attribute for one in item.all_attributes):
            kind = attribute.kind, attribute.dynamic
            if kinds.get(attribute.id, kind) != kind:
                raise ParameterError(
                    f"The attribute {attribute.name!r} of {item.name!r} changes its kind, or whether it is dynamic.",
                    remedy="remove it, and add a new one (without id)",
                )
    gone = [item for id, item in before.items() if id not in after]
    return gone, [item for id, item in after.items() if id not in before], both


def _form(item: Any) -> str:
    return str(getattr(item, "shape", None) or item.level)


def spaces(project: Project) -> Iterator[tuple[Descriptor, Any]]:
    """All spaces that are stored or in use, with their data sets."""
    session = project._session
    used = project._spaces.identifiers()
    for name, summary in session.summaries(session.identifiers()):
        if name in used or any(is_space(layer) for layer in summary.layers):
            descriptor = project.descriptors[name]
            for space in descriptor.spaces:
                yield descriptor, space


def losses(project: Project, gone: list[Any]) -> Iterator[tuple[Any, dict[str, int]]]:
    """Classes that go, with the number of their records in each data set that has any."""
    counts: dict[str, dict[str, int]] = {item.id: {} for item in gone}
    for descriptor, space in spaces(project) if gone else ():
        for item in gone:
            if (number := space.count(class_=item)) > 0:
                found = counts[item.id]
                found[descriptor.identifier] = found.get(descriptor.identifier, 0) + number
    return ((item, counts[item.id]) for item in gone if counts[item.id])


def answers_lost(project: Project, both: list[tuple[Any, Any]]) -> dict[str, dict[str, int]]:
    """Attributes whose answers fit no more, by path, with the number of their records in each data set that has any."""
    left: dict[tuple[str, str], Any] = {}
    paths: dict[tuple[str, str], str] = {}
    for was, item in both:
        after = {one.attribute.id: one.attribute for one in item.all_attributes}
        for one in was.all_attributes:
            found = after.get(one.attribute.id)
            if found is None or not set(one.attribute.options) <= set(found.options):
                left[was.id, one.attribute.id] = found
                paths[was.id, one.attribute.id] = f"{was.name}/{one.path}"
    counts: dict[str, dict[str, int]] = {}
    for descriptor, space in spaces(project) if left else ():
        for record in space:
            for id, answer in record._answers.items():
                key = record.class_.id, id
                if key in left and not _fits(left[key], answer):
                    found_ = counts.setdefault(paths[key], {})
                    found_[descriptor.identifier] = found_.get(descriptor.identifier, 0) + 1
    return counts


def _fits(attribute: Any, answer: Any) -> bool:
    try:
        return attribute is not None and attribute.check(answer) is not None
    except ParameterError:
        return False


def take_away(project: Project, new: Ontology, gone: list[Any]) -> dict[str, dict[str, Any]]:
    """Save all spaces without the records of some classes; return the versions before and after, as of layers."""
    changes: dict[str, dict[str, Any]] = {}
    for descriptor, space in list(spaces(project)):
        if any(space.count(class_=item) for item in gone):
            key, before, after = project._spaces.without(descriptor, space.space_id, new)
            changes.setdefault(key, {})[descriptor.identifier] = [before, after]
    return changes
