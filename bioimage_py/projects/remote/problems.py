"""Answers of a server that tell a problem, as errors of the package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ... import __version__
from ...errors import (
    AccessError,
    BioimageError,
    ConflictError,
    FormatError,
    KeyNotFoundError,
    LockError,
    ParameterError,
    StorageError,
)

API = 1
_APART = 2
"""Minor versions by which client and server may differ."""


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


def not_ours(url: str) -> StorageError:
    """Return the error of what answers, but not as a server does."""
    return StorageError(f"{url} is no server of label projects.", remedy="look at the URL")


def not_trusted(url: str, why: str) -> StorageError:
    """Return the error of a certificate, with what helps against that."""
    remedy = "ca= with the file of the certificates that it is signed with"
    if "mismatch" in why:
        remedy = "the name that the certificate is made out to, in the URL"
    elif "expired" in why or "not yet valid" in why:
        remedy = "tell who looks after the server; look at the clock of this machine"
    return StorageError(f"The certificate of {url} is not trusted ({why}).", remedy=remedy)


def check_version(url: str, answer: Any) -> None:
    """Refuse a server whose version does not go together with this one's.

    Parameters
    ----------
    url : str
        Of the server.
    answer : httpx.Response
        What it told of its version.

    Raises
    ------
    StorageError
        It is no server of label projects.
    FormatError
        One of both is too old.
    """
    try:
        told = answer.json()
        api, server = int(told["api"]), str(told["server"])
        outdated = _outdated(server, api)
    except (ValueError, KeyError, TypeError):
        raise not_ours(url) from None
    if outdated:
        raise FormatError(
            f"The server {url} is of version {server} (API {api}), this client of {__version__} (API {API}).",
            remedy=f"update {outdated}",
        )


def _outdated(server: str, api: int) -> str:
    """Return which of both has to be updated; "" for neither, ValueError where that is no version."""
    (major, minor), (own_major, own_minor) = _numbers(server), _numbers(__version__)
    apart = api - API or major - own_major
    if not apart and abs(minor - own_minor) > _APART:
        apart = minor - own_minor
    return "the client" if apart > 0 else "the server" if apart else ""


def _numbers(version: str) -> tuple[int, int]:
    found = re.match(r"([0-9]{1,6})\.([0-9]{1,6})", version)
    if found is None:
        raise ValueError(version)
    return int(found[1]), int(found[2])
