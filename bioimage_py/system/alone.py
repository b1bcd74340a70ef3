"""One process at a time writes to a place; the kernel forgets what a killed one held."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import RunningError
from .files import listed


@contextmanager
def alone(place: str) -> Iterator[None]:
    """Hold a place, by a hidden file beside it, which goes at the end. Where a file system has no locks, nobody waits.

    Raises
    ------
    RunningError
        Another process, or thread, holds it.
    """
    folder, name = os.path.split(os.path.abspath(place))
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f".{name}.writing")
    descriptor = _held(path, place)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)
        os.close(descriptor)


def _held(path: str, place: str) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise RunningError(f"{place} is being written by another process.", remedy="wait for it") from None
        except OSError:
            return descriptor
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # who held it has removed the file in between


@contextmanager
def private(folder: Path, start: str) -> Iterator[Path]:
    """Name a hidden place, ``.<start>-1a2b3c4d``, for a file or folder of one's own, which is gone at the end.

    What killed processes have left at such places goes before; what somebody works at stays.
    """
    such = re.compile(rf"\.?(\.{re.escape(start)}-[a-z0-9_]{{8}})(?:\.writing)?")
    for name in {found[1] for path in listed(folder) if (found := such.fullmatch(path.name))}:
        with suppress(RunningError, OSError), alone(str(folder / name)):
            _remove(folder / name)
    with ExitStack() as held:
        while True:
            place = folder / f".{start}-{secrets.token_hex(4)}"
            with suppress(RunningError):  # somebody who clears up held its new file before it was held here
                held.enter_context(alone(str(place)))
                break
        try:
            yield place
        finally:
            _remove(place)


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
