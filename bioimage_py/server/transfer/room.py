"""How many bytes a project may take: looked at before anything that clients send is stored."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from ...errors import ParameterError

_EVERY = 60.0
"""Seconds between two looks at all files, at least; they take at most a twentieth of the time."""


class Room:
    """The room of one project, as one process knows it; what others have stored is seen with the next look.

    Parameters
    ----------
    root : Path
        Of the project.
    most : int
        Bytes; 0 for as many as the disk has.
    """

    def __init__(self, root: Path, most: int) -> None:
        self._root, self._most = root, most
        self._lock = threading.Lock()
        self._used, self._until = 0, 0.0

    def check(self, size: int) -> None:
        """Refuse so many bytes more, where they are too many (ParameterError)."""
        if not self._most:
            return
        with self._lock:
            if time.monotonic() >= self._until:
                begun = time.monotonic()
                self._used = used(self._root)
                self._until = time.monotonic() + max(_EVERY, 20 * (time.monotonic() - begun))
            check_room(self._most, self._used, size)

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


def used(root: Path) -> int:
    """Return how many bytes lie in a folder; files that versions share count once."""
    count, seen = 0, set[int]()
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):
                status = os.lstat(os.path.join(folder, name))
                if status.st_nlink > 1 and status.st_ino in seen:
                    continue
                if status.st_nlink > 1:
                    seen.add(status.st_ino)
                count += status.st_size
    return count
