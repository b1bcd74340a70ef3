"""Giving workers to jobs: to those of a pool that are free, else to new arrays.

A token is in the name of each job and, before it is submitted, in the run folder. So a submission whose answer was
unclear is looked up by its name, and never repeated blindly.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ...errors import RunnerError
from ...run_folder import RunFolder
from ...system.files import own_folder, write_once
from ..config import SlurmConfig
from ..subprocess import worker_environment
from . import job
from .endings import JobWorker
from .orders import NAME, Order, prepare
from .scheduler import Scheduler

SUBMIT_TRIES = 6
OUTAGE_SECONDS = 3600.0
"""How long a run that has had jobs waits for a scheduler that does not answer."""
_OVERSTEPPED = re.compile(r"maxsubmit|array spec", re.IGNORECASE)
DRIVER_CODE = (
    "from bioimage_py.backends.jobs.orders import forget_own_job; forget_own_job();"
    " from bioimage_py.runner.control.attach import main; main()"
)


@dataclass
class Submission:
    """An array that is being submitted."""

    order: Order
    tries: int = 0
    why: str = ""
    begun: float = 0.0


class Submitter:
    """Submits workers of one run after the other.

    Parameters
    ----------
    config : SlurmConfig
    scheduler : Scheduler
    """

    def __init__(self, config: SlurmConfig, scheduler: Scheduler) -> None:
        self.config = config
        self.scheduler = scheduler
        self.run = Path()
        self.pool: Path | None = None
        self.submitted = 0
        """Jobs that were submitted so far."""
        self.names: list[str] = []
        self.free: list[JobWorker] = []
        """Jobs of the pool that wait for an order."""
        self._most = 0
        self._current: Submission | None = None
        self._next = 0.0

    def begin(self, run: Path, pool: Path | None) -> None:
        """Go over to another run."""
        self.run, self.pool = run, pool
        self._current, self._next = None, 0.0
        if pool is None:
            self.names.clear()
        prepare(run)

    def give(self, waiting: list[str], mem: int | None, avoid: list[str], *, alone: bool) -> list[JobWorker]:
        """Give waiting workers to jobs of ``mem`` bytes; those that found one are taken off the list.

        ``avoid`` are nodes not to use, ``alone`` says that no other job of this run is there. RunnerError where the
        scheduler refuses.
        """
        given = self._from_pool(waiting, mem)
        while waiting and monotonic() >= self._next:
            now = self._current = self._current or self._prepared(waiting, mem)
            array = self._submit(now, avoid, alone=alone and not given)
            if array is None:
                break
            self._current = None
            if array:
                now.order.job = array
                self._write(now.order)
                self.submitted += len(now.order.workers)
                given += now.order.jobs()
                del waiting[: len(now.order.workers)]
        return given

    def _from_pool(self, waiting: list[str], mem: int | None) -> list[JobWorker]:
        if not (waiting and self.free) or self.pool is None:
            return []
        queued = self.scheduler.queued({free.name for free in self.free}) or set()
        fit = [free for free in self.free if free.job in queued and (mem is None or (free.mem or 0) >= mem)]
        self.free = []
        given: list[JobWorker] = []
        while waiting and fit:
            free = fit.pop()
            array, _, index = free.job.rpartition("_")
            order = Order.of(free.name, {index: waiting[0]}, self.run, free.mem, self.pool, self.config)
            order.job = array
            label = f"{order.token}.{index}.{free.orders}"
            order.write(RunFolder(self.run).orders / f"{label}.json")
            try:
                job.link(str(self.pool), label, order.text())
            except FileExistsError:  # it has just left
                (RunFolder(self.run).orders / f"{label}.json").unlink()
                continue
            given.append(replace(next(order.jobs()), orders=free.orders + 1))
            del waiting[0]
        self.free = fit
        return given

    def _prepared(self, waiting: list[str], mem: int | None) -> Submission:
        self._most = self._most or self.scheduler.array_limit(self.config)
        name = NAME + secrets.token_hex(6)
        workers = {str(index): worker for index, worker in enumerate(waiting[: self._most])}
        order = Order.of(name, workers, self.run, mem, self.pool, self.config)
        self.names.append(name)
        self._write(order)
        return Submission(order, begun=monotonic())

    def _write(self, order: Order) -> None:
        for folder in filter(None, (self.pool, RunFolder(self.run).orders)):
            own_folder(folder)  # an order is a command
            order.write(folder / f"{order.token}.json")

    def _submit(self, now: Submission, avoid: list[str], *, alone: bool) -> str | None:
        """The id of the new array; empty where it has to be cut, None where it has to wait."""
        order = now.order
        folder = RunFolder(self.run).orders
        command = shlex.join([order.command[0], "-I", "-S", job.__file__, str(self.pool or folder), order.token])
        mem = None if order.mem is None else f"{-(-order.mem // 2**20)}M"
        what = (folder, order.name, len(order.workers), command, self.config, mem, ",".join(avoid))
        while True:
            array, now.why = _try(self.scheduler, now.why, *what)
            if array:
                return array
            now.tries += 1
            if _OVERSTEPPED.search(now.why):
                return self._cut(order, alone=alone)
            if not _transient(self.scheduler, now.why):
                break
            if not alone or self.submitted:  # this run has had jobs: an outage, which others may outlive
                if monotonic() - now.begun > OUTAGE_SECONDS:
                    break
                self._next = monotonic() + min(self.config.poll_interval, 2.0**now.tries)
                return None
            if now.tries == SUBMIT_TRIES:
                break
            sleep(min(30.0, 2.0**now.tries - 1))
        raise RunnerError(f"the scheduler refused the jobs: {now.why}", remedy="bioimage_py.runner.SlurmConfig(...)")

    def _cut(self, order: Order, *, alone: bool) -> str | None:
        """The site takes fewer at once: smaller arrays, or later."""
        self.names.remove(order.name)
        for folder in filter(None, (self.pool, RunFolder(self.run).orders)):
            (folder / f"{order.token}.json").unlink()
        self._current = None
        if len(order.workers) > 1:
            self._most = len(order.workers) // 2
            return ""
        if alone:
            raise RunnerError("the site's limits leave no room for a single job", remedy="squeue --me")
        self._most, self._next = 0, monotonic() + self.config.poll_interval
        return None

    def end_pool(self) -> None:
        """Have the free jobs end: they see that their pool has gone."""
        if self.free:
            self.scheduler.cancel_named([free.name for free in self.free], pending=True)
        self.free = []
        if self.pool is not None:
            shutil.rmtree(self.pool, ignore_errors=True)
            with suppress(OSError):
                self.pool.parent.rmdir()


def _try(scheduler: Scheduler, why: str, *what: Any) -> tuple[str, str]:
    """The id of jobs that are submitted, or why they are not; where an earlier try failed, they may be in already."""
    with suppress(OSError):
        if why and (found := scheduler.find(what[1])) is not None:
            return found, ""
    try:
        return scheduler.submit(*what), ""
    except (RuntimeError, OSError) as error:
        return "", str(error).strip()


def _transient(scheduler: Scheduler, why: str) -> bool:
    return any(word in why.lower() for word in scheduler.TRANSIENT)


def submit_driver(run: Path, config: SlurmConfig, scheduler: Scheduler) -> str:
    """Submit the job that drives a run; its id.

    Raises
    ------
    RunnerError
        The scheduler refuses.
    """
    prepare(run)
    python = os.fspath(config.python_executable or sys.executable)
    name = f"{NAME}driver-{secrets.token_hex(6)}"
    write_once(RunFolder(run).orders / name, b"", sync=True)
    return _submit_alone(RunFolder(run).orders, name, [python, "-c", DRIVER_CODE, str(run)], config, scheduler)


def submit_program(command: Sequence[str], log: Path, config: SlurmConfig, scheduler: Scheduler) -> dict[str, Any]:
    """Submit a job that runs a program, with the settings of a driver; its name and id.

    Raises
    ------
    RunnerError
        The scheduler refuses.
    """
    name = f"{NAME}pipeline-{secrets.token_hex(6)}"
    folder = log.parent / "jobs"
    own_folder(folder)
    return {"name": name, "job": _submit_alone(folder, name, command, config, scheduler)}


def _submit_alone(folder: Path, name: str, program: Sequence[str], config: SlurmConfig, scheduler: Scheduler) -> str:
    """Submit a single small job."""
    variables = [f"{key}={value}" for key, value in worker_environment(program[0]).items()]
    command = shlex.join(["env", *variables, *program])
    own, why = config.for_driver(), ""
    mem = None if own.mem is None else str(own.mem)
    for attempt in range(SUBMIT_TRIES):
        sleep(min(30.0, 2.0**attempt - 1))
        found, why = _try(scheduler, why, folder, name, 0, command, own, mem, "")
        if found:
            return found
        if not _transient(scheduler, why):
            break
    raise RunnerError(f"the scheduler refused the driver's job: {why}", remedy="bioimage_py.runner.SlurmConfig(...)")
