"""The ledger of a run whose outputs are arrays of this process."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterable

import numpy as np

from ..planning.early import Early
from ..planning.id_sets import Ranges
from ..planning.stage import Plan
from ..planning.work_list import Batch, cut_batches
from .events import Event, Retry
from .interface import Ledger, WorkerSide
from .records import Record, Recorder
from .stage_record import Results, StageRecord


class MemoryLedger(Ledger, WorkerSide):
    """The ledger of a run in this process, whose outputs do not outlive it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.records = [StageRecord.of(stage) for stage in plan.stages]
        self._early = Early(plan, lambda stage: self.records[stage].pending_groups())
        self._counts: dict[str, int] = {}
        self._stopping = False
        self._queue: deque[Batch] = deque()
        self._cut_batches: dict[int, list[Batch]] = {}
        self._over = False
        self._changed = threading.Condition()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def stopping(self) -> bool:
        """Whether workers are to end after the block they are in."""
        return self._stopping

    def claim(self, worker: str) -> Batch | None:
        """The next batch for a worker."""
        with self._changed:
            while not self._over:
                for index, batch in enumerate(self._queue):
                    if batch.avoid != worker:
                        del self._queue[index]
                        return batch
                self._changed.wait()
        return None

    def enter(self, worker: str, stage: int, block_id: int, done: int) -> None:
        """A worker begins a block."""
        self._counts[worker] = done

    def recorder(self, worker: str, batch: Batch) -> Recorder:
        """Where a worker records a batch."""
        return Recorder(worker, batch, self.plan.stages[batch.stage], self._take)

    def _take(self, record: Record) -> None:
        stage = record.batch.stage
        with self._changed:
            events = self.records[stage].add(record)
            if record.ids:
                self._early.done(stage, np.array(record.ids, np.int64), self.records[stage].pending_groups)
            for event in events:
                self._events.put(event)

    def earlier(self, stage: int) -> Results:
        """Values of the stages before this one."""
        return Results.of(self.records[:stage])

    def workers(self) -> WorkerSide:
        """Itself."""
        return self

    def batches(self, stage: int) -> int:
        """How many batches a stage has."""
        return len(self._cut(stage))

    def queued(self) -> list[Batch]:
        """Take all batches that wait."""
        with self._changed:
            batches = list(self._queue)
            self._queue.clear()
        return batches

    def _cut(self, stage: int) -> list[Batch]:
        if stage not in self._cut_batches:
            one = self.plan.stages[stage]
            picked = self._early.begin(stage, Ranges()) if one.early else None
            self._cut_batches[stage] = cut_batches(stage, one.units.n_groups, self.plan.execution, picked)
        return self._cut_batches[stage]

    def release(self, *, few: bool) -> int:
        """Queue blocks of early stages whose inputs are there by now."""
        with self._changed:
            batches = self._early.take(self.plan.execution, few=few)
        self._put(batches)
        return len(batches)

    def events(self, timeout: float) -> Iterable[Event]:
        """Events since the last call."""
        try:
            yield self._events.get(timeout=timeout)
            while True:
                yield self._events.get_nowait()
        except queue.Empty:
            return

    def open(self, stage: int) -> None:
        """Let workers claim the batches of a stage."""
        self._put(self._cut(stage))

    def retry(self, decision: Retry) -> None:
        """Let another worker run failed blocks again."""
        self._put([retry_batch(decision)])

    def _put(self, batches: list[Batch]) -> None:
        with self._changed:
            self._queue.extend(batches)
            self._changed.notify_all()

    def close(self, *, stop: bool = False) -> None:
        """No batch will follow."""
        with self._changed:
            self._stopping = self._stopping or stop
            self._over = True
            self._changed.notify_all()

    def done(self) -> int:
        """Blocks done so far."""
        return sum(self._counts.values())


def retry_batch(decision: Retry) -> Batch:
    """The batch of a retry: some blocks of one group."""
    return Batch(decision.stage, decision.group, decision.group + 1, decision.attempt, decision.blocks, decision.avoid)
