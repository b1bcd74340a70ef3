"""What all backends share whose workers are tasks in processes that belong to somebody else.

A task cannot be ended in the middle of a block. So who is not wanted any more gets a mark (``gone/<worker>``) and
leaves after the block that it is in; and the next driver of a run waits until all have gone that an earlier one has
left. What a host says of the end of a task is believed once the task cannot write any more (`backends.dismissal`).
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ...errors import ConfigError
from ...run_folder import RunFolder
from ...system.files import own_folder
from ...system.json_text import parse_json
from ...system.processes import identify, lives
from ..base import Backend, BackendEvent, Work
from ..dismissal import Dismissal, wait_until_over
from .task import BEGUN_AGAIN, told_alive

LEFT_SECONDS = 150.0
"""How long the next driver waits for blocks that workers of an earlier one are in: longer than a heartbeat is fresh."""
_LOOK_SECONDS = 0.05


@dataclass
class Task:
    """A worker, and the handle by which its host tells how far it is."""

    worker: str
    run: Path
    handle: Any = None
    returned: bool = False
    """Whether its function is known to have returned, or raised."""
    verdict: BackendEvent | None = None
    """How it has ended, as its host says."""
    dismissal: Dismissal | None = None

    @property
    def begun(self) -> bool:
        """Whether it has given a sign of life."""
        return (RunFolder(self.run).beats / self.worker).exists()

    def end(self) -> dict[str, Any] | None:
        """What it has written when it ended."""
        ends = RunFolder(self.run).ends
        with suppress(OSError, ValueError):
            if self.handle is not None and self.handle.done():
                os.listdir(ends)  # refreshes what this host knows of a shared folder
            told: dict[str, Any] = json.loads((ends / f"{self.worker}.json").read_text())
            return told
        return None

    def give_up(self) -> Dismissal:
        """Have it leave after the block that it is in, or before its first one."""
        if self.dismissal is None:
            self.dismissal = Dismissal(self.run, self.worker, RunFolder(self.run).beats / self.worker)
        return self.dismissal

    @property
    def over(self) -> bool:
        """Whether one that is held dead cannot write any more."""
        return self.returned or self.end() is not None or self.give_up().over


class HostedBackend(Backend):
    """Workers as tasks in processes that belong to somebody else."""

    idle_timeout = 300.0
    """Seconds that a worker waits for a driver that gives no sign of life."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._tasks: dict[str, Task] = {}
        self._events: list[BackendEvent] = []
        self._me = identify()

    @abstractmethod
    def submit(self, task: Task, work: Work, order: dict[str, Any]) -> Any:
        """Give a task to its host; the handle."""

    @abstractmethod
    def outcome(self, task: Task) -> BackendEvent | None:
        """How a task has ended; None while it has not."""

    def withdraw(self, task: Task) -> None:
        """Take a task back that has not begun; it may begin all the same, and leaves."""

    def start(self, worker: str, work: Work) -> None:
        """Submit the task of a worker."""
        if work.folder is None and not self.limits.shares_memory:
            raise ConfigError("workers in other processes need a run folder", remedy='job_type="local"')
        task = self._tasks[worker] = Task(worker, Path(work.folder or ".").absolute())
        order: dict[str, Any] = {}
        if work.folder is not None:
            inside = RunFolder(task.run)
            for path in (inside.beats, inside.ends, inside.gone):
                own_folder(path)
            order = {"run": str(task.run), "worker": worker, "session": inside.session(), "driver": self._me}
            order.update(idle_timeout=self.idle_timeout, mem=self.job_bytes)
        task.handle = self.submit(task, work, order)

    def alive(self) -> set[str]:
        """Names of the workers whose tasks wait or run."""
        return set(self._tasks)

    def look(self) -> None:
        """Find the tasks that have ended, and note how; who may still write is alive."""
        for task in list(self._tasks.values()):
            task.verdict = task.verdict or self.outcome(task)
            if task.verdict is not None and (self.limits.shares_memory or task.over):
                del self._tasks[task.worker]
                self._events.append(task.verdict)

    def ended(self) -> list[BackendEvent]:
        """Ends of workers since the last call."""
        self.look()
        events, self._events = self._events, []
        return events

    def told(self, worker: str, answer: dict[str, Any]) -> BackendEvent:
        """The end of a worker as its task tells it."""
        kind, detail = answer["kind"], answer["detail"]
        if kind == BEGUN_AGAIN:  # the task that was there before it may go on
            kind = "node"
        elif worker in self._tasks:
            self._tasks[worker].returned = True
        where = f"process {answer['pid']} on {answer['host']}: " if detail and "pid" in answer else ""
        return BackendEvent(worker, kind, where + detail, None, answer.get("peak_bytes", 0))

    def join(self, timeout: float | None = None) -> None:
        """Wait until no task is at work; those that have not begun are taken back."""
        deadline = None if timeout is None else monotonic() + timeout
        if not self.limits.shares_memory:
            for task in [task for task in self._tasks.values() if not task.begun]:
                task.give_up()
                if not task.begun:  # one that begins now finds that it was given up
                    self.withdraw(task)
                    del self._tasks[task.worker]
        while self._tasks:
            self.look()
            if not self._tasks or (deadline is not None and monotonic() > deadline):
                break
            sleep(_LOOK_SECONDS)

    def abandon(self) -> None:
        """Have the tasks leave after the blocks that they are in."""
        for task in self._tasks.values():
            task.give_up()
            self.withdraw(task)
        self._tasks.clear()
        self._events.clear()

    def close(self) -> None:
        """Leave nobody at work."""
        self.abandon()

    @classmethod
    def left_workers(cls, folder: Path) -> bool:
        """Whether a task of a run is still in a block."""
        return bool(_living(folder))

    @classmethod
    def end_left(cls, folder: Path) -> bool:
        """Have the tasks of a run leave, and wait until none can write any more; whether that is so."""
        beats = RunFolder(folder.absolute()).beats
        workers = [task.worker for task in _living(folder)]
        return wait_until_over(folder.absolute(), workers, lambda worker: beats / worker, LEFT_SECONDS)

    @classmethod
    def end_by_hand(cls, folder: Path) -> str:
        """The processes in which blocks of a run are still at work."""
        where = [told_alive(RunFolder(task.run).beats / task.worker) for task in _living(folder)]
        told = ", ".join(f"process {one['pid']} on {one['host']}" for one in where if one)
        return f"wait for the blocks in {told or 'its workers'}, or end these processes"


def _living(folder: Path) -> list[Task]:
    """Workers of a run that have begun, have not said that they have ended, and may live."""
    inside, found = RunFolder(folder.absolute()), []
    names = os.listdir(inside.beats) if inside.beats.is_dir() else []
    ends = set(os.listdir(inside.ends)) if inside.ends.is_dir() else set()
    for name in names:
        if f"{name}.json" in ends or name.startswith("."):
            continue
        with suppress(OSError, ValueError, KeyError, TypeError):
            process = parse_json((inside.beats / name).read_text())
            if lives({**process, "pid": int(process["pid"])}, inside.beats / name):
                found.append(Task(name, inside.path))
    return found
