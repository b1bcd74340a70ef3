"""What keeps a worker from writing once others may have its blocks.

Whoever holds a worker dead that may live on says so in the run folder (``gone/<worker>``, or another session in
``run.json``), and gives its blocks to others only `FENCED_SECONDS` later (`backends.dismissal`). A worker may write
for `RENEW_SECONDS` after it has looked and found neither; then it has to look again. So one that was cut off, stopped
or swapped out finds out before it writes, whatever its host has said of it.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from time import sleep

from ...run_folder import RunFolder
from ...system.processes import RENEW_SECONDS, passing_seconds
from .batch_lists import own_session

UNREAD_SECONDS = 60.0
"""How long a run folder that cannot be read keeps a worker waiting before it writes."""
_PAUSE = 0.2


class HeldDeadError(BaseException):
    """A worker may not write any more: its blocks are, or will be, given to others. No block function catches it."""


class Fence:
    """Whether one worker of a run may write.

    Parameters
    ----------
    folder : Path
        The run folder.
    worker : str
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._inside = RunFolder(folder)
        self._worker = worker
        self._looked = -math.inf
        self._held_dead = False

    def check(self) -> None:
        """Raise HeldDeadError where it may not write; from then on always."""
        begin = passing_seconds()
        if not self._held_dead and begin - self._looked <= RENEW_SECONDS:
            return
        self._held_dead = self._held_dead or self._is_held_dead()
        if self._held_dead:
            raise HeldDeadError(f"{self._worker} was held dead, and others do its blocks")
        # a look that took long, or in which this process was stopped, has found what was so when it began
        self._looked = begin
        if passing_seconds() - begin > RENEW_SECONDS:
            self.check()

    def _is_held_dead(self) -> bool:
        deadline = passing_seconds() + UNREAD_SECONDS
        while True:
            try:
                session, adopted = self._inside.adopted()
            except FileNotFoundError:  # where the whole run has gone, others may have begun a new one
                return not self._inside.path.is_dir()
            except (OSError, ValueError):  # cut off, or replaced while it was read
                if passing_seconds() > deadline:
                    return True
                sleep(_PAUSE)
                continue
            if own_session(self._worker) != f"s{session}" and self._worker not in adopted:
                return True
            with suppress(FileNotFoundError):  # a listing refreshes what this host knows of a shared folder
                return self._worker in os.listdir(self._inside.gone)
            return False
