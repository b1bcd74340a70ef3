"""The lists of batches in a run folder, as who takes from them sees them.

A list belongs to the session of the driver that published it. A worker takes from the lists of its own session or,
where the driver who owns the run now has adopted it, of that driver's: `run.json` is asked before each claim, so what
a driver publishes that has lost the run is not taken.
"""

from __future__ import annotations

import os
import random
import threading
from itertools import islice
from pathlib import Path
from time import monotonic

from ...run_folder import RunFolder
from ...system.faults import fault
from ...system.files import naming, own_folder, read_by_others
from ...system.frames import read_payload
from ..planning.work_list import Batch
from .encoding import load_batches


class BatchLists:
    """The lists in a run folder, for a worker that has so many bytes of memory (by default any batch fits)."""

    def __init__(self, folder: Path, memory: int | None = None) -> None:
        self._inside = RunFolder(folder)
        self.memory = memory
        self.strange = False
        """Whether the run belongs to a driver that does not know the worker."""
        self.takes_any = False
        """Whether a worker takes also what it was to leave to others."""
        self._session = ""
        self._ready: set[Path] = set()
        self._lists: dict[str, list[Batch]] = {}

    def take(self, worker: str, *, fresh: bool = True) -> Batch | None:
        """Claim the first batch that is left for a worker; None where there is none.

        Without ``fresh`` no list can have been published since the last look.
        """
        self._session = self._session or own_session(worker)
        for name in os.listdir(self._inside.batches) if fresh else ():
            if name.startswith(".") or name in self._lists:
                continue
            if not name.startswith(f"{self._session}."):
                self._look(worker)
            mine = name.startswith(f"{self._session}.")
            self._lists[name] = load_batches(read_payload(self._inside.batches / name)) if mine else []
        some_left = [name for name, batches in self._lists.items() if batches]
        for name in sorted(some_left, key=lambda name: int(name.rpartition(".")[2])):
            spread = 1
            while free := list(islice((one for one in self._lists[name] if self._fits(one, worker)), spread)):
                batch = random.choice(free)
                if not self._look(worker):
                    return None
                if self.link(worker, batch):
                    self._lists[name].remove(batch)
                    return batch
                self._drop_taken(name, batch)
                # who loses against many, as where a stage opens while all wait, must not meet them all at the next one
                spread *= 4
        return None

    def _drop_taken(self, name: str, lost: Batch) -> None:
        """Forget the batches of a list that somebody has: one look at the folder instead of an attempt at each."""
        claims = os.listdir(self._inside.claims_of(lost.key[0]))
        taken = {lost.key[1], *(int(claim) for claim in claims if not claim.startswith("."))}
        self._lists[name] = [batch for batch in self._lists[name] if batch.key[1] not in taken]

    def _look(self, worker: str) -> bool:
        """Whether the session is the one in which a worker takes batches now."""
        try:
            session, adopted = self._inside.adopted()
        except FileNotFoundError:
            return True
        except OSError:  # replaced while it was read, on a network file system
            return False
        now = f"s{session}"
        self.strange = now != own_session(worker) and worker not in adopted
        before, self._session = self._session, now
        if before != now:
            self._lists = {name: [] for name in self._lists if not name.startswith(f"{now}.")}
        return before == now and not self.strange

    def _fits(self, batch: Batch, worker: str) -> bool:
        if self.memory is not None and self.memory < batch.memory:
            return False
        return batch.avoid != worker or self.takes_any or self._inside.alone.exists()

    def link(self, owner: str, batch: Batch) -> bool:
        """Claim one batch; whether it is the owner's now."""
        claims = self._inside.claims_of(batch.key[0])
        private, claim = claims / f".{owner}", claims / str(batch.key[1])
        if private not in self._ready:
            own_folder(claims)
            if not private.exists():
                with naming(private), open(private, "w", opener=read_by_others) as file:
                    file.write(owner)
            self._ready.add(private)
        fault("before-claim")
        try:
            os.link(private, claim)
        except FileExistsError:
            # a link whose answer was lost on the network also says "exists": the content tells whose it is
            return claim.read_text() == owner
        fault("after-claim")
        return True


class Waiting:
    """How long a worker has been without a batch, and whether anybody is left to give it one.

    ``limit`` are the seconds to wait without a sign of life in the driver's ``heartbeat``, by default for ever.
    """

    def __init__(self, heartbeat: Path, limit: float | None) -> None:
        self._heartbeat = heartbeat
        self._limit = limit
        self._begin = self._seen = monotonic()
        self._beat = self._last()

    @property
    def seconds(self) -> float:
        """How long it has been."""
        return monotonic() - self._begin

    def in_vain(self) -> bool:
        """Whether no driver has lived for so long."""
        if self._limit is None:
            return False
        beat = self._last()
        if beat != self._beat:
            self._beat, self._seen = beat, monotonic()
        return monotonic() - self._seen > self._limit

    def _last(self) -> int:
        try:
            return self._heartbeat.stat().st_mtime_ns
        except FileNotFoundError:
            return 0


def own_session(worker: str) -> str:
    """The session in which a worker was started."""
    return worker.partition("w")[0]


class Bell:
    """Ends the waiting of threads.

    What is rung between a look at the folder and the waiting after it is not missed: `wait` is told how often the bell
    had been rung (`rung`) before that look.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.rung = 0

    def ring(self) -> None:
        """Wake all who wait."""
        with self._condition:
            self.rung += 1
            self._condition.notify_all()

    def wait(self, heard: int, seconds: float) -> None:
        """Wait until it has been rung more often, at most so long."""
        with self._condition:
            self._condition.wait_for(lambda: self.rung != heard, seconds)
