"""The driver's loop: it starts workers, carries events to the supervisor, and carries its decisions out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter, sleep, time
from typing import Any

from ...backends.base import Backend, BackendEvent
from ...errors import BioimageError, RunnerError, RunningError
from ...run_folder import RunFolder
from ...sources.arrays.tensor_handle import calls
from ...system.memory import freed_kept, peak_bytes
from ...system.threads import limited_threads
from ..lease.ownership import taken_over
from ..ledger.events import BatchEnded, BlocksDone, Event, Reissued, Released, Retry, WorkerEnded
from ..ledger.interface import Ledger, Loss
from ..ledger.records import MARK_GROWTH, BlockFailure, environment
from ..ledger.stage_record import Results
from ..planning.stage import Plan
from ..worker.loop import InProcess
from .progress import POLL_SECONDS, ProgressBar, Watch
from .report import RunReport, StageReport, failure_of
from .supervisor import Decision, Open, Reissue, SetAside, StageRules, Start, Stop, Supervisor

LEASE_SECONDS = 1.0
"""How often a driver looks whether the run is still its own."""
DETACH_SECONDS = 3.0
"""How long after Ctrl-C a second one cancels the jobs that would go on."""
_log = logging.getLogger(__name__)


class Left(KeyboardInterrupt):
    """The driver has left and its workers go on."""


class Driver:
    """Executes one plan."""

    def __init__(self, plan: Plan, backend: Backend, ledger: Ledger) -> None:
        self.plan = plan
        self.backend = backend
        self.ledger = ledger
        self.begin = perf_counter()
        self.marks: list[tuple[float, int]] = []
        self.reason = ""
        self.peaks: dict[str, int] = {}
        self.events: list[dict[str, Any]] = []
        self.crash: BaseException | None = None
        self.work = InProcess(ledger.workers(), ledger.path)
        self._losses: dict[str, Loss] = {}
        self._short: set[str] = set()
        self._started = 0
        self._submitted = backend.submitted
        self._looked = self.begin
        self._noted = 0
        self._watch = Watch(plan)
        how, rules = plan.execution, []
        for index, stage in enumerate(plan.stages):
            allowed = max(10, stage.units.n_blocks // 100) if how.max_failures is None else how.max_failures
            retries = how.retries if stage.repeatable else 0
            rules.append(StageRules(stage.units.n_blocks, ledger.batches(index), retries, allowed, stage.early))
        self.supervisor = Supervisor(
            rules,
            min(how.num_workers, plan.widest, backend.most_workers or plan.widest),
            one_machine=backend.limits.one_machine,
            live=len(ledger.adopted),
        )

    def run(self) -> RunReport:
        """Run to the end.

        Returns
        -------
        RunReport
            ``results`` is a `Results` over all stages.

        Raises
        ------
        RunnerError
            Blocks failed; nothing that was written is lost.
        RunningError
            Another driver has taken the run over.
        KeyboardInterrupt
            After the blocks that were running have ended; as `Left` at once, where workers go on without a driver.
        """
        progress = ProgressBar(self.plan)
        stop, leave = True, False
        try:
            with self._sharing():
                try:
                    self._loop(progress)
                    stop = bool(self.reason)
                except RunningError:  # the workers are another driver's
                    leave = True
                    raise
                except KeyboardInterrupt as interrupt:
                    if leave := self._may_leave(interrupt):
                        raise Left(f"the workers of {self.ledger.path} go on") from interrupt
                    if not self.backend.limits.detaches:
                        self._say_how_to_go_on(interrupt)
                    raise
                finally:
                    if leave:
                        self.backend.leave()
                    else:
                        self._end(stop)
                    progress.update(self.ledger, now=True)
        finally:
            progress.close()
        self._mark()
        records = zip(self.plan.stages, self.ledger.records, strict=True)
        if not self.reason and any(stage.early and record.n_done < stage.units.n_blocks for stage, record in records):
            self.reason = "blocks were left whose inputs have not all been written"
        if self.reason:
            raise self._failure()
        return self._report()

    @contextmanager
    def _sharing(self) -> Iterator[None]:
        """Arrange this process for the workers that are threads of it."""
        if not self.backend.limits.shares_memory:
            yield
            return
        workers = self.supervisor.num_workers
        with limited_threads(workers), freed_kept(), calls.expected(workers):
            yield

    def _say_how_to_go_on(self, interrupt: KeyboardInterrupt) -> None:
        folder = self.ledger.path
        how = "nothing of it is kept"
        if folder is not None:
            kept = RunFolder(Path(folder)).plan.exists()
            how = "the same call goes on" + (f", or: bioimage-py runs resume {folder}" if kept else "")
        interrupt.add_note(f"{self.plan.name or 'the run'} was interrupted: {how}")
        with suppress(OSError, ValueError):  # whoever read this has gone
            sys.stderr.write(f"\nEnding after the blocks that are running. Ctrl-C again does not wait.\n  {how}\n")

    def _may_leave(self, interrupt: KeyboardInterrupt) -> bool:
        """Whether the workers go on: not where they cannot, nor after a second Ctrl-C."""
        if not self.backend.limits.detaches:
            return False
        if isinstance(interrupt, Left):
            return True
        folder = self.ledger.path
        sys.stderr.write(
            f"\nLeaving in {DETACH_SECONDS:g} s: workers go on with the current stage. Ctrl-C again cancels them.\n"
            f"  come back: bioimage-py runs attach {folder}   (or the same call)\n"
            f"  cancel:    bioimage-py runs cancel {folder}\n"
        )
        try:
            sleep(DETACH_SECONDS)
        except KeyboardInterrupt:
            self.backend.abandon()
            return False
        return True

    def _end(self, stop: bool) -> None:
        self.ledger.close(stop=stop)
        self._join()
        # taken here, for a pool of workers must not tell the next run of this one's
        self.peaks.update({end.worker: end.peak_bytes for end in self.backend.ended() if end.peak_bytes})

    def _loop(self, progress: ProgressBar) -> None:
        try:
            self._apply(self.supervisor.begin())
            while not self.supervisor.over:
                self._step()
                progress.update(self.ledger)
        except OSError as error:
            self.reason = environment(error)
            if not self.reason:
                raise

    def _step(self) -> None:
        for event in self.ledger.events(POLL_SECONDS):
            self._handle(event)
        for end in self.backend.ended():
            self._worker_ended(end)
        self._kill_slow()
        self._mark()
        if perf_counter() - self._looked > LEASE_SECONDS:
            self._looked = perf_counter()
            if self.ledger.superseded:
                raise taken_over(Path(str(self.ledger.path)))

    def _kill_slow(self) -> None:
        if self._watch.on and self.backend.limits.kills_blocks:
            for worker in self._watch.too_slow(self.ledger.progress(), self.backend.alive()):
                self.backend.kill(worker)

    def _join(self) -> None:
        try:
            while self.backend.alive():
                self.backend.join(POLL_SECONDS)
                self._kill_slow()
        except BaseException:  # such as a second Ctrl-C: no worker may go on for a driver that has left
            self.backend.abandon()
            raise
        finally:
            self.work.close()

    def _handle(self, event: Event) -> None:
        # before the end of a batch is told: it may have been the last one that is open
        few = self.supervisor.open_batches <= 2 * self.supervisor.num_workers
        if released := self.ledger.release(few=few):
            self._apply(self.supervisor.handle(Released(released)))
        if not isinstance(event, (BlocksDone, BatchEnded)):
            self._note(event)
        self._apply(self.supervisor.handle(event))

    def _worker_ended(self, end: BackendEvent) -> None:
        self.crash = self.crash or end.error
        if end.peak_bytes:
            self.peaks[end.worker] = end.peak_bytes
        if end.kind == "finished":
            self._handle(WorkerEnded(end.worker, end.kind))
            return
        if end.kind not in ("crashed", "cannot start"):  # these have said it themselves, and wait for the next run
            self.ledger.end_worker(end.worker)
        # what the worker has still written counts, before it is held dead
        for event in self.ledger.events(0):
            self._handle(event)
        loss = self._losses[end.worker] = self.ledger.lost(end.worker)
        if end.kind == "more memory":
            self._short.add(end.worker)
        held, stage = loss.batch is not None, 0 if loss.batch is None else loss.batch.stage
        self._handle(WorkerEnded(end.worker, end.kind, end.detail, held, loss.running, loss.began, loss.done, stage))
        if self.supervisor.num_workers == 1:
            self.ledger.alone()

    def _apply(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            self._note(decision)
            if isinstance(decision, Start):
                for _ in range(decision.count):
                    self.backend.start(f"{self.ledger.session}w{self._started}", self.work)
                    self._started += 1
            elif isinstance(decision, Open):
                self.ledger.open(decision.stage)
            elif isinstance(decision, Retry):
                self.ledger.retry(decision)
            elif isinstance(decision, Reissue):
                loss = self._losses.pop(decision.worker)
                # not for a worker with as little memory as the one that had too little
                need = (self.backend.job_bytes or 0) if decision.worker in self._short else 0
                count = self.ledger.reissue(loss, decision.without, need)
                self._handle(Reissued(count))
            elif isinstance(decision, SetAside) and decision.why:
                self._set_aside(decision)
            elif isinstance(decision, Stop):
                self.reason = decision.reason

    def _set_aside(self, decision: SetAside) -> None:
        stage, record = self.plan.stages[decision.stage], self.ledger.records[decision.stage]
        for block_id in decision.blocks:
            error = RunnerError(decision.why)
            record.failures[block_id] = BlockFailure.of(
                decision.stage, block_id, stage.where(block_id), "several", 0, error
            )

    def _note(self, what: Event | Decision) -> None:
        note = {**self._now(), "event": type(what).__name__, **asdict(what)}
        self.events.append(note)
        _log.debug("%s: %s", self.plan.name or "run", what)
        self.ledger.note(note)

    def _mark(self) -> None:
        peak = peak_bytes()
        if not self.marks or peak > self.marks[-1][1]:
            self.marks.append((perf_counter() - self.begin, peak))
        if peak > MARK_GROWTH * self._noted:  # for reports of a run that does not end
            self._noted = peak
            self.ledger.note({**self._now(), "event": "Memory", "bytes": peak})

    def _now(self) -> dict[str, float]:
        return {"seconds": round(perf_counter() - self.begin, 4), "time": round(time(), 4)}

    def _failure(self) -> BaseException:
        records, folder = self.ledger.records, self.ledger.path
        for record in records:
            for failure in record.failures.values():
                # a once stage stands for the operation: its own error says more than that a block failed
                if record.stage.kind == "once" and isinstance(failure.error, BioimageError):
                    return failure.error
        error = failure_of(self.plan.name, records, self.reason, folder)
        if self.crash is not None and not any(record.failures for record in records):
            if isinstance(self.crash, BioimageError):
                return self.crash
            error.__cause__ = self.crash
        return error

    def _report(self) -> RunReport:
        return RunReport(
            self.plan.name,
            tuple(StageReport.of(record) for record in self.ledger.records),
            perf_counter() - self.begin,
            self.plan.execution.num_workers,
            peak_bytes(),
            tuple(self.marks),
            Results.of(self.ledger.records),
            worker_peaks=self.peaks,
            jobs=self.backend.submitted - self._submitted,
            events=tuple(self.events),
        )
