"""Events: what the ledger and the backend tell the supervisor."""

from __future__ import annotations

from dataclasses import dataclass

SCHEDULER_ENDS = ("wall time", "preempted", "node")
"""Ends of workers that are a scheduler's doing."""


@dataclass(frozen=True)
class GroupFailed:
    """Blocks of one write group raised; ``cause`` is the same text for the same mistake.

    ``environment`` says what is wrong with the machine (a full disk, a missing permission), where that is the reason.
    """

    worker: str
    stage: int
    group: int
    blocks: tuple[int, ...]
    attempt: int
    cause: str
    environment: str = ""


@dataclass(frozen=True)
class BlocksDone:
    """Blocks succeeded."""

    stage: int
    count: int


@dataclass(frozen=True)
class BatchEnded:
    """A worker is through with a batch."""

    worker: str
    stage: int


@dataclass(frozen=True)
class WorkerEnded:
    """A worker ended.

    Parameters
    ----------
    worker : str
    kind : {"finished", "crashed", "cannot start", "cancelled", "killed", "memory", "more memory", "too slow", ...}
        ``crashed`` is an error outside of blocks (a source that cannot be opened, a failing set-up); after ``more
        memory`` new workers have more of it; ``wall time``, ``preempted`` and ``node`` are a scheduler's.
    detail : str
        For people.
    held : bool
        It held a batch.
    running : int
        The block it was in, -1 if none.
    began : bool
        It had begun a block, now or before.
    done : int
        Blocks that it had finished.
    stage : int
        Of the block it was in.
    """

    worker: str
    kind: str
    detail: str = ""
    held: bool = False
    running: int = -1
    began: bool = False
    done: int = 0
    stage: int = 0

    @property
    def free(self) -> bool:
        """Whether the block it was in is not to blame: the scheduler's doing, and other blocks got through."""
        return self.kind == "more memory" or (self.kind in SCHEDULER_ENDS and self.done > 0)


@dataclass(frozen=True)
class Reissued:
    """What a lost worker left undone is there to be claimed again, in so many batches."""

    batches: int


@dataclass(frozen=True)
class Released:
    """Blocks whose inputs are there by now can be claimed, in so many batches more."""

    batches: int


Event = GroupFailed | BlocksDone | BatchEnded | WorkerEnded | Reissued | Released


@dataclass(frozen=True)
class Retry:
    """Run the failed blocks of a group again, not on the worker ``avoid``."""

    stage: int
    group: int
    blocks: tuple[int, ...]
    attempt: int
    avoid: str | None
