"""The slice side by side with the peer bioimage-py 0.2.2 in an environment of its own.

Every repeat of every job is a process that imports, runs the call once on a tiny array, then times it on the volume;
the two packages take turns. Results are checked against the whole array in memory. Writes slice.json and slice.md into
the output folder. Exit status: 0, or 1 where a ratio peer/ours of the median wall times is below 1.0, 2 where a result
is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import slice_data
import slice_work

HERE = Path(__file__).resolve().parent
PEER = "bioimage-py[io]==0.2.2"


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    pythons = {"ours": Path(sys.executable), "peer": options.peer_python or _peer_environment(options.out)}
    data = slice_data.make(options.out, options.size)
    runs = _measure(options, pythons, data)
    rows, wrong = [], []
    for job, measured in runs.items():
        try:
            check = slice_data.check(job, data, measured["ours"][-1], measured["peer"][-1])
        except AssertionError as error:
            check = f"WRONG: {error}"
            wrong.append(job)
        rows.append(_row(job, measured, check))
    shutil.rmtree(options.out / "outputs", ignore_errors=True)
    table = _table(rows)
    report = {"machine": _machine(options, pythons["peer"]), "rows": rows, "runs": runs}
    (options.out / "slice.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "slice.md").write_text(_markdown(report["machine"], table))
    print("\n" + table)
    slower = [row["job"] for row in rows if row["ratio"] < 1.0]
    for text, jobs in (("wrong results", wrong), ("slower than the peer", slower)):
        if jobs:
            print(f"{text}: {', '.join(jobs)}", file=sys.stderr)
    return 2 if wrong else 1 if slower else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer-python", type=Path, help="Python of an environment that has the peer already")
    parser.add_argument("--repeats", type=int, default=3, help="processes for each job and package (default 3)")
    parser.add_argument("--size", type=int, default=512, help="edge length of the volume, even (default 512)")
    parser.add_argument("--block", type=int, default=128, help="edge length of the blocks (default 128)")
    parser.add_argument("--jobs", nargs="+", choices=list(slice_work.JOBS), default=list(slice_work.JOBS))
    parser.add_argument("--out", type=Path, default=HERE / "out", help="folder for data and results")
    return parser.parse_args()


def _peer_environment(out: Path) -> Path:
    """Python of the peer's own environment, installed at the first call."""
    folder = out / "peer-env"
    python = folder / "bin" / "python"
    installed = folder / "installed"
    if not installed.exists():
        print(f"installing {PEER} into {folder} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        # with our constraints both packages stand on the same numpy and zarr
        install = [str(python), "-m", "pip", "install", "-qq", "-c", str(HERE.parent / "constraints.txt"), PEER]
        subprocess.run(install, check=True, cwd=out)
        installed.touch()
    return python


def _measure(options: argparse.Namespace, pythons: dict[str, Path], data: Path) -> dict[str, Any]:
    runs: dict[str, Any] = {job: {who: [] for who in pythons} for job in options.jobs}
    for repeat in range(options.repeats):
        for job in options.jobs:
            # the order alternates, so neither package always finds the page cache as the other left it
            for who in sorted(pythons, reverse=bool(repeat % 2)):
                run = _timed(pythons[who], job, data, options, who)
                runs[job][who].append(run)
                print(f"{repeat + 1}/{options.repeats} {job:16} {who}: {run['wall']:6.2f} s", flush=True)
    return runs


def _timed(python: Path, job: str, data: Path, options: argparse.Namespace, who: str) -> dict[str, Any]:
    output = options.out / "outputs" / who / f"{job.replace(' ', '-')}.zarr"
    command = [str(python), str(HERE / "slice_work.py"), job, str(data), str(output), str(options.block)]
    # neither package may find the other one, or settings, through the caller's environment
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "BIOIMAGE_PY"))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{who} failed in {job} (exit {done.returncode}):\n{done.stderr[-4000:]}")
    return {**json.loads(done.stdout.splitlines()[-1]), "output": str(output)}


def _row(job: str, measured: dict[str, Any], check: str) -> dict[str, Any]:
    row: dict[str, Any] = {"job": job, "check": check}
    for who, runs in measured.items():
        for quantity in ("wall", "cpu", "peak"):
            row[f"{who} {quantity}"] = statistics.median(run[quantity] for run in runs)
    pairs = [peer["wall"] / ours["wall"] for ours, peer in zip(measured["ours"], measured["peer"], strict=True)]
    row["ratio"] = row["peer wall"] / row["ours wall"]
    row["lowest"], row["highest"] = min(pairs), max(pairs)
    return row


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| job | ours s (CPU s, MB) | peer s (CPU s, MB) | ratio peer/ours (range) | results |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            f"{row[f'{who} wall']:.2f} ({row[f'{who} cpu']:.2f}, {row[f'{who} peak']:.0f})" for who in ("ours", "peer")
        ]
        ratio = f"**{row['ratio']:.2f}** ({row['lowest']:.2f}-{row['highest']:.2f})"
        lines.append(f"| {row['job']} | {cells[0]} | {cells[1]} | {ratio} | {row['check']} |")
    return "\n".join(lines)


def _machine(options: argparse.Namespace, peer_python: Path) -> dict[str, Any]:
    libraries = ("bioimage-py", "numpy", "zarr", "tensorstore", "bioimage-cpp")
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    ask = "from importlib.metadata import version as v; print([v(n) for n in ('bioimage-py', 'numpy', 'zarr')])"
    peer = subprocess.run([str(peer_python), "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "python": platform.python_version(),
        "ours": {name: metadata.version(name) for name in libraries},
        "peer (bioimage-py, numpy, zarr)": peer,
        "volume": f"{options.size}³ uint8, zarr v3 zstd, chunks {slice_work.CHUNK}³, blocks {options.block}³",
        "workers": slice_work.WORKERS,
        "repeats": options.repeats,
        "load at the end": os.getloadavg()[0],
    }


def _markdown(machine: dict[str, Any], table: str) -> str:
    facts = "\n".join(f"- {key}: {value}" for key, value in machine.items())
    return f"# The slice side by side with the peer\n\nMedians; each run a process of its own.\n\n{facts}\n\n{table}\n"


if __name__ == "__main__":
    sys.exit(main())
