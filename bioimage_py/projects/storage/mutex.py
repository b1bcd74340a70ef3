"""Mutual exclusion for milliseconds, between threads, processes and nodes: flock on files of the project.

The kernel releases what a killed process held. Linux carries flock over NFS as byte-range locks, so nodes see them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

from ...errors import LockError, StorageError

WAIT_SECONDS = 120.0
_BUCKETS = 64
_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


def bucket(identifier: str) -> str:
    """Name of the mutex that guards a descriptor; few files serve any number of descriptors."""
    return f"{zlib.crc32(identifier.encode()) % _BUCKETS:02}"


@contextmanager
def holding(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Hold mutexes, taken in the order of their names, so that two who want several don't wait for each other.

    Raises
    ------
    LockError
        Somebody holds one of them for too long, for example a process that was stopped.
    StorageError
        The file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name in sorted(set(names)):
            stack.enter_context(_held(folder / name))
        yield


@contextmanager
def _held(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        _wait(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path) -> None:
    deadline, pause = monotonic() + WAIT_SECONDS, 0.0005
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                raise StorageError(
                    f"{path.parent} lies on a file system without locks ({error.strerror}).",
                    remedy="put the project on another disk, or have it mounted with locks (Lustre: -o flock)",
                ) from error
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
                raise
        if monotonic() > deadline:
            raise LockError(
                f"Another process has held {path} for {WAIT_SECONDS:.0f} s.",
                remedy="look for a process of this project that is stopped, and end it: its lock goes with it",
            )
        sleep(pause)
        pause = min(2 * pause, 0.02)
