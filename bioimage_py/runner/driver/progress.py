"""Progress: the bar, and workers that are in one block for too long."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from ..ledger.interface import Ledger, Progress
from ..planning.stage import Plan
from .progress_lines import bar

POLL_SECONDS = 0.1


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
        self._show(ledger)
        self._next = perf_counter() + max(POLL_SECONDS, 4 * (perf_counter() - begin))

    def _show(self, ledger: Ledger) -> None:
        self._bar.update(ledger.done() - self._bar.n)
        if failed := sum(len(record.failures) for record in ledger.records):
            self._bar.set_postfix(failed=failed)

    def close(self) -> None:
        """Leave the terminal line."""
        if self._bar is not None:
            self._bar.close()


class Watch:
    """Finds workers that are in one block, or in one batch, for too long."""

    def __init__(self, plan: Plan) -> None:
        self._limits = (plan.execution.block_timeout, plan.execution.settings.task_timeout)
        self._since: dict[tuple[str, int], tuple[Any, float]] = {}

    @property
    def on(self) -> bool:
        """Whether there is a limit."""
        return any(limit is not None for limit in self._limits)

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
