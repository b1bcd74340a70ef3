"""JSON that somebody else may have written: whatever is wrong with it is one `ValueError`."""

from __future__ import annotations

import json
import re
from typing import Any

LARGEST = 2**28
"""Bytes of a document; what is larger is no description of anything."""


def parse_json(text: str | bytes, *, unique: bool = False) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    text : str or bytes
    unique : bool, default False
        Refuse an object that has a member twice, of which Python takes the last one: for what people write.

    Raises
    ------
    ValueError
        It is no JSON, too large, or nested so deep that Python gives up.
    """
    if len(text) > LARGEST:
        raise ValueError(f"{len(text)} bytes of JSON, {LARGEST} at most are read")
    try:
        return json.loads(text, object_pairs_hook=_Once(text) if unique else None)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


class _Once:
    """Makes an object of pairs; ValueError with the line where a name comes once more."""

    def __init__(self, text: str | bytes) -> None:
        self._text = text

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for at, name in enumerate(names) if name in names[:at])
            raise ValueError(f"{twice!r} is there twice{self._line(twice)}")
        return found

    def _line(self, name: str) -> str:
        text = self._text if isinstance(self._text, str) else self._text.decode(json.detect_encoding(self._text))
        again = list(re.finditer(re.escape(json.dumps(name)) + r"\s*:", text))[1:2]
        return "".join(f", the second time in line {text.count(chr(10), 0, one.start()) + 1}" for one in again)
