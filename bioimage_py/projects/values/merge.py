"""Three-way merging of JSON documents: what one writer changed, on what others have saved meanwhile."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

Document = dict[str, Any]
Path = tuple[str, ...]


class _Missing:
    def __repr__(self) -> str:
        return "nothing"

    def __deepcopy__(self, memo: dict[int, Any]) -> _Missing:
        return self


MISSING = _Missing()
"""The value of a field that a document does not have."""


def merge(base: Any, mine: Any, theirs: Any, conflicts: list[Path], path: Path = ()) -> Any:
    """Return ``theirs`` with the changes from ``base`` to ``mine``.

    Mappings are merged key by key; anything else, lists too, is one field. Where both changed a field to different
    values, its path is added to ``conflicts``, and the value is that of ``mine``. New keys come last.
    """
    if mine == base:
        return deepcopy(theirs)
    if isinstance(mine, dict) and isinstance(theirs, dict) and isinstance(base, dict):
        # The order is that of the only one who changed it.
        order = mine if list(theirs) == list(base) else theirs
        merged: Document = {}
        for key in dict.fromkeys((*order, *mine, *theirs)):
            b, m, t = (document.get(key, MISSING) for document in (base, mine, theirs))
            value = merge(b, m, t, conflicts, (*path, key))
            if value is not MISSING:
                merged[key] = value
        return merged
    if theirs not in (base, mine):
        conflicts.append(path)
    return deepcopy(mine)


def differences(old: Any, new: Any, path: Path = ()) -> Iterator[Path]:
    """Paths of the fields in which two documents differ."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from differences(old.get(key, MISSING), new.get(key, MISSING), (*path, key))
    else:
        yield path


def orders(old: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, list[str]]]:
    """Mappings of both documents whose new keys do not simply come last, and their keys in their order."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return
    kept = [key for key in old if key in new]
    if list(new) != [*kept, *(key for key in new if key not in old)]:
        yield path, list(new)
    for key in kept:
        yield from orders(old[key], new[key], (*path, key))


def with_order(document: Document, path: Path, keys: Iterable[str]) -> Document:
    """Return a copy in which keys of a mapping come first, in their order, those of them that are there."""
    found = value_at(document, path) if path else document
    if not isinstance(found, dict):
        return document
    ordered = {key: found[key] for key in dict.fromkeys((*(key for key in keys if key in found), *found))}
    return with_value(document, path, ordered) if path else ordered


def value_at(document: Any, path: Path) -> Any:
    """Value of a field, `MISSING` where there is none."""
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return MISSING
        document = document[key]
    return document


def with_value(document: Document, path: Path, value: Any) -> Document:
    """Return a copy with another value of a field; `MISSING` removes it."""
    twin = deepcopy(document)
    place = twin
    for key in path[:-1]:
        place = place.setdefault(key, {})
    if value is MISSING:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = deepcopy(value)
    return twin


def digest(value: Any) -> str:
    """Return what tells JSON values apart, on any machine: the ETag of a document, the mark of a request."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
