"""What a run costs beside the work itself, by blocks, batches and workers: the constants of docs/growth.md.

Every part runs in a process of its own, so that its peak of memory is its own. Prints the constants and what
`growth_paper` computes from them, and writes growth.json and growth.md into the output folder.
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
from pathlib import Path
from time import perf_counter
from typing import Any

import growth_paper

HERE = Path(__file__).resolve().parent
REPEATS = 3
"""Of the kernels, interleaved."""

PARTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    **{
        f"run {n} {returns} gathered": ("growth_ledger.whole_run", (n, returns, True))
        for n in (10**4, 10**5, 10**6)
        for returns in ("none", "each", "fold")
    },
    **{
        f"run {n} {returns} own": ("growth_ledger.whole_run", (n, returns, False))
        for n, returns in ((10**3, "none"), (10**4, "none"), (10**5, "none"), (10**4, "each"), (10**4, "fold"))
    },
    "batches": ("growth_ledger.batches", ()),
    "claims": ("growth_ledger.claims", ()),
    "crowd": ("growth_ledger.crowd", ()),
    "poll": ("growth_ledger.poll", ()),
    "lost": ("growth_ledger.lost", ()),
    **{
        f"kept {n} {returns}": ("growth_ledger.kept", (n, returns))
        for n in (10**5, 10**6, 10**7)
        for returns in ("none", "each")
    },
    **{f"plan {n}": ("growth_ledger.planned", (n, False)) for n in (10**4, 10**5, 10**6, 10**7)},
    **{f"plan ids {n}": ("growth_ledger.planned", (n, True)) for n in (10**5, 10**6)},
    "listing": ("growth_ledger.listing", ()),
    "undo": ("growth_ledger.undo", ()),
    **{f"faces {block}": ("growth_work.faces", (block,)) for block in (64, 128, 256, 512)},
    "merge 27000": ("growth_work.empty", (27000,)),
    **{f"table {n}": ("growth_work.table", (n,)) for n in (10**6, 10**7)},
    **{f"slurm {jobs}": ("growth_work.cluster", (jobs,)) for jobs in (2, 8)},
    "second pass": ("growth_work.second_pass", ()),
    "fold 100000": ("growth_work.fold", (10**5,)),
    "petavoxel": ("growth_work.petavoxel", ()),
    "failed 1000000": ("growth_ledger.failed", (10**6,)),
    "heartbeat": ("growth_work.heartbeat", ()),
    "waiting": ("growth_work.waiting", ()),
    **{
        f"kernels {size} {block} {repeat}": ("growth_work.kernels", (size, block))
        for repeat in range(REPEATS)
        for size, block in ((256, 128), (512, 128), (512, 512))
    },
}


def part(name: str, place: Path) -> dict[str, float]:
    """What a process of its own measures."""
    module, _, function = PARTS[name][0].partition(".")
    code = (
        f"import json, sys; sys.path.insert(0, {str(HERE)!r}); from pathlib import Path; import {module}\n"
        f"found = {module}.{function}(Path({str(place)!r}), *{PARTS[name][1]!r})\n"
        "print(json.dumps(found))"
    )
    (place / "child.py").write_text(f"if __name__ == '__main__':\n    exec({code!r})\n")
    run = subprocess.run([sys.executable, "child.py"], cwd=place, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{name}: {run.stderr}")
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def medians(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The repeats of the kernels as one."""
    told = {name: values for name, values in found.items() if not name.startswith("kernels")}
    for size, block in ((256, 128), (512, 128), (512, 512)):
        rows = [found[f"kernels {size} {block} {repeat}"] for repeat in range(REPEATS)]
        told[f"kernels {size} {block}"] = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    return told


def main() -> None:
    """Measure, compute, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE / "out")
    parser.add_argument("--again", action="store_true", help="compute from the figures of the last run")
    parser.add_argument("--only", default="", help="only the parts whose names begin so; writes nothing")
    options = parser.parse_args()
    told, place = options.out / "growth.json", options.out / "growth"
    if not options.again:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        found = {}
        for name in PARTS:
            if name.startswith(options.only):
                begin = perf_counter()
                found[name] = part(name, place)
                print(f"{perf_counter() - begin:5.1f} s  {name}", file=sys.stderr, flush=True)
        shutil.rmtree(place)
        if options.only:
            print(json.dumps(found, indent=1))
            return
        machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
        told.write_text(json.dumps({"machine": machine, "parts": medians(found)}, indent=1) + "\n")
    text = growth_paper.page(json.loads(told.read_text()))
    (options.out / "growth.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
