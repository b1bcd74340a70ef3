"""Errors as HTTP tells them: `application/problem+json` (RFC 9457), with a stable code and what to do."""

from __future__ import annotations

import errno
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ...errors import (
    BioimageError,
    ConflictError,
    FormatError,
    KeyNotFoundError,
    LockError,
    ParameterError,
    SourceNotFoundError,
    StorageError,
)
from ...projects.storage.packs import ARRAY
from ..refusals import (
    DamagedError,
    DiskFullError,
    LostChunkError,
    NoChunkError,
    NotAllowedError,
    StillWorkingError,
    TooManyError,
    UnknownCallerError,
)
from ..served import Gone

log = logging.getLogger("bioimage_py.server")

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CODES: tuple[tuple[type[BaseException], int, str], ...] = (
    (UnknownCallerError, 401, "who-are-you"),
    (NotAllowedError, 403, "not-allowed"),
    (KeyNotFoundError, 404, "not-there"),
    (SourceNotFoundError, 404, "not-there"),
    (Gone, 410, "events-gone"),
    (ConflictError, 409, "conflict"),
    (LockError, 423, "locked"),
    (DamagedError, 400, "damaged"),
    (ParameterError, 422, "not-valid"),
    (TooManyError, 429, "too-many"),
    (StillWorkingError, 504, "still-working"),
    (DiskFullError, 507, "disk-full"),
    (LostChunkError, 500, "lost"),
    (StorageError, 503, "storage"),
    (FormatError, 422, "not-valid"),
    (BioimageError, 422, "not-valid"),
    (OSError, 503, "storage"),  # some errors of ours are such, too
)


def problem(
    request: Request, status: int, code: str, detail: str, headers: dict[str, str] | None = None, **more: Any
) -> JSONResponse:
    """Return an answer that tells a problem."""
    body = {"type": code, "title": code.replace("-", " "), "status": status, "detail": detail, **more}
    body["request_id"] = request.scope.get("state", {}).get("request_id", "")
    return JSONResponse(body, status, {"Cache-Control": "no-store", **(headers or {})}, "application/problem+json")


def tell_problems(app: FastAPI) -> None:
    """Let an application tell its errors so, and nothing of those that nobody has thought of."""
    for kind in (BioimageError, Gone, OSError):
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(OSError, _of_system)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http)


async def _of_system(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)
    if _is_full(error):
        log.error("the disk is full", extra={"about": {"path": str(error.filename)}})
        return await _known(request, DiskFullError())
    raise error


def _is_full(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, is that there is no room."""
    while error is not None:
        if isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in _FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


async def _known(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, StorageError) and not isinstance(error, DiskFullError) and _is_full(error):
        error = DiskFullError()
    status, code = next((status, code) for kind, status, code in _CODES if isinstance(error, kind))
    if status == 404 and _reads_chunk(request) and not isinstance(error, NoChunkError):
        status, code = 410, "array-gone"
    headers, more = {}, {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyError):
        headers["Retry-After"] = str(max(1, round(error.seconds)))
    if status == 500:
        log.error("lost", extra={"about": f"{request.url.path}: {error}"})
    if status == 503:
        log.error("storage", extra={"about": str(error)})
        headers["Retry-After"] = "1"
        return problem(request, 503, code, "The server cannot read or write its storage now.", headers)
    if isinstance(error, ConflictError):
        more["field"] = error.field
    if isinstance(error, Gone):
        return problem(request, 410, code, "These events are not kept any more.", remedy="load the project anew")
    assert isinstance(error, BioimageError)
    return problem(request, status, code, error.message, headers, remedy=error.remedy, **more)


def _reads_chunk(request: Request) -> bool:
    """Whether a chunk is asked for, which a reader of zarr holds to be zeros where the answer is 404."""
    return request.method in ("GET", "HEAD") and str(request.path_params.get("key")).startswith(f"{ARRAY}/c/")


async def _not_valid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [
        {"field": _plain(".".join(str(part)[:100] for part in one["loc"])), "what": _plain(str(one["msg"]))}
        for one in error.errors()[:10]
    ]
    first = found[0] if found else {"field": "", "what": ""}
    return problem(
        request, 422, "not-valid", f"{first['field']}: {first['what']}", field=first["field"], problems=found, remedy=""
    )


def _plain(text: str) -> str:
    return text[:300].encode("ascii", "backslashreplace").decode()


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    codes = {
        400: "not-readable",
        404: "not-there",
        405: "no-such-method",
        408: "too-slow",
        413: "too-large",
        416: "no-such-range",
    }
    headers = dict(error.headers or {})
    return problem(request, error.status_code, codes.get(error.status_code, "refused"), str(error.detail), headers)
