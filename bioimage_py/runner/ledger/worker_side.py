"""The ledger as a folder that every worker sees (`run_folder.RunFolder`): files with one writer, and marks."""

from __future__ import annotations

import threading
from pathlib import Path
from time import perf_counter

from ...run_folder import RunFolder
from ..planning.stage import Plan
from ..planning.work_list import Batch
from .batch_lists import BatchLists, Bell, Waiting
from .fence import Fence
from .interface import WorkerSide
from .journal import _Writer, load_stage
from .progress import ProgressFile
from .records import FLUSH_SECONDS, SYNC_SECONDS, Record, Recorder
from .stage_record import Results

STOP_SECONDS = 0.05
"""How often a worker looks for the stop mark."""
AVOID_SECONDS = 10.0
"""How long a worker without a batch leaves one, which failed on it, to others: they may all be waiting to start."""


class FolderWork(WorkerSide):
    """The ledger as the workers of one process see it, which have so many bytes of memory (by default any batch fits).

    After ``idle_timeout`` seconds without a batch and without a sign of life of a driver a worker ends; by default it
    waits.
    """

    def __init__(
        self, folder: Path, plan: Plan, *, idle_timeout: float | None = None, memory: int | None = None
    ) -> None:
        self.folder = folder
        self._inside = RunFolder(folder)
        self.plan = plan
        self.published, self.recorded = Bell(), Bell()
        self._lock = threading.Lock()
        self._idle_timeout = idle_timeout
        self.lists = BatchLists(folder, memory)
        self._writers: dict[tuple[str, int], _Writer] = {}
        self._progress: dict[str, ProgressFile] = {}
        self._fences: dict[str, Fence] = {}
        self._stopped = False
        self._leaving = False
        self._looked = 0.0
        self._looked_at = -1
        self.rings = False
        """Whether the driver is in this process, so that `published` tells of every list."""

    def stopping(self) -> bool:
        """Whether workers are to end after the block they are in."""
        now = perf_counter()
        if not self._stopped and now - self._looked > STOP_SECONDS:
            self._looked = now
            self._stopped = self._inside.stop.exists()
        return self._stopped or self._leaving

    def leave(self) -> None:
        """Have the worker of this process end after the block it is in; what it holds is for others."""
        self._leaving = True

    def left(self) -> bool:
        """Whether batches end unfinished because the worker leaves."""
        return self._leaving

    def claim(self, worker: str) -> Batch | None:
        """The next batch; waits between stages; None when nothing will follow."""
        waiting, pause = Waiting(self._inside.heartbeat, self._idle_timeout), 0.001
        while not self._leaving:
            heard = self.published.rung
            self.lists.takes_any = waiting.seconds > AVOID_SECONDS
            if self._inside.over.exists():
                return None
            batch = self._take(worker, heard)
            if batch is not None:
                return batch
            if self.lists.strange or waiting.in_vain():
                return None
            self.published.wait(heard, pause)
            # a file server is asked less and less often, by all that wait
            pause = min(2 * pause, max(0.02, min(0.5, waiting.seconds / 20)))
        return None

    def _take(self, worker: str, heard: int | None = None) -> Batch | None:
        with self._lock:
            if heard is None or not self.rings:
                return self.lists.take(worker)
            # a driver of this process rings when it has published: one of the threads that it wakes looks
            fresh, self._looked_at = heard > self._looked_at, max(heard, self._looked_at)
            return self.lists.take(worker, fresh=fresh)

    def enter(self, worker: str, stage: int, block_id: int, done: int) -> None:
        """A worker begins a block."""
        self._progress[worker].put(done, block_id, stage)

    def hold(self, worker: str) -> None:
        """Raise HeldDeadError where others may have the blocks of a worker."""
        if worker not in self._fences:
            self._fences[worker] = Fence(self.folder, worker)
        self._fences[worker].check()

    def recorder(self, worker: str, batch: Batch) -> Recorder:
        """Where a worker records a batch."""
        stage, sync = self.plan.stages[batch.stage], self.plan.execution.durability == "node"
        if worker not in self._progress:
            self._progress[worker] = ProgressFile(self._inside.progress / worker)
        self._progress[worker].batches += 1
        key = (worker, batch.stage)
        if key not in self._writers:
            self._writers[key] = _Writer(self.folder, batch.stage, worker, stage, sync, self.recorded.ring)
        first, every = self._progress[worker].batches == 1, SYNC_SECONDS if sync else FLUSH_SECONDS
        return Recorder(worker, batch, stage, self._writers[key].write, every, first=first)

    def write(self, record: Record) -> None:
        """Write a record of a batch that has a recorder."""
        self._writers[record.worker, record.batch.stage].write(record)

    def earlier(self, stage: int) -> Results:
        """Values of the stages before this one."""
        stages = self.plan.stages[:stage]
        return Results(stages, lambda number: load_stage(self.folder, number, stages[number])[0], self.folder.name)

    def undo_folder(self, stage: int, output: int) -> Path:
        """Where the old content of an output is kept."""
        return self._inside.undo_of(stage, output)

    def shut(self) -> None:
        """Close the workers' files."""
        for writer in self._writers.values():
            writer.close()
        for progress in self._progress.values():
            progress.close()
        self._writers, self._progress = {}, {}
