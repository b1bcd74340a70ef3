"""Progress, for people: a bar in a terminal or a notebook, a line a minute in a log; and workers that are too slow."""

from __future__ import annotations

import sys
from contextlib import suppress
from time import monotonic, perf_counter
from typing import Any

from ..ledger.interface import Ledger, Progress
from ..planning.stage import Plan

POLL_SECONDS = 0.1
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


class ProgressBar:
    """A bar over the blocks of all stages; silent without a name."""

    def __init__(self, plan: Plan) -> None:
        total = sum(stage.units.n_blocks for stage in plan.stages)
        self._bar = bar(total, plan.name, wanted=plan.execution.progress)
        self._next = 0.0

    def update(self, ledger: Ledger, *, now: bool = False) -> None:
        """Show how far the run is; unless it must be now, only where looking takes little of the driver's time."""
        begin = perf_counter()
        if self._bar is None or (begin < self._next and not now):
            return
        self._bar.update(ledger.done() - self._bar.n)
        if failed := sum(len(record.failures) for record in ledger.records):
            self._bar.set_postfix(failed=failed)
        self._next = perf_counter() + max(POLL_SECONDS, 4 * (perf_counter() - begin))

    def close(self) -> None:
        """Leave the terminal line."""
        if self._bar is not None:
            self._bar.close()


class Watch:
    """Finds workers that are in one block, or in one batch, for too long."""

    def __init__(self, plan: Plan) -> None:
        self._limits = (plan.execution.block_timeout, plan.execution.settings.task_timeout)
        self.on = self._limits != (None, None)
        self._since: dict[tuple[str, int], tuple[Any, float]] = {}

    def too_slow(self, progress: dict[str, Progress], alive: set[str]) -> list[str]:
        """Workers beyond a limit."""
        now = perf_counter()
        slow = []
        for worker, at in progress.items():
            if worker not in alive or at.block < 0:
                continue
            marks = ((at.stage, at.block, at.done), at.batch)
            for which, (limit, mark) in enumerate(zip(self._limits, marks, strict=True)):
                before, since = self._since.get((worker, which), (None, now))
                if before != mark:
                    self._since[worker, which] = (mark, now)
                elif limit is not None and now - since > limit and worker not in slow:
                    slow.append(worker)
        return slow
