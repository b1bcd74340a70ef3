"""Names that somebody mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ..errors import KeyNotFoundError

_FEW = 10


def nearest(name: object, known: Iterable[str]) -> str:
    """Say which of the known names look like one, else some of them."""
    names = sorted(set(known))
    close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(map(repr, close)) + "?"
    more = ", ..." if len(names) > _FEW else ""
    return f"there are: {', '.join(map(repr, names[:_FEW]))}{more}" if names else "there are none"


def unknown(what: str, name: object, known: Iterable[str]) -> KeyNotFoundError:
    """The error of a name that occurs nowhere."""
    return KeyNotFoundError(f"There is no {what} {name!r}.", remedy=nearest(name, known))
