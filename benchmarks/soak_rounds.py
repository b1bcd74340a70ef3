"""Random kills on every writable kind of storage, of drivers and of workers; copies, and changes in place."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import soak_kinds
import zarr
from soak_kinds import KINDS

MARK = "BIOIMAGE_PY_SOAK"
SIDE = 96
MOST_KILLS = 4
SUBPROCESS = 0.15
"""Share of the rounds with worker processes."""


class LostError(Exception):
    """Something that must never happen."""


def marked(mark: str) -> list[tuple[int, str]]:
    """Living processes with a mark in their environment, and how they were started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"{MARK}={mark}".encode() in (path / "environ").read_bytes()
            if ours and (path / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append((int(path.name), (path / "cmdline").read_text().replace("\0", " ")))
        except OSError:
            continue
    return found


class KindRounds:
    """Rounds over all kinds that can be made here.

    Parameters
    ----------
    folder : Path
        For arrays and run folders; emptied.
    seed : int
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.kills: Counter[tuple[str, str]] = Counter()
        self.held = 0
        """Kills that left an unfinished run."""
        self.reopened = 0
        self.seconds: dict[tuple[str, str], float] = {}
        shutil.rmtree(folder, ignore_errors=True)
        self.template = folder / "template"
        self.template.mkdir(parents=True)
        self.image = np.random.default_rng(seed).integers(1, 1000, (SIDE, 48, 48), "u2")
        zarr.create_array(self.template / "image.zarr", data=self.image, chunks=(16, 16, 16))
        self.jobs = [(kind, job) for kind in self._made() for job in ("copy", "add")[: 1 + KINDS[kind].in_place]]

    def _made(self) -> list[str]:
        """Kinds whose library is there."""
        kinds = []
        for number, kind in enumerate(KINDS):
            if "S3" in kind and "SOAK_BUCKET" not in os.environ:
                continue
            (self.folder / f"probe{number}").mkdir()
            try:
                KINDS[kind].make(self.folder / f"probe{number}" / "array", (16, 16, 16))
                soak_kinds.opened(kind, self.folder / f"probe{number}" / "array").close()
            except ImportError:
                continue
            kinds.append(kind)
        return kinds

    def run(self, number: int) -> str:
        """One round; says what was done."""
        rng = random.Random(f"{self.seed} kinds {number}")
        kind, job = self.jobs[number % len(self.jobs)]
        backend = "subprocess" if rng.random() < SUBPROCESS else "local"
        place = self.folder / f"round{number}"
        shutil.copytree(self.template, place, copy_function=os.link)
        KINDS[kind].make(place / "array", self.image.shape)
        if job == "add":
            with self._opened(kind, place) as source:
                source[...] = self.image
        told = []
        for _ in range(rng.randint(1, MOST_KILLS)):
            told.append(self._killed(kind, job, place, backend, rng))
            if told[-1] == "over" or self._over(kind, job, place):
                break
        self._through(kind, job, place, backend)
        shutil.rmtree(place)
        return f"{kind}, {job}, {backend}: {', '.join(told)}"

    def counts(self) -> dict[str, int]:
        """Kills by kind and job, and how many left an unfinished run."""
        told = {f"{kind}, {job}": number for (kind, job), number in sorted(self.kills.items())}
        return {**told, "all": sum(self.kills.values()), "with a run left": self.held}

    def _opened(self, kind: str, place: Path) -> Any:
        return soak_kinds.opened("HDF5" if kind == "dataset of h5py" else kind, place / "array")

    def _start(self, kind: str, job: str, place: Path, backend: str, resume: str = "auto") -> Any:
        for name in ("said", "began"):
            (place / name).unlink(missing_ok=True)
        environment = {**os.environ, MARK: uuid.uuid4().hex, "BIOIMAGE_PY_RUN_ROOT": str(place / "runs")}
        how = {"job_type": backend, "num_workers": 2, "resume": resume}
        process = soak_kinds.forking().Process(
            target=soak_kinds.end_killed, args=(kind, job, place, environment), kwargs=how
        )
        process.start()
        process.mark = environment[MARK]  # type: ignore[attr-defined]
        return process

    def _killed(self, kind: str, job: str, place: Path, backend: str, rng: random.Random) -> str:
        """Call, and kill at a random instant; what was killed."""
        process = self._start(kind, job, place, backend)
        while not (self._runs(place)) and process.is_alive():  # most of all, within a run
            time.sleep(0.001)
        time.sleep(rng.uniform(0, self.seconds.get((kind + job, backend), 0.5 if backend == "local" else 3)))
        victim, pid = "driver", process.pid
        found = marked(process.mark) if backend == "subprocess" else []
        workers = [worker for worker, command in found if "runner.worker" in command and worker != pid]
        if workers and rng.random() < 0.5:
            victim, pid = "worker", rng.choice(workers)
        if not process.is_alive():
            victim = "over"
        else:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                victim = "over"
        process.join(300)
        self._ended(process.mark)
        if victim != "over":
            self.kills[kind, job] += 1
            self.held += bool(self._runs(place))
        if (said := self._said(place)) and not self._expected(said):
            raise LostError(said)
        return victim

    def _through(self, kind: str, job: str, place: Path, backend: str) -> None:
        resume, begin = "auto", time.monotonic()
        for _ in range(4):
            if self._over(kind, job, place):
                break
            process = self._start(kind, job, place, backend, resume)
            process.join(300)
            self._ended(process.mark)
            said = self._said(place)
            if process.exitcode == -signal.SIGKILL and not said:
                self.seconds.setdefault((kind + job, backend), time.monotonic() - begin)
                break
            if not self._expected(said):
                raise LostError(said)
            self.reopened += "open it again" in said
            if named := re.search(r"resume='([^']+)' returns its result", said):
                resume = named[1]
        with self._opened(kind, place) as source:
            if not np.array_equal(source[...], self._wanted(job)):
                raise LostError(f"{(source[...] != self._wanted(job)).sum()} voxels are wrong")
        if self._runs(place):
            raise LostError(f"left {self._runs(place)}")
        self._check_neighbour(kind, place)

    def _check_neighbour(self, kind: str, place: Path) -> None:
        """What else lies in an HDF5 file is as it was."""
        if kind in ("HDF5", "dataset of h5py"):
            import h5py

            with h5py.File(place / "array", "r") as file:
                if not (file["other"][...] == 9).all():
                    raise LostError("another dataset of the file has changed")

    def _wanted(self, job: str) -> np.ndarray:
        return self.image + np.uint16(7 if job == "add" else 0)

    def _over(self, kind: str, job: str, place: Path) -> bool:
        """Whether a kill came when all was over but the return of the call: done again, an addition shows."""
        if self._runs(place):
            return False
        with self._opened(kind, place) as source:
            return np.array_equal(source[...], self._wanted(job))

    def _runs(self, place: Path) -> list[Path]:
        return list((place / "runs").glob("[!.]*"))

    def _said(self, place: Path) -> str:
        return (place / "said").read_text() if (place / "said").exists() else ""

    def _expected(self, said: str) -> bool:
        """Whether a call may say this after a kill: what it asks for is done."""
        return "complete, but nobody was told" in said or "open it again" in said

    def _ended(self, mark: str) -> None:
        deadline = time.monotonic() + 20
        while left := marked(mark):
            if time.monotonic() > deadline:
                raise LostError(f"orphans: {left}")
            time.sleep(0.01)
