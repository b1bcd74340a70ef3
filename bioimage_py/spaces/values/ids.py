"""Ids of instances, classes and options."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any

from ...errors import ParameterError

_LONGEST = 128
_PIECE = 2**14
_HALF = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def is_text(value: Any) -> bool:
    """Whether a value is a text that a file can hold: one without halves of a pair, which no encoding has."""
    return isinstance(value, str) and (value.isascii() or not _HALF.search(value))


def new_id() -> str:
    """Return 16 hexadecimal characters of 8 random bytes."""
    return secrets.token_hex(8)


def new_ids(count: int) -> list[str]:
    """Return many ids."""
    found: list[str] = []
    while len(found) < count:  # piece by piece: the texts of a million are no small thing
        text = secrets.token_hex(8 * min(_PIECE, count - len(found)))
        found += [text[at : at + 16] for at in range(0, len(text), 16)]
    return found


def checked_id(value: Any, what: str = "id") -> str:
    """Return a text of 1 to 128 characters, none of them a control character or half of a surrogate pair.

    Raises
    ------
    ParameterError
        It is none.
    """
    if isinstance(value, str) and 0 < len(value) <= _LONGEST and not _CONTROL.search(value):
        return value
    raise ParameterError(
        f"{what}={value!r} is no text of 1 to {_LONGEST} characters without control characters.",
        remedy=f"{what}=new_id(), or leave it out",
    )


def checked_ids(values: Sequence[str]) -> Sequence[str]:
    """Return many ids, looked at together; the error names the first that is none."""
    try:
        lengths = [len(id) for id in values]
        good = not lengths or (min(lengths) > 0 and max(lengths) <= _LONGEST and not _CONTROL.search("".join(values)))
    except TypeError:
        good = False
    for i, id in enumerate(() if good else values):
        checked_id(id, f"[{i}]")
    return values
