"""Answers that are large or frequent: made once, in the thread that has read them, and compressed where that pays."""

from __future__ import annotations

import gzip
from typing import Annotated, Any

from fastapi import Header, Response
from pydantic_core import to_json

_LARGE = 8 * 2**10
"""Bytes from which on compressing costs less than sending."""

Accepts = Annotated[str, Header(alias="Accept-Encoding", max_length=1000, include_in_schema=False)]


def json_answer(value: Any, accepts: str = "", headers: dict[str, str] | None = None) -> Response:
    """Return an answer of JSON; none that holds secrets, which the size of a compressed text would tell of.

    Parameters
    ----------
    value : JSON value, or bytes
        Bytes are JSON already.
    accepts : str
        Header Accept-Encoding of the request.
    headers : dict, optional
    """
    text = value if isinstance(value, bytes) else to_json(value)
    given = {"Vary": "Accept-Encoding", **(headers or {})}
    if len(text) >= _LARGE and "gzip" in accepts:
        text = gzip.compress(text, 1)
        given["Content-Encoding"] = "gzip"
    return Response(text, media_type="application/json", headers=given)
