"""What the ledger costs: trivial blocks with values side by side with the peer's SubprocessRunner, and load balance.

Every repeat is a process of its own; the two packages take turns. Writes ledger.json and ledger.md into the output
folder. Exit status 1 where a promise is not kept: 5 µs a block, planned in a second, memory of the driver below 200 MB
and the same for ten times the blocks with values, not slower than the peer, and within 15 % of the ideal where the
first half of the blocks is slow.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

TRIVIAL = """
import json, resource, sys, time
import numpy as np, zarr
from bioimage_py.runner import get_runner

def function(block, inputs, outputs, mask):
    return block.begin[0]

if __name__ == "__main__":
    folder, n = sys.argv[1], int(sys.argv[2])
    data = zarr.open_array(folder + "/data.zarr", mode="r")
    runner = get_runner("subprocess")
    begin = time.perf_counter()
    values = runner.run(function, [data], block_shape=(1,), num_workers=2, has_return_val=True, name="")
    seconds = time.perf_counter() - begin
    assert values == list(range(n))
    print(json.dumps({"seconds": seconds, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""

OURS = """
import json, resource, sys, time
import zarr
import bioimage_py as bp
from bioimage_py.runner import RunnerConfig

def function(block, inputs, outputs, mask):
    return block.begin[0]

def slow(block, inputs, outputs, mask):
    time.sleep(0.2 if block.id < 32 else 0.0)

def add(left, right):
    return left + right

if __name__ == "__main__":
    folder, what, n, job_type = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    data = zarr.open_array(folder + "/data.zarr", mode="r")
    how = {"job_type": job_type, "num_workers": 2, "progress": False}
    begin = time.perf_counter()
    if what == "plan":
        plan = bp.map_blocks(function, [data], block_shape=(1,), plan=True, **how)
        found = {"blocks": plan.stages[0].n_blocks}
    elif what == "balance":
        bp.map_blocks(slow, [data], block_shape=(n // 64,), **how)
        found = {}
    elif what == "values":
        config = RunnerConfig(tmp_root=folder + "/runs")
        report = bp.map_blocks(function, [data], block_shape=(1,), has_return_val=True, job_config=config, **how)
        assert sum(report.results) == n * (n - 1) // 2
        found = {}
    else:
        report = bp.map_blocks(function, [data], block_shape=(1,), reduce=add, **how)
        assert report.results == n * (n - 1) // 2
        spans = report.stages[0].spans
        begun, ended = min((s.begin for s in spans), default=0), max((s.end for s in spans), default=0)
        found = {"us": (ended - begun) / n * 1e6}
    found["seconds"] = time.perf_counter() - begin
    found["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))
"""


def child(python: Path, code: str, place: Path, *arguments: object) -> dict[str, float]:
    """What a process of its own measures, in the folder of an array."""
    (place / "child.py").write_text(code)
    # elsewhere than here, where the peer's workers would import this package
    run = subprocess.run(
        [python, "child.py", str(place), *map(str, arguments)], cwd=place, capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise RuntimeError(run.stderr)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def data(folder: Path, n: int) -> Path:
    """An array of so many blocks."""
    import zarr

    place = folder / f"trivial-{n}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    zarr.create_array(place / "data.zarr", shape=(n,), chunks=(n,), dtype="u1")
    return place


def measure(out: Path, n: int, repeats: int, peer: Path | None) -> dict[str, Any]:
    """All figures."""
    ours, large, larger = Path(sys.executable), data(out, n), data(out, 10 * n)
    rows: dict[str, list[dict[str, float]]] = {"ours": [], "peer": [], "reduce": [], "local": []}
    for _ in range(repeats):
        rows["ours"].append(child(ours, TRIVIAL, large, n))
        if peer is not None:
            rows["peer"].append(child(peer, TRIVIAL, large, n))
        rows["reduce"].append(child(ours, OURS, large, "reduce", n, "subprocess"))
        rows["local"].append(child(ours, OURS, large, "reduce", n, "local"))
    for job_type in ("local", "subprocess"):
        rows[f"values {job_type}"] = [child(ours, OURS, large, "values", n, job_type)]
        rows[f"ten times {job_type}"] = [child(ours, OURS, larger, "values", 10 * n, job_type)]
        rows[f"balance {job_type}"] = [child(ours, OURS, data(out, 640), "balance", 640, job_type) for _ in range(3)]
    rows["plan"] = [child(ours, OURS, large, "plan", n, "subprocess") for _ in range(3)]
    return rows


def median(rows: list[dict[str, float]], what: str) -> float:
    """The median of a figure."""
    return statistics.median(row[what] for row in rows)


def promises(rows: dict[str, Any], n: int) -> list[tuple[str, str, bool]]:
    """What is promised, the figure, and whether it holds."""
    ideal = 32 * 0.2 / 2
    told: list[tuple[str, str, bool]] = []

    def add(what: str, value: float, text: str, holds: Callable[[float], bool]) -> None:
        told.append((what, text.format(value), holds(value)))

    add("worker loops, two processes, a block", median(rows["reduce"], "us"), "{:.1f} µs", lambda x: x <= 5)
    add(f"{n} blocks planned", median(rows["plan"], "seconds"), "{:.2f} s", lambda x: x < 1)
    for job_type in ("local", "subprocess"):
        much, less = median(rows[f"ten times {job_type}"], "mib"), median(rows[f"values {job_type}"], "mib")
        add(f"driver memory, {10 * n} values, {job_type}", much, "{:.0f} MiB", lambda x: x < 200e6 / 2**20)
        add(f"driver memory, ten times the blocks, {job_type}", much - less, "{:+.0f} MiB", lambda x: x < 30)
    if rows["peer"]:
        ratio = median(rows["peer"], "seconds") / median(rows["ours"], "seconds")
        seconds = f"{median(rows['ours'], 'seconds'):.2f} s, peer {median(rows['peer'], 'seconds'):.2f} s"
        add(f"{n} values, peer/ours ({seconds})", ratio, "{:.2f}", lambda x: x >= 1)
    for job_type in ("local", "subprocess"):
        over = median(rows[f"balance {job_type}"], "seconds") / ideal - 1
        add(f"first half slow, {job_type}, over the ideal", over, "{:.0%}", lambda x: x <= 0.15)
    return told


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer-python", type=Path, help="Python of an environment that has the peer")
    parser.add_argument("--blocks", type=int, default=10**6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "out")
    options = parser.parse_args()
    place = options.out / "ledger"
    rows = measure(place, options.blocks, options.repeats, options.peer_python)
    shutil.rmtree(place)
    told = promises(rows, options.blocks)
    lines = ["| what | measured | promise kept |", "|---|---|---|"]
    lines += [f"| {what} | {value} | {'yes' if holds else 'NO'} |" for what, value, holds in told]
    (options.out / "ledger.json").write_text(json.dumps(rows, indent=1) + "\n")
    (options.out / "ledger.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0 if all(holds for _, _, holds in told) else 1


if __name__ == "__main__":
    sys.exit(main())
