"""JSON that somebody else may have written: whatever is wrong with it is one `ValueError`."""

from __future__ import annotations

import json
from typing import Any

LARGEST = 2**28
"""Bytes of a document; what is larger is no description of anything."""


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        It is no JSON, too large, or nested so deep that Python gives up.
    """
    if len(text) > LARGEST:
        raise ValueError(f"{len(text)} bytes of JSON, {LARGEST} at most are read")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
