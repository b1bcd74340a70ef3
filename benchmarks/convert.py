"""A stack of tif converted to OME-Zarr with a pyramid: ours beside the peers, by turns, each in a process of its own.

    python benchmarks/convert.py [--size 512] [--rounds 3] [--only ours tifffile+zarr] [--peers PYTHON] [--check]

bioio (with bioio-tifffile and bioio-ome-zarr) and ngff-zarr are run by the interpreter of an environment of their own,
which `--peers` names, and are left out without it.

All write the levels that halve z, y and x, in chunks of 64³ voxels, from the same file, with the same codec (zstd,
level 1, shuffled). What is measured is the whole conversion inside of a process, after a first one of a small stack;
the finest level is compared with the stack. What was written stays until the end: making files is slow just after
others were removed. With --check the exit status is 1 where ours is not 3 times as fast as the
fastest, by the time on the wall; that of the processor, which others on the machine do not change, is shown too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile

HERE = Path(__file__).resolve().parent
TARGET = 3.0
OWN = ("ours", "ours, imwrite")
PEERS = ("tifffile+zarr", "imageio+zarr")
ELSEWHERE = ("bioio", "ngff-zarr")


def written(output: Path) -> list[tuple[int, ...]]:
    """Return the shapes of the levels of an image, the finest first."""
    import zarr

    group = zarr.open_group(output, mode="r")
    attributes = dict(group.attrs)
    told = attributes.get("ome", attributes)
    return [group[entry["path"]].shape for entry in told["multiscales"][0]["datasets"]]


def first_level(output: Path) -> np.ndarray:
    import zarr

    group = zarr.open_group(output, mode="r")
    attributes = dict(group.attrs)
    told = attributes.get("ome", attributes)
    return np.asarray(group[told["multiscales"][0]["datasets"][0]["path"]][...])


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="of each side of the stack, in voxels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--levels", type=int, default=4, help="of the pyramid, with the finest")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--peers", help="interpreter that has bioio and ngff-zarr")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    given.only = given.only or [*OWN, *PEERS, *(ELSEWHERE if given.peers else ())]
    times: dict[str, list[float]] = {name: [] for name in given.only}
    used: dict[str, list[float]] = {name: [] for name in given.only}
    packages: dict[str, str] = {}
    shapes: dict[str, list[tuple[int, ...]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grid = np.indices((given.size,) * 3).sum(0)
        stack = (grid * 7 % 1000 + np.random.default_rng(0).integers(0, 64, grid.shape)).astype("u2")
        tifffile.imwrite(folder / "in.tif", stack, photometric="minisblack")
        for number in range(given.rounds):
            for engine in given.only:
                output = folder / f"{number}-{given.only.index(engine)}.ome.zarr"
                call = [
                    given.peers if engine in ELSEWHERE else sys.executable,
                    str(HERE / "convert_engines.py"),
                    engine,
                    str(folder / "in.tif"),
                    str(output),
                ]
                call += [str(given.levels)]
                ended = subprocess.run(
                    call, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}
                )
                if ended.returncode:
                    print(f"{engine}: {ended.stderr[-1500:]}", file=sys.stderr)
                    return 2
                told = json.loads(ended.stdout.splitlines()[-1])
                times[engine].append(told["seconds"])
                used[engine].append(told["processor"])
                packages[engine] = told["packages"]
                if not number:
                    shapes[engine] = written(output)
                    if not np.array_equal(first_level(output).squeeze(), stack):
                        print(f"{engine}: the finest level is not the stack", file=sys.stderr)
                        return 2
    medians = {engine: statistics.median(found) for engine, found in times.items()}
    print(f"{given.size}³ uint16, {given.levels} levels, {given.rounds} rounds by turns\n")
    print("| engine | seconds | of the processor | MB/s | levels | packages |\n|---|---|---|---|---|---|")
    for engine, seconds in sorted(medians.items(), key=lambda item: item[1]):
        shown = [f"{seconds:.2f}", f"{statistics.median(used[engine]):.2f}", f"{2 * given.size**3 / seconds / 1e6:.0f}"]
        print("| " + " | ".join([engine, *shown, str(len(shapes[engine])), packages[engine]]) + " |")
    others = [seconds for engine, seconds in medians.items() if engine not in OWN]
    if "ours" not in medians or not others:
        return 0
    ratio = min(others) / medians["ours"]
    work = {engine: statistics.median(found) for engine, found in used.items()}
    less = min(found for engine, found in work.items() if engine not in OWN) / work["ours"]
    print(
        f"\nours is {ratio:.2f} times as fast as the fastest, with {less:.2f} times less work of the processor than the"
        f" one with the least; target {TARGET}: {'pass' if ratio >= TARGET else 'FAIL'}"
    )
    return 1 if ratio < TARGET and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
