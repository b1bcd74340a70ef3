"""What has happened in a run. Here the transport for runs whose outputs live in this process: memory."""

from __future__ import annotations

import queue
import threading
import traceback
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .fold import Fold, Node
from .plan import Batch, Plan, Stage, cut_batches
from .supervisor import BatchEnded, Event, GroupFailed, Retry


@dataclass(frozen=True)
class BlockFailure:
    """One failed execution of a block."""

    stage: int
    block_id: int
    region: str
    worker: str
    attempt: int
    error: BaseException
    traceback: str

    @classmethod
    def of(
        cls, stage: int, block_id: int, region: str, worker: str, attempt: int, error: BaseException
    ) -> BlockFailure:
        """Record of an exception, with its full traceback."""
        text = "".join(traceback.format_exception(error))
        return cls(stage, block_id, region, worker, attempt, error, text)

    @property
    def cause(self) -> str:
        """The same text for the same mistake: the exception's type and where it was raised."""
        frame = traceback.extract_tb(self.error.__traceback__)[-1:]
        return f"{type(self.error).__name__} at {[(f.filename, f.lineno) for f in frame]}"


@dataclass
class BatchRecord:
    """What a worker did of a batch: ids that succeeded, their seconds and values, folded nodes, failures."""

    worker: str
    batch: Batch
    ids: array[int] = field(default_factory=lambda: array("q"))
    seconds: array[float] = field(default_factory=lambda: array("f"))
    values: list[Any] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)


@dataclass
class StageRecord:
    """What is kept of a stage: compact arrays of ids and seconds, values where they are asked for."""

    stage: Stage
    ids: list[npt.NDArray[np.int64]] = field(default_factory=list)
    seconds: list[npt.NDArray[np.float32]] = field(default_factory=list)
    values: list[list[Any]] = field(default_factory=list)
    fold: Fold | None = None
    failures: dict[int, BlockFailure] = field(default_factory=dict)

    def add(self, record: BatchRecord) -> None:
        """Take over the record of a batch."""
        self.ids.append(np.asarray(record.ids, np.int64))
        self.seconds.append(np.asarray(record.seconds, np.float32))
        for block_id in self.failures.keys() & set(record.ids) if self.failures else ():
            del self.failures[block_id]
        if self.stage.returns == "each":
            self.values.append(record.values)
        elif self.fold is not None:
            self.fold.extend(record.nodes)

    def done(self) -> npt.NDArray[np.int64]:
        """Ids that succeeded, ascending."""
        return np.sort(np.concatenate(self.ids)) if self.ids else np.zeros(0, np.int64)

    def pending(self) -> npt.NDArray[np.int64]:
        """Ids without a result, ascending."""
        units = self.stage.units
        wanted = units.ids if units.ids is not None else np.arange(units.n_blocks, dtype=np.int64)
        return np.setdiff1d(wanted, self.done())


class Results:
    """Values of the earlier stages, by stage name.

    ``results["merge"]`` is the value of a ``once`` or folded stage; ``results.each("faces")`` iterates over
    ``(block_id, value)`` in ascending order of ids.
    """

    def __init__(self, records: Sequence[StageRecord]) -> None:
        self._records = {record.stage.name: record for record in records}
        self._folded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        record = self._records[name]
        if record.stage.returns == "each":
            return next(value for _, value in self.each(name))
        if name not in self._folded:
            self._folded[name] = record.fold.result() if record.fold is not None else None
        return self._folded[name]

    def each(self, name: str) -> Iterator[tuple[int, Any]]:
        """Ids and values of a stage that keeps them, ascending."""
        record = self._records[name]
        if not record.ids:
            return
        ids = np.concatenate(record.ids)
        parts = np.repeat(np.arange(len(record.ids)), [len(part) for part in record.ids])
        starts = np.cumsum([0, *(len(part) for part in record.ids)])
        for index in np.argsort(ids, kind="stable").tolist():
            part = parts[index]
            yield int(ids[index]), record.values[part][index - starts[part]]


class MemoryLedger:
    """The ledger of a run in this process.

    Workers claim batches and hand in records; the driver reads events and opens stages.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.records = [
            StageRecord(stage, fold=Fold(stage.merge) if stage.merge is not None else None) for stage in plan.stages
        ]
        self.counts: dict[str, int] = {}
        self.stopping = False
        self._queue: deque[Batch] = deque()
        self._over = False
        self._changed = threading.Condition()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    # for workers

    def claim(self, worker: str) -> Batch | None:
        """The next batch for a worker; waits between stages; None when there is nothing left to do, ever."""
        with self._changed:
            while not self._over:
                for index, batch in enumerate(self._queue):
                    if batch.avoid != worker:
                        del self._queue[index]
                        return batch
                self._changed.wait()
        return None

    def count(self, worker: str, done: int) -> None:
        """Publish how many blocks a worker has done so far."""
        self.counts[worker] = done

    def fail(self, batch: Batch, group: int, failures: Sequence[BlockFailure], blocks: Sequence[int]) -> None:
        """Record failed blocks of one group, and which of its blocks have to run again."""
        with self._changed:
            self.records[batch.stage].failures.update({failure.block_id: failure for failure in failures})
        first = failures[0]
        self._events.put(GroupFailed(first.worker, batch.stage, group, tuple(blocks), batch.attempt, first.cause))

    def hand_in(self, record: BatchRecord) -> None:
        """Record a batch as ended."""
        with self._changed:
            self.records[record.batch.stage].add(record)
        self._events.put(BatchEnded(record.worker, record.batch.stage, len(record.ids)))

    def earlier(self, stage: int) -> Results:
        """Values of the stages before this one."""
        return Results(self.records[:stage])

    # for the driver

    def events(self, timeout: float) -> Iterable[Event]:
        """Events since the last call; waits for the first one at most ``timeout`` seconds."""
        try:
            yield self._events.get(timeout=timeout)
            while True:
                yield self._events.get_nowait()
        except queue.Empty:
            return

    def open(self, stage: int) -> None:
        """Let workers claim the batches of a stage."""
        units = self.plan.stages[stage].units
        self._put(cut_batches(stage, units.n_groups, self.plan.execution.num_workers))

    def retry(self, decision: Retry) -> None:
        """Let another worker run failed blocks again."""
        self._put(
            [
                Batch(
                    decision.stage,
                    decision.group,
                    decision.group + 1,
                    decision.attempt,
                    decision.blocks,
                    decision.avoid,
                )
            ]
        )

    def _put(self, batches: list[Batch]) -> None:
        with self._changed:
            self._queue.extend(batches)
            self._changed.notify_all()

    def close(self, *, stop: bool = False) -> None:
        """No batch will follow; with ``stop`` workers end after the block they are in."""
        with self._changed:
            self.stopping = self.stopping or stop
            self._over = True
            self._changed.notify_all()
