"""Questions that many ask at once: one thread answers them in their order, the same one once.

A thread for each would take longer than the answers: it has to be woken, and all of them wait for one interpreter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from anyio import to_thread

_SOME = 32
"""Answered before those who have asked for them go on: the first ones do not wait for the last."""


class Together:
    """Questions, by event loop and by what they are about."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, dict[Hashable, _Question]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, about: Hashable, key: Hashable, question: Callable[[], Any]) -> Any:
        """Return what a function returns, or raise what it raises; those who ask for the same key at once share it.

        Parameters
        ----------
        about : hashable
            Those about something else are answered beside these.
        key : hashable
        question : callable
            Called in a thread, later than this was asked.
        """
        loop = asyncio.get_running_loop()
        waiting = self._asked.get((loop, about))
        if waiting is None:
            waiting = self._asked[loop, about] = {}
            self._tasks.add(task := asyncio.ensure_future(self._answer((loop, about), waiting)))
            task.add_done_callback(self._tasks.discard)
        if key not in waiting:
            waiting[key] = _Question(question, loop.create_future())
        return await asyncio.shield(waiting[key].answer)

    async def _answer(self, where: Hashable, waiting: dict[Hashable, _Question]) -> None:
        try:
            while waiting:
                some = [waiting.pop(key) for key in list(waiting)[:_SOME]]  # who comes from now on, asks anew
                for one, (value, error) in zip(some, await to_thread.run_sync(_answers, some), strict=True):
                    if error is None:
                        one.answer.set_result(value)
                    else:
                        one.answer.set_exception(error)
                        one.answer.exception()  # nobody may be there any more who wants to know
        finally:
            del self._asked[where]


class _Question(NamedTuple):
    function: Callable[[], Any]
    answer: asyncio.Future[Any]


def _answers(some: list[_Question]) -> list[tuple[Any, Exception | None]]:
    return [_answered(one.function) for one in some]


def _answered(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return function(), None
    except Exception as error:  # noqa: BLE001 - raised where it was asked for
        return None, error
