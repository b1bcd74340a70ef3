"""A complete file or folder takes the place of another in one step, and what killed processes left of that goes."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress

from .processes import here, started

_OLD = ".old"
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV)
"""What systems without the exchange, and file systems without it, say."""
_TRIES = 5
_LOOKS, _QUIET, _LOOK_SECONDS = 100, 3, 0.02
_NAME = re.compile(r"\.([0-9a-f]{6})-(\d+)-(\w*)-[0-9a-f]{6}\.(.+)", re.DOTALL)
_cleared: set[str] = set()


def beside(place: str) -> str:
    """Return a hidden name in the folder of a place, which tells who writes there and has the same ending."""
    folder, name = os.path.split(place)
    return os.path.join(folder, f".{_system()}-{os.getpid()}-{started(os.getpid())}-{uuid.uuid4().hex[:6]}.{name}")


def put(new: str, place: str) -> None:
    """Give something complete its name; what had it before goes, and is whole until then. Who may read that stays.

    Parameters
    ----------
    new : str
        From `beside`.
    place : str
        Absolute path.
    """
    with suppress(FileNotFoundError):
        before = os.stat(place)
        if not (stat.S_ISREG(before.st_mode) or stat.S_ISDIR(before.st_mode)):
            raise OSError(errno.EINVAL, "It is a device, pipe or socket, and stays", place)
        with suppress(OSError):  # a group of which one is no member
            os.chown(new, -1, before.st_gid)
        os.chmod(new, stat.S_IMODE(before.st_mode))
    if not os.path.isdir(new):
        with open(new, "rb") as file:  # or a machine that fails now leaves a name without content
            os.fsync(file.fileno())
        os.replace(new, place)
    elif not os.path.lexists(place):
        os.rename(new, place)
    elif _exchange(new, place):
        remove(new)
    else:
        _by_two_renames(new, place)


def _by_two_renames(new: str, place: str) -> None:
    """For file systems that know no exchange; `recover` ends what is killed in between."""
    old = new + _OLD
    for attempt in range(_TRIES):
        os.rename(place, old)
        try:
            os.rename(new, place)
            break
        except BaseException as error:
            if os.path.lexists(place):  # another process took this one for dead, and has rolled back
                if attempt + 1 < _TRIES and isinstance(error, OSError):
                    continue
            elif os.path.lexists(old):
                os.rename(old, place)
            raise
    remove(old)


def recover(place: str) -> bool:
    """End what a killed process began, where a place is empty; tell whether something is there now.

    A new folder that was complete takes the place, else the old one does.
    """
    if not os.path.lexists(place):
        folder, name = os.path.split(place)
        for old in [path for path, of, _ in _left(folder) if of == name and path.endswith(_OLD)]:
            new = old.removesuffix(_OLD)
            with suppress(OSError):  # another process is at it too
                os.rename(new if os.path.lexists(new) else old, place)
                break
    return os.path.lexists(place)


def clear(place: str, *, again: bool = True) -> None:
    """Remove what processes that do not live any more left beside a place; `recover` comes first.

    Parameters
    ----------
    place : str
        Absolute path.
    again : bool, default True
        False does it once for each folder: a folder of many files is not listed for each of them.
    """
    folder = os.path.dirname(place)
    if not again and folder in _cleared:
        return
    _cleared.add(folder)
    for path, name, dead in _left(folder):
        if dead and recover(os.path.join(folder, name)) | (not path.endswith(_OLD)):
            with suppress(OSError):
                remove(path)


def remove(path: str) -> None:
    """Remove a file or a folder, if it is there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def remove_half(folder: str) -> None:
    """Remove a folder that could not be written: what other threads are at writing may make it once more."""
    quiet = 0
    for _ in range(_LOOKS):
        with suppress(OSError):  # it is being written to
            remove(folder)
        quiet = 0 if os.path.lexists(folder) else quiet + 1
        if quiet == _QUIET:
            return
        time.sleep(_LOOK_SECONDS)


def discard(place: str) -> None:
    """Remove a file or a folder in one step: a process that is killed meanwhile leaves no half of it under its name."""
    gone = beside(place)
    with suppress(FileNotFoundError):
        os.rename(place, gone)
    remove(gone)


def _left(folder: str) -> Iterator[tuple[str, str, bool]]:
    """What writers have left in a folder, of which name, and whether its writer was of this system and is gone."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(".")]
    except OSError:
        return
    for one in sorted(names):
        if found := _NAME.fullmatch(one):
            dead = found[1] == _system() and started(int(found[2])) != found[3]
            yield os.path.join(folder, one), found[4].removesuffix(_OLD), dead


def _system() -> str:
    return hashlib.sha256(here().encode()).hexdigest()[:6]


def _exchange(one: str, other: str) -> bool:
    """Let two names change their contents in one step; False where that is not known here."""
    library = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(*paths, 2)
    elif hasattr(library, "renameat2"):
        failed = library.renameat2(-100, paths[0], -100, paths[1], 2)
    else:
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), other)
