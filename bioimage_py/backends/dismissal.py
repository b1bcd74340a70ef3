"""Workers that are held dead: how it is known that they cannot write any more.

A host may call a worker dead that lives: its node was cut off, its process stopped, or only the one that watches over
it has gone. So its blocks stay with it until it is known to be over: it has said so itself, its process is seen to be
gone, or it was told not to write any more (``gone/<worker>``, which a worker looks for before it writes:
`runner.ledger.fence`) and has been silent for longer than it may write without looking.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any

from ..run_folder import RunFolder
from ..system.files import read_small
from ..system.json_text import parse_json
from ..system.processes import FENCED_SECONDS, STALE_SECONDS, lives, passing_seconds, visible

_PAUSE = 0.1


class Dismissal:
    """A worker that is told to leave, and may still be at work.

    Parameters
    ----------
    run : Path
        The run folder.
    worker : str
    process : Path
        File that says which process it is.
    """

    def __init__(self, run: Path, worker: str, process: Path) -> None:
        self._inside = RunFolder(run)
        self._worker = worker
        self._process = process
        self._told: float | None = None
        self._beat = -1
        self._heard = passing_seconds()
        self._tell()

    def _tell(self) -> None:
        with suppress(OSError):  # such as a full disk; the next look tries again
            (self._inside.gone / self._worker).touch()
            self._told = passing_seconds()

    @property
    def over(self) -> bool:
        """Whether it cannot write any more."""
        if self._told is None:
            self._tell()
        if ended(self._inside, self._worker) or self._has_gone():
            return True
        if self._told is not None and self._beat < 0 and not self._has_begun():
            return True  # one that begins now sees that
        now, beat = passing_seconds(), self._last_beat()
        if beat != self._beat:
            self._beat, self._heard = beat, now
        if self._told is None:
            return now - self._heard > STALE_SECONDS
        return min(now - self._told, now - self._heard) > FENCED_SECONDS

    def _has_begun(self) -> bool:
        try:  # a listing refreshes what this host knows of a shared folder
            return self._worker in os.listdir(self._inside.beats)
        except FileNotFoundError:
            return not self._inside.path.is_dir()  # a folder that has gone says nothing of who is at work
        except OSError:  # what cannot be looked at may be there
            return True

    def _last_beat(self) -> int:
        """When it has last given a sign of life, by the file server's clock; 0 for never."""
        with suppress(OSError), open(self._inside.beats / self._worker, "rb") as file:  # opened: not from a cache
            return os.fstat(file.fileno()).st_mtime_ns
        return 0

    def _has_gone(self) -> bool:
        process = process_in(self._process)
        with suppress(KeyError, TypeError, ValueError):
            return process is not None and visible(process) and not lives(process, self._process)
        return False


def ended(inside: RunFolder, worker: str) -> bool:
    """Whether a worker, or its parent, has said that it is over."""
    with suppress(OSError):
        return f"{worker}.json" in os.listdir(inside.ends)
    return False


def process_in(path: Path) -> dict[str, Any] | None:
    """Which process a file says that a worker is; None where it does not."""
    with suppress(OSError, ValueError):
        told = parse_json(read_small(path))
        return {**told, "pid": int(told["pid"])} if isinstance(told, dict) and "pid" in told else None
    return None


def wait_until_over(run: Path, workers: Iterable[str], process: Callable[[str], Path], seconds: float) -> bool:
    """Tell workers to leave and wait until none can write any more; False where that takes longer."""
    left = [Dismissal(run, worker, process(worker)) for worker in workers]
    deadline = passing_seconds() + seconds
    while left := [one for one in left if not one.over]:
        if passing_seconds() > deadline:
            return False
        sleep(_PAUSE)
    return True
