"""What one call passes through: functions and files of the package, in driver and worker; and how long it takes.

    python benchmarks/calls.py [--functions] [--repeats 5]

A profile hook counts the functions of the package that one `gaussian_smoothing` on a worker process calls, and the
modules that are imported for it. What runs while modules are imported is not counted. ``--functions`` lists them.

Then, without the hook, the median seconds of the start of a worker until it takes orders, which is before it has
imported what it runs, and of calls of one block, with the start of their workers and without it. `slurm_latency.py`
does so on a cluster.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import bioimage_py as bp
from bioimage_py.backends.subprocess import WORKER_CODE

SHAPE: Any = {"shape": (32,) * 3, "chunks": (32,) * 3, "dtype": "float32", "overwrite": True}
PACKAGE = Path(bp.__file__).parent
HOOK = """
import os, sys, threading

class Hook:
    def __init__(self):
        self.package, self.told = os.environ["COUNTED_PACKAGE"] + os.sep, set()
        self.importing = threading.local()
        path = os.path.join(os.environ["COUNTED_CALLS"], str(os.getpid()))
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, frame, event, argument):
        code, depth = frame.f_code, getattr(self.importing, "depth", 0)
        if event not in ("call", "return") or not code.co_filename.startswith(self.package):
            return
        if code.co_name == "<module>":
            self.importing.depth = depth + (1 if event == "call" else -1)
        elif event != "call" or depth or code.co_name.startswith("<"):
            return
        if code not in self.told:
            self.told.add(code)
            os.write(self.file, f"{code.co_filename[len(self.package):]} {code.co_qualname}\\n".encode())

    def start(self):
        threading.setprofile(self)
        sys.setprofile(self)
"""
"""Each function is told at once: a worker may end in any way."""
IN_WORKERS = f"""{HOOK}
if sys.orig_argv[-1] == {WORKER_CODE!r}:
    Hook().start()
"""

Calls = dict[str, set[tuple[str, str]]]
"""Functions by whose they are: file and name, which is "<module>" where the file was imported."""


def count(folder: Path) -> Calls:
    """What one `gaussian_smoothing` calls in the driver and in its worker.

    Parameters
    ----------
    folder : Path
        An empty one.
    """
    hooks, told = folder / "hooks", folder / "told"
    hooks.mkdir()
    told.mkdir()
    (hooks / "sitecustomize.py").write_text(IN_WORKERS)  # Python imports a module of this name when it starts
    os.environ.update(COUNTED_PACKAGE=str(PACKAGE), COUNTED_CALLS=str(told))
    sys.path.insert(0, str(hooks))
    call = smoothing(folder, "subprocess")
    space: dict[str, Any] = {}
    exec(HOOK, space)
    space["Hook"]().start()
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        sys.path.remove(str(hooks))
    found: Calls = {"driver": set(), "worker": set()}
    for path in told.iterdir():
        lines = [line.partition(" ") for line in path.read_text().splitlines()]
        found["driver" if path.name == str(os.getpid()) else "worker"] |= {(file, name) for file, _, name in lines}
    return found


def smoothing(folder: Path, job_type: str) -> Callable[[], None]:
    """A call that smooths one block of 32³ voxels, from zarr to zarr."""
    data = zarr.create_array(folder / f"{job_type}-in.zarr", **SHAPE)
    data[...] = np.random.default_rng(1).random((32,) * 3, dtype=np.float32)
    output = zarr.create_array(folder / f"{job_type}-out.zarr", **SHAPE)

    def call() -> None:
        bp.filters.gaussian_smoothing(data, 1.0, output, block_shape=(32,) * 3, job_type=job_type, progress=False)

    return call


def times(folder: Path, repeats: int) -> dict[str, float]:
    """Median seconds by what was done."""

    def start() -> None:
        subprocess.run([sys.executable, "-c", WORKER_CODE], stdin=subprocess.DEVNULL, capture_output=True, check=True)

    found = {"start of a worker": median(start, repeats)}
    for job_type in ("local", "subprocess"):
        call = smoothing(folder, job_type)
        before = ended_cpu()
        found[f"{job_type}: one block"] = median(call, repeats)
        if job_type == "subprocess":
            found["CPU time of its worker, start included"] = (ended_cpu() - before) / repeats
        with bp.execution(job_type):
            call()
            found[f"{job_type}: one block, workers there"] = median(call, repeats)
    return found


def ended_cpu() -> float:
    """Seconds of CPU time that processes which this one has started, and which have ended, have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def median(call: Callable[[], None], repeats: int) -> float:
    """Median seconds of some calls."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", action="store_true", help="list the functions")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = count(Path(name))
        seconds = times(Path(name), options.repeats) if options.repeats else {}
    for whose, told in found.items():
        called = {(file, function) for file, function in told if function != "<module>"}
        files = Counter(file for file, _ in called)
        print(f"{whose}: {len(called)} functions in {len(files)} files, {len(told) - len(called)} modules imported")
        for file in sorted(files) if options.functions else ():
            print(f"  {file}: " + " ".join(sorted(name for where, name in called if where == file)))
    for what, spent in seconds.items():
        print(f"{what}: {spent:.3f} s")


if __name__ == "__main__":
    main()
