"""Workers as tasks of any `concurrent.futures.Executor`: pools of threads and processes, loky, MPI, Parsl."""

from __future__ import annotations

import concurrent.futures
import os
import signal
from collections import deque
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from time import monotonic
from typing import Any

from ...errors import ConfigError
from ...run_folder import RunFolder
from ...system.processes import lives, visible
from ..base import BackendEvent, Limits, Work
from . import task as tasks
from .backend import HostedBackend, Task
from .config import ExecutorConfig

ALONE_SECONDS = 60.0
"""How long one worker works alone after several have died together: if it dies too, its block is to blame."""
LOOK_SECONDS = 1.0
"""How often the processes of tasks are looked for."""
UNTOLD_SECONDS = 30.0
"""How long after the end of a process its executor may tell of it."""
SPAWNED = 'ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("spawn"))'


class ExecutorBackend(HostedBackend):
    """Workers as tasks of an executor.

    What it is (threads of this process, processes of this machine, others) is found by a first task. An executor that
    was given is left open; one that ``make`` makes is shut down, and replaced where it breaks.
    """

    limits_depend = True

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._own = self.config.executor is None
        self._executor = self._made()
        found = self._probed()
        threads = visible(found) and found["pid"] == os.getpid()
        here = visible(found)
        self._ends = self._own and here and not threads and _is_local_pool(self._executor)
        self.limits = Limits(
            shares_memory=threads,
            kills_blocks=self._ends,
            one_machine=here,
            durability="process" if here else "node",
        )
        self.most_workers = _size(self._executor)
        self._too_slow: set[str] = set()
        self._waiting: deque[tuple[Task, dict[str, Any]]] = deque()
        self._alone_until = 0.0
        self._gone: dict[str, float] = {}
        self._next = 0.0

    @classmethod
    def check(cls, config: Any) -> None:
        """Refuse what is no `ExecutorConfig`."""
        if not isinstance(config, ExecutorConfig):
            raise ConfigError(
                f"job_config {config!r} is not that of an executor",
                remedy="bioimage_py.execution(executor=pool), or job_config=ExecutorConfig(make=...)",
            )
        if config.executor is None and config.make is None:
            raise ConfigError(
                "there is no executor: it is not kept with a run",
                remedy="repeat the call that began the run, with ExecutorConfig(executor=pool)",
            )

    @classmethod
    def configured(cls, value: Any) -> ExecutorConfig:
        """Settings for ``execution(executor=value)``."""
        return value if isinstance(value, ExecutorConfig) else ExecutorConfig(executor=value)

    def _made(self) -> Any:
        executor = self.config.executor if self.config.executor is not None else self.config.make()
        if not callable(getattr(executor, "submit", None)):
            raise ConfigError(
                f"{executor!r} is no executor: it has no submit", remedy=f"ExecutorConfig(make=lambda: {SPAWNED})"
            )
        context = getattr(executor, "_mp_context", None)
        pool = isinstance(executor, concurrent.futures.ProcessPoolExecutor)
        if pool and context is not None and context.get_start_method() == "fork":
            raise _forks(executor)
        return executor

    def _probed(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._executor.submit(tasks.probe).result(self.config.start_timeout)
        except (concurrent.futures.TimeoutError, TimeoutError) as error:
            raise ConfigError(
                f"{self._executor!r} did not begin a task within {self.config.start_timeout:g} s",
                remedy="ExecutorConfig(start_timeout=3600, ...)",
            ) from error
        except (BrokenExecutor, RuntimeError) as error:
            raise ConfigError(
                f"{self._executor!r} takes no tasks: {error}",
                remedy="a new executor; in a script, below if __name__ == '__main__':",
            ) from error
        if found["forked"]:
            raise _forks(self._executor)
        return found

    def submit(self, task: Task, work: Work, order: dict[str, Any]) -> Any:
        """Give a task to the executor, or keep it back while another one works alone."""
        if self.limits.shares_memory:
            return self._executor.submit(work, task.worker)
        self._waiting.append((task, order))
        self._submit_waiting()
        return task.handle

    def _submit_waiting(self) -> None:
        while self._waiting:
            at_work = sum(task.handle is not None for task in self._tasks.values())
            if monotonic() < self._alone_until and at_work:
                return
            task, order = self._waiting.popleft()
            try:
                task.handle = self._executor.submit(tasks.work, order)
            except BrokenExecutor as error:
                task.handle = _failed(error)
            except RuntimeError as error:  # it was shut down
                task.handle = _failed(BrokenExecutor(str(error)))

    def look(self) -> None:
        """Find the tasks that have ended, and note how; a pool that has broken is replaced."""
        self._submit_waiting()
        broken = [task for task in self._judged() if isinstance(_error(task.handle), BrokenExecutor)]
        if broken:
            self._broken(str(_error(broken[0].handle)))
        if not self.limits.shares_memory and monotonic() >= self._next:
            self._next = monotonic() + LOOK_SECONDS
            self._find_untold()
        super().look()

    def _judged(self) -> list[Task]:
        """Tasks that were submitted, and of whose end nothing was said yet."""
        return [task for task in self._tasks.values() if task.handle is not None and task.verdict is None]

    def _find_untold(self) -> None:
        """Find the processes that have gone without a word of the executor.

        Python's own pool does not watch a process that it has started while it waited, until something happens to it:
        a further task has it look at all of them.
        """
        for task in self._judged():
            beat = RunFolder(task.run).beats / task.worker
            told = tasks.told_alive(beat)
            if told is None or task.handle.done() or not visible(told) or lives(told, beat):
                self._gone.pop(task.worker, None)
            elif task.worker not in self._gone:
                self._gone[task.worker] = monotonic()
                with suppress(Exception):  # foreign code; where it is broken, its tasks say so
                    self._executor.submit(tasks.probe)
            elif monotonic() - self._gone[task.worker] > UNTOLD_SECONDS:
                end, detail = task.end(), f"process {told['pid']} has gone, and the executor has not said so"
                event = BackendEvent(task.worker, "killed", detail)
                task.verdict = event if end is None else self.told(task.worker, end)

    def _broken(self, why: str) -> None:
        """All tasks of a broken pool have ended; who was ended by the pool itself has said so."""
        lost = self._judged()
        ends = {task.worker: task.end() for task in lost}
        silent = [task for task in lost if ends[task.worker] is None and task.begun]
        for task in lost:
            end = ends[task.worker]
            if end is not None and end["kind"] != "ended":
                task.verdict = self.told(task.worker, end)
            elif not self._own:
                detail = f"the executor is broken ({why}); the same call goes on with a new one"
                task.verdict = BackendEvent(task.worker, "crashed", f"{detail}; ExecutorConfig(make=...) replaces it")
            else:
                task.verdict = self._explain(task, why, alone=silent == [task])
        if self._own:
            if len(silent) > 1:
                self._alone_until = monotonic() + ALONE_SECONDS
            with suppress(Exception):
                self._executor.shutdown(wait=True)
            self._executor = self._made()

    def _explain(self, task: Task, why: str, *, alone: bool) -> BackendEvent:
        if task.worker in self._too_slow:
            return BackendEvent(task.worker, "too slow", "killed")
        if alone:
            return BackendEvent(task.worker, "killed", why)
        return BackendEvent(task.worker, "node", f"it was ended with its pool, or has ended it: {why}")

    def outcome(self, task: Task) -> BackendEvent | None:
        """How a task has ended; None while it has not."""
        handle = task.handle
        if handle is None or not handle.done():
            return None
        error = _error(handle)
        if self.limits.shares_memory:
            if error is None:
                return BackendEvent(task.worker, "finished")
            return BackendEvent(task.worker, "crashed", f"{type(error).__name__}: {error}", error)
        if error is None:
            return self.told(task.worker, handle.result())
        if (end := task.end()) is not None:
            return self.told(task.worker, end)
        kind = "killed" if task.begun else "cannot start"
        return BackendEvent(task.worker, kind, f"the executor says {type(error).__name__}: {error}")

    def withdraw(self, task: Task) -> None:
        """Cancel a task that has not begun; where its host cannot (as Parsl), it begins late, and leaves."""
        self._waiting = deque(one for one in self._waiting if one[0] is not task)
        if task.handle is not None:
            with suppress(Exception):  # foreign code
                task.handle.cancel()

    def kill(self, worker: str) -> None:
        """End the process of a worker; its pool breaks, and is replaced."""
        if not self._ends:
            super().kill(worker)
        if worker in self._tasks:
            self._too_slow.add(worker)
            self._kill([self._tasks[worker]])

    def _kill(self, lost: list[Task]) -> None:
        for task in lost:
            process = tasks.told_alive(RunFolder(task.run).beats / task.worker)
            if process is not None and visible(process):
                with suppress(ProcessLookupError):
                    os.kill(int(process["pid"]), signal.SIGKILL)

    def abandon(self) -> None:
        """Have the tasks leave; those of a pool of one's own are ended at once."""
        lost = list(self._tasks.values())
        super().abandon()
        if self._ends and lost:
            self._kill(lost)
            with suppress(Exception):
                self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def close(self) -> None:
        """Shut down what was made here."""
        self.abandon()
        if self._own and self._executor is not None:
            with suppress(Exception):
                self._executor.shutdown(wait=True)


def _forks(executor: Any) -> ConfigError:
    return ConfigError(
        f"{type(executor).__name__} forks this process, which has threads: its copies can hang for ever", remedy=SPAWNED
    )


def _failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _error(handle: Any) -> BaseException | None:
    """Why a task has failed; None where it has not, or not yet."""
    if handle is None or not handle.done():
        return None
    try:
        error: BaseException | None = handle.exception()
    except concurrent.futures.CancelledError as cancelled:
        return cancelled
    return error


def _is_local_pool(executor: Any) -> bool:
    return isinstance(executor, concurrent.futures.ProcessPoolExecutor) or type(executor).__module__.startswith("loky")


def _size(executor: Any) -> int | None:
    """Tasks at once at most, where that is known."""
    for name in ("_max_workers", "num_workers"):
        size = getattr(executor, name, None)
        if isinstance(size, int) and size > 0:
            return size
    return None
