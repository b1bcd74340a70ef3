"""What lies around every request: limits of its body and time, an id, a line in the log, headers of the answer."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("bioimage_py.server")

JSON_BYTES = 8 * 2**20
UNKNOWN_BYTES = 64 * 2**10
"""Of a request without credentials."""
SILENCE = 30.0
"""Seconds in which a client has to send a request, the next piece of its body, or to take the next one of an answer."""
SLOWEST = 8 * 2**10
"""Bytes of a body that have to come in a second, after the first seconds: few bodies are in memory at once."""
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Guard:
    """ASGI middleware.

    Parameters
    ----------
    app : ASGIApp
    secure : bool
        Whether clients come by TLS.
    """

    def __init__(self, app: ASGIApp, secure: bool = False) -> None:
        self._app = app
        self._headers = [*_HEADERS, *([(b"strict-transport-security", b"max-age=31536000")] if secure else [])]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = _Call(scope, receive, send, self._headers)
        begun, metrics = time.perf_counter(), scope["app"].state.metrics
        metrics.begin()
        try:
            await self._app(scope, call.receive, call.send)
        except ConnectionAbortedError:
            raise  # the server closes the connection: an answer that is cut off must not look whole
        except Exception as error:  # a stranger learns nothing but that it went wrong
            log.exception("unexpected", extra={"about": type(error).__name__, "request_id": call.id})
            await call.refuse(500, "unexpected", "Something went wrong; the server's log has this request id.")
        finally:
            seconds = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", "")
            metrics.end(scope["method"], route, call.status, seconds, call.taken, call.given)
            call.log(route, seconds)


class _Call:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self.id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = self.id
        names = {name for name, _ in scope["headers"]}
        self.limit = JSON_BYTES if b"authorization" in names else UNKNOWN_BYTES
        scope["state"]["call"] = self
        self.status = 0
        self._scope, self._receive, self._send, self._headers = scope, receive, send, headers
        self.taken, self.given, self._over = 0, 0, False
        self._begun: float | None = None

    async def receive(self) -> Message:
        """Return the next piece of the request."""
        self._begun = (
            time.monotonic() if self._begun is None else self._begun
        )  # until then it was the server that waited
        try:
            async with asyncio.timeout(None if self._over else SILENCE):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"Nothing came for {SILENCE:.0f} s.") from None
        if message["type"] == "http.request":
            self.taken += len(message.get("body", b""))
            self._over = not message.get("more_body", False)
            if not self._over and time.monotonic() - self._begun > SILENCE + self.taken / SLOWEST:
                raise HTTPException(408, f"The body comes slower than {SLOWEST} bytes a second.")
            if self.taken > self.limit:
                raise HTTPException(413, f"The body has more than {self.limit} bytes.")
        return message

    async def send(self, message: Message) -> None:
        """Send the next piece of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = list(message.get("headers", []))
            names = {name.lower() for name, _ in given}
            more = [pair for pair in self._headers if pair[0] not in names]
            if b"cache-control" not in names:
                more.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*given, *more, (b"x-request-id", self.id.encode())]}
        else:
            self.given += len(message.get("body", b""))
        try:
            async with asyncio.timeout(SILENCE):
                await self._send(message)
        except TimeoutError:
            raise ConnectionAbortedError(f"the client took nothing for {SILENCE:.0f} s") from None

    async def refuse(self, status: int, code: str, detail: str) -> None:
        """Answer with a problem, unless the answer has begun."""
        if self.status:
            raise ConnectionAbortedError(code)
        body = {"type": code, "title": code.replace("-", " "), "status": status, "detail": detail}
        data = json.dumps({**body, "request_id": self.id}).encode()
        headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(data)).encode())]
        headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": data})

    def log(self, route: str, seconds: float) -> None:
        """Write what it was, without queries, headers and bodies: they may hold secrets."""
        state = self._scope["state"]
        about = {
            "request_id": self.id,
            "method": self._scope["method"],
            "route": route,
            "status": self.status,
            "user": state.get("user", ""),
            "project": self._scope.get("path_params", {}).get("project", ""),
            "bytes_in": self.taken,
            "bytes_out": self.given,
            "seconds": round(seconds, 4),
        }
        log.info("request", extra={"about": about})
