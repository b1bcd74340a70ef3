"""Metadata of a call in files of pictures: which are kept, and how they are told as texts that other programs show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...sources.chunked.conventions import OWN_ATTRIBUTE
from ...system.json_text import parse_json
from ..details import Image, own_metadata

LARGEST = 4 * 2**20
"""Characters of JSON that a file is given; every reader here takes in more."""
_MOST_READ = 4 * LARGEST
_DEEPEST = 100
"""Levels of lists and mappings; readers give up beyond some hundreds."""


def kept_metadata(image: Image, most: int | None = LARGEST, taken: Iterable[str] = ()) -> dict[str, Any]:
    """Return the metadata of an image that are the same when they are read from JSON.

    Parameters
    ----------
    image : Image
    most : int, optional
        Characters of JSON that there is room for: of more, nothing is kept. None: any number.
    taken : iterable of str
        Names by which the format itself says something.
    """
    no = {OWN_ATTRIBUTE, *taken}  # what describes another image
    said = {name: value for name, value in image.details.raw.items() if isinstance(name, str) and name not in no}
    found = {name: value for name, value in said.items() if _is_json(name) and _is_json(value)}
    return found if most is None or len(json.dumps(found)) <= most else {}


def lost_metadata(image: Image, kept: Iterable[str]) -> tuple[str, ...]:
    """Return what a report says of the metadata that are not kept."""
    known = {OWN_ATTRIBUTE, *kept}
    return tuple(f"metadata {name!r}" for name in image.details.raw if name not in known)


def with_own(raw: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file says by its own names, and what was said of it when it was written."""
    return {**said, **raw, OWN_ATTRIBUTE: {"metadata": dict(said)}} if said else dict(raw)


def document_of(said: Mapping[str, Any]) -> str:
    """Return metadata as one text, by which `told_in` knows them; of ASCII, for places that say nothing of letters."""
    return json.dumps({OWN_ATTRIBUTE: {"metadata": dict(said)}})


def told_in(document: str | bytes | None) -> dict[str, Any]:
    """Return the metadata of a text of `document_of`; nothing for another one."""
    try:
        told = parse_json(document) if document and len(document) <= _MOST_READ else None
    except ValueError:
        return {}
    return own_metadata(told) if isinstance(told, dict) else {}


def text_of(value: Any, *, ascii: bool = False) -> str:
    """Return a value as one line: a text as it is where it can't be mistaken, anything else as JSON.

    Parameters
    ----------
    value : object
        What JSON can hold.
    ascii : bool, default False
        For headers of which some programs leave out all other characters.

    Examples
    --------
    >>> text_of("50 nm"), text_of(50), text_of("50")
    ('50 nm', '50', '"50"')
    """
    if isinstance(value, str) and _is_plain(value) and value.isascii() >= ascii and not _reads_as_json(value):
        return value
    shown = json.dumps(value, ensure_ascii=ascii)
    return shown if shown.isprintable() else json.dumps(value)


def value_of(text: str) -> Any:
    """Return the value of a line of `text_of`; of another one, its text."""
    try:
        return parse_json(text)
    except ValueError:
        return text


def name_text(name: str, reserved: str) -> str:
    r"""Return a name as one line, without what a pattern (of characters, or of how names begin) matches.

    Examples
    --------
    >>> name_text("pixel size", "="), name_text("a=b", "=")
    ('pixel size', '"a\\u003db"')
    """
    if _is_plain(name) and name[0] != '"' and not re.search(reserved, name):
        return name
    return re.sub(r"[^\w\s\"\\.,-]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(name))


def name_of(text: str) -> str:
    """Return the name that a line of `name_text` stands for."""
    found = value_of(text) if text.startswith('"') else text
    return found if isinstance(found, str) else text


def _is_plain(text: str) -> bool:
    return bool(text) and text.isprintable() and text == text.strip()


def _reads_as_json(text: str) -> bool:
    return bool(value_of(text) != text)


def _is_json(value: Any) -> bool:
    try:
        return not _is_deep(value) and bool(parse_json(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return False
    return True


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
