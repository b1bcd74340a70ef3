"""What has happened in a run: the interface of a ledger, and the transport for runs in this process: memory."""

from __future__ import annotations

import functools
import queue
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StorageError
from .fold import Fold
from .journal import BlockFailure, Record, Recorder, Span
from .numbers import Ids, IdSet, Ranges
from .plan import Batch, Plan, Stage, cut_batches
from .supervisor import BatchEnded, BlocksDone, Event, GroupFailed, Retry
from .times import BlockTimes
from .values import BlockValues, ValueList

_OVERCOME = 100
"""Failures that are remembered of blocks that then succeeded."""
_WHOLE = 1000
"""Failures that are remembered with their traceback; the others have it in a file of the run folder."""
_SPAN = 2**20
"""Ids that are looked at at once."""


@dataclass
class StageRecord:
    """What is kept of a stage: its ids (a bit a block), a sample of the seconds, and where the values are."""

    stage: Stage
    fold: Fold | None
    block_values: BlockValues | None
    ids: IdSet = field(default_factory=IdSet)
    times: BlockTimes = field(default_factory=BlockTimes)
    failures: dict[int, BlockFailure] = field(default_factory=dict)
    overcome: list[BlockFailure] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    marks: list[tuple[int, int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, stage: Stage, scratch: Path | None = None) -> StageRecord:
        """An empty record; values in files have their index in the folder ``scratch``."""
        fold = Fold(stage.merge) if stage.merge is not None else None
        return cls(stage, fold, BlockValues(stage.units.ids, scratch) if stage.returns == "each" else None)

    def add(self, record: Record) -> list[Event]:
        """Take over a worker's record; returns what the supervisor has to know of it."""
        events: list[Event] = []
        if record.ids:
            self._add_blocks(record)
            events.append(BlocksDone(record.batch.stage, len(record.ids)))
        if (failed := record.failed) is not None:
            for failure in failed.failures:
                self.failures[failure.block_id] = failure if len(self.failures) < _WHOLE else failure.shortened()
            cause, stage = failed.failures[0].cause, record.batch.stage
            machine = next((failure.environment for failure in failed.failures if failure.environment), "")
            told = GroupFailed(record.worker, stage, failed.group, failed.blocks, failed.attempt, cause, machine)
            events.append(told)
        if record.span is not None:
            self.spans.append(record.span)
        if record.mark is not None:
            self.marks.append((*record.mark, self.n_done))
        if record.ended:
            events.append(BatchEnded(record.worker, record.batch.stage))
        return events

    def _add_blocks(self, record: Record) -> None:
        ids = np.frombuffer(record.ids, np.int64)
        if self.block_values is not None:
            self.block_values.put(ids, record.values)
        elif self.fold is not None:
            self.fold.extend(record.nodes)
        self.ids.add(ids)
        self.times.add(record.ids, record.seconds)
        for block_id in self.failures.keys() & set(record.ids) if self.failures else ():
            failure = self.failures.pop(block_id)
            if len(self.overcome) < _OVERCOME:
                self.overcome.append(failure)

    @property
    def n_done(self) -> int:
        """How many blocks succeeded."""
        return len(self.ids)

    def pending(self, low: int = 0, high: int | None = None) -> Iterator[Ids]:
        """Ids without a result, ascending, in arrays of bounded length; of all ids between two where no others are."""
        units = self.stage.units
        if units.ids is not None:
            yield self.ids.missing(np.unique(units.ids))
            return
        high = units.n_blocks if high is None else high
        for begin in range(low, high, _SPAN):
            yield self.ids.missing(np.arange(begin, min(begin + _SPAN, high), dtype=np.int64))

    def pending_groups(self, groups: Ranges | None = None) -> Ranges:
        """Groups with a block that has no result; of some groups."""
        units = self.stage.units
        low, high = 0, None
        if groups is not None and units.ids is None and len(groups):
            low = units.blocks(int(groups.rows[0, 0]))[0]
            high = units.blocks(int(groups.rows[-1, 1]) - 1)[-1] + 1
        found = Ranges()
        for ids in self.pending(low, high):
            found |= Ranges.of(units.groups_of(ids))
        return found if groups is None else found & groups

    def values(self) -> Iterator[tuple[int, Any]]:
        """Ids and values, ascending."""
        return iter(()) if self.block_values is None else iter(self.block_values)


class Results:
    """Values of the earlier stages, by stage name.

    ``results["merge"]`` is the value of a ``once`` or folded stage; ``results.each("faces")`` iterates over
    ``(block_id, value)`` in ascending order of ids.
    """

    def __init__(self, stages: Sequence[Stage], record: Callable[[int], StageRecord]) -> None:
        self._numbers = {stage.name: number for number, stage in enumerate(stages)}
        # a worker asks for one of them, as a rule, and the others may be large
        self._record = functools.cache(record)
        self._folded: dict[str, Any] = {}

    @classmethod
    def of(cls, records: Sequence[StageRecord]) -> Results:
        """Values of stages whose records are at hand."""
        return cls([record.stage for record in records], records.__getitem__)

    def _named(self, name: str) -> StageRecord:
        return self._record(self._numbers[name])

    def __getitem__(self, name: str) -> Any:
        record = self._named(name)
        if record.stage.returns == "each":
            return next(value for _, value in record.values())
        if name not in self._folded:
            self._folded[name] = record.fold.result() if record.fold is not None else None
        return self._folded[name]

    def folded(self) -> dict[str, Any]:
        """Values of the once and folded stages, by name."""
        stages = [self._record(number).stage for number in self._numbers.values()]
        return {stage.name: self[stage.name] for stage in stages if stage.kind == "once" or stage.returns == "fold"}

    def each(self, name: str) -> Iterator[tuple[int, Any]]:
        """Ids and values of a stage that keeps them, ascending."""
        return self._named(name).values()

    def listed(self, name: str, ids: Sequence[int] | None) -> ValueList:
        """Values of a stage that keeps them, in the order of some ids or of all; ids that were left out have none."""
        values = self._named(name).block_values
        assert values is not None
        if ids is None:
            units = self._named(name).stage.units
            return ValueList(values, range(units.n_blocks if units.ids is None else len(np.unique(units.ids))))
        positions = values.positions(np.asarray(ids, np.int64))
        return ValueList(values, positions[positions >= 0])


class WorkerSide(ABC):
    """A ledger as workers see it."""

    plan: Plan

    @abstractmethod
    def stopping(self) -> bool:
        """Whether workers are to end after the block they are in."""

    def left(self) -> bool:
        """Whether a worker leaves what it holds of a batch to others."""
        return False

    @abstractmethod
    def claim(self, worker: str) -> Batch | None:
        """The next batch for a worker; waits between stages; None when there is nothing left to do, ever."""

    @abstractmethod
    def enter(self, worker: str, stage: int, block_id: int, done: int) -> None:
        """A worker that has done so many blocks begins another."""

    @abstractmethod
    def recorder(self, worker: str, batch: Batch) -> Recorder:
        """Where a worker records a batch."""

    @abstractmethod
    def earlier(self, stage: int) -> Results:
        """Values of the stages before this one."""

    def undo_folder(self, stage: int, output: int) -> Path:
        """Where the old content of an output is kept."""
        raise StorageError("a run in memory keeps no old content")

    def shut(self) -> None:  # noqa: B027 - memory needs no closing
        """Close the workers' files."""


@dataclass(frozen=True)
class Progress:
    """Where a worker is: blocks done, the block and stage it is in (-1: none), and how many batches it has begun."""

    done: int = 0
    block: int = -1
    stage: int = -1
    batch: int = 0


@dataclass(frozen=True)
class Loss:
    """What a dead worker leaves: the batch it held, the groups of it that are left, the block it was in.

    ``began`` says whether it had ever begun a block, ``done`` how many it had finished.
    """

    batch: Batch | None
    groups: Ranges = field(default_factory=Ranges)
    running: int = -1
    began: bool = False
    done: int = 0


class Ledger(ABC):
    """A ledger as the driver sees it.

    Attributes
    ----------
    session : str
        In front of the names of this driver's workers, so that no name comes twice in a run.
    path : str or None
        The run folder.
    adopted : frozenset of str
        Workers of earlier sessions that go on in this one.
    """

    plan: Plan
    records: list[StageRecord]
    session: str = ""
    path: str | None = None
    adopted: frozenset[str] = frozenset()

    @property
    def superseded(self) -> bool:
        """Whether another driver has taken the run over."""
        return False

    @abstractmethod
    def workers(self) -> WorkerSide:
        """The side of the workers of this process."""

    def end_worker(self, worker: str) -> None:  # noqa: B027 - a thread cannot be ended
        """Make sure that the process of a worker is gone, if it is one of this host."""

    @abstractmethod
    def lost(self, worker: str) -> Loss:
        """Hold a worker dead: nothing it records from now on counts."""

    @abstractmethod
    def reissue(self, loss: Loss, without: int = -1, memory: int = 0) -> int:
        """Publish what a dead worker left, without the group of one block, for such memory; how many batches it is."""

    @abstractmethod
    def batches(self, stage: int) -> int:
        """How many batches are left of a stage."""

    @abstractmethod
    def events(self, timeout: float) -> Iterable[Event]:
        """Events since the last call; waits for the first one at most ``timeout`` seconds."""

    @abstractmethod
    def open(self, stage: int) -> None:
        """Let workers claim the batches of a stage."""

    @abstractmethod
    def retry(self, decision: Retry) -> None:
        """Let another worker run failed blocks again."""

    def alone(self) -> None:  # noqa: B027 - threads do not become fewer
        """Only one worker is left: it has to take what it was to leave to others."""

    @abstractmethod
    def close(self, *, stop: bool = False) -> None:
        """No batch will follow; with ``stop`` workers end after the block they are in."""

    @abstractmethod
    def done(self) -> int:
        """Blocks done so far, for the progress bar."""

    def note(self, event: dict[str, Any]) -> None:  # noqa: B027 - a run in memory has no such place
        """Keep what happened, where there is a place for it."""

    def progress(self) -> dict[str, Progress]:
        """Where each worker is, as far as it is told."""
        return {}


class MemoryLedger(Ledger, WorkerSide):
    """The ledger of a run in this process, whose outputs do not outlive it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.records = [StageRecord.of(stage) for stage in plan.stages]
        self._counts: dict[str, int] = {}
        self._stopping = False
        self._queue: deque[Batch] = deque()
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
        with self._changed:
            for event in self.records[record.batch.stage].add(record):
                self._events.put(event)

    def earlier(self, stage: int) -> Results:
        """Values of the stages before this one."""
        return Results.of(self.records[:stage])

    def workers(self) -> WorkerSide:
        """Itself."""
        return self

    def lost(self, worker: str) -> Loss:
        """A thread does not get lost: it takes the process along."""
        return Loss(None)

    def reissue(self, loss: Loss, without: int = -1, memory: int = 0) -> int:
        """Nothing is ever lost."""
        return 0

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
        return cut_batches(stage, self.plan.stages[stage].units.n_groups, self.plan.execution)

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
