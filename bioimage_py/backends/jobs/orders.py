"""What a run folder says about its jobs: orders, heartbeats, marks of ends. From these another driver knows them.

``slurm/<token>.json`` is an order: which workers of the run the jobs of an array are. ``alive/``, ``ends/`` and
``gone/`` hold a file a worker.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from ...errors import RunningError
from ...run_folder import RunFolder
from ...system.files import own_folder, write_once
from ...system.processes import end_named
from ..dismissal import wait_until_over
from ..subprocess import WORKER_CODE, worker_environment
from . import job
from .endings import JobWorker
from .scheduler import Scheduler

NAME = "bioimage_py-"
"""In front of the token in the name of each job."""
_NAME = re.compile(NAME + r"[\w.-]+", re.ASCII)
STALE_SECONDS = 60.0
"""A heartbeat that is older, of a job that the scheduler does not know, is of a dead one."""
LEFT_SECONDS = 150.0
"""How long to wait for workers that the scheduler has forgotten and that are at work."""


@dataclass
class Order:
    """What the jobs of an array, called ``name``, are told: for which run folder, as which workers, by their indices.

    ``session`` is that of the driver, ``mem`` the bytes of a job; ``idle_timeout`` and ``latency_wait`` are those of
    the settings. Further orders are laid into the folder ``pool``. ``job`` is the id of the array, once it is known.
    """

    name: str
    workers: dict[str, str]
    run: str
    session: int
    mem: int | None
    idle_timeout: float
    latency_wait: float
    pool: str | None
    command: list[str]
    environment: dict[str, str]
    job: str | None = None
    python: str = field(default_factory=lambda: "{}.{}".format(*sys.version_info))

    @classmethod
    def of(
        cls, name: str, workers: dict[str, str], run: Path, mem: int | None, pool: Path | None, config: Any
    ) -> Order:
        """An order of the driver who owns a run."""
        session = RunFolder(run).session()
        python = os.fspath(config.python_executable or sys.executable)
        command, where = [python, "-c", WORKER_CODE], None if pool is None else str(pool)
        environment = worker_environment(python)
        waits = config.idle_timeout, config.latency_wait
        return cls(name, workers, str(run), session, mem, *waits, where, command, environment)

    @property
    def token(self) -> str:
        """What is in the name of its jobs only."""
        return self.name.removeprefix(NAME)

    def jobs(self) -> Iterator[JobWorker]:
        """Its workers, once the id of the array is known."""
        for index, worker in self.workers.items():
            yield JobWorker(worker, f"{self.job}_{index}", self.name, self.mem, monotonic(), self.pool)

    def write(self, path: Path) -> None:
        """Write it, so that it is there whole, also after a crash of this host."""
        write_once(path, self.text().encode(), sync=True)

    def text(self) -> str:
        """JSON."""
        return json.dumps(asdict(self))


def prepare(run: Path) -> None:
    """Make the folders in which orders and marks lie: nobody else gives orders."""
    inside = RunFolder(run)
    for path in (inside.orders, inside.beats, inside.ends, inside.gone):
        own_folder(path)


def orders_of(run: Path) -> list[tuple[Path, Order]]:
    """All orders of a run, with their files; those that were torn by a full disk are left out."""
    found = []
    for path in sorted(RunFolder(run).orders.glob("[!.]*.json")):
        with suppress(OSError, ValueError, TypeError):
            order = Order(**json.loads(path.read_text()))
            if _NAME.fullmatch(order.name):
                found.append((path, order))
    return found


def living(run: Path, scheduler: Scheduler) -> list[JobWorker]:
    """Workers whose jobs wait or run, as the scheduler says; where it cannot be asked, whose heartbeats are fresh."""
    orders = [order for _, order in orders_of(run)]
    if not orders:
        return []
    for order in orders:
        if order.job is None:  # its driver died before it knew whether the jobs are in
            with suppress(OSError):
                order.job = scheduler.find(order.name)
    queued = scheduler.queued({order.name for order in orders})
    marks = (RunFolder(run).ends, RunFolder(run).gone)
    over = {name.partition(".")[0] for part in marks for name in os.listdir(part)}
    candidates = [job for order in orders if order.job is not None for job in order.jobs() if job.worker not in over]
    return [job for job in candidates if (_beats(run, job.worker) if queued is None else job.job in queued)]


def unlisted_gone(run: Path, living: Container[str]) -> bool:
    """Wait until workers of a run that have begun and are not ``living`` cannot write any more; whether that is so."""
    inside = RunFolder(run)
    names = os.listdir(inside.beats) if inside.beats.is_dir() else []
    silent = [name for name in names if not name.startswith(".") and name not in living and _beats(run, name)]
    for name in silent:
        with suppress(RunningError):  # one of this host need not be waited for
            end_named(inside.process_of(name))
    return wait_until_over(run, silent, inside.process_of, LEFT_SECONDS)


def _beats(run: Path, worker: str) -> bool:
    clock = RunFolder(run).orders / ".clock"
    clock.touch(0o644)
    with suppress(FileNotFoundError):
        return clock.stat().st_mtime - (RunFolder(run).beats / worker).stat().st_mtime < STALE_SECONDS
    return False


def names_of(run: Path) -> set[str]:
    """Names of all jobs of a run, its detached driver too."""
    return {order.name for _, order in orders_of(run)} | driver_names(run)


def driver_names(run: Path) -> set[str]:
    """Names of the jobs that drive a run, or wait to."""
    return {path.name for path in RunFolder(run).orders.glob(f"{NAME}driver-*")}


def mine() -> set[str]:
    """Name of the job that this process runs in."""
    return {os.environ.get(name, "") for name in ("SLURM_JOB_NAME", job.NAME_VARIABLE)}


def forget_own_job() -> None:
    """Drop what the scheduler has told this process of its job: that is not for the jobs that it submits."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        if name not in ("SLURM_CONF", "SLURM_JOB_NAME"):
            del os.environ[name]
