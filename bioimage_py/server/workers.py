"""Several processes that answer requests at one address: started, watched, started again, and ended together."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

log = logging.getLogger("bioimage_py.server")
_PAUSE = 1.0
"""Seconds before a process is started in the place of one that has died young."""


class Workers:
    """Processes that do the same until they are told to end.

    Parameters
    ----------
    count : int
    target : callable
        What each does; of a module, as it is imported there.
    *arguments
        Sockets among them are shared.
    """

    def __init__(self, count: int, target: Callable[..., None], *arguments: Any) -> None:
        self._start = target, arguments
        self._context = multiprocessing.get_context("spawn")  # whatever threads this process has
        self._running = {self._new(): time.monotonic() for _ in range(count)}

    def watch(self) -> None:
        """Start processes in the place of those that die, for ever."""
        while True:
            wait([process.sentinel for process in self._running])
            for process in [one for one in self._running if not one.is_alive()]:
                begun = self._running.pop(process)
                about = {"pid": process.pid, "code": process.exitcode}
                log.error("a process has died and is started again", extra={"about": about})
                process.close()
                if time.monotonic() - begun < _PAUSE:
                    time.sleep(_PAUSE)
                self._running[self._new()] = time.monotonic()

    def end(self, seconds: float) -> None:
        """End all of them; those that take longer are killed."""
        deadline = time.monotonic() + seconds
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _new(self) -> SpawnProcess:
        target, arguments = self._start
        process = self._context.Process(target=_begin, args=(target, *arguments))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        try:  # told to end in between, it would be forgotten
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process


def _begin(target: Callable[..., None], *arguments: Any) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})  # which were while it was started
    target(*arguments)


def parent_gone() -> int | None:
    """Return a file descriptor that can be read once the process that started this one has died; None for none."""
    parent = multiprocessing.parent_process()
    return None if parent is None else int(parent.sentinel)
