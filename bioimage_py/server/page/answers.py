"""Routes of the page: their errors are pages too, and who has not signed in is sent to where one does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from ...errors import BioimageError, ConflictError, KeyNotFoundError, LockError, SourceNotFoundError, StorageError
from ..refusals import NotAllowedError, TooManyError, UnknownCallerError
from .rendering import rendered
from .visits import SignInNeeded, Visit, anybody_of

log = logging.getLogger("bioimage_py.server")
_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (UnknownCallerError, 401),
    (NotAllowedError, 403),
    (KeyNotFoundError, 404),
    (SourceNotFoundError, 404),
    (ConflictError, 409),
    (LockError, 423),
    (TooManyError, 429),
    (StorageError, 503),
)


class PageRoute(APIRoute):
    """A route of the page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request, and its errors."""
        answer = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await answer(request)
            except SignInNeeded:
                return _sign_in(request)
            except BioimageError as error:
                status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
                if status == 503:
                    log.error("storage", extra={"about": str(error)})
                    return _problem(request, 503, "The server cannot read or write its storage now.", "try again")
                return _problem(request, status, error.message, error.remedy)
            except RequestValidationError:
                return _problem(request, 422, "The address has a part that cannot be.", "start from the projects")
            except HTTPException as error:
                return _problem(request, error.status_code, str(error.detail), "")

        return told


def _sign_in(request: Request) -> Response:
    """Send the browser to sign in, or let it come again where it came from another site, without its cookie."""
    visit = Visit(request, None, "")
    if wants_words(request):
        return _problem(request, 401, "You have been signed out.", "sign in again")
    if request.method != "GET":
        return visit.go("/sign-in")
    if request.headers.get("sec-fetch-site") == "cross-site":
        return visit.show("again", to=visit.url("/")[:-1] + visit.here)
    return visit.go(visit.url("/sign-in", next=visit.here).removeprefix(visit.url("/")[:-1]))


def wants_words(request: Request) -> bool:
    """Whether the page's own script asks, which takes JSON."""
    return request.headers.get("x-page") == "script"


def _problem(request: Request, status: int, message: str, remedy: str) -> Response:
    if wants_words(request):
        return JSONResponse({"message": message, "remedy": remedy}, status)
    visit = anybody_of(request) if status != 503 else Visit(request, None, "")
    return rendered(
        "problem",
        status,
        visit=visit,
        url=visit.url,
        mark=visit.mark,
        code=status,
        message=message,
        remedy=remedy,
        request_id=request.scope.get("state", {}).get("request_id", ""),
    )
