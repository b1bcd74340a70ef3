"""What a dead run has left behind: whether it had done anything, and how its data become again what they were."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ResumeConflict, StorageError
from ...run_folder import LATE_SECONDS, STAMPS, RunFolder
from ...sources.chunked.unit_files import METADATA_FILES
from ...sources.output_folder import token_of
from ...sources.stores.location import Location
from ...system.faults import fault
from ...system.files import write_once
from ...system.frames import frame, read_frame
from ..ledger.progress import read_progress
from ..worker.undo import _SLASH, _WHERE, _link
from .folders import remove
from .stamp_places import clear_stamps
from .stamps import Output, remove_stamps

if TYPE_CHECKING:
    from ...run_folder import RunState


def nothing_done(folder: Path, state: RunState) -> bool:
    """Whether a run has not finished a block and not written a voxel, so that nothing is lost with it."""
    workers = [read_progress(path) for path in RunFolder(folder).progress.glob("*")]
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
    if state.state not in ("complete", "finished") and RunFolder(folder).copying.exists():
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
    inside = RunFolder(folder)
    if not inside.undo.exists():
        return
    signs = (inside.state, inside.heartbeat, *inside.journals.glob("*/*"))
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
    _finished(folder, state)
    _unstamp(state, outputs)
    for hidden in map(Path, state.hidden):
        if hidden.name.endswith(f".{token_of(state.run)}") and not hidden.is_symlink():
            shutil.rmtree(hidden, ignore_errors=True)
    remove(folder)


def end(folder: Path, state: RunState, outputs: Sequence[Output]) -> None:
    """Remove a complete run: it is there until its folder is renamed, for else a call in place would be made twice."""
    _unstamp(state, outputs)
    fault("after-stamps")
    remove(folder)
    if RunFolder(folder).state.exists():  # it could not be renamed
        _finished(folder, state)


def _finished(folder: Path, state: RunState) -> None:
    state.state = "finished"
    with suppress(OSError):  # a full disk keeps no run from ending
        state.write(folder)


def _unstamp(state: RunState, outputs: Sequence[Output]) -> None:
    known = {output.place.url for output in outputs}
    clear_stamps([told for told in state.stamped if told["url"] not in known], state.run)
    remove_stamps(outputs, state.run)


def unchanged(folder: Path) -> bool:
    """Whether no unit that a run has kept was written since, as far as the run folder tells."""
    for where in RunFolder(folder).undo.glob(f"*/*/{_WHERE}"):
        if _bucket(where) is not None:  # what it holds now is not asked for
            return False
        live = Path(_told(where))
        if not all(_is_kept(kept, live / kept.name.replace(_SLASH, "/")) for kept in where.parent.glob("kept/[!.]*")):
            return False
    return True


def _is_kept(kept: Path, unit: Path) -> bool:
    """Whether a unit is what was kept of it, also where that is nothing."""
    return not unit.exists() if kept.is_symlink() else unit.exists() and os.path.samefile(kept, unit)


def foreign(folder: Path, run: str, since: float) -> Path | None:
    """A unit that was written after some time, when the run that keeps it had ended; None if there is none."""
    for kept, unit in _kept_units(folder, run):
        with suppress(FileNotFoundError):
            if unit.stat().st_mtime > since and not _is_kept(kept, unit):
                return unit
    return None


def roll_back(folder: Path, run: str) -> None:
    """Give all units that a run has kept their old content; it may be done any number of times."""
    for kept, unit in _kept_units(folder, run):
        fault("before-rollback")
        if kept.is_symlink():
            unit.unlink(missing_ok=True)
        elif not _is_kept(kept, unit):
            unit.parent.mkdir(parents=True, exist_ok=True)
            private = unit.with_name(f".{unit.name}.before")
            _link(str(kept), private)
            os.replace(private, unit)
        fault("after-rollback")
    for where in _wheres(folder):
        if (place := _bucket(where)) is not None and _same_array(place, where.parent / "view"):
            for kept in where.parent.glob("kept/[!.]*"):
                name = kept.name.replace(_SLASH, "/")
                place.delete(name) if kept.is_symlink() else place.write(name, kept.read_bytes())
    os.sync()  # what was kept goes now, so the machine may not forget what was put back


def follow(folder: Path, move: Callable[[str], str]) -> None:
    """Note where the outputs of a run lie now that they have moved."""
    for where in RunFolder(folder).undo.glob(f"*/*/{_WHERE}"):
        if (now := move(told := _told(where))) != told:
            write_once(where, frame(now.encode()))


def _kept_units(folder: Path, run: str) -> Iterator[tuple[Path, Path]]:
    """Kept units of a run and where they belong, the last stage first; none of an output that was made anew."""
    for where in _wheres(folder):
        if _bucket(where) is not None:
            continue
        live = Path(_told(where))
        if (live / STAMPS / run).exists():
            for kept in where.parent.glob("kept/[!.]*"):
                yield kept, live / kept.name.replace(_SLASH, "/")


def _wheres(folder: Path) -> list[Path]:
    return sorted(RunFolder(folder).undo.glob(f"*/*/{_WHERE}"), key=lambda path: -int(path.parts[-3]))


def _told(where: Path) -> str:
    payload = read_frame(where, 0)
    if payload is None:
        raise StorageError(
            f"{where} is damaged, so what the run has changed cannot be put back",
            remedy="restore the data, remove the run folder and call again",
        )
    return payload.decode()


def _bucket(where: Path) -> Location | None:
    """Where the live units lie, if not in a local folder."""
    text = _told(where)
    return Location(**{"options": {}, **json.loads(text)}) if text.startswith("{") else None


def _same_array(place: Location, view: Path) -> bool:
    """Whether a bucket holds the array that was kept, and not another that was made in its place."""
    names = [name for name in METADATA_FILES if (view / name).exists()]
    return all(place.read(name) == (view / name).read_bytes() for name in names)
