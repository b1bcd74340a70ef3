"""What a dead run has left behind: whether it had done anything, and how its data become again what they were."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..backends.orders import cancel_jobs
from ..errors import ResumeConflict, RunningError
from .alive import end
from .folder import read_progress
from .place import remove
from .single_writer import COPYING
from .stamp_places import clear_stamps
from .stamps import Output
from .undo import foreign, roll_back, unchanged

if TYPE_CHECKING:
    from .runs import RunState

LATE_SECONDS = 60.0
"""What is written so much later than the last sign of a run was not written by it."""


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
        with suppress(json.JSONDecodeError, FileNotFoundError):
            process = json.loads(path.read_text())
            if path.stem not in spare and not end(process):
                raise RunningError(
                    f"process {process['pid']}, a worker of the run in {folder}, cannot be ended",
                    remedy=f"kill -9 {process['pid']}",
                )
