"""Connections of clients that take their time: nobody holds one for long who sends no request and takes no answer.

What comes of a body, and how fast, is looked at in `http.guard`; here is what an application does not see.
"""

from __future__ import annotations

import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..http import guard

HEAD_BYTES = 64 * 2**10
"""Of a request: its line and headers."""


class Connection(HttpToolsProtocol):
    """A connection of a client, which `look` ends."""

    _waiting: float | None = None
    """Since when the head of a request is waited for; None while one is answered."""
    _stuck: float | None = None
    """Since when the client has taken nothing of what waits for it."""
    _head: int | None = None
    """Bytes that have come of the head of a request; None where none is on its way."""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._waiting = time.monotonic()

    def data_received(self, data: bytes) -> None:
        """Take what has come; refuse a head that goes on and on."""
        super().data_received(data)
        if self._head is not None and not self.transport.is_closing():
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self.send_400_response(f"The head of the request has more than {HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """Begin to take a request."""
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin to answer a request."""
        self._waiting = self._head = None
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, unless it is there."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._waiting = time.monotonic()

    def pause_writing(self) -> None:
        """Begin to wait for the client to take something."""
        super().pause_writing()
        self._stuck = time.monotonic()

    def resume_writing(self) -> None:
        """Go on: it has."""
        super().resume_writing()
        self._stuck = None

    def look(self, now: float) -> None:
        """Close it where no request has come in time, and cut it off where what was sent last is not taken.

        Parameters
        ----------
        now : float
            Of ``time.monotonic``.
        """
        if self._stuck is None and self.transport.is_closing():  # which waits for what is still to be taken
            self._stuck = now
        if self._stuck is not None and now - self._stuck > guard.SILENCE:
            self.transport.abort()
        elif self._waiting is not None and now - self._waiting > guard.SILENCE:
            self.transport.close()
