"""The supervisor: events in, decisions out. It reads no clock, no file and no network."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_BLOCKS = 3
"""Failures with one cause, before any success, that stop a run: a bug, not bad luck."""


@dataclass(frozen=True)
class GroupFailed:
    """Blocks of one write group raised; ``cause`` is the same text for the same mistake."""

    worker: str
    stage: int
    group: int
    blocks: tuple[int, ...]
    attempt: int
    cause: str


@dataclass(frozen=True)
class BatchEnded:
    """A worker is through with a batch, in which ``done`` blocks succeeded."""

    worker: str
    stage: int
    done: int


@dataclass(frozen=True)
class WorkerEnded:
    """A worker ended; ``kind`` is ``"finished"`` or what went wrong."""

    worker: str
    kind: str
    detail: str = ""


Event = GroupFailed | BatchEnded | WorkerEnded


@dataclass(frozen=True)
class Open:
    """Let workers claim the batches of a stage."""

    stage: int


@dataclass(frozen=True)
class Retry:
    """Run the failed blocks of a group again, not on the worker ``avoid``."""

    stage: int
    group: int
    blocks: tuple[int, ...]
    attempt: int
    avoid: str | None


@dataclass(frozen=True)
class SetAside:
    """Give these blocks up and go on with the others."""

    stage: int
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Stop:
    """End the run now; no further block starts."""

    reason: str


@dataclass(frozen=True)
class Finish:
    """All stages are complete."""


Decision = Open | Retry | SetAside | Stop | Finish


@dataclass(frozen=True)
class StageRules:
    """What the supervisor must know of a stage: sizes, and whether its blocks may be repeated."""

    n_blocks: int
    n_batches: int
    retries: int
    max_failures: int


@dataclass
class Supervisor:
    """State machine of one run.

    Parameters
    ----------
    stages : list of StageRules
    num_workers : int
    """

    stages: list[StageRules]
    num_workers: int
    stage: int = -1
    over: bool = False
    open_batches: int = 0
    done: int = 0
    causes: dict[int, str] = field(default_factory=dict)
    set_aside: dict[int, list[int]] = field(default_factory=dict)
    workers_gone: set[str] = field(default_factory=set)

    def begin(self) -> list[Decision]:
        """Decisions before the first event."""
        return self._advance()

    def handle(self, event: Event) -> list[Decision]:
        """Decisions that follow from an event; none once the run is over."""
        if self.over:
            return []
        if isinstance(event, GroupFailed):
            return self._failed(event)
        if isinstance(event, BatchEnded):
            self.open_batches -= 1
            self.done += event.done
            return self._advance() if self.open_batches == 0 else []
        if event.kind == "finished":
            return []
        return self._stop(f"worker {event.worker} {event.kind}: {event.detail}")

    def _failed(self, event: GroupFailed) -> list[Decision]:
        rules = self.stages[event.stage]
        self.causes.update(dict.fromkeys(event.blocks, event.cause))
        alike = len(set(self.causes.values())) == 1 and len(self.causes) >= min(FIRST_BLOCKS, rules.n_blocks)
        if self.done == 0 and alike and rules.n_blocks > 1:
            aside = self._aside(event)
            return [*aside, *self._stop("the first blocks all failed in the same way")]
        if event.attempt < rules.retries:
            self.open_batches += 1
            avoid = event.worker if self.num_workers > 1 else None
            return [Retry(event.stage, event.group, event.blocks, event.attempt + 1, avoid)]
        decisions = self._aside(event)
        if sum(map(len, self.set_aside.values())) > rules.max_failures:
            decisions += self._stop(f"more than {rules.max_failures} blocks failed")
        return decisions

    def _aside(self, event: GroupFailed) -> list[Decision]:
        self.set_aside.setdefault(event.stage, []).extend(event.blocks)
        return [SetAside(event.stage, event.blocks)]

    def _stop(self, reason: str) -> list[Decision]:
        self.over = True
        return [Stop(reason)]

    def _advance(self) -> list[Decision]:
        if self.stage >= 0 and self.set_aside:
            return self._stop("blocks failed")
        while self.stage + 1 < len(self.stages):
            self.stage += 1
            self.done, self.causes = 0, {}
            self.open_batches = self.stages[self.stage].n_batches
            if self.open_batches:
                return [Open(self.stage)]
        self.over = True
        return [Finish()]
