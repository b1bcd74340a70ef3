"""Values that clients send: which names, and how much JSON, a server takes."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ParameterError

NAME = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}$"
"""Of projects, data sets, layers and versions; what is longer is none."""
DEEPEST = 32
LARGEST_INT = 2**64


def checked(value: Any, where: str, depth: int = 0) -> Any:
    """Return a JSON value that can be stored and sent again.

    Raises
    ------
    ParameterError
        It is nested too deep, or holds NaN, infinity, a number of more than 64 bits or half a character.
    """
    if depth > DEEPEST:
        raise ParameterError(f"{where} is nested deeper than {DEEPEST} levels.", remedy="send something flatter")
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterError(f"{where} holds {value}, which JSON does not have.", remedy="send null in its place")
    if isinstance(value, int) and abs(value) >= LARGEST_INT:
        raise ParameterError(f"{where} holds a number of more than 64 bits.", remedy="send it as text")
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, where)
            checked(item, where, depth + 1)
    elif isinstance(value, list):
        for item in value:
            checked(item, where, depth + 1)
    return value


def _check_text(text: str, where: str) -> None:
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ParameterError(f"{where} holds half a character.", remedy="send valid Unicode")
