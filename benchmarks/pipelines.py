"""What a pipeline costs, and whether a script that is killed at random instants ends with the same bits.

    python benchmarks/pipelines.py [--calls 40] [--overlap 16] [--kills 60] [--seed 1]

The cost of a call is the difference between the same calls with and without a pipeline, in turns, on arrays of one
block; that of a call that is skipped is its whole time. The kills are of the scripts that the tests run, one of them
with calls that overlap: of the driver or of a worker, at a random instant, until it has come to its end; then it is
begun anew.

The overlap is of four calls with a halo on so many workers: a block sleeps 0.05 s, one in sixteen 0.5 s. The
critical path is the least time that any schedule needs: the longest chain of blocks that need each other, or all their
seconds over the workers.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import bioimage_py as bp
from bioimage_py.pipelines.folder import known_calls

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def cost(calls: int) -> None:
    """Milliseconds that a pipeline adds to a call, and that a skipped call takes."""
    seconds: dict[str, list[float]] = {"without": [], "with": [], "skipped": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = bp.io.create_array(folder / "raw.zarr", "x", shape=(64, 64, 64), dtype="u1", chunks=(64, 64, 64))
        raw[...] = 1
        add_all(folder / "warm", raw, nullcontext(), calls, [])
        for turn in range(3):
            add_all(folder / f"a{turn}", raw, nullcontext(), calls, seconds["without"])
            add_all(folder / f"b{turn}", raw, bp.pipeline(folder / f"b{turn}.run"), calls, seconds["with"])
            add_all(folder / f"b{turn}", raw, bp.pipeline(folder / f"b{turn}.run"), calls, seconds["skipped"])
    ms = {name: 1000 * statistics.median(found) for name, found in seconds.items()}
    print(f"a call of one block: {ms['without']:.2f} ms, in a pipeline {ms['with'] - ms['without']:.2f} ms more")
    print(f"a call that is skipped: {ms['skipped']:.2f} ms")


def add_all(folder: Path, raw: Any, around: Any, calls: int, seconds: list[float]) -> None:
    with around:
        for number in range(calls):
            begin = time.perf_counter()
            bp.operations.add(raw, number, folder / f"{number}.zarr", block_shape=64, progress=False)
            seconds.append(time.perf_counter() - begin)


@dataclass(frozen=True)
class Sleepy:
    """A block function that sleeps, some blocks longer than others."""

    number: int

    def seconds(self, block_id: int) -> float:
        """How long a block sleeps."""
        return 0.5 if random.Random(100 * block_id + self.number).random() < 1 / 16 else 0.05

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        """Sleep, read with the halo, and write."""
        time.sleep(self.seconds(block.inner_block.id))
        outputs[0][bp.to_roi(block.inner_block)] = inputs[0][bp.to_roi(block.outer_block)].max()


def all_of(calls: list[Sleepy], folder: Path, size: int, around: Any) -> None:
    with around:
        last: Any = np.ones((size, size), "u1")
        for call in calls:
            path = folder / f"{call.number}.zarr"
            target = bp.io.create_array(path, "", shape=last.shape, dtype="u1", chunks=(16, 16))
            bp.map_blocks(call, [last], [target], block_shape=16, halo=1, name=f"sleepy{call.number}")
            last = target


def overlap(workers: int, stages: int = 4, side: int = 8) -> bool:
    """Seconds of calls with and without overlap, and of the critical path; whether the ratios are what they must be."""
    calls = [Sleepy(number) for number in range(stages)]
    path = np.zeros((side, side))
    for call in calls:
        padded = np.pad(path, 1)
        near = [padded[i : i + side, j : j + side] for i in range(3) for j in range(3)]
        path = np.max(near, axis=0) + np.array([call.seconds(n) for n in range(side * side)]).reshape(side, side)
    least = max(path.max(), sum(call.seconds(n) for call in calls for n in range(side * side)) / workers)
    took: dict[bool, list[float]] = {False: [], True: []}
    for lap in (False, True) * 2:
        with tempfile.TemporaryDirectory() as name:
            begin = time.perf_counter()
            with bp.pipeline(Path(name, "run"), num_workers=workers, progress=False) as p:
                around = p.overlap() if lap else nullcontext()
                all_of(calls, Path(name), 16 * side, around)
            took[lap].append(time.perf_counter() - begin)
    plain, lapped = (min(took[lap]) for lap in (False, True))
    print(f"{stages} calls, {workers} workers: {plain:.2f} s, overlapping {lapped:.2f} s, critical path {least:.2f} s")
    print(f"overlap is {plain / lapped:.2f} x faster, {lapped / least:.2f} x the critical path")
    return plain / lapped >= 1.3 and lapped / least <= 1.15


def kill_all(kills: int, seed: int) -> bool:
    """Kill scripts at random instants; whether nothing was lost or done twice."""
    from tests.pipelines import overlapping, script

    chance, done, right = random.Random(seed), 0, True
    longest = {script: 0.0, overlapping: 0.0}
    while done < kills:
        with tempfile.TemporaryDirectory() as name:
            folder, known = Path(name), dict[tuple[int, str], float]()
            which = chance.choice([script, overlapping])
            which.begin(folder)
            result, most = which.ended()
            job_type = chance.choice(["local", "subprocess"])
            while True:
                begin = time.monotonic()
                process = subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-m", which.__name__, str(folder), job_type],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
                whom = chance.choice(["driver", "driver", "worker"]) if done < kills else "nobody"
                try:
                    out, errors = process.communicate(
                        timeout=chance.uniform(0.5, longest[which] or 3.0) if whom != "nobody" else 300
                    )
                except subprocess.TimeoutExpired:
                    done += kill(process, whom)
                    out, errors = process.communicate()
                records = {(r.number, r.name): r.finished for r in known_calls(folder / "script.run") if r.done}
                if any(records.get(call) != when for call, when in known.items()):
                    print(f"DONE TWICE: {set(known) - set(records)} {job_type}")
                    right = False
                known = records
                if process.returncode == 0:
                    longest[which] = max(longest[which], time.monotonic() - begin)
                    break
                if process.returncode not in (-9, 0) and whom != "worker":
                    print(f"FAILED: {errors[-2000:]}")
                    return False
            same = np.array_equal(bp.open_source(folder / which.RESULT)[...], result) and int(out.split()[-1]) == most
            left = [*(folder / "script.run").glob("scratch"), *(folder / ".bioimage_py").glob("[!.]*")]
            if not same or left:
                print(f"LOST: {job_type}, same bits {same}, left {left}")
                right = False
    print(f"{done} kills: {'nothing lost, nothing done twice' if right else 'FAILED'}")
    return right


def kill(process: subprocess.Popen[str], whom: str) -> int:
    """Kill a driver, or one of its workers."""
    if whom == "worker":
        below = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True).stdout.split()
        others = [int(pid) for pid in below if int(pid) != process.pid]
        if others:
            try:
                os.kill(random.choice(others), signal.SIGKILL)
            except ProcessLookupError:
                return 0
            return 1
        return 0
    process.send_signal(signal.SIGKILL)
    return 1


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--overlap", type=int, default=16)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or time.time_ns() % 10**6))
    asked = parser.parse_args()
    if asked.calls:
        cost(asked.calls)
    right = not asked.overlap or overlap(asked.overlap)
    if asked.kills:
        print(f"seed {asked.seed}")
        right = kill_all(asked.kills, asked.seed) and right
    sys.exit(not right)


if __name__ == "__main__":
    main()
