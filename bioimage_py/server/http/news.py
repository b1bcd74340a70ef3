"""Waiting for events: one look at a project's folder serves all who wait, and one reading all who ask for the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from anyio import to_thread
from starlette.exceptions import HTTPException

from ...errors import BioimageError
from ..served import MOST, Page, Served
from ..together import Together

LOOK = 0.1
"""Seconds between two looks; commits of this and of other processes are seen in the same way."""
_SURE = 20
"""Every so many looks the database is asked too: directories of a network file system are seen late."""
MOST_STREAMS = 300
"""Of one process."""


class News:
    """Those who wait for events, by project and event loop."""

    def __init__(self) -> None:
        self.over = False
        """Whether the server is about to end: nobody waits any more."""
        self._bells: dict[tuple[asyncio.AbstractEventLoop, str], _Bell] = {}
        self._reading = Together()
        self._streams = 0

    def close(self) -> None:
        """Let all who wait go on, with nothing new."""
        self.over = True
        for bell in self._bells.values():
            bell.ring()

    async def wait(self, served: Served, since: int, seconds: float) -> bool:
        """Wait until there is an event after a number, or so many seconds have gone; return whether there is one."""
        if self.over:
            return False
        key = (asyncio.get_running_loop(), served.id)
        bell = self._bells.get(key)
        if bell is None:
            bell = self._bells[key] = _Bell(served)
        bell.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                while not self.over and bell.newest <= since and bell.error is None:
                    await bell.rung.wait()
        except TimeoutError:
            pass
        finally:
            bell.waiting -= 1
            if not bell.waiting:
                bell.task.cancel()
                del self._bells[key]
        return bell.newest > since or bell.error is not None

    async def page(self, served: Served, since: int, limit: int) -> Page:
        """Return the events after a number; those who ask at once share one reading. Errors as of `Served.events`."""
        page: Page = await self._reading.ask(served.id, (since, limit), lambda: served.events(since, limit))
        return page

    async def told(self, served: Served, since: int, text: Callable[[Page], bytes]) -> tuple[Page, bytes]:
        """Return the events after a number, and a text of them that is made once for all who ask at once.

        Parameters
        ----------
        served : Served
        since : int
        text : callable
            The same function for all.
        """

        def read() -> tuple[Page, bytes]:
            page = served.events(since, MOST)
            return page, text(page)

        found: tuple[Page, bytes] = await self._reading.ask(served.id, since, read)
        return found

    def begin_stream(self) -> None:
        """Count a stream, until `end_stream`; HTTPException 503 where there are too many, or the server ends."""
        if self.over or self._streams >= MOST_STREAMS:
            raise HTTPException(503, f"{MOST_STREAMS} streams are open; ask for events.", {"Retry-After": "10"})
        self._streams += 1

    def end_stream(self) -> None:
        """Count it no more."""
        self._streams -= 1


class _Bell:
    """The newest number of a project, and who is to be told."""

    def __init__(self, served: Served) -> None:
        self.newest = -1
        self.waiting = 0
        self.rung = asyncio.Event()
        self.error: BaseException | None = None
        """What stopped the looking; who waits asks for the events, and is told what is wrong."""
        self.task = asyncio.ensure_future(self._look(served))

    def ring(self) -> None:
        self.rung.set()
        self.rung = asyncio.Event()

    async def _look(self, served: Served) -> None:
        looks = 0
        try:
            while True:
                number = await to_thread.run_sync(served.newest)
                if number is None or looks % _SURE == _SURE - 1:
                    with suppress(BioimageError):
                        number = max(number or 0, await to_thread.run_sync(served.last))
                if number is not None and number > self.newest:
                    self.newest = number
                    self.ring()
                looks += 1
                await asyncio.sleep(LOOK)
        except OSError as error:
            self.error = error
            self.ring()
