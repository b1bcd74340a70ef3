"""Whose a run folder is: what lies in one runs as code only where nobody but its user can have put it there.

Its own user's are the folder and what is in it where the owner is the caller (or root) and nobody else may write. The
folder above may be shared, with a group or, where the sticky bit keeps others from renaming what is not theirs, with
all.
"""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from pathlib import Path

from ...errors import AccessError, ConfigError, ResumeConflict, StorageError
from ...run_folder import RunFolder
from ...system.files import write_once
from ...system.frames import frame, frames_in
from ...system.owner import _mine, _trusted, _writers, check_own, logger
from .placing import placed_in_folder
from .stage import Plan


def keep_plan(folder: Path, payload: bytes | None, *, part: bool) -> None:
    """Keep the plan of what is run now; that of a ``part`` of the run's blocks beside the run's own.

    None where no other process can open it.
    """
    inside = RunFolder(folder)
    if payload is not None:
        write_once(inside.part if part else inside.plan, frame(payload))
    if not part:
        inside.part.unlink(missing_ok=True)


def read_plan(folder: Path) -> Plan:
    """The plan of what is run now, with the run's own arrays, see `read_plan_file`."""
    inside = RunFolder(folder)
    return placed_in_folder(read_plan_file(inside.part if inside.part.exists() else inside.plan), folder)


def kept_plan(folder: str | os.PathLike[str]) -> Plan:
    """The own plan of a run, with its sources opened.

    Raises
    ------
    ConfigError
        It was not kept (a function or an array that only the first process had), or cannot be opened here.
    AccessError, ResumeConflict
        See `read_plan_file`.
    """
    path = RunFolder(Path(folder)).plan
    if not path.exists():
        raise ConfigError(
            f"{folder} keeps no plan that another process can open", remedy="repeat the call that began the run"
        )
    try:
        return read_plan_file(path)
    except (AccessError, ResumeConflict):
        raise
    except Exception as error:
        raise ConfigError(
            f"{path} cannot be opened here: {type(error).__name__}: {error}",
            remedy="start this where the call was made, with the same modules to import and the same files",
        ) from error


def read_plan_file(path: Path) -> Plan:
    """Open a plan: this runs what was pickled in it.

    Raises
    ------
    AccessError
        The file, or the folder it is in, is not one's own.
    StorageError
        It is torn.
    ResumeConflict
        Another version of this package has written it: the same names may mean other things.
    """
    payload = plan_bytes(path)
    _check_version(path.parent)
    logger.info("opening the plan %s", path)
    plan: Plan = pickle.loads(payload)
    return plan


def _check_version(folder: Path) -> None:
    from ... import __version__

    with suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
        theirs = RunFolder(folder).versions().get("bioimage_py", __version__)
        if theirs != __version__:
            raise ResumeConflict(
                f"the run in {folder} was begun by bioimage_py {theirs}; this is {__version__}, which opens no plan of"
                " it",
                remedy=f"repeat the call that began it with resume={str(folder)!r}, which continues it; or end it in"
                f" an environment with version {theirs}",
            )


def plan_bytes(path: Path) -> bytes:
    """The bytes of a plan that is one's own."""
    check_own(path.parent)
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())  # of the very file that is read: the name may lead elsewhere by now
        if not _trusted(path.resolve()) and (not _mine(status, path.parent) or _writers(status)):
            raise AccessError(f"{path} is not your own", remedy=f"if nobody has written it: chmod go-w {str(path)!r}")
        for _, payload in frames_in(file, 0, status.st_size):
            return payload
    raise StorageError(f"{path} is damaged: its checksum does not fit", remedy="remove the run folder and call again")
