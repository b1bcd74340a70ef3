"""What run folders tell, read without changing anything, while a run lives or after its driver has died."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...blocks import Grid, Groups
from ...errors import ConfigError
from ...run_folder import STAMPS, RunFolder, RunState
from ...sources.arrays.tensorstore import detect_driver
from ...sources.stores.location import Location
from ...system.files import damaged, listed, read_small
from ...system.json_text import parse_json
from ..driver.report import RunReport, StageReport
from ..lease.folders import ROOT_NAME, cache_root
from ..ledger.batch_lists import own_session
from ..ledger.journal import StageJournal
from ..ledger.records import Record
from ..ledger.stage_record import StageRecord
from ..planning.stage import Stage
from ..planning.work_list import Units

DEPTH = 6
"""Folders below the given ones that are looked through for runs."""
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError)
"""What reading a description can raise that no run wrote."""
_EVENT = {"session", "seconds", "time", "event"}
_MOST = 2**63
"""No number of a run is as large: of seconds, bytes or workers."""
_ARRAY_FILES = {"zarr.json", ".zarray", "attributes.json"}


@dataclass(frozen=True)
class StageStatus:
    """How far one stage is."""

    name: str
    kind: Literal["blocks", "items", "once"]
    blocks: int
    done: int
    failed: int


@dataclass(frozen=True)
class RunStatus:
    """What is known of a run.

    Attributes
    ----------
    folder : str
    run : str
        Its name in the file system.
    name : str
        What was called.
    state : {"starting", "running", "detached", "failed", "interrupted", "complete", "forgotten", "finished"}
        ``detached``: its driver has left, workers may go on; ``interrupted``: its driver has died; ``complete``: all
        blocks are done and nobody was told; ``forgotten``: what it has changed is being put back; ``finished``: only
        the folder is left.
    created, active : float
        When it began, and the last sign of life, in seconds since the epoch.
    host : str
    pid : int
        The driver's process, there.
    sessions : int
        How often it was begun or continued.
    stages : tuple of StageStatus
    """

    folder: str
    run: str
    name: str
    state: str
    created: float
    active: float
    host: str
    pid: int
    sessions: int
    stages: tuple[StageStatus, ...]

    @property
    def alive(self) -> bool:
        """Whether its driver can be alive."""
        return self.state in ("starting", "running")

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def status_of(folder: str | os.PathLike[str]) -> RunStatus:
    """What is known of the run in a folder.

    Raises
    ------
    ConfigError
        There is no run.
    StorageError
        Its ``run.json`` is damaged.
    """
    path = Path(os.path.abspath(folder))
    return status_with(path, (record for record, _ in _records(path, described(path))))


def status_with(path: Path, records: Iterable[StageRecord]) -> RunStatus:
    """What is known of the run in a folder whose journals have been read."""
    state = RunState.read(path)
    if state is None:
        raise ConfigError(f"there is no run in {path}", remedy="bioimage-py runs list")
    now = state.state
    if now in ("starting", "running") and not state.alive(path):
        now = "interrupted"
    stages = tuple(
        StageStatus(
            record.stage.name, record.stage.kind, record.stage.units.n_blocks, record.n_done, len(record.failures)
        )
        for record in records
    )
    created, host, pid = state.created / 1e9, state.driver["host"], state.driver["pid"]
    active = max(created, _last_sign(path))
    return RunStatus(str(path), state.run, state.name, now, created, active, host, pid, state.sessions, stages)


def _last_sign(folder: Path) -> float:
    inside = RunFolder(folder)
    signs = [inside.state, inside.heartbeat, inside.events, *inside.progress.glob("*")]
    times = [0.0]
    for sign in signs:
        with suppress(FileNotFoundError):
            times.append(sign.stat().st_mtime)
    return max(times)


def find_runs(places: Sequence[str | os.PathLike[str]] = ()) -> list[RunStatus]:
    """Runs in some places, the oldest first.

    Parameters
    ----------
    places : sequence of path
        Run folders, folders of runs, outputs, or folders above any of them. Without any: the current folder,
        ``$BIOIMAGE_PY_RUN_ROOT`` and the user's cache.

    Returns
    -------
    list of RunStatus
        Folders whose ``run.json`` is damaged are left out.
    """
    found = []
    for folder in find_folders(places):
        with suppress(OSError, ConfigError):  # damaged, or finished just now
            found.append(status_of(folder))
    return sorted(found, key=lambda run: (run.created, run.run))


def find_folders(places: Sequence[str | os.PathLike[str]] = ()) -> list[Path]:
    """Folders that may hold a run, in the places of `find_runs`."""
    folders: dict[Path, None] = {}
    for place in places or _usual_places():
        folders.update(dict.fromkeys(path.resolve() for path in _candidates(Path(os.path.abspath(place)))))
    return list(folders)


def _usual_places() -> list[Path]:
    root = os.environ.get("BIOIMAGE_PY_RUN_ROOT")
    return [Path.cwd(), cache_root(), *([Path(root)] if root else [])]


def _candidates(place: Path) -> Iterator[Path]:
    """Folders that may hold a run: the place, what lies in it, beside it and below it."""
    yield place
    yield from _inside(place)
    yield from _inside(place.parent / ROOT_NAME)
    for folder, names, files in os.walk(place):
        here = Path(folder)
        yield from _inside(here / ROOT_NAME)
        if _ARRAY_FILES.intersection(files) and detect_driver(Location(folder)) is not None:
            yield from _stamped(here)
            names.clear()
        deep = len(here.relative_to(place).parts) >= DEPTH
        names[:] = [] if deep else [name for name in names if not name.startswith(".")]


def _inside(root: Path) -> list[Path]:
    return [path for path in _visible(root) if RunFolder(path).state.exists()]


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder, but for what is being made; nothing where the user may not look."""
    with suppress(PermissionError):
        return [path for path in listed(folder) if not path.name.startswith(".")]
    return []


def _stamped(array: Path) -> Iterator[Path]:
    """Folders of the runs that are named beside an array."""
    for stamp in _visible(array / STAMPS):
        with suppress(OSError, ValueError, KeyError, TypeError):
            yield Path(parse_json(read_small(stamp))["folder"])


def described(folder: Path) -> dict[str, Any]:
    """What ``plan.json`` says; nothing where the run died before it was written."""
    try:
        found = parse_json(read_small(RunFolder(folder).summary))
        for stage in found["stages"]:
            _bare(stage)
    except FileNotFoundError:
        return {"stages": []}
    except _DAMAGE as error:
        raise damaged(RunFolder(folder).summary, error) from error
    return dict(found)


def errors_of(folder: str | os.PathLike[str]) -> list[Path]:
    """Files with the tracebacks of failed blocks, the first one first."""
    files = [path for path in RunFolder(Path(folder)).errors.glob("*.txt") if not path.name.startswith(".")]
    return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))


def events_of(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """What happened besides blocks that succeed, and what was decided; a torn last line is left out."""
    return [event for event in _noted(folder) if event["event"] != "Memory"]


def _noted(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    events = []
    path = RunFolder(Path(folder)).events
    with suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError):
                events.append(parse_json(line))
    return [event for event in events if _is_event(event)]


def _is_event(found: Any) -> bool:
    """Whether a line is what a run notes, and not what a damaged disk or somebody else has made of it."""
    if not isinstance(found, dict) or not found.keys() >= _EVENT:
        return False
    sizes = [found.get("bytes")] if found["event"] == "Memory" else []
    numbers = [found["seconds"], found["time"], *sizes]
    told = isinstance(found["session"], str) and isinstance(found["event"], str)
    return told and all(type(one) in (int, float) and abs(one) < _MOST for one in numbers)


def _whole(about: dict[str, Any], name: str, default: int) -> int:
    found = about.get(name)
    return found if type(found) is int and 0 <= found < _MOST else default


def report_of(folder: str | os.PathLike[str]) -> RunReport:
    """Report of an unfinished run, over all its sessions.

    Memory is the highest that workers saw after a block, and that drivers saw; values are not loaded. ``seconds`` are
    those of its sessions, each from its beginning to its last sign of life.

    Raises
    ------
    ConfigError
        There is no run.
    """
    path, status, events = Path(folder), status_of(folder), events_of(folder)
    about = described(path)
    peaks: dict[str, int] = {}
    reports = []
    for record, marks in _records(path, about):
        reports.append(StageReport.of(record))
        for worker, size in marks:
            peaks[worker] = max(size, peaks.get(worker, 0))
    shared = bool(about.get("shares_memory", True))
    noted = _noted(path)
    sessions = _sessions(path, noted, alive=status.alive)
    seen = [(n["session"], n["seconds"], n["bytes"]) for n in noted if n["event"] == "Memory"]
    return RunReport(
        status.name or status.run,
        tuple(reports),
        sum(sessions.values()),
        _whole(about, "num_workers", max(1, len(peaks))),
        max([size for _, _, size in seen] + [*peaks.values()] * shared, default=0),
        _in_a_row(seen, sessions),
        promised_bytes=_whole(about, "promised_bytes", 0),
        worker_peaks={} if shared else peaks,
        events=tuple(events),
    )


def _sessions(folder: Path, noted: Sequence[dict[str, Any]], *, alive: bool) -> dict[str, float]:
    """Wall time of each session: to the last thing that it noted or its workers wrote; of a living one to now."""
    begin: dict[str, float] = {}
    end: dict[str, float] = {}
    for event in noted:
        session = event["session"]
        begin.setdefault(session, event["time"] - event["seconds"])
        end[session] = max(event["time"], end.get(session, 0.0))
    for journal in folder.glob("journal/*/[!.]*"):
        if (session := own_session(journal.name)) in begin:
            end[session] = max(journal.stat().st_mtime, end[session])
    names = sorted(begin, key=begin.__getitem__)
    for session, following in itertools.pairwise(names):  # workers may have gone on, for the next driver
        end[session] = min(end[session], begin[following])
    if alive and names:
        end[names[-1]] = time.time()
    return {session: max(0.0, end[session] - begin[session]) for session in names}


def _in_a_row(marks: Sequence[tuple[str, float, int]], sessions: dict[str, float]) -> tuple[tuple[float, int], ...]:
    """Marks with the seconds since the run began, the sessions one after the other; only what is higher than before."""
    before = dict(zip(sessions, itertools.accumulate([0.0, *sessions.values()]), strict=False))
    highest: list[tuple[float, int]] = []
    for session, seconds, size in marks:
        if not highest or size > highest[-1][1]:
            highest.append((before[session] + seconds, size))
    return tuple(highest)


def bare_stages(about: dict[str, Any]) -> list[Stage]:
    """The stages that a run describes, as far as counting needs them."""
    return [_bare(told) for told in about["stages"]]


def checked(journal: StageJournal) -> Iterator[Record]:
    """What a journal has now and had not before; StorageError for blocks that the stage does not have."""
    stage, cut = journal.stage, journal.stage.units.groups
    for part in journal.poll():
        ids = np.frombuffer(part.ids, np.int64)
        if len(ids) and (ids.min() < 0 or (cut is not None and ids.max() >= cut.grid.n_blocks)):
            raise damaged(journal.journals, f"blocks {ids.min()} to {ids.max()} of stage {stage.name!r}")
        yield part


def _bare(told: dict[str, Any]) -> Stage:
    """A stage as far as counting needs it: without function and arrays, which may not open here."""
    n_blocks, cut = int(told["blocks"]), told.get("grid")
    if not 0 <= n_blocks < 2**63:
        raise ValueError(f"{n_blocks} blocks")
    groups = None
    if cut is not None:
        shape, block_shape, anchor = (tuple(map(int, cut[name])) for name in ("shape", "block_shape", "anchor"))
        groups = Groups(Grid(shape, block_shape, tuple((int(b), int(e)) for b, e in cut["roi"]), anchor), ())
    return Stage(str(told["name"]), told["kind"], _not_called, Units(n_blocks, groups))


def _not_called() -> None:
    """Stands for a function that was not loaded."""


def _records(folder: Path, about: dict[str, Any]) -> Iterator[tuple[StageRecord, list[tuple[str, int]]]]:
    """What the journals say of each stage that is described, and the memory marks of each worker."""
    for index, stage in enumerate(bare_stages(about)):
        record, marks = StageRecord.of(stage), []
        for part in checked(StageJournal(folder, index, stage)):
            record.add(part)
            if part.mark is not None:
                marks.append((part.worker, part.mark[1]))
        yield record, marks
