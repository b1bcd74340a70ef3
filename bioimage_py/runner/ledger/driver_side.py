"""The ledger folder as the driver sees it: it publishes batches, reads the journals, and counts what counts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ...errors import RunningError
from ...run_folder import RunFolder, folder_gone
from ...system.faults import fault
from ...system.files import own_folder, read_by_others, write_once
from ...system.frames import frame, read_payload
from ...system.processes import end_named
from ..planning.early import Early
from ..planning.id_sets import Ranges
from ..planning.stage import Plan
from ..planning.work_list import WAITED_FOR, Batch, cut_batches, listed
from .batch_lists import BatchLists
from .encoding import dump_batches, load_batches
from .events import Event, Reissued, Retry
from .in_memory import retry_batch
from .interface import Ledger, Loss, Progress
from .journal import load_stage
from .progress import read_progress
from .records import Record
from .worker_side import FolderWork

RECLAIM_SECONDS = 1.0
"""How often claims are looked through for those of workers that are held dead."""
POLL_SECONDS = 0.005
"""How often journals are looked at while a driver waits; more often at first, for short stages."""
LONGEST_POLL_SECONDS = 1.0
"""The most that a driver of many workers lets pass between two looks."""


class FolderLedger(Ledger):
    """The ledger as the driver sees it; its folder is made if it is new.

    ``session`` drivers have opened it before; ``adopted`` are workers of theirs that go on for this one: what they hold
    is not given to others.
    """

    def __init__(self, folder: Path, plan: Plan, *, session: int = 0, adopted: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self.path = str(folder)
        self.plan = plan
        self.session = f"s{session}"
        self._inside = inside = RunFolder(folder)
        folders = (inside.batches, inside.claims, inside.journals, inside.results, inside.errors)
        for path in (*folders, inside.progress, inside.logs):
            own_folder(path)
        self.adopted = adopted
        self._owners: dict[tuple[int, int], str] = {}
        self._pause = 0.0
        self._work = FolderWork(folder, plan)
        self._work.rings = True
        held = self._withdraw() if adopted else []  # before the journals are read: what is held after is held now
        loaded = [load_stage(folder, index, stage, check=True) for index, stage in enumerate(plan.stages)]
        self.records = [record for record, _ in loaded]
        self._journals = [journal for _, journal in loaded]
        for record, journal in loaded:
            record.failures.clear()
            journal.admit(f"{self.session}w", adopted)
        lists = [name.rpartition(".")[2] for name in os.listdir(inside.batches) if not name.startswith(".")]
        self._next = 1 + max(map(int, lists), default=-1)
        self._published = {batch.key: batch for batch in held if not self._has_ended(batch)}
        self._held = list(self._published.values())
        self._dead: set[str] = set()
        self._reclaimed = perf_counter()
        self._cut_batches: dict[int, list[Batch]] = {}
        self._early = Early(plan, lambda stage: self.records[stage].pending_groups())
        self._before = sum(record.n_done for record in self.records)
        self._before -= sum(read_progress(inside.progress / name).done for name in adopted)
        self._open = range(0)
        for mark in (inside.over, inside.stop):
            mark.unlink(missing_ok=True)
            _waiting(mark).touch()
        inside.alone.unlink(missing_ok=True)

    @property
    def superseded(self) -> bool:
        """Whether another driver has taken the run over."""
        try:
            session = self._inside.session()
        except FileNotFoundError:
            raise folder_gone(self.plan.name, self.folder, ()) from None
        except OSError:  # a file server that does not answer is no reason to leave
            return False
        return f"s{session}" != self.session

    def workers(self) -> FolderWork:
        """The side of the workers."""
        return self._work

    def batches(self, stage: int) -> int:
        """How many batches are left of a stage."""
        return len(self._cut(stage)) + sum(batch.stage == stage for batch in self._held)

    def _withdraw(self) -> list[Batch]:
        """Batches that adopted workers hold; what nobody holds is claimed here, to be given out in lists of its own."""
        lists, held = BatchLists(self.folder), []
        for name in os.listdir(self._inside.batches):
            for batch in [] if name.startswith(".") else load_batches(read_payload(self._inside.batches / name)):
                if self._owner(batch.key) is None and lists.link(self.session, batch):
                    continue
                if self._owner(batch.key) in self.adopted:
                    held.append(batch)
        return held

    def _cut(self, stage: int) -> list[Batch]:
        if stage not in self._cut_batches:
            one, record = self.plan.stages[stage], self.records[stage]
            held = [self._groups_left(batch) for batch in self._held if batch.stage == stage]
            picked = None
            if one.early:
                picked = self._early.begin(stage, reduce(Ranges.__or__, held, Ranges()))
            elif record.n_done or held:
                picked = reduce(Ranges.__sub__, held, record.pending_groups())
            finer = WAITED_FOR if len(self.plan.chain(stage)) > 1 else 1
            self._cut_batches[stage] = cut_batches(stage, one.units.n_groups, self.plan.execution, picked, finer=finer)
        return self._cut_batches[stage]

    def open(self, stage: int) -> None:
        """Let workers claim the batches of a stage; what they read of the earlier ones does not change any more."""
        fault("before-stage")
        chain = self.plan.chain(stage)
        if chain != self._open:
            for journal in self._journals[: chain.start]:
                journal.admit(None)
            self._open = chain
        if batches := self._cut(stage):
            self._publish(batches)
        fault("after-stage")

    def release(self, *, few: bool) -> int:
        """Publish blocks of early stages whose inputs are there by now."""
        batches = self._early.take(self.plan.execution, few=few)
        if batches:
            fault("before-release")
            self._publish(batches)
            fault("after-release")
        return len(batches)

    def retry(self, decision: Retry) -> None:
        """Let another worker run failed blocks again."""
        self._publish([retry_batch(decision)])

    def _publish(self, batches: list[Batch]) -> None:
        batches = listed(batches, self._next)
        self._published.update({batch.key: batch for batch in batches})
        sync = self.plan.execution.durability == "node"
        write_once(self._inside.batches / f"{self.session}.{self._next}", frame(dump_batches(batches)), sync=sync)
        self._next += 1
        self._work.published.ring()

    def events(self, timeout: float) -> Iterable[Event]:
        """Events since the last call; looks a few times until something is there."""
        deadline = perf_counter() + timeout
        while True:
            begin, heard = perf_counter(), self._work.recorded.rung
            events: list[Event] = []
            for stage in self._open:
                for record in self._journals[stage].poll():
                    record.ended = record.ended and record.batch.key in self._published
                    events += self._add(stage, record)
            if events:
                self._pause = 0.0
                return events
            if timeout:
                # the journals of many workers take long to look through, and a file server has more to do than that
                longest = max(POLL_SECONDS, min(LONGEST_POLL_SECONDS, 4 * (perf_counter() - begin)))
                self._pause = min(max(2 * self._pause, POLL_SECONDS / 8), longest)
                self._work.recorded.wait(heard, self._pause)
            if perf_counter() >= deadline:
                return self._reclaim()

    def _add(self, stage: int, record: Record) -> list[Event]:
        events = self.records[stage].add(record)
        if record.ids:
            self._early.done(stage, np.frombuffer(record.ids, np.int64), self.records[stage].pending_groups)
        return events

    def _reclaim(self) -> list[Event]:
        """Publish again what a worker took after it was held dead: it may live on, where nobody can ask."""
        if not self._dead or perf_counter() - self._reclaimed < RECLAIM_SECONDS:
            return []
        self._reclaimed = perf_counter()
        return [Reissued(self.reissue(self._loss(batch))) for batch in list(self._held_by(self._dead))]

    def _held_by(self, workers: set[str]) -> Iterator[Batch]:
        """Batches that workers have claimed and not ended; of those that nobody has claimed no file is looked for."""
        claimed: dict[int, set[str]] = {}
        for key, batch in self._published.items():
            if self._has_ended(batch):
                continue
            if key[0] not in claimed:
                folder = self._inside.claims_of(key[0])
                claimed[key[0]] = set(os.listdir(folder)) if folder.exists() else set()
            if str(key[1]) in claimed[key[0]] and self._owner(key) in workers:
                yield batch

    def end_worker(self, worker: str) -> None:
        """Make sure that the process of a worker is gone, if it is one of this host."""
        with suppress(RunningError):
            end_named(self._inside.process_of(worker))

    def lost(self, worker: str) -> Loss:
        """Hold a worker dead: nothing it writes from now on counts. Call `events` before, for what it has written."""
        for journal in self._journals[self._open.start :]:
            journal.cut(worker)
        self._dead.add(worker)
        at = read_progress(self._inside.progress / worker)
        began = at.done > 0 or at.block >= 0
        if (batch := next(self._held_by({worker}), None)) is not None:
            loss = self._loss(batch, at.block if at.stage == batch.stage else -1)
            return replace(loss, began=began, done=at.done)
        return Loss(None, began=began, done=at.done)

    def _loss(self, batch: Batch, running: int = -1) -> Loss:
        self._journals[batch.stage].ended.add(batch.key)
        return Loss(batch, self.records[batch.stage].pending_groups(self._groups_left(batch)), running)

    def _groups_left(self, batch: Batch) -> Ranges:
        """Groups of a batch that did not fail in it: those that did are retried, or set aside."""
        failed = self._journals[batch.stage].failed.get(batch.key, set())
        return batch.ranges - Ranges.of(np.array(sorted(failed), np.int64))

    def _has_ended(self, batch: Batch) -> bool:
        return batch.key in self._journals[batch.stage].ended

    def _owner(self, key: tuple[int, int]) -> str | None:
        # a claim is made once and never changes hands
        if key not in self._owners:
            with suppress(FileNotFoundError):
                self._owners[key] = (self._inside.claims_of(key[0]) / str(key[1])).read_text()
        return self._owners.get(key)

    def reissue(self, loss: Loss, without: int = -1, memory: int = 0) -> int:
        """Publish what a dead worker left, without the group of one block, for such memory; how many batches it is."""
        if loss.batch is None or not len(loss.groups):
            return 0
        stage, units = loss.batch.stage, self.plan.stages[loss.batch.stage].units
        if loss.batch.blocks:
            left = [replace(loss.batch, avoid=None)] if without not in loss.batch.blocks else []
        else:
            picked = loss.groups
            if without >= 0:
                picked -= Ranges.of(units.groups_of(np.array([without])))
            left = cut_batches(stage, units.n_groups, self.plan.execution, picked)
        if left:
            self._publish([replace(batch, memory=max(memory, batch.memory)) for batch in left])
        return len(left)

    def alone(self) -> None:
        """Only one worker is left: it has to take what it was to leave to others."""
        self._inside.alone.touch()

    def close(self, *, stop: bool = False) -> None:
        """No batch will follow."""
        if stop:
            self._mark(self._inside.stop)
        self._mark(self._inside.over)

    def _mark(self, mark: Path) -> None:
        # renamed, not written: it must work on a full disk
        with suppress(FileNotFoundError):
            os.replace(_waiting(mark), mark)
        self._work.published.ring()

    def note(self, event: dict[str, Any]) -> None:
        """Append an event to ``events.jsonl``, where there is room."""
        with suppress(OSError), open(self._inside.events, "a", opener=read_by_others) as file:
            file.write(json.dumps({"session": self.session, **event}) + "\n")

    def done(self) -> int:
        """Blocks done so far."""
        return self._before + sum(at.done for at in self.progress().values())

    def progress(self) -> dict[str, Progress]:
        """Where each worker of this session is."""
        mine = f"{self.session}w"
        names = [name for name in os.listdir(self._inside.progress) if name.startswith(mine) or name in self.adopted]
        return {name: read_progress(self._inside.progress / name) for name in names}


def _waiting(mark: Path) -> Path:
    """Where a mark waits for its time."""
    return mark.with_name(f".{mark.name}")
