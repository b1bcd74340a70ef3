"""Several processes that answer requests at one address: started, watched, started again, and ended together."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

log = logging.getLogger("bioimage_py.server")
_ENDINGS = (signal.SIGTERM, signal.SIGINT)
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
        self._count, self._start = count, (target, arguments)
        self._context = multiprocessing.get_context("spawn")  # whatever threads this process has
        self._running: dict[SpawnProcess, float] = {}

    def begin(self) -> None:
        """Start them."""
        while len(self._running) < self._count:
            self._new()

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
                self._new()

    def end(self, seconds: float) -> None:
        """End all of them; those that take longer are killed. This process can't be told to end meanwhile."""
        for number in _ENDINGS:
            signal.signal(number, signal.SIG_IGN)
        deadline = time.monotonic() + seconds
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _new(self) -> None:
        target, arguments = self._start
        # a daemon is ended with this process, however that comes to its end: all others it waits for
        process = self._context.Process(target=_begin, args=(target, *arguments), daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
        try:  # told to end in between, it would be forgotten
            process.start()
            self._running[process] = time.monotonic()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(target: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True, name="parent").start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)  # which were while it was started
    target(*arguments)


def _end_with_parent() -> None:
    """End at once when the process that started this one was killed, which leaves its address to the next one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
