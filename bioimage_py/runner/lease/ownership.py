"""Runs on disk: where they lie, who owns them, and which one a call continues.

A run's folder lies in a ``.bioimage_py`` folder beside the first output, under ``$BIOIMAGE_PY_RUN_ROOT``, or where the
configuration says; stamps beside the outputs name it, so that it is found wherever it lies. Its ``run.json`` is also
the lease on what it writes: it is published as ``starting``, then looked at together with all others. Whoever sees a
living run that is older, or no longer starting, on a common region withdraws; whoever sees a younger one that is
starting waits for what it does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep
from typing import Literal

from ...errors import ConfigError, RunningError, StorageError
from ...run_folder import RunFolder, RunState
from ...system.faults import fault
from ...system.files import listed
from ...system.owner import check_own, is_own
from ...system.processes import STALE_SECONDS, Heartbeat, identify, visible
from ..identity.definition import definition_of
from ..identity.fingerprints import fingerprints
from ..planning.stage import Plan, Stage
from .conflict import check, differences, moved, same_functions
from .end_workers import end_workers
from .folders import new_folder, new_name, remove, sweep
from .regions import hidden_folders, written_regions
from .roll_back import discard, end, follow, nothing_done, put_back
from .stamps import Move, Output, check_mine, outputs_of, put_stamps, stamped_runs

Resume = Literal["auto", "never"] | str


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
        return not RunFolder(self.folder).state.exists()

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
        inside = RunFolder(self.folder)
        for path in (inside.undo, inside.claims, inside.batches, inside.errors, inside.logs):
            shutil.rmtree(path, ignore_errors=True)
        fault("before-finish")
        end(self.folder, self.state, self.outputs)

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
        written_regions(stages),
        definition_of(stages, casting=how.casting, version=how.version),
        fingerprints(stages, {Path(str(handed.spec.path)) for handed in plan.handed}),
        [stage.units.n_blocks for stage in stages],
        all(stage.repeatable for stage in stages),
        kept_nothing=any(stage.in_place and not stage.undo for stage in stages),
        job_type=how.job_type,
    )
    mine.hidden = hidden_folders(stages, mine.run)
    if how.resume not in ("auto", "never") and RunState.read(Path(how.resume)) is None:
        raise ConfigError(f"there is no run in {how.resume}", remedy="bioimage-py runs list")
    late = [output for handed in plan.handed for output in handed.stamped()]
    return _own(mine, stages, root, how.resume, adopt, late)


def reopen_run(folder: Path, stages: Sequence[Stage], adopt: Adopt = nobody, job_type: str = "local") -> OwnedRun:
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
    mine = replace(theirs, run=new_name(theirs.name), state="starting", driver=identify(), job_type=job_type)
    return _own(mine, stages, folder.parent, str(folder), adopt)


def _own(
    mine: RunState, stages: Sequence[Stage], root: Path, resume: Resume, adopt: Adopt, late: Sequence[Output] = ()
) -> OwnedRun:
    def fill(private: Path) -> None:
        sign = RunFolder(private).heartbeat
        sign.touch()
        mine.created = sign.stat().st_mtime_ns
        mine.write(private, new=True)

    sweep(root)
    outputs = [*outputs_of(stages), *late]
    in_files = [told for told in mine.stamped if "key" in told]  # of a run that is reopened without its files
    mine.stamped = [output.place.told for output in outputs] + ([] if late else in_files)
    folder = new_folder(root, mine.run, fill)
    heartbeat = Heartbeat(RunFolder(folder).heartbeat)
    try:
        put_stamps([output for output in outputs if not output.late], mine.run, folder, mine.name)
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
        try:
            check_own(folder)
        except FileNotFoundError:  # it has finished just now
            continue
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
    # workers that go on have the code with which they began, also where the user has taken another one for the same
    adopted = adopt(folder) if same_functions(other, mine) else frozenset()
    end_workers(folder, adopted)
    now.driver, now.state, now.sessions, now.adopted = mine.driver, "running", now.sessions + 1, sorted(adopted)
    now.claims, now.definition, now.inputs, now.stamped = other.claims, other.definition, other.inputs, mine.stamped
    now.job_type = mine.job_type
    heartbeat = Heartbeat(RunFolder(folder).heartbeat)
    try:
        now.write(folder)
        put_stamps([output for output in outputs if not output.late], now.run, folder, now.name)
    except BaseException:
        heartbeat.close()
        heartbeat.path.unlink(missing_ok=True)
        raise
    return OwnedRun(folder, now, heartbeat, outputs)
