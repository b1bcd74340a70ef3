"""Room for what clients send, in a project and on the disk: looked at before anything is stored."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import ParameterError
from ...projects.storage.mutex import holding
from ..refusals import DiskFullError
from .uploads import UPLOADS, Uploads

_EVERY = 60.0
"""Seconds between two looks at all files, at least; they take at most a twentieth of the time."""


class Disk:
    """Room on the disks of a server, which is promised once: over all projects, and those that are being sent.

    Parameters
    ----------
    root : Path
        Of the server; its processes take turns there.
    folders : callable
        Returns all folders in which uploads arrive.
    """

    def __init__(self, root: Path, folders: Callable[[], Iterable[Path]]) -> None:
        self._mutexes, self._folders = root / "mutex", folders

    @contextmanager
    def for_upload(self, uploads: Uploads, id: str, size: int) -> Iterator[None]:
        """Inside, an upload may be begun for which the disk has room beside all others, also while they are unpacked.

        Raises
        ------
        DiskFullError
        """
        with holding(self._mutexes, ["room"]):
            own = 0 if uploads.is_made(id) else 2 * size - uploads.arrived_of(id)
            if own:
                place = _there(uploads.folder)
                others = sum(
                    Uploads(folder).promised(but=id if folder == uploads.folder else "")
                    for folder in {uploads.folder, *self._folders()}
                    if folder.is_dir() and os.stat(folder).st_dev == os.stat(place).st_dev
                )
                if own + others > shutil.disk_usage(place).free:
                    raise DiskFullError
            yield


def _there(path: Path) -> Path:
    """Return a folder, or the one in which it would be made."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


class Room:
    """The room of one project, as one process knows it; what others have stored is seen with the next look.

    Parameters
    ----------
    root : Path
        Of the project.
    most : int
        Bytes; 0 for as many as the disk has.
    disk : Disk
    """

    def __init__(self, root: Path, most: int, disk: Disk) -> None:
        self._root, self._most, self._disk = root, most, disk
        self._lock = threading.Lock()
        self._used, self._claimed, self._until = 0, 0, 0.0

    def check(self, size: int) -> None:
        """Refuse so many bytes more, where they are too many (ParameterError)."""
        if self._most:
            self._look()
            check_room(self._most, self._used + self._claimed, size)

    def _look(self) -> None:
        """Look at the files, unless that was done just now."""
        with self._lock:
            if time.monotonic() >= self._until:
                begun, uploads = time.monotonic(), Uploads(self._root / UPLOADS)
                self._used, self._claimed = used(self._root, but=uploads.folder), uploads.claimed()
                self._until = time.monotonic() + max(_EVERY, 20 * (time.monotonic() - begun))

    @contextmanager
    def for_upload(self, uploads: Uploads, id: str, size: int) -> Iterator[None]:
        """Inside, an upload may be begun for which there is room beside the others; two do not count on the same.

        Parameters
        ----------
        uploads : Uploads
            Of the project.
        id : str
            Of the upload, which may have been begun before.
        size : int

        Raises
        ------
        ParameterError
            The project may not have so many bytes.
        DiskFullError
            The disk has not.
        """
        with self._disk.for_upload(uploads, id, size):
            if self._most and not uploads.is_made(id):
                self._look()
                check_room(self._most, self._used + uploads.claimed(but=id), size)
            yield

    def take(self, size: int) -> None:
        """Count so many bytes that are about to be stored; errors as of `check`."""
        self.check(size)
        self._used += size

    def look_again(self) -> None:
        """Look at the files before the next answer: some have gone."""
        self._until = 0.0


def check_room(most: int, there: int, size: int) -> None:
    """Refuse bytes that are over a limit; 0 is none.

    Raises
    ------
    ParameterError
    """
    if most and there + size > most:
        raise ParameterError(
            f"The project has {there} bytes, and may have {most}; {size} more are too many.",
            remedy="project.prune(), or ask who looks after the server (--project-bytes)",
        )


def used(root: Path, but: Path | None = None) -> int:
    """Return how many bytes lie in a folder, but for one of its folders; files that versions share count once."""
    count, seen = 0, set[int]()
    for folder, folders, names in os.walk(root):
        if but is not None and but.parent == Path(folder):
            folders[:] = [name for name in folders if name != but.name]
        for name in names:
            with suppress(FileNotFoundError):
                status = os.lstat(os.path.join(folder, name))
                if status.st_nlink > 1 and status.st_ino in seen:
                    continue
                if status.st_nlink > 1:
                    seen.add(status.st_ino)
                count += status.st_size
    return count
