"""A run's folder: what lies in it, and the state that `run.json` holds.

`RunFolder` is the one place that names the files. Small scripts that run without the package (the parents of workers)
and `system.owner`, which lies below, repeat the few names that they need.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import (
    AccessError,
    StorageError,
)
from .system.files import read_small, write_once
from .system.json_text import parse_json
from .system.processes import lives

if TYPE_CHECKING:
    from .blocks.boxes import Bounds


class _Inside:
    """The path of something in a run folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: RunFolder, owner: type | None = None) -> Path:
        return folder.path / self._name


ELSEWHERE = ".arrays.zarr"
"""What the name of a run's own arrays ends with that lie elsewhere, behind the name of the run."""


@dataclass(frozen=True)
class RunFolder:
    """Every path in the folder of a run; none of them needs to exist.

    Files with one writer are appended to (journals, results, progress, events); all others appear whole. What begins
    with a dot is being made. Journals, results, lists of batches and plans are frames with checksums.

    Parameters
    ----------
    path : Path
    """

    path: Path

    state = _Inside("run.json")
    """Who drives the run and how far it is (`RunState`); a folder without it is none of a run."""
    heartbeat = _Inside("driver.alive")
    """Touched by the driver while it lives."""
    summary = _Inside("plan.json")
    """The plan for people, and the code that the driver has imported."""
    plan = _Inside("plan.pkl")
    """The pickled plan, where another process can open it."""
    part = _Inside("part.pkl")
    """Plan of a call that asks for some blocks of a larger run; the run's own plan stays."""
    batches = _Inside("batches")
    """Lists of batches that the driver has published, ``<session>.<n>``."""
    claims = _Inside("claims")
    """``<n>/<i>``, linked into place by whoever takes batch i of list n; it holds the owner's name."""
    journals = _Inside("journal")
    """``<stage>/<worker>``: records of what is done; ``<stage>/.limits``: up to where each of them counts."""
    results = _Inside("results")
    """``<stage>/<worker>``: values that the blocks returned."""
    arrays = _Inside("arrays.zarr")
    """What the run's stages hand on to later ones, an array each."""
    elsewhere = _Inside("arrays.url")
    """Says where these are, where workers do not see the folder."""
    undo = _Inside("undo")
    """``<stage>/<output>``: the old content of what is changed in place."""
    progress = _Inside("progress")
    """``<worker>``: where it is."""
    errors = _Inside("errors")
    """Tracebacks of blocks that failed, ``<stage>-<block>-<attempt>.txt``."""
    logs = _Inside("logs")
    """``<worker>.log``: what it printed."""
    workers = _Inside("workers")
    """``<worker>.json``: which process it is."""
    events = _Inside("events.jsonl")
    """What happened besides blocks that succeed, a line each."""
    over = _Inside("over")
    """Mark: no batch will follow."""
    stop = _Inside("stop")
    """Mark: workers end after the block that they are in."""
    alone = _Inside("alone")
    """Mark: one worker is left, which takes also what it was to leave to others."""
    filled = _Inside("scratch.filled")
    """Mark: the scratch arrays hold what the outputs held."""
    copying = _Inside("scratch.copying")
    """Says that the outputs may hold a part of the result; its time, when they were last written."""
    copied = _Inside("scratch.copied")
    """Mark: the scratch arrays are copied into the outputs."""
    orders = _Inside("slurm")
    """``<token>.json``: which workers the jobs of a scheduler are; beside them what the scheduler wrote."""
    beats = _Inside("alive")
    """``<worker>``: touched by its job while it lives."""
    ends = _Inside("ends")
    """``<worker>.json``: how it ended, by the parent in its job."""
    gone = _Inside("gone")
    """``<worker>``: its job was given up."""

    @property
    def arrays_at(self) -> str:
        """Where the run's own arrays are: in it, or at a URL."""
        try:
            return read_small(self.elsewhere).decode()
        except FileNotFoundError:
            return str(self.arrays)

    def claims_of(self, batch_list: int) -> Path:
        """Claims of the batches of a list."""
        return self.claims / str(batch_list)

    def journals_of(self, stage: int) -> Path:
        """Journals of a stage."""
        return self.journals / str(stage)

    def results_of(self, stage: int) -> Path:
        """Results of a stage."""
        return self.results / str(stage)

    def undo_of(self, stage: int, output: int) -> Path:
        """Where the old content of an output is kept."""
        return self.undo / str(stage) / str(output)

    def log_of(self, worker: str) -> Path:
        """What a worker printed."""
        return self.logs / f"{worker}.log"

    def process_of(self, worker: str) -> Path:
        """Which process a worker is."""
        return self.workers / f"{worker}.json"

    def image(self, number: int) -> Path:
        """What a kill may tear of a file into which results are copied."""
        return self.path / f"scratch.image.{number}"

    def session(self) -> int:
        """How many drivers the run has had; OSError where that cannot be read now."""
        return int(self._raw_state()["sessions"])

    def adopted(self) -> tuple[int, list[str]]:
        """The session, and the workers of earlier ones that go on in it, of one look."""
        state = self._raw_state()
        return state["sessions"], state["adopted"]

    def versions(self) -> dict[str, str]:
        """What the driver said that workers must agree on."""
        return dict(self._raw_state()["versions"])

    def code(self) -> dict[str, str]:
        """Digests of what the driver has imported and workers import, by "module:name"."""
        return dict(parse_json(self.summary.read_text()).get("code", {}))

    def _raw_state(self) -> dict[str, Any]:
        """The state as it is asked for before each claim: its owner has written it, and nothing is checked."""
        return dict(parse_json(self.state.read_text()))


@dataclass
class RunState:
    """The content of ``run.json``.

    ``state`` is "starting", "running", "detached" (its driver has left, workers may go on), "failed" (to be continued),
    "complete" (its caller may not have seen it), "forgotten" (what it has changed is being put back) or "finished";
    ``blocks`` are the numbers of blocks of its stages, ``repeatable`` says whether these give the same result when they
    are run again, ``kept_nothing`` whether it changes data in place whose old content is not kept, ``adopted`` are
    workers of earlier sessions that go on in this one, ``stamped`` where the arrays lie that carry its stamps,
    ``job_type`` names the backend that has started its workers, ``hidden`` are folders that get their name at its end.
    """

    run: str
    name: str
    state: str
    created: int
    driver: dict[str, Any]
    versions: dict[str, str]
    claims: list[WrittenRegion]
    definition: dict[str, str]
    inputs: dict[str, str]
    blocks: list[int]
    repeatable: bool
    sessions: int = 1
    adopted: list[str] = field(default_factory=list)
    kept_nothing: bool = False
    stamped: list[dict[str, Any]] = field(default_factory=list)
    job_type: str = "local"
    hidden: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> RunState | None:
        """State of the run in a folder; None where there is none yet.

        Raises
        ------
        StorageError
            The file is damaged.
        """
        path = RunFolder(folder).state
        try:
            data = parse_json(read_small(path))
            claims = [WrittenRegion(c["storage"], tuple((b, e) for b, e in c["box"])) for c in data.pop("claims")]
            state = cls(claims=claims, **data)
            state._check()
            return state
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise AccessError(f"{path} may not be read: {error.strerror}", remedy=f"ls -ld {folder}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StorageError(
                f"{path} is damaged: {error}", remedy=f"if its run can be forgotten: rm -r {str(folder)!r}"
            ) from error

    def _check(self) -> None:
        """Refuse what no run writes: names that lead elsewhere, processes that are none."""
        process = {"host": str, "boot": str, "pid": int, "start": str}
        wrong = [name for name, kind in process.items() if not isinstance(self.driver[name], kind)]
        if wrong or self.driver["pid"] < 1 or not isinstance(self.state, str) or not isinstance(self.name, str):
            raise ValueError(f"its driver is {self.driver}, its state {self.state!r}, its name {self.name!r}")
        if not isinstance(self.run, str) or "/" in self.run or self.run in ("", ".", ".."):
            raise ValueError(f"the run is called {self.run!r}")
        if not isinstance(self.job_type, str):
            raise ValueError(f"its job_type is {self.job_type!r}")
        numbers = [self.created, self.sessions, *self.blocks]
        if not all(isinstance(number, int) for number in numbers):
            raise ValueError(f"{numbers} are not all whole numbers")
        if not all(isinstance(one, str) for one in self.hidden):
            raise ValueError(f"its folders are {self.hidden}")
        if not all(isinstance(told, dict) and isinstance(told.get("url"), str) for told in self.stamped):
            raise ValueError(f"its stamps are at {self.stamped}")

    def write(self, folder: Path, *, new: bool = False) -> None:
        """Publish; StorageError where the folder was removed meanwhile, for a half must not look like a whole."""
        if not new and not RunFolder(folder).state.exists():
            raise folder_gone(self.run, folder, self.stamped)
        # written three times a run: no indent, for which Python encodes value by value
        told = {**vars(self), "claims": [vars(region) for region in self.claims]}
        write_once(RunFolder(folder).state, json.dumps(told).encode())

    def alive(self, folder: Path) -> bool:
        """Whether its driver can be alive and has not let go of it."""
        heartbeat = RunFolder(folder).heartbeat
        return self.state != "finished" and heartbeat.exists() and lives(self.driver, heartbeat)

    @property
    def order(self) -> tuple[int, str]:
        """Orders runs by age."""
        return self.created, self.run


def folder_gone(run: str, folder: Path, stamped: Sequence[dict[str, Any]]) -> StorageError:
    """What a driver says whose run folder was removed while it ran."""
    return StorageError(
        f"the folder of the run {run!r}, {folder}, was removed while it ran; what it has written into"
        f" {', '.join(told['url'] for told in stamped) or 'its outputs'} is a part of the result",
        remedy="restore the data; or, where they may be taken as they are, bioimage-py runs forget ARRAY; call again",
    )


STAMPS = ".bioimage_py.runs"


@dataclass(frozen=True)
class WrittenRegion:
    """What a run writes: a storage and a box of whole write units in it, in voxels of the storage."""

    storage: str
    box: Bounds

    def overlaps(self, other: WrittenRegion) -> bool:
        """Whether two regions share a voxel."""
        return self.storage == other.storage and boxes_overlap(self.box, other.box)


def boxes_overlap(one: Bounds, other: Bounds) -> bool:
    """Whether two boxes share a voxel, or have different axes."""
    return len(one) != len(other) or all(a[0] < b[1] and b[0] < a[1] for a, b in zip(one, other, strict=True))


LATE_SECONDS = 60.0
"""What is written so much later than the last sign of a run was not written by it."""


def copying_began(folder: Path) -> bool:
    """Whether a run died while it copied in, so that all it had done before is on the disk."""
    copying = RunFolder(folder).copying
    return copying.exists() and not copying.read_text()
