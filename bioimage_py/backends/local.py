"""Workers as threads of this process, for kernels that release the GIL."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from time import monotonic, sleep
from typing import Any

from .base import Backend, BackendEvent, Limits, Work

_START_SECONDS = 5.0
"""How long a thread may take to begin on a loaded machine."""


class LocalBackend(Backend):
    """Threads in this process.

    They share the caller's arrays and start at once; a block cannot be killed and a crash of the process ends the
    run.
    """

    limits = Limits(shares_memory=True)

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._threads: dict[str, threading.Thread] = {}
        self._ends: queue.SimpleQueue[BackendEvent] = queue.SimpleQueue()

    def start(self, worker: str, work: Work) -> None:
        """Start a thread."""
        thread = threading.Thread(target=self._run, args=(worker, work), name=f"bioimage_py-{worker}", daemon=True)
        self._threads[worker] = thread
        try:
            thread.start()
        except KeyboardInterrupt:
            # it may be about to begin all the same; once it has, it is waited for
            deadline = monotonic() + _START_SECONDS
            while thread.ident is None and monotonic() < deadline:
                sleep(0.01)
            raise

    def _run(self, worker: str, work: Work) -> None:
        try:
            work(worker)
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to: the driver hears of it
            # not repr, which leaves out the path of an OSError
            self._ends.put(BackendEvent(worker, "crashed", f"{type(error).__name__}: {error}", error))
        else:
            self._ends.put(BackendEvent(worker, "finished"))

    def alive(self) -> set[str]:
        """Names of the threads that run."""
        return {name for name, thread in self._threads.items() if thread.is_alive()}

    def ended(self) -> list[BackendEvent]:
        """Ends of threads since the last call."""
        ends = []
        while not self._ends.empty():
            ends.append(self._ends.get())
        return ends

    def join(self, timeout: float | None = None) -> None:
        """Wait until all threads have ended."""
        for thread in self._threads.values():
            with suppress(RuntimeError):  # Ctrl-C came before it was started
                thread.join(timeout)
