"""The supervisor: events in, decisions out. It reads no clock, no file and no network."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ledger.events import BatchEnded, BlocksDone, Event, GroupFailed, Reissued, Released, Retry, WorkerEnded

FIRST_BLOCKS = 3
"""Write groups that fail with one cause, before any success, and so stop a run: a bug, not bad luck."""
GUILTY_ENDS = 3
"""Worker ends in the middle of one block after which the block is set aside."""
BARREN_ENDS = 3
"""Workers in a row that end before they begin a block, after which a run stops."""


@dataclass(frozen=True)
class Start:
    """Start so many workers."""

    count: int


@dataclass(frozen=True)
class Reissue:
    """Let others do what a lost worker left undone, without one block (-1: with all)."""

    worker: str
    without: int = -1


@dataclass(frozen=True)
class Open:
    """Let workers claim the batches of a stage."""

    stage: int


@dataclass(frozen=True)
class SetAside:
    """Give these blocks up and go on with the others; ``why`` where no exception says it."""

    stage: int
    blocks: tuple[int, ...]
    why: str = ""


@dataclass(frozen=True)
class Stop:
    """End the run now; no further block starts."""

    reason: str


@dataclass(frozen=True)
class Finish:
    """All stages are complete."""


Decision = Start | Reissue | Open | Retry | SetAside | Stop | Finish


@dataclass(frozen=True)
class StageRules:
    """What the supervisor must know of a stage: sizes, and whether its blocks may be repeated.

    An ``early`` stage is open together with the one in front; more batches of it are released as time passes.
    """

    n_blocks: int
    n_batches: int
    retries: int
    max_failures: int
    early: bool = False


@dataclass
class Supervisor:
    """State machine of one run; `stage` is the last of those that are open."""

    stages: list[StageRules]
    num_workers: int
    stage: int = -1
    over: bool = False
    open_batches: int = 0
    done: dict[int, int] = field(default_factory=dict)
    causes: dict[int, dict[int, str]] = field(default_factory=dict)
    set_aside: dict[int, list[int]] = field(default_factory=dict)
    live: int = 0
    barren: int = 0
    ends_in: dict[tuple[int, int], int] = field(default_factory=dict)
    one_machine: bool = True

    def begin(self) -> list[Decision]:
        """Decisions before the first event."""
        decisions = self._advance()
        return decisions if self.over else [*decisions, *self._fill()]

    def handle(self, event: Event) -> list[Decision]:
        """Decisions that follow from an event; none once the run is over."""
        if self.over:
            return []
        if isinstance(event, GroupFailed):
            return self._failed(event)
        if isinstance(event, BlocksDone):
            self.done[event.stage] = self.done.get(event.stage, 0) + event.count
            return []
        if isinstance(event, BatchEnded):
            self.open_batches -= 1
            return self._advance() if self.open_batches == 0 else []
        if isinstance(event, Released):
            self.open_batches += event.batches
            return []
        if isinstance(event, Reissued):
            self.open_batches += event.batches - 1
            return self._advance() if self.open_batches == 0 else []
        return self._worker_ended(event)

    def _worker_ended(self, event: WorkerEnded) -> list[Decision]:
        self.live -= 1
        if event.kind == "finished":
            return self._fill()
        if event.kind in ("crashed", "cannot start", "cancelled"):
            return self._stop(f"worker {event.worker} {event.kind}: {event.detail}")
        if event.began or event.running >= 0:
            self.barren = 0
        elif event.kind not in ("preempted", "node"):
            self.barren += 1
        if self.barren >= BARREN_ENDS:
            return self._stop(f"{self.barren} workers in a row ended before they did anything: {event.detail}")
        if event.kind == "memory" and self.one_machine:
            self.num_workers = max(1, self.num_workers - 1)
        decisions = self._left_undone(event)
        return decisions if self.over else [*decisions, *self._fill()]

    def _left_undone(self, event: WorkerEnded) -> list[Decision]:
        if not event.held:
            return []
        if event.running < 0 or event.free:
            return [Reissue(event.worker)]
        where = event.stage, event.running
        ends = self.ends_in[where] = self.ends_in.get(where, 0) + 1
        if ends < GUILTY_ENDS:
            return [Reissue(event.worker)]
        why = f"{ends} workers ended while they ran this block, the last one {event.kind}: {event.detail}"
        aside = self._aside(event.stage, (event.running,), why)
        return aside if self.over else [*aside, Reissue(event.worker, event.running)]

    def _fill(self) -> list[Decision]:
        missing = self.num_workers - self.live
        if missing <= 0:
            return []
        self.live += missing
        return [Start(missing)]

    def _failed(self, event: GroupFailed) -> list[Decision]:
        if event.environment:
            return self._stop(event.environment)
        rules = self.stages[event.stage]
        causes = self.causes.setdefault(event.stage, {})
        causes[event.group] = event.cause
        first = not self.done.get(event.stage) and rules.n_blocks > 1
        if first and len(causes) >= min(FIRST_BLOCKS, rules.n_blocks) and len(set(causes.values())) == 1:
            return self._stop("the first blocks all failed in the same way")
        if event.attempt < rules.retries:
            self.open_batches += 1
            avoid = event.worker if self.num_workers > 1 else None
            return [Retry(event.stage, event.group, event.blocks, event.attempt + 1, avoid)]
        return self._aside(event.stage, event.blocks)

    def _aside(self, stage: int, blocks: tuple[int, ...], why: str = "") -> list[Decision]:
        self.set_aside.setdefault(stage, []).extend(blocks)
        decisions: list[Decision] = [SetAside(stage, blocks, why)]
        if sum(map(len, self.set_aside.values())) > (allowed := self.stages[stage].max_failures):
            decisions += self._stop(f"more than {allowed} blocks failed")
        return decisions

    def _stop(self, reason: str) -> list[Decision]:
        self.over = True
        return [Stop(reason)]

    def _advance(self) -> list[Decision]:
        if self.stage >= 0 and self.set_aside:
            return self._stop("blocks failed")
        while self.stage + 1 < len(self.stages):
            first = self.stage = self.stage + 1
            while self.stage + 1 < len(self.stages) and self.stages[self.stage + 1].early:
                self.stage += 1
            opened = range(first, self.stage + 1)
            self.open_batches = sum(self.stages[stage].n_batches for stage in opened)
            if self.open_batches:
                return [Open(stage) for stage in opened]
        self.over = True
        return [Finish()]
