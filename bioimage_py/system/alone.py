"""One process at a time writes to a place; the kernel forgets what a killed one held."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import RunningError


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
