"""How far a run is, for people: a bar in a terminal or a notebook, a line a minute in a log."""

from __future__ import annotations

import sys
from contextlib import suppress
from time import monotonic
from typing import Any

LINE_SECONDS = 60.0
"""How often a line is written where there is no terminal; a run that is shorter writes none."""


class Lines:
    """What a bar shows, as a line a minute on standard error."""

    def __init__(self, total: int, name: str) -> None:
        self.n, self.total, self.name = 0, total, name
        self._begin = self._last = monotonic()
        self._first: int | None = None
        self._failed = ""

    def update(self, n: int) -> None:
        """Take note of blocks, and write a line where it is time."""
        now = monotonic()
        self.n += n
        if self._first is None:  # what an earlier session has done says nothing of the speed
            self._first, self._begin = self.n, now
        if now - self._last >= LINE_SECONDS:
            self._last = now
            done, seconds = self.n - self._first, now - self._begin
            self._write(done / seconds if seconds > 0 else 0.0)

    def _write(self, rate: float) -> None:
        line = f"{self.name}: {self.n} of {self.total} blocks ({100 * self.n // max(1, self.total)} %)"
        if rate > 0:
            line += f", {rate:.3g} a second, about {_span((self.total - self.n) / rate)} left"
        with suppress(OSError, ValueError):  # whoever read this has gone
            sys.stderr.write(line + self._failed + "\n")
            sys.stderr.flush()

    def set_postfix(self, failed: int) -> None:
        """Say how many blocks failed."""
        self._failed = f", {failed} failed"

    def close(self) -> None:
        """There is nothing to leave behind."""


def bar(total: int, name: str, *, wanted: bool) -> Any:
    """A bar of tqdm, or `Lines` where neither a terminal nor a notebook shows one; None where nobody wants it."""
    if not (wanted and name) or sys.stderr is None:
        return None
    if _in_notebook():
        from tqdm.auto import tqdm as widget

        return widget(total=total, desc=name, unit="block")
    if not sys.stderr.isatty():
        return Lines(total, name)
    from tqdm import tqdm

    return tqdm(total=total, desc=name, unit="block")


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "1 min"
