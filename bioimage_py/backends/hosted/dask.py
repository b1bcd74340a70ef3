"""Workers as long tasks of a cluster of Dask: the scheduler sees one task a worker, whatever the number of blocks.

What a worker has said of its end goes before what the scheduler says of its task. The scheduler is asked for what
nobody can write: that the process of a worker has gone, and whether that was meant, or for memory.
"""

from __future__ import annotations

import secrets
import warnings
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any

from ...errors import ConfigError
from ...extras import missing_library, need, needing
from ...run_folder import RunFolder
from ..base import BackendEvent, Limits, Work
from . import task as tasks
from .backend import HostedBackend, Task
from .config import DaskConfig
from .exchange import Exchange, asking

ASK_SECONDS = 1.0
"""How often the scheduler is asked which workers it has."""
VERDICT_SECONDS = 3.0
"""How long to wait for what the scheduler may be told of a process that has gone."""
ANSWER_SECONDS = 5.0
"""How long the scheduler has to answer; a run does not wait for one that is silent."""
SILENT_SECONDS = 20.0
"""How long a scheduler that was silent is not asked again."""
EMPTY_SECONDS = 60.0
"""After how long without any worker of Dask that is said."""
_BROKEN = (OSError, TimeoutError, RuntimeError, ValueError, UnboundLocalError)
"""What a question to a scheduler raises that has gone, or is being started again (the last one: it was cancelled)."""


def work(order: dict[str, Any]) -> dict[str, Any]:
    """Be a worker of a run, in a worker of Dask; says by which address."""
    from distributed import get_worker

    return tasks.work(order, {"at": get_worker().address})


def work_asking(order: dict[str, Any]) -> dict[str, Any]:
    """Be a worker of a run whose folder only the driver sees."""
    from distributed import get_worker

    return tasks.work_asking(order, {"at": get_worker().address}, asking(order["ask"], order["worker"]))


class DaskBackend(HostedBackend):
    """Workers as long tasks of a cluster of Dask.

    Nothing of the cluster is closed; only a client is that was made here.
    """

    limits_depend = True

    def __init__(self, config: Any = None) -> None:
        super().__init__(self.default_config() if config is None else config)
        with needing("distributed", "job_type='dask'"):
            import distributed
        self._dask = distributed
        self._own, self._client = self._connected()
        address = str(self._client.scheduler.address)
        here = address.startswith(("inproc://", "tcp://127.0.0.1:", "tls://127.0.0.1:"))
        self._ask_from = 0.0
        self._empty_from: float | None = None
        self.limits = Limits(one_machine=here, durability="process" if here else "node")
        self.job_bytes = self._memory()
        self.sees_folder, self.scratch = self.config.shared, self.config.scratch
        self._exchange: Exchange | None = None
        self._token = secrets.token_hex(4)
        self._lost: dict[str, float] = {}
        self._next = 0.0

    @classmethod
    def missing(cls) -> str:
        """The library, where it is not installed."""
        return missing_library("distributed")

    @classmethod
    def check(cls, config: Any) -> None:
        """Refuse what is no `DaskConfig`."""
        need("distributed", "job_type='dask'")
        if config is not None and not isinstance(config, DaskConfig):
            raise ConfigError(
                f"job_config {config!r} is not that of a Dask cluster",
                remedy="bioimage_py.execution(dask=client), or job_config=bioimage_py.runner.DaskConfig(cluster=...)",
            )

    @classmethod
    def configured(cls, value: Any) -> DaskConfig:
        """Settings for ``execution(dask=value)``."""
        return value if isinstance(value, DaskConfig) else DaskConfig(cluster=value)

    @classmethod
    def default_config(cls) -> DaskConfig:
        """The cluster of the client that was made last in this process."""
        return DaskConfig()

    def _connected(self) -> tuple[bool, Any]:
        """Whether a client was made here, and the client."""
        given, distributed = self.config.cluster, self._dask
        if given is None:
            try:
                return False, distributed.default_client()
            except ValueError:
                remedy = 'bioimage_py.execution(dask="tcp://host:8786"), or a client: distributed.Client(...)'
                raise ConfigError("there is no client of Dask in this process", remedy=remedy) from None
        if isinstance(given, distributed.Client):
            if given.asynchronous:
                raise ConfigError(
                    "the client of Dask is asynchronous: calls of this package wait",
                    remedy="distributed.Client(address)",
                )
            if given.status != "running":
                raise ConfigError(f"the client of Dask is {given.status}", remedy="a new distributed.Client(...)")
            return False, given
        try:
            return True, distributed.Client(given, set_as_default=False, timeout=self.config.start_timeout)
        except (*_BROKEN, TypeError) as error:
            raise ConfigError(
                f"no scheduler of Dask at {given!r}: {error}",
                remedy="a client, its scheduler's address, or a cluster object",
            ) from error

    def _memory(self) -> int | None:
        """Bytes of a worker, of those that are there now: the least, for it is not known where a task will be."""
        with suppress(*_BROKEN):
            workers = self._ask("identity")["workers"].values()
            return min((one["memory_limit"] // one["nthreads"] for one in workers if one["memory_limit"]), default=None)
        return None

    def _ask(self, question: str, **about: Any) -> Any:
        """What the scheduler answers; one of `_BROKEN` where it does not."""
        scheduler = self._client.scheduler
        if scheduler is None:
            raise OSError("the client of Dask is closed")
        if monotonic() < self._ask_from:
            raise TimeoutError("the scheduler of Dask was silent a moment ago")
        try:
            return self._client.sync(getattr(scheduler, question), callback_timeout=ANSWER_SECONDS, **about)
        except TimeoutError:
            self._ask_from = monotonic() + SILENT_SECONDS
            raise

    def submit(self, task: Task, work_: Work, order: dict[str, Any]) -> Any:
        """Give a task to the scheduler, which never repeats one that fails."""
        self._connect_again()
        key = f"bioimage_py-{self._token}-{task.worker}"
        if not self.sees_folder:
            if self._exchange is None or self._exchange.run != task.run:
                self._end_exchange()
                name = f"bioimage_py-{self._token}-{secrets.token_hex(4)}"
                self._exchange = Exchange(self._client, name, task.run, work_.served())
            key = f"{self._exchange.name}-{task.worker}"
            order = {"worker": task.worker, "mem": order["mem"], "ask": self._exchange.name}
        function = work if self.sees_folder else work_asking
        resources = self.config.resources or None
        return self._client.submit(function, order, key=key, pure=False, retries=0, resources=resources)

    def _end_exchange(self) -> None:
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None

    def join(self, timeout: float | None = None) -> None:
        """Wait until no task is at work; then nobody asks any more."""
        super().join(timeout)
        if not self._tasks:
            self._end_exchange()

    def abandon(self) -> None:
        """Have the tasks leave after the blocks that they are in: those that ask get no answer."""
        super().abandon()
        self._end_exchange()

    def _connect_again(self) -> None:
        if self._client.status == "closed":
            if not self._own:
                raise ConfigError("the client of Dask was closed", remedy="the same call with a new client goes on")
            _, self._client = self._connected()

    def look(self) -> None:
        """Find the tasks that have ended, and note how."""
        super().look()
        if monotonic() < self._next:
            return
        self._next = monotonic() + ASK_SECONDS
        with suppress(*_BROKEN):  # nobody is held dead by a scheduler that does not answer
            there = set(self._ask("ncores", workers=None))
            for task in self._tasks.values():
                told = tasks.told_alive(RunFolder(task.run).beats / task.worker)
                if told is not None and told["at"] not in there:
                    self._lost.setdefault(task.worker, monotonic())
            self._say_if_empty(not there and bool(self._tasks))

    def _say_if_empty(self, empty: bool) -> None:
        """Warn of a cluster that has had no worker for a while: the run waits for one, for ever if need be."""
        if not empty:
            self._empty_from = None
        elif self._empty_from is None:
            self._empty_from = monotonic() + EMPTY_SECONDS
        elif monotonic() > self._empty_from:
            self._empty_from = inf
            where = self._client.scheduler.address
            warnings.warn(
                f"the cluster of Dask at {where} has had no worker for {EMPTY_SECONDS:g} s: the run waits until it has"
                " one (start workers, or cluster.scale(n)); Ctrl-C ends it, and the same call goes on",
                stacklevel=2,
            )

    def outcome(self, task: Task) -> BackendEvent | None:
        """How a task has ended; None while it has not."""
        if (end := task.end()) is not None:
            return self._over(task, self.told(task.worker, end))
        status = task.handle.status
        if status == "finished" and not task.begun:  # it could not even say so in the run folder
            with suppress(*_BROKEN):
                return self._over(task, self.told(task.worker, task.handle.result(timeout=ASK_SECONDS)))
        elif status == "finished":  # it has said so, and that is yet to be seen here; or it was begun again
            self._lost.setdefault(task.worker, monotonic())
        elif status in ("cancelled", "lost"):
            return self._over(task, BackendEvent(task.worker, "node", "the scheduler has forgotten it, or began anew"))
        elif status == "error":
            error = None
            with suppress(*_BROKEN):
                error = task.handle.exception(timeout=ASK_SECONDS)
            if error is None:
                return None
            if not isinstance(error, self._dask.scheduler.KilledWorker):
                detail = f"Dask says {type(error).__name__}: {error}"
                return self._over(task, BackendEvent(task.worker, "crashed" if task.begun else "cannot start", detail))
            self._lost.setdefault(task.worker, monotonic())
        if task.worker in self._lost:
            return self._verdict(task)
        return None

    def _over(self, task: Task, event: BackendEvent) -> BackendEvent:
        self._lost.pop(task.worker, None)
        return event

    def _verdict(self, task: Task) -> BackendEvent | None:
        """Why the process of a worker has gone; None while the scheduler may yet be told."""
        told = tasks.told_alive(RunFolder(task.run).beats / task.worker) or {"pid": 0, "host": "?", "at": "?"}
        where = f"process {told['pid']} on {told['host']}"
        killed = removed = None
        patience = SILENT_SECONDS + 2 * ANSWER_SECONDS
        with suppress(*_BROKEN):
            for _, event in self._ask("events", topic="worker-restart-memory"):
                if event["worker"] == told.get("at") and event["pid"] == told["pid"]:
                    killed = event
            for _, event in self._ask("events", topic=told.get("at")):
                if isinstance(event, dict) and event.get("action") == "remove-worker":
                    removed = event
            patience = VERDICT_SECONDS
        if killed is not None:
            detail = f"{where} was ended by its nanny at {killed['rss'] / 2**20:.0f} MiB"
            return self._over(task, BackendEvent(task.worker, "memory", detail, None, int(killed["rss"])))
        if monotonic() - self._lost[task.worker] < patience:
            return None
        if removed is not None and removed.get("expected"):
            return self._over(task, BackendEvent(task.worker, "node", f"{where} was retired by its cluster"))
        return self._over(task, BackendEvent(task.worker, "killed", f"{where} has gone"))

    def withdraw(self, task: Task) -> None:
        """Cancel a task that has not begun; that of one that has would be forgotten, and go on."""
        if task.handle is not None and not task.begun:
            with suppress(*_BROKEN):
                task.handle.cancel()

    def close(self) -> None:
        """Leave nobody at work, and close what was made here."""
        super().close()
        if self._own:
            with suppress(*_BROKEN):
                self._client.close(timeout=ANSWER_SECONDS)
