"""Answers of a server that tell a problem, as errors of the package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import (
    AccessError,
    BioimageError,
    ConflictError,
    KeyNotFoundError,
    LockError,
    ParameterError,
    StorageError,
)


class GoneError(StorageError):
    """Events that the server does not keep any more: what is here has to be read anew."""


class DamagedError(StorageError):
    """What was sent arrived as something else, and is sent once more."""


_KINDS: dict[int, type[BioimageError]] = {
    401: AccessError,
    403: AccessError,
    404: KeyNotFoundError,
    410: GoneError,
    413: ParameterError,
    422: ParameterError,
    423: LockError,
}


def problem(url: str, answer: Any, login: str) -> BioimageError:
    """Return the error that an answer stands for.

    Parameters
    ----------
    url : str
        What was asked, without a query.
    answer : httpx.Response
    login : str
        What to type to log in.
    """
    try:
        told = answer.json()
    except ValueError:
        told = {}
    if not isinstance(told, Mapping):
        told = {}
    detail, remedy = str(told.get("detail", "")), str(told.get("remedy", ""))
    if answer.status_code == 401:
        remedy = login
    if answer.status_code in (409, 412):
        return ConflictError(detail, str(told.get("field", "")), remedy=remedy)
    if told.get("type") == "damaged":
        return DamagedError(detail, remedy=remedy)
    kind = _KINDS.get(answer.status_code)
    if kind is not None and told.get("type"):
        return kind(detail, remedy=remedy)
    request = told.get("request_id") or answer.headers.get("x-request-id", "")
    said = "".join(f", {part}" for part in (detail, f"request {request}" if request else "") if part)
    return StorageError(
        f"{url} answered {answer.status_code}{said}.",
        remedy="look at the server's log" if request else "look whether this is a server of label projects",
    )
