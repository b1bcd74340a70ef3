"""What a worker says of its blocks: records, gathered for some milliseconds, then handed in or written as frames."""

from __future__ import annotations

import errno
import pickle
import traceback
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import reduce
from time import perf_counter, time
from typing import Any

from ...system.memory import peak_bytes
from ..planning.stage import Stage
from ..planning.work_list import Batch
from .fold import Fold, Node

FLUSH_SECONDS = 0.005
"""Done records wait at most this long for company; a kill costs no more than repeating that much work."""
SYNC_SECONDS = 1.0
"""The same where each of them waits for the disk."""

MARK_GROWTH = 1.01
"""A high-water mark of memory is told where it is higher than the last one by this factor, so that marks stay few."""

LARGEST_ERROR = 2**20
"""Bytes of an exception that is kept as it is; of one that holds more, such as an array, what it says."""


_ENVIRONMENT = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}
"""Errors of the machine, which no other block and no other worker of it would be spared."""


@dataclass(frozen=True)
class BlockFailure:
    """One failed execution of a block; ``cause`` is the same text for the same mistake.

    ``environment`` says what is wrong with the machine (a full disk, a missing permission) where that is the reason.
    """

    stage: int
    block_id: int
    region: str
    worker: str
    attempt: int
    error: BaseException
    traceback: str
    cause: str
    environment: str = ""

    @classmethod
    def of(
        cls, stage: int, block_id: int, region: str, worker: str, attempt: int, error: BaseException
    ) -> BlockFailure:
        """Record of an exception, with its full traceback."""
        text = "".join(traceback.format_exception(error))
        frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)[-1:]]
        release(error)
        cause = f"{type(error).__name__} at {frames}"
        return cls(stage, block_id, region, worker, attempt, error, text, cause, environment(error))

    def shortened(self) -> BlockFailure:
        """Without what takes room: the traceback, and what the exception holds."""
        return replace(self, error=RuntimeError(text_of(self.error)), traceback="")

    def __getstate__(self) -> dict[str, Any]:
        packed = b""
        with suppress(BaseException):  # an exception class may fail to pickle in any way
            packed = pickle.dumps(self.error)
        return {**self.__dict__, "error": (packed if len(packed) <= LARGEST_ERROR else b"", text_of(self.error))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        packed, text = state["error"]
        error: BaseException = RuntimeError(text)
        # its class may be unknown to this process, or do anything when it is made; Ctrl-C is still the user's
        with suppress(Exception, SystemExit, GeneratorExit):
            error = pickle.loads(packed)
        self.__dict__.update(state, error=error)


def environment(error: BaseException | None) -> str:
    """What is wrong with the machine, with the path; empty where an exception has another reason."""
    if isinstance(error, OSError) and error.errno in _ENVIRONMENT:
        return text_of(error)
    return ""


def text_of(error: BaseException) -> str:
    """Type and message of an exception, also where its ``__str__`` fails."""
    return "".join(traceback.format_exception_only(error)).strip()


def release(error: BaseException | None) -> None:
    """Let go of the local variables in an exception's traceback: the arrays of a block, for each block that failed."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


@dataclass(frozen=True)
class FailedGroup:
    """Blocks of one group that have to run again, and why."""

    group: int
    blocks: tuple[int, ...]
    attempt: int
    failures: tuple[BlockFailure, ...]


@dataclass(frozen=True)
class Span:
    """When a worker had a batch, in seconds since the epoch, and how many blocks it did of it."""

    worker: str
    begin: float
    end: float
    blocks: int


@dataclass
class Record:
    """Part of a batch: ids that succeeded, their seconds and values, folded nodes; ``ended`` with the last part.

    ``mark`` is a block and the bytes of a new high-water mark of memory that was seen after it.
    """

    worker: str
    batch: Batch
    ids: array[int] = field(default_factory=lambda: array("q"))
    seconds: array[float] = field(default_factory=lambda: array("f"))
    values: Any = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    ended: bool = False
    failed: FailedGroup | None = None
    span: Span | None = None
    mark: tuple[int, int] | None = None


class Recorder:
    """Gathers what a worker has done of one batch and passes it on in few records.

    ``sink`` takes each record, after so many seconds (``every``); the outputs of its blocks are written by then, and
    what ``settle`` does has made that durable. Of a worker's ``first`` batch memory is told even where none makes it
    grow.
    """

    def __init__(
        self,
        worker: str,
        batch: Batch,
        stage: Stage,
        sink: Callable[[Record], None],
        every: float = FLUSH_SECONDS,
        *,
        first: bool = False,
    ) -> None:
        self.settle: Callable[[], None] = lambda: None
        self._sink = sink
        self._every = every
        self._stage = stage
        self._record = Record(worker, batch)
        self._fold: Fold | None = None
        self._last = perf_counter()
        self._begin = time()
        self._blocks = 0
        self._peak = 0 if first else peak_bytes()

    def done(self, group: int, ids: Sequence[int], seconds: Sequence[float], values: list[Any]) -> None:
        """Blocks of a group succeeded and their outputs are written."""
        self._record.ids.extend(ids)
        self._record.seconds.extend(seconds)
        if self._stage.merge is not None:
            self._fold = self._fold or Fold(self._stage.merge)
            self._fold.add(0, group, reduce(self._fold.join, values, None))
        elif self._stage.returns == "each":
            self._record.values += values
        if perf_counter() - self._last > self._every:
            self.flush()

    def fail(self, group: int, blocks: Sequence[int], failures: Sequence[BlockFailure]) -> None:
        """Blocks of a group failed and have to run again."""
        record = self._record
        self.flush()
        record = Record(record.worker, record.batch)
        record.failed = FailedGroup(group, tuple(blocks), record.batch.attempt, tuple(failures))
        self._sink(record)

    def flush(self, *, ended: bool = False) -> None:
        """Pass on what has been gathered."""
        record = self._record
        if self._fold is not None:
            record.nodes = self._fold.partial()
        record.ended = ended
        self._blocks += len(record.ids)
        if ended:
            record.span = Span(record.worker, self._begin, time(), self._blocks)
        if record.ids and (peak := peak_bytes()) > MARK_GROWTH * self._peak:
            self._peak = peak
            record.mark = (record.ids[-1], peak)
        if record.ids:
            self.settle()
        if ended or record.ids:
            self._sink(record)
        self._record, self._fold = Record(record.worker, record.batch), None
        self._last = perf_counter()
