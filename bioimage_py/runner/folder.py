"""The ledger as a folder that every worker sees.

Layout: ``plan.json`` (for people), ``plan.pkl``, ``batches/<session>.<n>`` (lists of batches, published by the driver),
``claims/<n>/<i>`` (linked into place by whoever takes batch i of list n), ``journal/<stage>/<worker>`` (done records),
``journal/<stage>/.limits`` (up to where each of them counts), ``results/<stage>/<worker>`` (values), ``errors/``
(tracebacks), ``progress/<worker>``, and the marks ``over``, ``stop`` and ``alone``. Journals, results and lists are
sequences of frames with checksums, written by one process only.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from ..errors import StorageError
from .alive import identify, rebooted
from .faults import fault
from .journal import FailedGroup, Record, Recorder, dump_value, frame, read_frame, read_frames
from .ledger import FileValues, Progress, Results, StageRecord, WorkerSide
from .plan import Batch, Plan, Stage

STOP_SECONDS = 0.05
"""How often a worker looks for the stop mark."""
PART = "part.pkl"
"""Plan of a call that asks for some blocks of a larger run; the run's own plan stays."""
_PROGRESS = struct.Struct("<qqqq")


def write_once(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    private = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with naming(path), open(private, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(private, path)
    except BaseException:
        private.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in the errors of writing it."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_whole(path: Path) -> Any:
    """The value in a file of one frame; StorageError names a torn file."""
    payload = read_frame(path, 0)
    if payload is None:
        raise StorageError(
            f"{path} is damaged: its checksum does not fit", remedy="remove the run folder and call again"
        )
    return pickle.loads(payload)


def read_plan(run: Path) -> Plan:
    """The plan of what is run now."""
    part = run / PART
    plan: Plan = read_whole(part if part.exists() else run / "plan.pkl")
    return plan


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
    """

    def __init__(self, folder: Path, index: int, stage: Stage) -> None:
        self.journals = folder / "journal" / str(index)
        self.results = folder / "results" / str(index)
        self.index = index
        self.stage = stage
        self._offsets: dict[str, int] = {}
        self._limits: dict[str, int] = {}
        self._prefix: str | None = ""
        if (path := self.journals / ".limits").exists():
            self._limits, self._prefix = read_whole(path)

    def poll(self, *, check: bool = False) -> list[Record]:
        """Records since the last call; with ``check`` a record whose values are damaged ends its journal."""
        if not self.journals.exists():
            return []
        names = sorted(name for name in os.listdir(self.journals) if self._counts(name))
        return [record for name in names for record in self._read(name, check)]

    def _counts(self, name: str) -> bool:
        unlimited = self._prefix is not None and name.startswith(self._prefix)
        return name in self._limits or (unlimited and not name.startswith("."))

    def _read(self, name: str, check: bool) -> Iterator[Record]:
        path = self.journals / name
        start, stop = self._offsets.setdefault(name, 0), self._limits.get(name)
        if start == stop or path.stat().st_size == start:
            return
        for end, payload in read_frames(path, start, stop):
            if start == 0 and self._offsets[name] == 0:
                if rebooted(pickle.loads(payload)):
                    return
                self._offsets[name] = end
                continue
            record, offset = self._record(name, payload)
            if offset is not None:
                values = FileValues(self.results / name, offset)
                if check and not values.intact(whole=self.stage.kind == "once"):
                    return
                if self.stage.merge is not None:
                    record.nodes = values.load()
                else:
                    record.values = values
            self._offsets[name] = end
            yield record

    def _record(self, name: str, payload: bytes) -> tuple[Record, int | None]:
        key, ids, seconds, offset, ended, failed, span, mark = pickle.loads(payload)
        record = Record(name, Batch(self.index, 0, 0, key=key), ended=ended, failed=failed, span=span, mark=mark)
        record.ids.frombytes(ids)
        record.seconds.frombytes(seconds)
        return record, offset

    def cut(self, name: str) -> None:
        """Let no later record of a worker count: it is held dead, and its work is done again."""
        self._limits[name] = self._offsets.get(name, 0)
        self._publish()

    def admit(self, prefix: str | None) -> None:
        """Let what has been read count, and from now on the records of workers whose names begin so, or of none."""
        self._limits = {**self._offsets, **self._limits}
        self._prefix = prefix
        self._publish()

    def _publish(self) -> None:
        write_once(self.journals / ".limits", frame(pickle.dumps((self._limits, self._prefix))))


def load_stage(folder: Path, index: int, stage: Stage, *, check: bool = False) -> tuple[StageRecord, StageJournal]:
    """What the journals of a stage say."""
    record, journal = StageRecord.of(stage), StageJournal(folder, index, stage)
    for part in journal.poll(check=check):
        record.add(part)
    return record, journal


class _Writer:
    """A worker's journal and results of one stage."""

    def __init__(self, folder: Path, index: int, worker: str, stage: Stage, sync: bool) -> None:
        self._stage = stage
        self._sync = sync
        self._errors = folder / "errors"
        self._paths = {part: folder / part / str(index) / worker for part in ("journal", "results")}
        for path in self._paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        self._journal = self._create("journal")
        self._results: int | None = None
        self._offset = 0
        self._write("journal", self._journal, frame(pickle.dumps({**identify(), "synced": sync})))

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
        ids, seconds = record.ids.tobytes(), record.seconds.tobytes()
        told = (record.batch.key, ids, seconds, offset, record.ended, record.failed, record.span, record.mark)
        fault("before-journal")
        self._write("journal", self._journal, frame(pickle.dumps(told)))
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
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "w+b")  # noqa: SIM115 - open as long as the worker lives
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
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self._lock = threading.Lock()
        self._lists: dict[str, list[Batch]] = {}
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
        pause = 0.001
        while not (self._leaving or (self.folder / "over").exists()):
            with self._lock:
                batch = self._take(worker)
            if batch is not None:
                return batch
            sleep(pause)
            pause = min(2 * pause, 0.02)
        return None

    def _take(self, worker: str) -> Batch | None:
        # a worker that outlived its driver must not take what the next driver waits for
        session = f"{worker.partition('w')[0]}."
        for name in os.listdir(self.folder / "batches"):
            if name not in self._lists and name.startswith(session):
                self._lists[name] = read_whole(self.folder / "batches" / name)
        for name in sorted(self._lists, key=lambda name: int(name.rpartition(".")[2])):
            batches = self._lists[name]
            for batch in [batch for batch in batches if batch.avoid != worker or self._alone()]:
                batches.remove(batch)
                if self._link(worker, batch):
                    return batch
        return None

    def _alone(self) -> bool:
        return (self.folder / "alone").exists()

    def _link(self, worker: str, batch: Batch) -> bool:
        claims = self.folder / "claims" / str(batch.key[0])
        claims.mkdir(parents=True, exist_ok=True)
        private, claim = claims / f".{worker}", claims / str(batch.key[1])
        if not private.exists():
            with naming(private):
                private.write_text(worker)
        fault("before-claim")
        try:
            os.link(private, claim)
        except FileExistsError:
            # a link whose answer was lost on the network also says "exists": the content tells whose it is
            return claim.read_text() == worker
        fault("after-claim")
        return True

    def enter(self, worker: str, stage: int, block_id: int, done: int) -> None:
        """A worker begins a block."""
        self._progress[worker].put(done, block_id, stage)

    def recorder(self, worker: str, batch: Batch) -> Recorder:
        """Where a worker records a batch."""
        if worker not in self._progress:
            self._progress[worker] = ProgressFile(self.folder / "progress" / worker)
        self._progress[worker].batches += 1
        writer = self._writer(worker, batch.stage)
        return Recorder(worker, batch, self.plan.stages[batch.stage], writer.write)

    def _writer(self, worker: str, stage: int) -> _Writer:
        key = (worker, stage)
        if key not in self._writers:
            sync = self.plan.execution.durability == "node"
            self._writers[key] = _Writer(self.folder, stage, worker, self.plan.stages[stage], sync)
        return self._writers[key]

    def earlier(self, stage: int) -> Results:
        """Values of the stages before this one."""
        return Results([load_stage(self.folder, i, self.plan.stages[i])[0] for i in range(stage)])

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
