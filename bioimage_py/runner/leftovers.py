"""What a dead run has left behind: whether it had done anything, and how its data become again what they were."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..backends.orders import cancel_jobs
from ..errors import ResumeConflict, RunningError
from ..jsontext import parse_json
from .alive import end
from .files import read_small
from .folder import read_progress
from .owner import own_file
from .place import remove
from .single_writer import COPYING, LATE_SECONDS
from .stamp_places import clear_stamps
from .stamps import Output
from .undo import foreign, roll_back, unchanged

if TYPE_CHECKING:
    from .runs import RunState


def nothing_done(folder: Path, state: RunState) -> bool:
    """Whether a run has not finished a block and not written a voxel, so that nothing is lost with it."""
    workers = [read_progress(path) for path in (folder / "progress").glob("*")]
    if not state.repeatable:
        return not any(at.batch for at in workers)
    return not any(at.done for at in workers) and unchanged(folder)


def put_back(folder: Path, state: RunState, outputs: Sequence[Output] = ()) -> None:
    """Have the data as they were before a run that is to be forgotten; once begun, the next call ends it.

    Raises
    ------
    ResumeConflict
        Somebody else has written the data since, the results were being copied into a file when the run died, or what
        it has changed in place was not kept.
    """
    if state.state not in ("complete", "finished") and (folder / COPYING).exists():
        raise ResumeConflict(
            f"the run {state.run!r} in {folder} died while it copied its results into the output, which now holds a"
            " part of them; a new run would take that part for data",
            remedy="call again without resume='never': all blocks are done, and only the copy is repeated",
        )
    if state.state in ("complete", "finished"):
        return
    if state.kept_nothing and not nothing_done(folder, state) and any(o.place.read(state.run) for o in outputs):
        raise ResumeConflict(
            f"the run {state.run!r} in {folder} died while it changed data in place, in a storage whose old content"
            " cannot be kept; a new run would take what it has changed for data",
            remedy="restore the data, or take them as they are; in both cases: bioimage-py runs clean"
            f" {folder} --yes, then call again",
        )
    if not (folder / "undo").exists():
        return
    signs = (folder / "run.json", folder / "driver.alive", *folder.glob("journal/*/*"))
    ended = max((path.stat().st_mtime for path in signs if path.exists()), default=0.0)
    if (unit := foreign(folder, state.run, ended + LATE_SECONDS)) is not None:
        raise ResumeConflict(
            f"{unit} was written after the run {state.run!r} in {folder} had ended; putting back what that run has"
            " changed would overwrite it",
            remedy=f"to go on with the data as they are now: bioimage-py runs clean {folder} --yes, then call again",
        )
    state.state = "forgotten"
    state.write(folder)
    roll_back(folder, state.run)


def discard(folder: Path, state: RunState, outputs: Sequence[Output] = ()) -> None:
    """Remove a run of which nothing is needed any more, with its stamps in all its outputs."""
    state.state = "finished"
    with suppress(OSError):  # a full disk keeps no run from ending
        state.write(folder)
    known = {output.place.url for output in outputs}
    clear_stamps([told for told in state.stamped if told["url"] not in known], state.run)
    remove(folder, outputs)


def end_workers(folder: Path, spare: frozenset[str] = frozenset()) -> None:
    """Make sure that no worker of a run whose driver is dead lives on this host or in a queue, besides some."""
    if not spare and not cancel_jobs(folder):
        raise RunningError(f"jobs of the run in {folder} cannot be cancelled", remedy="squeue --me")
    for path in (folder / "workers").glob("*.json"):
        if path.stem not in spare:
            end_named(path)


def end_named(path: Path) -> None:
    """End the worker that a file of a run folder names: one's own file, and a process that is a worker.

    Raises
    ------
    RunningError
        The process cannot be ended, or it lives and looks like something else.
    """
    if not own_file(path):
        return
    with suppress(ValueError, KeyError, TypeError, FileNotFoundError):
        process = parse_json(read_small(path))
        if not end({**process, "pid": int(process["pid"])}, path.parent.parent):
            raise RunningError(
                f"process {process['pid']}, which {path} calls a worker, cannot be ended, or does not look like one",
                remedy=f"ps -p {process['pid']}; if it is one: kill -9 {process['pid']}; else: rm {str(path)!r}",
            )
