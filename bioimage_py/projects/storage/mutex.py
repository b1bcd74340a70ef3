"""Mutual exclusion for milliseconds, between threads, processes and nodes: flock on files of the project.

The kernel releases what a killed process held. Linux carries flock over NFS as byte-range locks, so nodes see them, but
the threads of one process don't: so a lock in memory lies around each.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep
from weakref import WeakValueDictionary

from ...errors import LockError, StorageError

WAIT_SECONDS = 120.0
BUCKETS = tuple(f"{n:02}" for n in range(64))
"""Names of the mutexes of descriptors."""
_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


def bucket(identifier: str) -> str:
    """Name of the mutex that guards a descriptor; few files serve any number of descriptors."""
    return BUCKETS[zlib.crc32(identifier.encode()) % len(BUCKETS)]


@contextmanager
def holding(folder: Path, names: Iterable[str], seconds: float | None = None) -> Iterator[None]:
    """Hold mutexes, taken in the order of their names, so that two who want several don't wait for each other.

    Parameters
    ----------
    folder : Path
    names : iterable of str
    seconds : float, optional
        For which each is waited for; None: `WAIT_SECONDS`.

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
            stack.enter_context(_held(folder / name, WAIT_SECONDS if seconds is None else seconds))
        yield


class _Turns:
    """A lock that threads get in the order in which they came: with that of Python somebody may wait for long."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False

    def acquire(self, timeout: float) -> bool:
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        got = False
        try:
            got = mine.acquire(timeout=timeout)
        finally:  # also by Ctrl-C, when it may have been given already
            if not got and not self._left(mine):
                self.release()
        return got

    def _left(self, mine: threading.Lock) -> bool:
        """Wait no more; return whether it was not given meanwhile."""
        with self._guard:
            if mine not in self._waiting:
                return False
            self._waiting.remove(mine)
            return True

    def release(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


_threads: WeakValueDictionary[str, _Turns] = WeakValueDictionary()
"""Of this process, by path; those that nobody uses go by themselves."""
_known = threading.Lock()


def _forget() -> None:
    """A forked child holds nothing, whatever the threads of its parent held."""
    global _known
    _known = threading.Lock()
    _threads.clear()


os.register_at_fork(after_in_child=_forget)


@contextmanager
def _held(path: Path, seconds: float) -> Iterator[None]:
    with _known:
        among_threads = _threads.get(str(path)) or _threads.setdefault(str(path), _Turns())
    if not among_threads.acquire(timeout=seconds):
        raise _too_long(path, seconds)
    try:
        with ExitStack() as stack:
            with ExitStack() as before:
                # of those who wait one is the next: else the threads of one process take turns and others wait for ever
                before.callback(os.close, _locked(path.with_name(f"{path.name}.next"), path, seconds, 0.02))
                stack.callback(os.close, _locked(path, path, seconds, 0.002))
            yield
    finally:
        among_threads.release()


def _locked(file: Path, path: Path, seconds: float, longest: float) -> int:
    """Open and lock a file, looking again after `longest` seconds at most; `path` is what is waited for."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        _wait(descriptor, path, seconds, longest)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _wait(descriptor: int, path: Path, seconds: float, longest: float) -> None:
    deadline, pause = monotonic() + seconds, 0.0005
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
            raise _too_long(path, seconds)
        sleep(pause)
        pause = min(2 * pause, longest)


def _too_long(path: Path, seconds: float) -> LockError:
    return LockError(
        f"Another process has held {path} for {seconds:.0f} s.",
        remedy="look for a process of this project that is stopped, and end it: its lock goes with it",
    )
