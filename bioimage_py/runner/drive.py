"""The driver's loop: it starts workers, carries events to the supervisor, and carries its decisions out."""

from __future__ import annotations

from time import perf_counter

from ..backends.base import Backend
from ..errors import BioimageError
from .ledger import MemoryLedger, Results
from .memory import peak_bytes
from .plan import Plan, cut_batches
from .report import RunReport, StageReport, failure_of
from .supervisor import Decision, Open, Retry, StageRules, Stop, Supervisor, WorkerEnded
from .threads import limited_threads
from .work import StageHandles, work

POLL_SECONDS = 0.1


class Progress:
    """A progress bar over the blocks of all stages; silent without a name or off a terminal."""

    def __init__(self, plan: Plan) -> None:
        from tqdm import tqdm

        total = sum(stage.units.n_blocks for stage in plan.stages)
        silent = not (plan.name and plan.execution.progress)
        # None: only where stderr is a terminal
        self._bar = tqdm(total=total, desc=plan.name, unit="block", disable=True if silent else None)

    def update(self, ledger: MemoryLedger) -> None:
        """Show how far the run is."""
        if not self._bar.disable:
            self._bar.update(sum(ledger.counts.values()) - self._bar.n)
            failed = sum(len(record.failures) for record in ledger.records)
            if failed:
                self._bar.set_postfix(failed=failed)

    def close(self) -> None:
        """Remove the bar's state from the terminal line."""
        self._bar.close()


class _Work:
    """The worker loop of a run in this process."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger
        self._handles = StageHandles(ledger)

    def __call__(self, worker: str) -> None:
        work(worker, self._ledger, self._handles)


def drive(plan: Plan, backend: Backend) -> RunReport:
    """Execute a plan.

    Returns
    -------
    RunReport
        ``results`` is a `Results` over all stages.

    Raises
    ------
    RunnerError
        Blocks failed; nothing that was written is lost.
    KeyboardInterrupt
        After the blocks that were running have ended.
    """
    begin = perf_counter()
    ledger = MemoryLedger(plan)
    marks: list[tuple[float, int]] = []
    reason = ""
    crash: BaseException | None = None
    widest = max((stage.units.n_groups for stage in plan.stages), default=0)
    workers = [f"w{index}" for index in range(min(plan.execution.num_workers, widest))]
    supervisor = Supervisor([_rules(plan, index) for index in range(len(plan.stages))], len(workers))
    progress = Progress(plan)
    try:
        with limited_threads(plan.execution.num_workers):
            try:
                _apply(supervisor.begin(), ledger)
                task = _Work(ledger)
                for worker in workers:
                    backend.start(worker, task)
                while not supervisor.over:
                    decisions: list[Decision] = []
                    for event in ledger.events(POLL_SECONDS):
                        decisions += supervisor.handle(event)
                    for end in backend.ended():
                        crash = crash or end.error
                        decisions += supervisor.handle(WorkerEnded(end.worker, end.kind, end.detail))
                    reason = _apply(decisions, ledger) or reason
                    _mark(marks, begin)
                    progress.update(ledger)
            finally:
                ledger.close(stop=bool(reason) or not supervisor.over)
                backend.join()
                progress.update(ledger)
    finally:
        progress.close()
    if reason:
        if crash is not None and not any(record.failures for record in ledger.records):
            if isinstance(crash, BioimageError):
                raise crash
            raise failure_of(plan.name, ledger.records, reason) from crash
        raise failure_of(plan.name, ledger.records, reason)
    _mark(marks, begin)
    return RunReport(
        plan.name,
        tuple(StageReport.of(record) for record in ledger.records),
        perf_counter() - begin,
        plan.execution.num_workers,
        peak_bytes(),
        tuple(marks),
        Results(ledger.records),
    )


def _rules(plan: Plan, index: int) -> StageRules:
    stage, how = plan.stages[index], plan.execution
    allowed = max(10, stage.units.n_blocks // 100) if how.max_failures is None else how.max_failures
    n_batches = len(cut_batches(index, stage.units.n_groups, how.num_workers))
    return StageRules(stage.units.n_blocks, n_batches, how.retries if stage.repeatable else 0, allowed)


def _apply(decisions: list[Decision], ledger: MemoryLedger) -> str:
    """Carry decisions out; returns the reason of a stop."""
    reason = ""
    for decision in decisions:
        if isinstance(decision, Open):
            ledger.open(decision.stage)
        elif isinstance(decision, Retry):
            ledger.retry(decision)
        elif isinstance(decision, Stop):
            reason = decision.reason
    return reason


def _mark(marks: list[tuple[float, int]], begin: float) -> None:
    peak = peak_bytes()
    if not marks or peak > marks[-1][1]:
        marks.append((perf_counter() - begin, peak))
