"""Runs on disk: where they lie, who owns them, and which one a call continues.

A run's folder lies in a ``.bioimage_py`` folder beside the first output, under ``$BIOIMAGE_PY_RUN_ROOT``, or where the
configuration says; stamps beside the outputs name it, so that it is found wherever it lies. Its ``run.json`` is also
the lease on what it writes: it is published as ``starting``, then looked at together with all others. Whoever sees a
living run that is older, or no longer starting, on a common region withdraws; whoever sees a younger one that is
starting waits for what it does.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import sleep
from typing import Any, Literal

from ..errors import AccessError, ConfigError, RunningError, StorageError
from ..jsontext import parse_json
from .alive import STALE_SECONDS, Heartbeat, identify, lives, visible
from .claims import Claim, claims_of, container_of, fingerprints
from .conflict import check, differences, moved
from .definition import definition_of
from .faults import fault
from .files import listed, read_small, write_once
from .leftovers import discard, end_workers, nothing_done, put_back
from .owner import check_own, is_own
from .place import ROOT_NAME, new_folder, new_name, remove, sweep
from .plan import Plan, Stage
from .stamps import Move, Output, check_mine, outputs_of, put_stamps, stamped_runs
from .undo import follow

Resume = Literal["auto", "never"] | str


@dataclass
class RunState:
    """The content of ``run.json``.

    ``state`` is "starting", "running", "detached" (its driver has left, workers may go on), "failed" (to be continued),
    "complete" (its caller may not have seen it), "forgotten" (what it has changed is being put back) or "finished";
    ``blocks`` are the numbers of blocks of its stages, ``repeatable`` says whether these give the same result when they
    are run again, ``kept_nothing`` whether it changes data in place whose old content is not kept, ``adopted`` are
    workers of earlier sessions that go on in this one, ``stamped`` where the arrays lie that carry its stamps.
    """

    run: str
    name: str
    state: str
    created: int
    driver: dict[str, Any]
    versions: dict[str, str]
    claims: list[Claim]
    definition: dict[str, str]
    inputs: dict[str, str]
    blocks: list[int]
    repeatable: bool
    sessions: int = 1
    adopted: list[str] = field(default_factory=list)
    kept_nothing: bool = False
    stamped: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> RunState | None:
        """State of the run in a folder; None where there is none yet.

        Raises
        ------
        StorageError
            The file is damaged.
        """
        path = folder / "run.json"
        try:
            data = parse_json(read_small(path))
            claims = [Claim(c["storage"], tuple((b, e) for b, e in c["box"])) for c in data.pop("claims")]
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
        numbers = [self.created, self.sessions, *self.blocks]
        if not all(isinstance(number, int) for number in numbers):
            raise ValueError(f"{numbers} are not all whole numbers")
        if not all(isinstance(told, dict) and isinstance(told.get("url"), str) for told in self.stamped):
            raise ValueError(f"its stamps are at {self.stamped}")

    def write(self, folder: Path, *, new: bool = False) -> None:
        """Publish; StorageError where the folder was removed meanwhile, for a half must not look like a whole."""
        if not new and not (folder / "run.json").exists():
            raise folder_gone(self.run, folder, self.stamped)
        # written three times a run: no indent, for which Python encodes value by value
        write_once(folder / "run.json", json.dumps({**vars(self), "claims": [vars(c) for c in self.claims]}).encode())

    def alive(self, folder: Path) -> bool:
        """Whether its driver can be alive and has not let go of it."""
        heartbeat = folder / "driver.alive"
        return self.state != "finished" and heartbeat.exists() and lives(self.driver, heartbeat)

    @property
    def order(self) -> tuple[int, str]:
        """Orders runs by age."""
        return self.created, self.run


def run_root(stages: Sequence[Stage], given: Any = None) -> Path:
    """Where the folder of a run lies."""
    # absolute when the call begins: a block may change the working directory
    if given is not None:
        return Path(given).absolute()
    if root := os.environ.get("BIOIMAGE_PY_RUN_ROOT"):
        return Path(root).absolute()
    for stage in stages:
        for output in stage.outputs:
            path = container_of(output)
            if path is not None and os.access(path.parent, os.W_OK):
                return path.parent / ROOT_NAME
    return cache_root()


def cache_root() -> Path:
    """Where runs lie that write nothing beside which their folder could be."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).absolute() / "bioimage_py" / "runs"


@dataclass
class OwnedRun:
    """A run that this process owns until `finish` or `release`."""

    folder: Path
    state: RunState
    heartbeat: Heartbeat
    outputs: list[Output]

    @property
    def lost(self) -> bool:
        """Whether another driver has taken it over."""
        now = RunState.read(self.folder)
        return now is not None and now.sessions != self.state.sessions

    @property
    def gone(self) -> bool:
        """Whether somebody has removed the folder."""
        return not (self.folder / "run.json").exists()

    def complete(self) -> None:
        """All blocks are done; whether the caller sees it is open.

        Raises
        ------
        RunningError
            Another driver has taken it over.
        """
        if self.lost:
            raise taken_over(self.folder)
        fault("before-complete")
        self.state.state = "complete"
        self.state.write(self.folder)
        fault("after-complete")

    def finish(self) -> None:
        """The caller is about to see the end: the folder goes, and with it what tells that the call was made."""
        self.heartbeat.close()
        # nothing is run again from here on; what takes long goes first, for a kill until the end leaves a conflict
        for name in ("undo", "claims", "batches", "errors", "logs"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        fault("before-finish")
        discard(self.folder, self.state, self.outputs)

    def release(self, state: str) -> None:
        """Leave the run to be continued; that works on a full disk too. One that was lost is left alone."""
        self.heartbeat.close()
        with suppress(StorageError):
            if self.lost:
                return
        self.heartbeat.path.unlink(missing_ok=True)
        self.state.state = state
        with suppress(OSError):
            self.state.write(self.folder)


def runs_in(root: Path) -> Iterator[tuple[Path, RunState]]:
    """Runs in a folder, oldest first; those that cannot be read are left out."""
    yield from _read_all(_folders(root), set())


def _folders(root: Path) -> list[Path]:
    return [path for path in listed(root) if not path.name.startswith(".")]


def _read_all(folders: Sequence[Path], needed: set[Path]) -> list[tuple[Path, RunState]]:
    found = []
    for folder in folders:
        try:
            state = RunState.read(folder)
        except StorageError:
            if folder in needed:
                raise
            continue
        if state is not None:
            found.append((folder, state))
    return sorted(found, key=lambda item: item[1].order)


Adopt = Callable[[Path], frozenset[str]]
"""Finds, in the folder of a dead driver, the workers that live and go on for the next one."""


def nobody(folder: Path) -> frozenset[str]:
    """Adopt no worker."""
    return frozenset()


def own_run(plan: Plan, versions: dict[str, str], root: Path, adopt: Adopt = nobody) -> OwnedRun:
    """The run that a call continues, or a new one, as its execution's ``resume`` says.

    Raises
    ------
    RunningError
        A living run writes the same region.
    ResumeConflict
        An unfinished run writes the same region and the call cannot continue it.
    ConfigError
        ``resume`` names a folder that holds no run, or that of another output.
    StorageError
        The folder cannot hold a run.
    """
    name, stages, how = plan.name, plan.stages, plan.execution
    mine = RunState(
        new_name(name),
        name,
        "starting",
        0,
        identify(),
        versions,
        claims_of(stages),
        definition_of(stages, casting=how.casting, version=how.version),
        fingerprints(stages),
        [stage.units.n_blocks for stage in stages],
        all(stage.repeatable for stage in stages),
        kept_nothing=any(stage.in_place and not stage.undo for stage in stages),
    )
    if how.resume not in ("auto", "never") and RunState.read(Path(how.resume)) is None:
        raise ConfigError(f"there is no run in {how.resume}", remedy="bioimage-py runs list")
    return _own(mine, stages, root, how.resume, adopt)


def reopen_run(folder: Path, stages: Sequence[Stage], adopt: Adopt = nobody) -> OwnedRun:
    """Own the unfinished run in a folder, without comparing it with a call.

    Raises
    ------
    ConfigError
        There is no unfinished run.
    RunningError
        Its driver lives, or another run writes the same region.
    """
    theirs = RunState.read(folder)
    if theirs is None or theirs.state in ("finished", "forgotten"):
        raise ConfigError(f"there is no unfinished run in {folder}", remedy="bioimage-py runs list")
    mine = replace(theirs, run=new_name(theirs.name), state="starting", driver=identify())
    return _own(mine, stages, folder.parent, str(folder), adopt)


def _own(mine: RunState, stages: Sequence[Stage], root: Path, resume: Resume, adopt: Adopt) -> OwnedRun:
    def fill(private: Path) -> None:
        (private / "driver.alive").touch()
        mine.created = (private / "driver.alive").stat().st_mtime_ns
        mine.write(private, new=True)

    sweep(root)
    outputs = outputs_of(stages)
    mine.stamped = [output.place.told for output in outputs]
    folder = new_folder(root, mine.run, fill)
    heartbeat = Heartbeat(folder / "driver.alive")
    try:
        put_stamps(outputs, mine.run, folder, mine.name)
        taken = _continued(mine, stages, outputs, root, resume, adopt)
        if taken is None:
            mine.state = "running"
            mine.write(folder)
            return OwnedRun(folder, mine, heartbeat, outputs)
    except BaseException:
        heartbeat.close()
        remove(folder, outputs)
        raise
    heartbeat.close()
    remove(folder, outputs)
    return taken


def _continued(
    mine: RunState, stages: Sequence[Stage], outputs: list[Output], root: Path, resume: Resume, adopt: Adopt
) -> OwnedRun | None:
    """The run that is continued, None for a new one."""
    accepted = None if resume in ("auto", "never") else Path(resume).resolve()
    others, moves = _settled(mine, outputs, root, accepted, anew=resume == "never")
    if accepted is not None and not any(folder.resolve() == accepted for folder, _ in others):
        raise ConfigError(f"the run in {resume} is not one of what this call writes", remedy="bioimage-py runs list")
    # one that was starting when it died had done nothing, or had just gone over to the one that it continued
    over = ("starting", "forgotten", "finished")
    for folder, other in sorted(others, key=lambda item: item[1].state not in over):
        if other.state in ("starting", "finished") and not is_own(folder):
            continue  # there is nothing to continue, and whoever made it removes it
        check_own(folder)
        if move := moves.get(folder):
            check_mine(other.stamped, move, outputs)
            other = moved(other, mine, move)
            follow(folder, move)
        anew = resume == "never" or other.state in over
        if not anew and accepted is None and nothing_done(folder, other):
            # workers that wait in a queue keep their places; others may have begun just before their end
            anew = bool(differences(other, mine)) or not adopt(folder)
            if anew:
                end_workers(folder)
                anew = nothing_done(folder, other)
        if anew:
            end_workers(folder)
            put_back(folder, other, outputs)
            discard(folder, other, outputs)
            continue
        check(other, folder, mine, stages, outputs, accepted=folder.resolve() == accepted)
        if (taken := _take_over(other, folder, mine, outputs, adopt)) is not None:
            return taken
    return None


def _settled(
    mine: RunState, outputs: Sequence[Output], root: Path, accepted: Path | None, *, anew: bool
) -> tuple[list[tuple[Path, RunState]], dict[Path, Move]]:
    """Dead runs that concern a call, once no living one is in its way, and how their outputs have moved."""
    while True:
        moves = dict(stamped_runs(outputs, root / mine.run, accepted, anew=anew))
        stamped, known = set(moves), {folder.name for folder in moves}
        # the root may be the same one by another path
        rest = [*_folders(root), *([] if accepted is None else [accepted])]
        folders = sorted(stamped | {folder for folder in rest if folder.name not in known})
        others = [
            (folder, other)
            for folder, other in _read_all(folders, {*stamped, *([] if accepted is None else [accepted])})
            if other.run != mine.run and (folder in stamped or _concerns(other, mine) or folder.resolve() == accepted)
        ]
        living = [(folder, other) for folder, other in others if other.alive(folder)]
        if not living:
            return others, moves
        # a run that writes nothing is in nobody's way: it only leaves the others alone
        if not mine.claims and not any(folder.resolve() == accepted for folder, _ in living):
            return [], {}
        for folder, other in living:
            if other.state != "starting" or other.order < mine.order:
                raise _running(other, folder)
        sleep(0.01)


def _concerns(other: RunState, mine: RunState) -> bool:
    """Whether two runs write a common voxel; of runs that write nothing, whether they are the same call."""
    if mine.claims or other.claims:
        return any(a.overlaps(b) for a in other.claims for b in mine.claims)
    return not differences(other, mine)


def _running(other: RunState, folder: Path) -> RunningError:
    who = f"process {other.driver['pid']} on {other.driver['host']}"
    unseen = "" if visible(other.driver) else f" (held dead {STALE_SECONDS:g} s after its last sign of life)"
    return RunningError(
        f"the run {other.run!r} ({who}) is writing the same region; its folder is {folder}",
        remedy=f"wait for it (bioimage-py runs attach {folder}), or end that process and call again{unseen}",
    )


def folder_gone(run: str, folder: Path, stamped: Sequence[dict[str, Any]]) -> StorageError:
    """What a driver says whose run folder was removed while it ran."""
    return StorageError(
        f"the folder of the run {run!r}, {folder}, was removed while it ran; what it has written into"
        f" {', '.join(told['url'] for told in stamped) or 'its outputs'} is a part of the result",
        remedy="restore the data; or, where they may be taken as they are, bioimage-py runs forget ARRAY; call again",
    )


def taken_over(folder: Path) -> RunningError:
    """What a driver says that has lost its run."""
    now = RunState.read(folder)
    who = "another driver" if now is None else f"process {now.driver['pid']} on {now.driver['host']}"
    return RunningError(
        f"{who} has taken over the run in {folder}: this one gave no sign of life for some time",
        remedy=f"bioimage-py runs attach {folder}",
    )


def _take_over(other: RunState, folder: Path, mine: RunState, outputs: list[Output], adopt: Adopt) -> OwnedRun | None:
    # who took it over in between has by now given up the folder that told so
    now = RunState.read(folder)
    if now is None:
        return None
    if now.alive(folder) or now.sessions != other.sessions:
        raise _running(now, folder)
    adopted = adopt(folder)
    end_workers(folder, adopted)
    now.driver, now.state, now.sessions, now.adopted = mine.driver, "running", now.sessions + 1, sorted(adopted)
    now.claims, now.definition, now.inputs, now.stamped = other.claims, other.definition, other.inputs, mine.stamped
    heartbeat = Heartbeat(folder / "driver.alive")
    try:
        now.write(folder)
        put_stamps(outputs, now.run, folder, now.name)
    except BaseException:
        heartbeat.close()
        heartbeat.path.unlink(missing_ok=True)
        raise
    return OwnedRun(folder, now, heartbeat, outputs)
