"""The ledger folder as the driver sees it: it publishes batches, reads the journals, and counts what counts."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np

from .folder import FolderWork, load_stage, read_progress, write_once
from .journal import Record, frame
from .ledger import Ledger, Loss, Progress, retry_batch
from .plan import Batch, Plan, cut_batches, listed
from .supervisor import Event, Retry


class FolderLedger(Ledger):
    """The ledger as the driver sees it.

    Parameters
    ----------
    folder : Path
        The run folder; made if it is new.
    plan : Plan
    session : int
        How many drivers have opened this folder before.
    """

    def __init__(self, folder: Path, plan: Plan, *, session: int = 0) -> None:
        self.folder = folder
        self.path = str(folder)
        self.plan = plan
        self.session = f"s{session}"
        for name in ("batches", "claims", "journal", "results", "errors", "progress", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        loaded = [load_stage(folder, index, stage, check=True) for index, stage in enumerate(plan.stages)]
        self.records = [record for record, _ in loaded]
        self._journals = [journal for _, journal in loaded]
        for record, journal in loaded:
            record.failures.clear()
            journal.cut()
        self._next = 1 + max((int(name) for name in os.listdir(folder / "batches") if name.isdigit()), default=-1)
        self.first_list = self._next
        self._published: dict[tuple[int, int], Batch] = {}
        self._ended: set[tuple[int, int]] = set()
        self._cut_batches: dict[int, list[Batch]] = {}
        self._before = sum(len(record.ids) for record in self.records)
        self._open = -1
        for mark in ("over", "stop"):
            (folder / mark).unlink(missing_ok=True)

    def workers(self) -> FolderWork:
        """The side of the workers."""
        return FolderWork(self.folder, self.plan, since=self._next)

    def batches(self, stage: int) -> int:
        """How many batches are left of a stage."""
        return len(self._cut(stage))

    def _cut(self, stage: int) -> list[Batch]:
        if stage not in self._cut_batches:
            units, record = self.plan.stages[stage].units, self.records[stage]
            picked = units.groups_of(record.pending()) if record.ids else None
            self._cut_batches[stage] = cut_batches(stage, units.n_groups, self.plan.execution, picked)
        return self._cut_batches[stage]

    def open(self, stage: int) -> None:
        """Let workers claim the batches of a stage."""
        self._open = stage
        self._publish(self._cut(stage))

    def retry(self, decision: Retry) -> None:
        """Let another worker run failed blocks again."""
        self._publish([retry_batch(decision)])

    def _publish(self, batches: list[Batch]) -> None:
        batches = listed(batches, self._next)
        self._published.update({batch.key: batch for batch in batches})
        sync = self.plan.execution.durability == "node"
        write_once(self.folder / "batches" / str(self._next), frame(pickle.dumps(batches)), sync=sync)
        self._next += 1

    def events(self, timeout: float) -> Iterable[Event]:
        """Events since the last call; looks a few times until something is there."""
        deadline = perf_counter() + timeout
        while True:
            events = [event for record in self._poll() for event in self.records[self._open].add(record)]
            if events or perf_counter() > deadline:
                return events
            sleep(0.005)

    def _poll(self) -> list[Record]:
        records = self._journals[self._open].poll() if self._open >= 0 else []
        self._ended |= {record.batch.key for record in records if record.ended}
        return records

    def lost(self, worker: str) -> Loss:
        """Hold a worker dead: nothing it writes from now on counts. Call `events` before, for what it has written."""
        self._journals[self._open].cut(worker)
        held = [
            batch for key, batch in self._published.items() if key not in self._ended and self._owner(key) == worker
        ]
        if not held:
            return Loss(None)
        batch = held[0]
        self._ended.add(batch.key)
        done = set(self.records[batch.stage].ids)
        units = self.plan.stages[batch.stage].units
        left = tuple(group for group, ids in batch.groups(units) if not done.issuperset(ids))
        at = read_progress(self.folder / "progress" / worker)
        return Loss(batch, left, at.block if at.stage == batch.stage else -1)

    def _owner(self, key: tuple[int, int]) -> str | None:
        try:
            return (self.folder / "claims" / str(key[0]) / str(key[1])).read_text()
        except FileNotFoundError:
            return None

    def reissue(self, loss: Loss, without: int = -1) -> int:
        """Publish what a dead worker left undone, without the group of one block; returns the number of batches."""
        if loss.batch is None:
            return 0
        stage, units = loss.batch.stage, self.plan.stages[loss.batch.stage].units
        if loss.batch.blocks:
            left = [replace(loss.batch, avoid=None)] if without not in loss.batch.blocks else []
        else:
            groups = [group for group in loss.groups if without < 0 or without not in units.blocks(group)]
            picked = np.asarray(groups, np.int64)
            left = cut_batches(stage, units.n_groups, self.plan.execution, picked)
        if left:
            self._publish(left)
        return len(left)

    def close(self, *, stop: bool = False) -> None:
        """No batch will follow."""
        if stop:
            write_once(self.folder / "stop", b"")
        write_once(self.folder / "over", b"")

    def note(self, event: dict[str, Any]) -> None:
        """Append an event to ``events.jsonl``."""
        with open(self.folder / "events.jsonl", "a") as file:
            file.write(json.dumps({"session": self.session, **event}) + "\n")

    def done(self) -> int:
        """Blocks done so far."""
        return self._before + sum(at.done for at in self.progress().values())

    def progress(self) -> dict[str, Progress]:
        """Where each worker of this session is."""
        names = [name for name in os.listdir(self.folder / "progress") if name.startswith(f"{self.session}w")]
        return {name: read_progress(self.folder / "progress" / name) for name in names}
