"""What has happened in a run: the interface of a ledger, and the transport for runs in this process: memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import StorageError
from ..planning.id_sets import Ranges
from ..planning.stage import Plan
from ..planning.work_list import Batch
from .events import Event, Retry
from .records import Recorder
from .stage_record import Results, StageRecord


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

    def hold(self, worker: str) -> None:  # noqa: B027 - nobody can hold a thread of this process dead
        """Before a worker writes: raise HeldDeadError where others may have its blocks."""

    @abstractmethod
    def recorder(self, worker: str, batch: Batch) -> Recorder:
        """Where a worker records a batch."""

    @abstractmethod
    def earlier(self, stage: int) -> Results:
        """Values of the stages before this one."""

    def undo_folder(self, stage: int, output: int) -> Path:
        """Where the old content of an output is kept."""
        raise StorageError("a run in memory keeps no old content")

    def decider(self, stage: int, output: int) -> Callable[[str, bytes | None], bytes | None] | None:
        """Who decides what a unit held before a stage, where that is not the folder itself."""
        return None

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

    def lost(self, worker: str) -> Loss:
        """Hold a worker dead: nothing it records from now on counts. A thread takes its process along."""
        return Loss(None)

    def reissue(self, loss: Loss, without: int = -1, memory: int = 0) -> int:
        """Publish what a dead worker left, without the group of one block, for such memory; how many batches it is."""
        return 0

    @abstractmethod
    def batches(self, stage: int) -> int:
        """How many batches are left of a stage."""

    @abstractmethod
    def events(self, timeout: float) -> Iterable[Event]:
        """Events since the last call; waits for the first one at most ``timeout`` seconds."""

    @abstractmethod
    def open(self, stage: int) -> None:
        """Let workers claim the batches of a stage."""

    def release(self, *, few: bool) -> int:
        """Publish blocks of early stages whose inputs are there, in so many batches; all where workers have few."""
        return 0

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
