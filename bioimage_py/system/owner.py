"""Whether a folder is one's own and nobody else can write it."""

from __future__ import annotations

import grp
import logging
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import AccessError

TRUST = "BIOIMAGE_PY_TRUST"
"""Variable with folders (of runs, or above them) that their user trusts, whoever else may write there."""


_FILES = {"plan.pkl", "part.pkl", "plan.json", "run.json"}


_OPENED = ("journal", "results", "workers")
"""Other files of a run are not opened as code, and end nothing: of them, only their folders are looked at."""


logger = logging.getLogger("bioimage_py")


def check_own(folder: str | os.PathLike[str]) -> None:
    """Refuse a run folder that is somebody else's, or that somebody else can write.

    Raises
    ------
    AccessError
        Says what is whose; the remedy is what makes it one's own, or the variable that trusts it.
    """
    path = Path(os.path.realpath(folder))
    if _trusted(path):
        return
    for part, status in _parts(path):
        if not _mine(status, path):
            raise AccessError(
                f"{part} belongs to {_user(status.st_uid)}, and what a run keeps would run as you",
                remedy=f"ask them, or remove it; if you trust all that lies in it: export {TRUST}={path}",
            )
        if others := _writers(status):
            raise AccessError(
                f"{part} can be written by {others}, and what a run keeps would run as you",
                remedy=f"if nobody has: chmod -R go-w {str(path)!r}",
            )
    _check_above(path)


def is_own(folder: str | os.PathLike[str]) -> bool:
    """Whether `check_own` accepts a folder."""
    try:
        check_own(folder)
    except OSError:
        return False
    return True


def _parts(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """What lies in a run folder, and it: links as what they lead to."""
    yield path, path.stat()
    inside = [path / name for name in os.listdir(path) if name in _FILES or (path / name).is_dir()]
    for opened in _OPENED:
        for folder, folders, files in os.walk(path / opened):
            inside += [Path(folder, name) for name in (*folders, *files)]
    inside += (path / "slurm").glob("*.json")
    for part in inside:
        with suppress(FileNotFoundError):  # it went just now
            yield part, part.stat()


def _check_above(path: Path) -> None:
    for above in path.parents:
        status = above.stat()
        shared = stat.S_IMODE(status.st_mode)
        if shared & stat.S_ISVTX or (_mine(status, path) and not _writers(status)):
            return
        if shared & stat.S_IWOTH:
            raise AccessError(
                f"{above}, in which the run folder {path} lies, can be written by everybody",
                remedy=f"chmod o-w {str(above)!r}, or chmod +t: then only the owner of a folder in it can rename that",
            )


def _trusted(path: Path) -> bool:
    named = [os.path.realpath(name) for name in os.environ.get(TRUST, "").split(os.pathsep) if name]
    return any(path.is_relative_to(name) for name in named)


def _mine(status: os.stat_result, folder: Path) -> bool:
    return status.st_uid in (os.geteuid(), 0) or status.st_uid == _owner_here(folder)


def _owner_here(folder: Path) -> int:
    """Whose a file is that the caller makes in a folder: a server may give root's, or all, to one user."""
    with suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_uid
    return os.geteuid()


def _writers(status: os.stat_result) -> str:
    """Who else can write a file, in words; empty where nobody can."""
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    if status.st_mode & stat.S_IWGRP and not _private(status.st_gid):
        return f"the group {_group(status.st_gid)}"
    return ""


def _private(gid: int) -> bool:
    """Whether a group is the caller's alone, as many systems make one for each user."""
    with suppress(KeyError):
        me, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
        return me.pw_gid == gid and group.gr_name == me.pw_name and set(group.gr_mem) <= {me.pw_name}
    return False


def _user(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"user {uid}"


def _group(gid: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


def own_file(path: Path) -> bool:
    """Whether a file of a run, and not what a link leads to, is one's own and nobody else's to write."""
    with suppress(OSError):
        status = path.lstat()
        return stat.S_ISREG(status.st_mode) and _mine(status, path.parent) and not _writers(status)
    return False
