"""Rung when there is news in a run folder, for who waits in the same process; other processes look now and then."""

from __future__ import annotations

import threading


class Bell:
    """Ends the waiting of threads.

    What is rung between a look at the folder and the waiting after it is not missed: `wait` is told how often the bell
    had been rung (`rung`) before that look.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.rung = 0

    def ring(self) -> None:
        """Wake all who wait."""
        with self._condition:
            self.rung += 1
            self._condition.notify_all()

    def wait(self, heard: int, seconds: float) -> None:
        """Wait until it has been rung more often, at most so long."""
        with self._condition:
            self._condition.wait_for(lambda: self.rung != heard, seconds)
