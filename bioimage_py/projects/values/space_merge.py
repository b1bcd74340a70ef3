"""Documents of annotation spaces: merged record by record, and without classes that were removed."""

from __future__ import annotations

from collections.abc import Container
from copy import deepcopy
from typing import Any

from ...errors import ConflictError
from ...spaces import Ontology
from ...spaces.columns import rows_of
from ...spaces.schema import ROWS
from .merge import Document, merge

_GROUPS = ("objects", "classifications", "answers")
_EDITED = ("last_edited_at", "last_edited_by")


def without_unknown(document: Document, ontology: Ontology) -> Document:
    """Return a document without the records of classes that were removed."""
    known = {item.id for item in ontology}
    if isinstance(document["objects"], dict):
        classes = document["objects"].get("classes")
        others = all(_class_of(record) in known for record in document["classifications"])
        if isinstance(classes, dict) and classes.keys() <= known and others:
            return document
        document = in_rows(document)
    groups = {name: [r for r in document[name] if _class_of(r) in known] for name in _GROUPS[:2]}
    if all(len(groups[name]) == len(document[name]) for name in groups):
        return document
    left = {id for records in groups.values() for record in records if isinstance(id := record.get("id"), str)}
    return {**document, **groups, "answers": {id: value for id, value in document["answers"].items() if id in left}}


def all_known(document: Document, ontology: Ontology) -> bool:
    """Whether all records of a document, which has an object a row, are of classes that there are."""
    known = {item.id for item in ontology}
    return all(_class_of(record) in known for name in _GROUPS[:2] for record in document[name])


def in_rows(document: Document) -> Document:
    """Return a document with an object a row, whichever form it has."""
    return {**document, "schema": ROWS, "objects": rows_of(document)}


def _class_of(record: Any) -> Any:
    return record.get("class") if isinstance(record, dict) else None


def _keyed(document: Document) -> Document:
    found: Document = {"answers": document["answers"]}
    for name in _GROUPS[:2]:
        found[name] = {f"{r['id']}@{r['frame']}" if "frame" in r else r["id"]: r for r in document[name]}
    return found


def merged(base: Document, mine: Document, theirs: Document, id: str, single: Container[str]) -> Document:
    """Return what somebody else has saved with the changes made here, record by record.

    `single` has the ids of the classifications that have one answer.

    Raises
    ------
    ConflictError
        Both changed one field of a record, or answered one classification; names it.
    """
    conflicts: list[tuple[str, ...]] = []
    base, mine, theirs = in_rows(base), in_rows(mine), in_rows(theirs)
    found: Document = merge(_keyed(base), _keyed(mine), _keyed(theirs), conflicts)
    real = [path for path in conflicts if path[-1] not in _EDITED]
    if real:
        where = ".".join(("spaces", id, *real[0]))
        raise ConflictError(
            f"{where} was changed by another process too.", field=where, remedy="space.undo(), or project.revert()"
        )
    answered: dict[Any, str] = {}
    for key, record in found["classifications"].items():
        place = (record["class"], record.get("frame"))
        if place in answered and record["class"] in single:
            where = f"spaces.{id}.classifications.{key}"
            raise ConflictError(
                f"{where} answers what {answered[place]!r} of another process answers.",
                field=where,
                remedy="space.undo(), or project.revert()",
            )
        answered[place] = key
    groups = {name: list(found[name].values()) for name in _GROUPS[:2]}
    return {**deepcopy(theirs), **groups, "answers": dict(found["answers"])}
