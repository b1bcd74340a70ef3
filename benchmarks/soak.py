"""Kills workers and drivers at random instants and at named points, and checks that nothing is ever lost.

First come random kills on every writable kind of storage (`soak_rounds`). Then a round runs one job (copy to shards,
add and relabel in place, label, a folded reduction, the whole of `segment`) on `local` or `subprocess`, kills one of
its processes with SIGKILL, looks for orphans after two seconds, and repeats the call until it is through, now and then
with ``resume="never"``; the output must have the bits of an undisturbed run. Then each fault point that a job passes is
hit a number of times. The seed is printed; ``SEED=`` repeats it. Exit status 1 where anything was lost, or a point was
never hit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soak_work
from soak_rounds import KindRounds, LostError

HERE = Path(__file__).resolve().parent
BACKENDS = ("local", "subprocess")
MARK = "BIOIMAGE_PY_SOAK"
ORPHAN_SECONDS = 2.0
MOST_KILLS = 3
ANEW = 0.3
"""Share of the calls after a kill that begin anew."""
POINTS = ("claim", "journal", "stage", "complete", "finish")
MORE_POINTS = {
    "copy": ("write",),
    "add": ("undo", "write", "rollback"),
    "relabel": ("undo", "write", "rollback"),
    "label": ("write", "result"),
    "reduction": ("result",),
    "segment": ("write", "result"),
}
"""Fault points that only some jobs pass: they write outputs, change data in place, or keep values."""


@dataclass
class Tally:
    """What has happened so far."""

    kills: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, int] = field(default_factory=dict)
    points: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_path: int = 0
    anew: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    done_at_kill: list[int] = field(default_factory=list)


class Soak:
    """The rounds.

    Parameters
    ----------
    folder : Path
        For arrays and run folders; emptied.
    seed : int
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.tally = Tally()
        self.template = folder / "template"
        self.references: dict[str, Any] = {}

    def prepare(self) -> None:
        """Make the inputs, and run each job once undisturbed: the results to compare with, and how long it takes."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.template.mkdir(parents=True)
        soak_work.make(self.template, self.seed)
        for job in soak_work.JOBS:
            for backend in BACKENDS:
                place = self._place()
                call = Call(job, backend, place)
                call.finish()
                found = soak_work.result(place, job)
                if not same(self.references.setdefault(job, found), found):
                    raise LostError(f"{job}: local and subprocess differ")
                self.tally.seconds[f"{job} {backend}"] = call.seconds

    def _place(self) -> Path:
        place = self.folder / "round"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.template, place, copy_function=os.link)
        return place

    def random_round(self, number: int) -> str:
        """Kill at random instants, until the call is through; says what was killed."""
        rng = random.Random(f"{self.seed} {number}")
        jobs = list(soak_work.JOBS)
        job, backend = jobs[number % len(jobs)], BACKENDS[number // len(jobs) % len(BACKENDS)]
        place, resume, told = self._place(), None, []
        for _ in range(rng.randint(1, MOST_KILLS)):
            call = Call(job, backend, place, resume)
            time.sleep(rng.uniform(0, self.tally.seconds[f"{job} {backend}"]))
            victim = call.kill(rng)
            told.append(victim)
            self.tally.kills[victim] += 1
            self.tally.done_at_kill.append(blocks_done(place))
            if victim == "driver":
                call.check_orphans()
            else:
                call.finish()
            resume = self._conflict(call, resume)
            if call.output.endswith("done\n") or self._over(job, place):
                break
            if resume is None and rng.random() < ANEW and unfinished(place):
                resume = "never"
                self.tally.anew += 1
        self._check(job, backend, place, call, resume)
        return f"{job} {backend}: {', '.join(told)}"

    def _over(self, job: str, place: Path) -> bool:
        """Whether a kill came when all was over but the return of the call, so that calling again does it again."""
        written = soak_work.JOBS[job][1]
        in_place = bool(written) and "undo" in MORE_POINTS[job]
        return in_place and not run_folders(place) and same(self.references[job], soak_work.result(place, job))

    def fault_round(self, job: str, backend: str, point: str, number: int) -> bool:
        """Have one process kill itself at a point; whether it came to that."""
        rng = random.Random(f"{self.seed} {job} {backend} {point} {number}")
        place, resume = self._place(), None
        if point.endswith("rollback"):  # which only a call passes that begins anew
            if not self._interrupted(job, backend, place, rng):
                return False
            resume = "never"
        token = self.folder / "token"
        most = 1 if point.partition("-")[2] in ("stage", "complete", "finish") else 12
        token.touch()
        call = Call(job, backend, place, resume, fault=f"{point}:{rng.randint(1, most)}:{token}")
        call.process.wait(120)
        call.check_orphans()
        hit = not token.exists()
        self.tally.points[job, point] += hit
        self._check(job, backend, place, call, self._conflict(call, None))
        return hit

    def _interrupted(self, job: str, backend: str, place: Path, rng: random.Random) -> bool:
        """Kill a call while it works; whether it left a run that may be begun anew."""
        call = Call(job, backend, place)
        least = rng.randint(1, 12)
        # a machine under load takes its time until a block is done
        while call.process.poll() is None and blocks_done(place) < least:
            time.sleep(0.005)
        call.process.kill()
        call.check_orphans()
        return unfinished(place)

    def _conflict(self, call: Call, resume: str | None) -> str | None:
        """The folder that the message of a conflict names, where a call in place was through and nobody was told."""
        call.read()
        if "ResumeConflict" not in call.error:
            return None if resume == "never" else resume
        named = re.search(r"resume='([^']+)' returns its result", call.error)
        if named is None or "complete, but nobody was told" not in call.error:
            raise LostError(f"an unexpected conflict: {call.error}")
        self.tally.by_path += 1
        return named[1]

    def _check(self, job: str, backend: str, place: Path, call: Call, resume: str | None) -> None:
        tries = 0
        while not (call.output.endswith("done\n") or self._over(job, place)):
            if tries := tries + 1 > 2 * MOST_KILLS:
                raise LostError(f"the call does not get through: {call.error}")
            call = Call(job, backend, place, resume)
            call.process.wait(120)
            resume = self._conflict(call, resume)
            if call.process.returncode and "ResumeConflict" not in call.error:
                raise LostError(f"{job} on {backend} failed: {call.error}")
        call.check_orphans()
        if not same(self.references[job], soak_work.result(place, job)):
            raise LostError(f"{job} on {backend}: the output differs from that of an undisturbed run")
        patterns = (".bio*", "*.zarr/.bio*", "runs/*", "*.scratch")
        left = [path for pattern in patterns for path in place.glob(pattern)]
        if left and call.output.endswith("done\n"):
            raise LostError(f"{job} on {backend} left {left}")


class Call:
    """One call of a job, in a process of its own."""

    def __init__(self, job: str, backend: str, place: Path, resume: str | None = None, fault: str = "") -> None:
        self.mark = uuid.uuid4().hex
        command = [sys.executable, str(HERE / "soak_work.py"), job, backend, str(place)]
        environment = {**os.environ, MARK: self.mark}
        if fault:
            environment["BIOIMAGE_PY_FAULT"] = fault
        self.error_path = place / "stderr.txt"
        with open(self.error_path, "w") as error:
            self.process = subprocess.Popen(
                [*command, *([resume] if resume else [])],
                stdout=subprocess.PIPE,
                stderr=error,
                env=environment,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        self.output = self.process.stdout.readline().decode()
        self.begin = time.monotonic()
        self.error = ""

    @property
    def seconds(self) -> float:
        """How long it took, once it has ended."""
        return self.end - self.begin

    def read(self) -> None:
        """Read what it has printed, once it has ended."""
        self.process.wait(120)
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            self.output += self.process.stdout.read().decode()
            self.process.stdout.close()
        self.error = self.error_path.read_text()

    def finish(self) -> None:
        """Wait for its end."""
        self.read()
        self.end = time.monotonic()
        if self.process.returncode:
            if "ResumeConflict" in self.error:
                return
            raise LostError(f"a call that nobody killed failed: {self.error}")

    def kill(self, rng: random.Random) -> str:
        """Kill one of its processes; says which."""
        victims = self._victims()
        name = rng.choice(sorted(victims))
        with_pid = rng.choice(sorted(victims[name]))
        try:
            os.kill(with_pid, signal.SIGKILL)
        except ProcessLookupError:
            return "nobody"
        return name

    def _victims(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {"driver": [self.process.pid]}
        for pid, command in self.processes():
            if "runner.worker" in command and "worker_parent.py" not in command:
                found.setdefault("worker", []).append(pid)
            elif "parent.py" in command:
                found.setdefault("parent", []).append(pid)
        return found

    def processes(self) -> list[tuple[int, str]]:
        """Its living processes, and how they were started."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                ours = f"{MARK}={self.mark}".encode() in (path / "environ").read_bytes()
                state = (path / "stat").read_text().rpartition(")")[2].split()[0]
                if ours and state not in "ZX":
                    found.append((int(path.name), (path / "cmdline").read_text().replace("\0", " ")))
            except OSError:
                continue
        return found

    def check_orphans(self) -> None:
        """No process of it may live two seconds after its driver."""
        self.process.wait(120)
        deadline = time.monotonic() + ORPHAN_SECONDS
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        if left:
            raise LostError(f"orphans: {left}")


def same(one: Any, other: Any) -> bool:
    """Whether two results have the same bits."""
    return bool(one == other if isinstance(one, str) else one.dtype == other.dtype and np.array_equal(one, other))


def blocks_done(place: Path) -> int:
    """Blocks that an interrupted run had done, as its progress files tell; -1 where there is no run folder."""
    from bioimage_py.runner.ledger.progress import read_progress

    folders = run_folders(place)
    if not folders:
        return -1
    return sum(read_progress(path).done for folder in folders for path in folder.glob("progress/*"))


def run_folders(place: Path) -> list[Path]:
    """Folders of runs that are not over."""
    found = [path for pattern in (".bioimage_py/*", "runs/*") for path in place.glob(pattern)]
    return [path for path in found if not path.name.startswith(".")]


def unfinished(place: Path) -> bool:
    """Whether there is a run that may be begun anew: it was not through when it died."""
    states = [json.loads((folder / "run.json").read_text())["state"] for folder in run_folders(place)]
    return bool(states) and "complete" not in states


def points_of(job: str) -> list[str]:
    """Names of the fault points that a job passes."""
    return [f"{when}-{what}" for what in (*POINTS, *MORE_POINTS[job]) for when in ("before", "after")]


def run_kinds(soak: Soak, rounds: int, say: Callable[[str], None]) -> None:
    """Random kills on every writable kind of storage."""
    kinds = KindRounds(soak.folder / "kinds", soak.seed)
    for number in range(rounds):
        try:
            say(f"kinds, round {number}: {kinds.run(number)}")
        except LostError as error:
            raise LostError(f"kinds, round {number} (SEED={soak.seed}): {error}") from error
        soak.tally.kinds = kinds.counts()


def run_all(soak: Soak, rounds: int, kills: int, only: int | None, say: Callable[[str], None]) -> None:
    """All rounds, or one of them."""
    soak.prepare()
    if only is None:
        run_kinds(soak, rounds, say)
    say("undisturbed: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in soak.tally.seconds.items()))
    for number in range(rounds) if only is None else [only]:
        try:
            say(f"round {number}: {soak.random_round(number)}")
        except LostError as error:
            raise LostError(f"round {number} (SEED={soak.seed} ROUND={number}): {error}") from error
    if only is not None:
        return
    for job in soak_work.JOBS:
        for point in points_of(job):
            number = 0
            while soak.tally.points[job, point] < kills and number < 6 * kills:
                try:
                    soak.fault_round(job, BACKENDS[number % 2], point, number)
                except LostError as error:
                    raise LostError(f"{job}, {point} (SEED={soak.seed}): {error}") from error
                number += 1
            say(f"{job}: {soak.tally.points[job, point]} kills {point}")
    if never := [
        f"{job} {point}" for job in soak_work.JOBS for point in points_of(job) if not soak.tally.points[job, point]
    ]:
        raise LostError(f"fault points that were never hit: {', '.join(never)}")


def main() -> int:
    """Run what the command line and the environment ask for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS") or 200))
    parser.add_argument("--kills", type=int, default=int(os.environ.get("KILLS") or 5), help="at each fault point")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or time.time_ns() % 10**6))
    parser.add_argument("--round", type=int, default=int(os.environ["ROUND"]) if os.environ.get("ROUND") else None)
    parser.add_argument("--out", type=Path, default=HERE / "out")
    options = parser.parse_args()
    print(f"SEED={options.seed} ROUNDS={options.rounds} KILLS={options.kills}", flush=True)
    begin = time.monotonic()
    soak = Soak(options.out / "soak", options.seed)
    status = 0
    try:
        run_all(soak, options.rounds, options.kills, options.round, lambda text: print(text, flush=True))
    except LostError as error:
        print(f"LOST: {error}", file=sys.stderr)
        status = 1
    else:
        shutil.rmtree(soak.folder)
    tally = soak.tally
    within = [done for done in tally.done_at_kill if done > 0]
    report = {
        "seed": options.seed,
        "rounds": options.rounds,
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "kills": dict(tally.kills),
        "kills by kind of storage": tally.kinds,
        "kills with blocks done": len(within),
        "kills at points": sum(tally.points.values()),
        "calls that needed the folder's name": tally.by_path,
        "calls begun anew": tally.anew,
        "lost": bool(status),
    }
    (options.out / "soak.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    return status


if __name__ == "__main__":
    sys.exit(main())
