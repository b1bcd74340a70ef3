"""The journal of a stage: one file a worker, of which a torn end does not count."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...run_folder import RunFolder, copying_began
from ...system.faults import fault
from ...system.files import damaged, naming, own_folder, sync_folder, write_once
from ...system.frames import frame, read_frames, read_told
from ...system.json_text import parse_json
from ...system.processes import identify, rebooted
from ..planning.stage import Stage
from .encoding import dump_record, load_record
from .records import Record
from .stage_record import StageRecord
from .values import LEAST_MAPPED, MAPPED_BYTES, FileValues, dump_values


class StageJournal:
    """Reads the journals of one stage, each up to where it counts.

    The limits are the driver's: what a worker writes after it was held dead, or one of an earlier session after this
    one began, is work that is done again, and counts once. With ``opened``, pickled exceptions of failed blocks are
    opened: only in a folder that is one's own.
    """

    def __init__(self, folder: Path, index: int, stage: Stage, *, opened: bool = False) -> None:
        self.journals = RunFolder(folder).journals_of(index)
        self._folder = str(self.journals)
        self.results = RunFolder(folder).results_of(index)
        self.index = index
        self.stage = stage
        self._opened = opened
        self._offsets: dict[str, int] = {}
        self._limits: dict[str, int] = {}
        self._prefix: str | None = ""
        self._adopted: frozenset[str] = frozenset()
        self._on_disk = copying_began(folder)
        self.ended: set[tuple[int, int]] = set()
        """Keys of the batches that have ended."""
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
        start, stop = self._offsets.setdefault(name, 0), self._limits.get(name)
        # asked for every worker at every look, so without a Path
        if start == stop or os.stat(f"{self._folder}/{name}").st_size == start:
            return
        path = self.journals / name
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
                if check and not values.intact(whole=self.stage.mapped or self.stage.kind == "once"):
                    return
                if self.stage.merge is not None:
                    record.nodes = values.load()
                else:
                    record.values = values
            self._offsets[name] = end
            # each batch ends once, whoever says so
            record.ended = record.ended and record.batch.key not in self.ended
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


class _Appended:
    """A file that one writer appends to; made with the first of it."""

    def __init__(self, path: Path, sync: bool) -> None:
        self.path = path
        self.size = 0
        self._sync = sync
        self._descriptor = -1
        own_folder(path.parent)

    def append(self, data: bytes) -> None:
        """Add bytes; when it returns they survive what the promise says."""
        with naming(self.path):
            if self._descriptor < 0:
                self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
                if self._sync:
                    sync_folder(self.path.parent)
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            if self._sync:
                os.fsync(self._descriptor)
        self.size += len(data)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)


class _Writer:
    """A worker's journal and results of one stage; ``told`` is called after each record."""

    def __init__(
        self, folder: Path, index: int, worker: str, stage: Stage, sync: bool, told: Callable[[], None]
    ) -> None:
        inside = RunFolder(folder)
        self._stage, self._sync, self._told = stage, sync, told
        self._errors = inside.errors
        self._journal = _Appended(inside.journals_of(index) / worker, sync)
        self._results = _Appended(inside.results_of(index) / worker, sync)
        self._journal.append(frame(json.dumps({**identify(), "synced": sync}).encode()))

    def write(self, record: Record) -> None:
        """Append a record: the values first, then what says that they are there."""
        offset = None
        if values := record.values if self._stage.merge is None else record.nodes:
            offset, path = self._results.size, self._results.path
            mapped = self._stage.mapped
            stem = path.with_name(f"{path.name}.{offset}") if mapped or self._stage.kind == "once" else None
            data = frame(dump_values(values, stem, sync=self._sync, least=LEAST_MAPPED if mapped else MAPPED_BYTES))
            fault("before-result")
            self._results.append(data)
            fault("after-result")
        for failure in () if record.failed is None else record.failed.failures[:10]:
            path = self._errors / f"{failure.stage}-{failure.block_id}-{failure.attempt}.txt"
            head = f"block {failure.block_id} {failure.region} worker {failure.worker} attempt {failure.attempt + 1}\n"
            write_once(path, (head + failure.traceback).encode())
        fault("before-journal")
        self._journal.append(frame(dump_record(record, offset)))
        fault("after-journal")
        self._told()

    def close(self) -> None:
        """Close the files."""
        self._journal.close()
        self._results.close()
