"""Chunks straight: most of what a server is asked for, and working through a declaration takes longer than a chunk.

Who may what is decided by the functions that every route depends on, and the answer is that of the declared route,
which the document describes; only its declaration is left out. What is not plain goes there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from anyio import to_thread
from fastapi import Request, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from ...accounts.members import Right
from ...values import NAME
from ..asking import Asked, Needs, caller_of
from ..data_routes import BOX, VERSION, chunks_of_box, data

_NAMED = ("project", "descriptor", "layer", "version")
_NAME = re.compile(NAME)
_reads = Needs(Right.read)


class Straight(Route):
    """A route of parts of versions.

    Parameters
    ----------
    path : str
    given : callable
        Names and an `Asked` to an answer.
    last : str
        Name in the path of what is asked for, of so many characters at most.
    longest : int
    """

    def __init__(self, path: str, given: Callable[[Request, Asked], Response], last: str, longest: int) -> None:
        super().__init__(path, self._answer, methods=["GET"], include_in_schema=False)
        self._given, self._last, self._longest = given, last, longest

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is a plain one for a part of a version."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return Match.NONE, {}
        match, found = super().matches(scope)
        if match is Match.NONE:
            return match, found
        named: dict[str, Any] = found["path_params"]
        if not all(_NAME.match(named[name]) for name in _NAMED) or len(named[self._last]) > self._longest:
            return Match.NONE, {}
        return match, {**found, "route": self}

    async def _answer(self, request: Request) -> Response:
        caller = await caller_of(request, request.headers.get("Authorization", ""))
        asked = await _reads(request, request.path_params["project"], caller)
        return await to_thread.run_sync(self._given, request, asked)


def straight(prefix: str) -> list[Straight]:
    """Return the routes, of which the first one that fits counts."""
    return [Straight(prefix + BOX, _box, "box", 200), Straight(prefix + VERSION, _part, "key", 500)]


def _box(request: Request, asked: Asked) -> Response:
    named = request.path_params
    return chunks_of_box(named["descriptor"], named["layer"], named["version"], named["box"], asked)


def _part(request: Request, asked: Asked) -> Response:
    named, headers = request.path_params, request.headers
    names = (named["descriptor"], named["layer"], named["version"], named["key"])
    return data(*names, asked, headers.get("If-None-Match", ""), headers.get("Range", ""))
