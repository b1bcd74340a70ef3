"""The ledger as a folder that every worker sees.

Layout: ``plan.json`` (for people), ``plan.pkl``, ``batches/<session>.<n>`` (lists of batches, published by the driver),
``claims/<n>/<i>`` (linked into place by whoever takes batch i of list n), ``journal/<stage>/<worker>`` (done records),
``journal/<stage>/.limits`` (up to where each of them counts), ``results/<stage>/<worker>`` (values), ``errors/``
(tracebacks), ``progress/<worker>``, and the marks ``over``, ``stop`` and ``alone``. Journals, results and lists are
sequences of frames with checksums, written by one process only.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from ..jsontext import parse_json
from .alive import identify, rebooted
from .batches import BatchLists, Waiting
from .bell import Bell
from .encoding import dump_record, load_record
from .faults import fault
from .files import damaged, naming, own_folder, read_by_others, read_told, sync_folder, write_once
from .journal import FLUSH_SECONDS, SYNC_SECONDS, FailedGroup, Record, Recorder, dump_value, frame, read_frames
from .ledger import Progress, Results, StageRecord, WorkerSide
from .owner import read_plan_file
from .plan import Batch, Plan, Stage
from .single_writer import copying_began
from .values import FileValues

STOP_SECONDS = 0.05
"""How often a worker looks for the stop mark."""
PART = "part.pkl"
"""Plan of a call that asks for some blocks of a larger run; the run's own plan stays."""
_PROGRESS = struct.Struct("<qqqq")


def read_plan(run: Path) -> Plan:
    """The plan of what is run now."""
    part = run / PART
    return read_plan_file(part if part.exists() else run / "plan.pkl")


class StageJournal:
    """Reads the journals of one stage, each up to where it counts.

    The limits are the driver's: what a worker writes after it was held dead, or one of an earlier session after this
    one began, is work that is done again, and counts once.

    Parameters
    ----------
    folder : Path
        The run folder.
    index : int
        Number of the stage.
    stage : Stage
    opened : bool
        Open the pickled exceptions of failed blocks: only in a folder that is one's own.
    """

    def __init__(self, folder: Path, index: int, stage: Stage, *, opened: bool = False) -> None:
        self.journals = folder / "journal" / str(index)
        self.results = folder / "results" / str(index)
        self.index = index
        self.stage = stage
        self._opened = opened
        self._offsets: dict[str, int] = {}
        self._limits: dict[str, int] = {}
        self._prefix: str | None = ""
        self._adopted: frozenset[str] = frozenset()
        self._on_disk = copying_began(folder)
        self.ended: set[tuple[int, int]] = set()
        """Keys of the batches that were read to have ended."""
        self.failed: dict[tuple[int, int], set[int]] = {}
        """Groups that failed, by the key of their batch."""
        if (told := read_told(self.journals / ".limits")) is not None:
            try:
                self._limits = {str(name): int(limit) for name, limit in told["limits"].items()}
                self._prefix, self._adopted = told["prefix"], frozenset(map(str, told["adopted"]))
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise damaged(self.journals / ".limits", error) from error

    def poll(self, *, check: bool = False) -> Iterator[Record]:
        """Records since the last call; with ``check`` a record whose values are damaged ends its journal."""
        if self.journals.exists():
            for name in sorted(name for name in os.listdir(self.journals) if self._counts(name)):
                yield from self._read(name, check)

    def _counts(self, name: str) -> bool:
        unlimited = name in self._adopted or (self._prefix is not None and name.startswith(self._prefix))
        return name in self._limits or (unlimited and not name.startswith("."))

    def _read(self, name: str, check: bool) -> Iterator[Record]:
        path = self.journals / name
        start, stop = self._offsets.setdefault(name, 0), self._limits.get(name)
        if start == stop or path.stat().st_size == start:
            return
        for end, payload in read_frames(path, start, stop):
            if start == 0 and self._offsets[name] == 0:
                writer = _writer_of(payload)
                if writer is None or (rebooted(writer) and not self._on_disk):
                    return
                self._offsets[name] = end
                continue
            try:
                record, offset = load_record(payload, name, self.index, opened=self._opened)
            except ValueError:  # what no worker wrote ends a journal as a torn frame does
                return
            if offset is not None:
                values = FileValues(self.results / name, offset)
                if check and not values.intact(whole=self.stage.kind == "once"):
                    return
                if self.stage.merge is not None:
                    record.nodes = values.load()
                else:
                    record.values = values
            self._offsets[name] = end
            if record.ended:
                self.ended.add(record.batch.key)
            if record.failed is not None:
                self.failed.setdefault(record.batch.key, set()).add(record.failed.group)
            yield record

    def cut(self, name: str) -> None:
        """Let no later record of a worker count: it is held dead, and its work is done again."""
        self._limits[name] = self._offsets.get(name, 0)
        self._publish()

    def admit(self, prefix: str | None, adopted: frozenset[str] = frozenset()) -> None:
        """Let what has been read count, and from now on the records of workers whose names begin so, or of none.

        Those of ``adopted`` workers count on.
        """
        limits = {**self._offsets, **self._limits}
        self._limits = {name: limit for name, limit in limits.items() if name not in adopted}
        self._prefix, self._adopted = prefix, adopted
        self._publish()

    def _publish(self) -> None:
        told = {"limits": self._limits, "prefix": self._prefix, "adopted": sorted(self._adopted)}
        own_folder(self.journals)
        write_once(self.journals / ".limits", frame(json.dumps(told).encode()))


def load_stage(folder: Path, index: int, stage: Stage, *, check: bool = False) -> tuple[StageRecord, StageJournal]:
    """What the journals of a stage say."""
    record, journal = StageRecord.of(stage, folder.parent), StageJournal(folder, index, stage, opened=True)
    for part in journal.poll(check=check):
        record.add(part)
    return record, journal


def _writer_of(payload: bytes) -> dict[str, Any] | None:
    """Who wrote a journal, None where what stands there is no answer."""
    try:
        writer = parse_json(payload)
    except ValueError:
        return None
    return writer if isinstance(writer, dict) and {"host", "boot", "synced"} <= writer.keys() else None


class _Writer:
    """A worker's journal and results of one stage."""

    def __init__(self, folder: Path, index: int, worker: str, stage: Stage, sync: bool) -> None:
        self._stage = stage
        self._sync = sync
        self._errors = folder / "errors"
        self._paths = {part: folder / part / str(index) / worker for part in ("journal", "results")}
        for path in self._paths.values():
            own_folder(path.parent)
        self._journal = self._create("journal")
        self._results: int | None = None
        self._offset = 0
        self._write("journal", self._journal, frame(json.dumps({**identify(), "synced": sync}).encode()))

    def _create(self, part: str) -> int:
        path = self._paths[part]
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        if self._sync:
            sync_folder(path.parent)
        return descriptor

    def write(self, record: Record) -> None:
        """Append a record: the values first, then what says that they are there."""
        values: Any = record.nodes if self._stage.merge is not None else record.values
        offset = self._append_values(values) if values else None
        if record.failed is not None:
            self._write_errors(record.failed)
        fault("before-journal")
        self._write("journal", self._journal, frame(dump_record(record, offset)))
        fault("after-journal")

    def _write_errors(self, failed: FailedGroup) -> None:
        for failure in failed.failures[:10]:
            path = self._errors / f"{failure.stage}-{failure.block_id}-{failure.attempt}.txt"
            head = f"block {failure.block_id} {failure.region} worker {failure.worker} attempt {failure.attempt + 1}\n"
            write_once(path, (head + failure.traceback).encode())

    def _append_values(self, values: Any) -> int:
        if self._results is None:
            self._results = self._create("results")
        stem = self._paths["results"].with_name(f"{self._paths['results'].name}.{self._offset}")
        data = frame(dump_value(values, stem if self._stage.kind == "once" else None, sync=self._sync))
        begin = self._offset
        fault("before-result")
        self._write("results", self._results, data)
        fault("after-result")
        self._offset += len(data)
        return begin

    def _write(self, part: str, descriptor: int, data: bytes) -> None:
        view = memoryview(data)
        with naming(self._paths[part]):
            while view:
                view = view[os.write(descriptor, view) :]
            if self._sync:
                os.fsync(descriptor)

    def close(self) -> None:
        """Close the files."""
        os.close(self._journal)
        if self._results is not None:
            os.close(self._results)


class ProgressFile:
    """Where a worker is, in a small mapped file that outlives a kill."""

    def __init__(self, path: Path) -> None:
        own_folder(path.parent)
        self._file = open(path, "w+b", opener=read_by_others)  # noqa: SIM115 - open as long as the worker lives
        self.batches = 0
        with naming(path):
            self._file.write(_PROGRESS.pack(0, -1, -1, 0))
            self._file.flush()
        self._map = mmap.mmap(self._file.fileno(), _PROGRESS.size)

    def put(self, done: int, block: int, stage: int) -> None:
        """Publish."""
        _PROGRESS.pack_into(self._map, 0, done, block, stage, self.batches)

    def close(self) -> None:
        """Close the file."""
        self._map.close()
        self._file.close()


def read_progress(path: Path) -> Progress:
    """Where a worker is, or was when it died."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Progress()
    return Progress(*_PROGRESS.unpack(data)) if len(data) == _PROGRESS.size else Progress()


class FolderWork(WorkerSide):
    """The ledger as the workers of one process see it.

    Parameters
    ----------
    folder : Path
        The run folder.
    plan : Plan
    idle_timeout : float, optional
        Seconds without a batch and without a sign of life of a driver after which a worker ends; by default it waits.
    memory : int, optional
        Bytes that a worker of this process has; by default any batch fits.
    """

    def __init__(
        self, folder: Path, plan: Plan, *, idle_timeout: float | None = None, memory: int | None = None
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.published, self.recorded = Bell(), Bell()
        self._lock = threading.Lock()
        self._idle_timeout = idle_timeout
        self._lists = BatchLists(folder, memory)
        self._writers: dict[tuple[str, int], _Writer] = {}
        self._progress: dict[str, ProgressFile] = {}
        self._stopped = False
        self._leaving = False
        self._looked = 0.0

    def stopping(self) -> bool:
        """Whether workers are to end after the block they are in."""
        now = perf_counter()
        if not self._stopped and now - self._looked > STOP_SECONDS:
            self._looked = now
            self._stopped = (self.folder / "stop").exists()
        return self._stopped or self._leaving

    def leave(self) -> None:
        """Have the worker of this process end after the block it is in; what it holds is for others."""
        self._leaving = True

    def left(self) -> bool:
        """Whether batches end unfinished because the worker leaves."""
        return self._leaving

    def claim(self, worker: str) -> Batch | None:
        """The next batch; waits between stages; None when nothing will follow."""
        waiting, pause = Waiting(self.folder / "driver.alive", self._idle_timeout), 0.001
        while not self._leaving:
            heard = self.published.rung
            if (self.folder / "over").exists():
                return None
            batch = self._take(worker)
            if batch is not None:
                return batch
            if self._lists.strange or waiting.in_vain():
                return None
            self.published.wait(heard, pause)
            # a file server is asked less and less often, by all that wait
            pause = min(2 * pause, max(0.02, min(0.5, waiting.seconds / 20)))
        return None

    def _take(self, worker: str) -> Batch | None:
        with self._lock:
            return self._lists.take(worker)

    def enter(self, worker: str, stage: int, block_id: int, done: int) -> None:
        """A worker begins a block."""
        self._progress[worker].put(done, block_id, stage)

    def recorder(self, worker: str, batch: Batch) -> Recorder:
        """Where a worker records a batch."""
        if worker not in self._progress:
            self._progress[worker] = ProgressFile(self.folder / "progress" / worker)
        self._progress[worker].batches += 1
        writer = self._writer(worker, batch.stage)
        every = SYNC_SECONDS if self.plan.execution.durability == "node" else FLUSH_SECONDS

        def sink(record: Record) -> None:
            writer.write(record)
            self.recorded.ring()

        first = self._progress[worker].batches == 1
        return Recorder(worker, batch, self.plan.stages[batch.stage], sink, every, first=first)

    def _writer(self, worker: str, stage: int) -> _Writer:
        key = (worker, stage)
        if key not in self._writers:
            sync = self.plan.execution.durability == "node"
            self._writers[key] = _Writer(self.folder, stage, worker, self.plan.stages[stage], sync)
        return self._writers[key]

    def earlier(self, stage: int) -> Results:
        """Values of the stages before this one."""
        stages = self.plan.stages[:stage]
        return Results(stages, lambda number: load_stage(self.folder, number, stages[number])[0])

    def undo_folder(self, stage: int, output: int) -> Path:
        """Where the old content of an output is kept."""
        return self.folder / "undo" / str(stage) / str(output)

    def shut(self) -> None:
        """Close the workers' files."""
        for writer in self._writers.values():
            writer.close()
        for progress in self._progress.values():
            progress.close()
        self._writers, self._progress = {}, {}
