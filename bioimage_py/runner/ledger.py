"""What has happened in a run: the interface of a ledger, and the transport for runs in this process: memory."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StorageError
from .fold import Fold
from .journal import BlockFailure, Record, Recorder, Span, ValueUnpickler, read_frame
from .plan import Batch, Plan, Stage, cut_batches
from .supervisor import BatchEnded, BlocksDone, Event, GroupFailed, Retry


@dataclass(frozen=True)
class FileValues:
    """A list of values in a frame of a file."""

    path: Path
    offset: int

    def intact(self, *, whole: bool = False) -> bool:
        """Whether the checksum fits; with ``whole`` also whether the files of large arrays are there."""
        if not whole:
            return read_frame(self.path, self.offset) is not None
        try:
            self.load()
        except StorageError:
            return False
        return True

    def load(self) -> list[Any]:
        """The values; StorageError names a damaged file."""
        payload = read_frame(self.path, self.offset)
        if payload is None:
            raise StorageError(f"{self.path} is damaged at byte {self.offset}: its checksum does not fit")
        values: list[Any] = ValueUnpickler(payload, self.path.parent).load()
        return values


_SPAN = 1024
"""Values that are read at once when results are gone through."""
_OVERCOME = 100
"""Failures that are remembered of blocks that then succeeded."""


@dataclass
class StageRecord:
    """What is kept of a stage: ids and seconds (12 bytes a block), and where the values are."""

    stage: Stage
    ids: array[int] = field(default_factory=lambda: array("q"))
    seconds: array[float] = field(default_factory=lambda: array("f"))
    parts: list[tuple[int, list[Any] | FileValues]] = field(default_factory=list)
    fold: Fold | None = None
    failures: dict[int, BlockFailure] = field(default_factory=dict)
    overcome: list[BlockFailure] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    marks: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, stage: Stage) -> StageRecord:
        """An empty record."""
        return cls(stage, fold=Fold(stage.merge) if stage.merge is not None else None)

    def add(self, record: Record) -> list[Event]:
        """Take over a worker's record; returns what the supervisor has to know of it."""
        events: list[Event] = []
        if record.ids:
            if self.stage.returns == "each":
                self.parts.append((len(self.ids), record.values))
            elif self.fold is not None:
                self.fold.extend(record.nodes)
            self.ids.extend(record.ids)
            self.seconds.extend(record.seconds)
            for block_id in self.failures.keys() & set(record.ids) if self.failures else ():
                failure = self.failures.pop(block_id)
                if len(self.overcome) < _OVERCOME:
                    self.overcome.append(failure)
            events.append(BlocksDone(record.batch.stage, len(record.ids)))
        if (failed := record.failed) is not None:
            self.failures.update({failure.block_id: failure for failure in failed.failures})
            cause, stage = failed.failures[0].cause, record.batch.stage
            machine = next((failure.environment for failure in failed.failures if failure.environment), "")
            told = GroupFailed(record.worker, stage, failed.group, failed.blocks, failed.attempt, cause, machine)
            events.append(told)
        if record.span is not None:
            self.spans.append(record.span)
        if record.mark is not None:
            self.marks[record.mark[0]] = record.mark[1]
        if record.ended:
            events.append(BatchEnded(record.worker, record.batch.stage))
        return events

    def done(self) -> npt.NDArray[np.int64]:
        """Ids that succeeded, ascending, each once."""
        return np.unique(np.frombuffer(self.ids, np.int64)) if self.ids else np.zeros(0, np.int64)

    @property
    def n_done(self) -> int:
        """How many ids succeeded."""
        if self.stage.units.ids is not None or not self.ids:
            return len(self.done())
        seen = np.zeros(1 + max(self.ids), bool)
        seen[np.frombuffer(self.ids, np.int64)] = True
        return int(np.count_nonzero(seen))

    def pending(self) -> npt.NDArray[np.int64]:
        """Ids without a result, ascending."""
        units = self.stage.units
        wanted = units.ids if units.ids is not None else np.arange(units.n_blocks, dtype=np.int64)
        return np.setdiff1d(wanted, self.done())

    def values(self) -> Iterator[tuple[int, Any]]:
        """Ids and values, ascending; of a block that was run twice, the first."""
        ids, first = np.unique(np.array(self.ids, dtype=np.int64), return_index=True)
        starts = np.array([start for start, _ in self.parts])
        part = np.searchsorted(starts, first, side="right") - 1
        opened: dict[int, list[Any]] = {}
        for begin in range(0, len(ids), _SPAN):
            span = slice(begin, begin + _SPAN)
            opened = {index: opened.get(index) or self._opened(index) for index in np.unique(part[span]).tolist()}
            places = (first[span] - starts[part[span]]).tolist()
            for block_id, index, place in zip(ids[span].tolist(), part[span].tolist(), places, strict=True):
                yield block_id, opened[index][place]

    def _opened(self, part: int) -> list[Any]:
        values = self.parts[part][1]
        return values if isinstance(values, list) else values.load()


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
            return next(value for _, value in record.values())
        if name not in self._folded:
            self._folded[name] = record.fold.result() if record.fold is not None else None
        return self._folded[name]

    def folded(self) -> dict[str, Any]:
        """Values of the once and folded stages, by name."""
        stages = [record.stage for record in self._records.values()]
        return {stage.name: self[stage.name] for stage in stages if stage.kind == "once" or stage.returns == "fold"}

    def each(self, name: str) -> Iterator[tuple[int, Any]]:
        """Ids and values of a stage that keeps them, ascending."""
        return self._records[name].values()


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
    groups: tuple[int, ...] = ()
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
    """

    plan: Plan
    records: list[StageRecord]
    session: str = ""
    path: str | None = None

    @abstractmethod
    def workers(self) -> WorkerSide:
        """The side of the workers of this process."""

    def end_worker(self, worker: str) -> None:  # noqa: B027 - a thread cannot be ended
        """Make sure that the process of a worker is gone, if it is one of this host."""

    @abstractmethod
    def lost(self, worker: str) -> Loss:
        """Hold a worker dead: nothing it records from now on counts."""

    @abstractmethod
    def reissue(self, loss: Loss, without: int = -1) -> int:
        """Publish what a dead worker left undone, without the group of one block; returns the number of batches."""

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
        return Results(self.records[:stage])

    def workers(self) -> WorkerSide:
        """Itself."""
        return self

    def lost(self, worker: str) -> Loss:
        """A thread does not get lost: it takes the process along."""
        return Loss(None)

    def reissue(self, loss: Loss, without: int = -1) -> int:
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
