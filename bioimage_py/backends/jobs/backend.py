"""Workers as jobs of a scheduler, on a run folder that every node sees.

What the run folder says goes before what the scheduler says: a worker's small parent (`job`) writes how it ended, and
its heartbeat tells that it lives. The scheduler is asked for what nobody can write: that a job was cancelled, ran out
of time or memory, was preempted, or lost its node. Where it does not answer, nobody is held dead; and what it says of
an end is believed once the worker cannot write any more (`backends.dismissal`).
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ...errors import ConfigError, RunningError
from ...run_folder import RunFolder
from ...system.processes import FENCED_SECONDS, end_named
from ..base import Backend, BackendEvent, Limits, Work
from ..config import memory_bytes
from ..dismissal import Dismissal
from . import orders
from .endings import VANISHED, JobWorker, explain, log_of
from .orders import STALE_SECONDS
from .scheduler import TERMINAL, UNLISTED, Scheduler
from .submission import Submitter, submit_driver, submit_program

QUEUE_SECONDS = 30.0
"""How long cancelled jobs may take to leave the queue."""
END_SECONDS = 2.0
"""How long to wait for the last word of a worker whose job the scheduler calls ended."""
KILLED_SECONDS = 10.0
"""How long to wait for the scheduler to say who killed a worker."""
LOOK_SECONDS = 0.1
FIRST_QUERY = 1.0
BAD_NODE = 2
"""Failures after which a node is excluded."""


def cancelled(scheduler: Scheduler, names: Collection[str]) -> bool:
    """Cancel the jobs of these names and wait until they have left the queue; whether they have."""
    deadline = monotonic() + QUEUE_SECONDS
    while names:
        scheduler.cancel_named(names)
        if scheduler.queued(names) == set():
            break
        if monotonic() > deadline:
            return False
        sleep(0.2)
    return True


class JobsBackend(Backend):
    """Workers as jobs of a scheduler.

    Parameters
    ----------
    config : object, optional
        By default that of the user's configuration file.
    """

    limits = Limits(kills_blocks=True, detaches=True, one_machine=False, durability="node")

    def __init__(self, config: Any = None) -> None:
        super().__init__(self.default_config() if config is None else config)
        self.scheduler = self.scheduler_for(self.config)
        self._folder: Path | None = None
        self._waiting: list[str] = []
        self._jobs: dict[str, JobWorker] = {}
        self._events: list[BackendEvent] = []
        self._too_slow: set[str] = set()
        self._failures: dict[str, int] = {}
        self.job_bytes = memory_bytes("mem", self.config.mem)
        self._most = memory_bytes("max_mem", self.config.max_mem)
        self._submitter = Submitter(self.config, self.scheduler)
        self._query = self.scheduler.StateQuery()
        self._interval = FIRST_QUERY
        self._next_query = self._next_look = 0.0
        self._cancelled = False

    @classmethod
    @abstractmethod
    def scheduler_for(cls, config: Any) -> Scheduler:
        """The scheduler of settings."""

    @classmethod
    @abstractmethod
    def scheduler_of(cls, folder: Path) -> Scheduler:
        """The scheduler that has the jobs of a run."""

    @classmethod
    def left_workers(cls, folder: Path) -> bool:
        """Whether jobs of a run wait or work."""
        return bool(names := orders.names_of(folder)) and bool(cls.scheduler_of(folder).queued(names))

    @classmethod
    def left_driver(cls, folder: Path) -> bool:
        """Whether a job drives a run, or waits to."""
        return bool(names := orders.driver_names(folder)) and bool(cls.scheduler_of(folder).queued(names))

    @classmethod
    def end_left(cls, folder: Path) -> bool:
        """Cancel all jobs of a run but this one; whether none is left. Where no scheduler is known they end alone."""
        with suppress(ConfigError):
            if not cancelled(cls.scheduler_of(folder), orders.names_of(folder) - orders.mine()):
                return False
        return orders.unlisted_gone(folder.absolute(), set())

    def start(self, worker: str, work: Work) -> None:
        """Note a worker; all that are noted are submitted together by `ended`."""
        if work.folder is None:
            raise ConfigError("jobs need a run folder", remedy='job_type="local"')
        self._open(Path(work.folder).absolute())
        self._waiting.append(worker)

    def _open(self, folder: Path) -> None:
        if self._folder != folder:
            self._folder, self._jobs, self._cancelled = folder, {}, False
            self._submitter.begin(folder, self.pool)

    def adopt(self, folder: Path) -> frozenset[str]:
        """Workers of this run's earlier drivers whose jobs wait or run; from now on they are this one's."""
        self._open(folder.absolute())
        self.scheduler.cancel_named(orders.driver_names(folder) - orders.mine())  # this process drives the run now
        self._jobs = {worker.worker: worker for worker in orders.living(folder.absolute(), self.scheduler)}
        # who is in no queue any more may work all the same: it is told to leave
        if not orders.unlisted_gone(folder.absolute(), set(self._jobs)):
            raise RunningError(
                f"workers of the run in {folder} whose jobs the scheduler has forgotten are still at work",
                remedy=self.end_by_hand(folder),
            )
        self._submitter.names += sorted({worker.name for worker in self._jobs.values()})
        return frozenset(self._jobs)

    def alive(self) -> set[str]:
        """Names of the workers that wait or work."""
        return {*self._jobs, *self._waiting}

    def ended(self) -> list[BackendEvent]:
        """Ends of workers since the last call."""
        if self._waiting and not self._cancelled:
            self._submit()
        self._look()
        events, self._events = self._events, []
        return events

    def _look(self) -> None:
        """Find workers that have ended, and note how."""
        if self._jobs and monotonic() >= self._next_look:
            self._read_marks()
            self._ask()
            self._judge()
            self._next_look = monotonic() + LOOK_SECONDS

    def _submit(self) -> None:
        avoid = [node for node, times in self._failures.items() if times >= BAD_NODE]
        given = self._submitter.give(self._waiting, self.job_bytes, avoid, alone=not self._jobs)
        self.submitted = self._submitter.submitted
        self._jobs.update({worker.worker: worker for worker in given})
        if given:
            self._interval, self._next_query = FIRST_QUERY, monotonic() + FIRST_QUERY

    def kill(self, worker: str) -> None:
        """Cancel the job of a worker that is too slow; the end is reported by `ended`."""
        if worker in self._jobs:
            self._too_slow.add(worker)
            self.scheduler.cancel(self._jobs[worker].job)
            self._next_query = 0.0

    def join(self, timeout: float | None = None) -> None:
        """Wait until no worker works; those that wait in the queue are cancelled, or kept for the pool's next run."""
        deadline = None if timeout is None else monotonic() + timeout
        self._waiting.clear()
        if self._jobs and not self._cancelled:
            if self.pool is None:
                self.scheduler.cancel_named([worker.name for worker in self._jobs.values()], pending=True)
            else:
                self._keep_queued()
            self._cancelled, self._next_query = True, 0.0
        while self._jobs:
            self._look()
            if monotonic() >= self._next_query:
                self._drop_unqueued()
            if deadline is not None and monotonic() > deadline:
                break
            sleep(LOOK_SECONDS / 2)
        if not self._jobs:
            self._folder = None  # the same run may be begun again

    def _keep_queued(self) -> None:
        """Take the order back from the jobs that have not begun; they will find the next one."""
        assert self._folder is not None
        for worker in [one for one in self._jobs.values() if not self._heartbeat(one.worker).exists()]:
            (RunFolder(self._folder).gone / worker.worker).touch()
            self._jobs.pop(worker.worker)
            self._submitter.free.append(worker)

    def _drop_unqueued(self) -> None:
        self._next_query = monotonic() + FIRST_QUERY
        queued = self.scheduler.queued({worker.name for worker in self._jobs.values()})
        for worker in list(self._jobs.values()):
            gone = worker.job not in queued if queued is not None else self._lost(worker)
            if gone and monotonic() - worker.submitted > END_SECONDS and self._is_over(worker):
                self._jobs.pop(worker.worker)

    def leave(self) -> None:
        """Let the jobs go on without this driver."""
        self._waiting.clear()
        self._jobs.clear()
        self._submitter, self.submitted = Submitter(self.config, self.scheduler), 0
        self._folder = self.pool = None

    def detach(self, folder: Path) -> str:
        """Submit the job that drives a run from now on; its id."""
        return submit_driver(folder.absolute(), self.config, self.scheduler)

    def begin_program(self, command: Sequence[str], log: Path) -> dict[str, Any]:
        """Submit a job that runs a program."""
        return submit_program(command, log, self.config, self.scheduler)

    def abandon(self) -> None:
        """Cancel all jobs."""
        self._waiting.clear()
        self._jobs.clear()
        self._submitter.free.clear()
        cancelled(self.scheduler, self._submitter.names)

    def close(self) -> None:
        """Cancel what is left in the queue."""
        if self._jobs:
            self.abandon()
        self._submitter.end_pool()

    def _heartbeat(self, worker: str) -> Path:
        assert self._folder is not None
        return RunFolder(self._folder).beats / worker

    def _read_marks(self) -> None:
        assert self._folder is not None
        # a listing refreshes what this host knows of a shared folder
        for name in os.listdir(RunFolder(self._folder).ends):
            worker = self._jobs.get(name.removesuffix(".json"))
            if worker is not None and worker.mark is None and name.endswith(".json"):
                with suppress(OSError, ValueError):  # listed, but not to be read yet
                    worker.mark = json.loads((RunFolder(self._folder).ends / name).read_text())
                    worker.ended = monotonic()

    def _ask(self) -> None:
        now = monotonic()
        if not self._query.asked and now >= self._next_query and not self._cancelled:
            arrays = sorted({worker.job.partition("_")[0] for worker in self._jobs.values()})
            self._query.ask(arrays, sorted({worker.name for worker in self._jobs.values()}))
            self._interval = min(1.5 * self._interval, max(self.config.poll_interval, FIRST_QUERY))
            self._next_query = now + self._interval
        answer = self._query.answer()
        if answer is None:
            return
        for worker in self._jobs.values():
            worker.state, worker.nodes = answer.get(worker.job, ("", worker.nodes))
            if worker.state == UNLISTED:
                worker.state = VANISHED if self._lost(worker, FENCED_SECONDS) else ""
            if worker.state in {*TERMINAL, VANISHED}:
                worker.ended = worker.ended or now
            elif worker.mark is None and (self._lost(worker) if not worker.state else self._silent(worker)):
                worker.state, worker.ended = VANISHED, now - END_SECONDS

    def _lost(self, worker: JobWorker, silence: float | None = None) -> bool:
        """Whether a job that the scheduler does not list must be dead: it gives no sign of life."""
        assert self._folder is not None
        silence = STALE_SECONDS if silence is None else silence
        try:
            beat = self._heartbeat(worker.worker).stat().st_mtime
        except FileNotFoundError:
            return bool(monotonic() - worker.submitted > max(silence, self.config.latency_wait))
        age: float = RunFolder(self._folder).heartbeat.stat().st_mtime - beat
        return age > silence

    def _is_over(self, worker: JobWorker) -> bool:
        """Whether a worker that is held dead cannot write any more; until then it is told to leave."""
        assert self._folder is not None
        if worker.mark is not None:
            return True
        if worker.dismissal is None:
            worker.dismissal = Dismissal(self._folder, worker.worker, RunFolder(self._folder).process_of(worker.worker))
        with suppress(RunningError):  # where it is a process of this host
            end_named(RunFolder(self._folder).process_of(worker.worker))
        return worker.dismissal.over

    def _silent(self, worker: JobWorker) -> bool:
        """Whether a job that is listed gives no sign of life any more, where the scheduler does not see nodes."""
        there = not self.scheduler.SEES_NODES and self._heartbeat(worker.worker).exists()
        return there and self._lost(worker)

    def _judge(self) -> None:
        for worker in [worker for worker in self._jobs.values() if worker.ended is not None]:
            kind, detail = ("too slow", "cancelled") if worker.worker in self._too_slow else explain(worker)
            assert worker.ended is not None
            patience = 0.0 if worker.mark is not None else END_SECONDS
            if kind == "killed" and worker.state not in TERMINAL:
                patience, self._next_query = KILLED_SECONDS, min(self._next_query, monotonic() + FIRST_QUERY)
            elif kind == "no word":
                patience = self.config.latency_wait
            if monotonic() - worker.ended >= patience and self._is_over(worker):
                self._end(worker, "killed" if kind == "no word" else kind, detail)

    def _end(self, worker: JobWorker, kind: str, detail: str) -> None:
        assert self._folder is not None
        self._jobs.pop(worker.worker)
        if worker.stays and worker.pool == str(self.pool):
            self._submitter.free.append(worker)
        elif worker.stays:  # it waits where a driver that has gone gave orders
            self.scheduler.cancel(worker.job)
        if kind != "finished":
            (RunFolder(self._folder).gone / worker.worker).touch()
        if kind == "node":
            for node in filter(None, worker.nodes.split(",")):
                self._failures[node] = self._failures.get(node, 0) + 1
        if kind == "memory":
            kind = self._more_memory(worker)
        elif kind == "cancelled" and not self._cancelled:
            detail += " (by you or the site); the same call continues the run"
        if kind not in ("finished", "crashed", "wall time"):
            detail += log_of(self._folder, worker)
        peak = (worker.mark or {}).get("peak_bytes", 0)
        self._events.append(BackendEvent(worker.worker, kind, detail, None, peak))

    def _more_memory(self, worker: JobWorker) -> str:
        if worker.mem is None or self.job_bytes is None or self._most is None:
            return "memory"
        if worker.mem == self.job_bytes:
            self.job_bytes = min(2 * self.job_bytes, self._most)
        return "more memory" if worker.mem < self.job_bytes else "memory"
