"""What a run costs on each backend beside its work, and whether workers that are killed change a bit.

    python benchmarks/backends.py [--blocks 1000000] [--calls 20] [--on local,subprocess,...]
    python benchmarks/backends.py --kills 200 --on dask

The cost: of a call of one block inside ``with bioimage_py.execution(...)`` (median; the workers are there), and of so
many empty blocks, on two workers: wall time, and processor time of this process and all that it has started.
The kills are of a worker's process (of MPI: of a rank, which takes all with it), at random instants during runs in
place; a run that is given up is called again. The voxels say whether each block was done once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import bioimage_py as bp
from bioimage_py.errors import RunnerError
from bioimage_py.runner import DaskConfig, ExecutorConfig, map_blocks
from bioimage_py.testing.trials import N, Trial

WORKERS = 2
RANK = os.environ.get("OMPI_COMM_WORLD_RANK", "")
"""Of this process, where it was started by `under_mpi`."""
SLOW = "; ".join(f"block {block}: slow 0.15 s, slow 0.15 s, slow 0.15 s" for block in range(N))
MPI = """
import sys
from pathlib import Path
from mpi4py.futures import MPIPoolExecutor
from bioimage_py.runner import ExecutorConfig
from bioimage_py.testing.trials import Trial
if __name__ == "__main__":
    with MPIPoolExecutor() as pool:
        how = {"job_type": "executor", "job_config": ExecutorConfig(executor=pool)}
        Trial(Path(sys.argv[1]), how, sys.argv[2]).run()
"""


def nothing(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    """An empty block."""


def spawned() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn"))


def lokies() -> Any:
    from loky import ProcessPoolExecutor

    return ProcessPoolExecutor(WORKERS)


def ranks() -> Any:
    from mpi4py.futures import MPIPoolExecutor

    return MPIPoolExecutor(WORKERS)


@contextmanager
def cluster() -> Iterator[Any]:
    import dask
    from distributed import LocalCluster

    # it would take a worker away for good that happens to be dead 15 s after any of its deaths
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        LocalCluster(WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50) as made,
    ):
        yield made


@contextmanager
def settings_of(name: str) -> Iterator[dict[str, Any]]:
    """Fields of an execution for a name of the table."""
    if name in ("local", "subprocess"):
        yield {"job_type": name}
    elif name in ("dask", "dask-alone"):
        with cluster() as made:
            config = DaskConfig(cluster=made.scheduler_address, shared=name == "dask")
            yield {"job_type": "dask", "job_config": config}
    else:
        makes = {"threads": lambda: ThreadPoolExecutor(WORKERS), "processes": spawned, "loky": lokies, "mpi": ranks}
        make = makes[name]
        yield {"job_type": "executor", "job_config": ExecutorConfig(make=make)}


def cost(name: str, folder: Path, blocks: int, calls: int) -> None:
    """Print the row of a backend."""
    array = bp.io.create_array(folder / f"{name}.zarr", "x", shape=(blocks,), dtype="u1", chunks=(blocks,))
    with settings_of(name) as how, bp.execution(**how, num_workers=WORKERS, progress=False):
        map_blocks(nothing, [array], block_shape=blocks)
        seconds = []
        for _ in range(calls):
            begin = time.perf_counter()
            map_blocks(nothing, [array], block_shape=blocks)
            seconds.append(time.perf_counter() - begin)
        begin, before = time.perf_counter(), processor_seconds()
        report = map_blocks(nothing, [array], block_shape=1)
        million, spent = time.perf_counter() - begin, processor_seconds() - before
        assert report.stages[0].n_done == blocks
    one = 1000 * statistics.median(seconds)
    print(f"{name:12} {one:9.1f} ms  {million:8.2f} s  {spent:8.2f} s  {1e6 * spent / blocks:6.1f} us", flush=True)


def processor_seconds() -> float:
    """Of this process and all that it has started, however far down."""
    ticks, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            ticks[int(path.parent.name)] = sum(map(int, fields[11:15]))
            parents[int(path.parent.name)] = int(fields[1])
    tree = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return sum(ticks[pid] for pid in tree) / os.sysconf("SC_CLK_TCK")


class Killer:
    """Kills the process of a worker of a trial, now and then."""

    def __init__(self, trial: Trial, rng: random.Random, most: int) -> None:
        self.kills, self.over = 0, threading.Event()
        self._trial, self._rng, self._most = trial, rng, most
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self.over.wait(self._rng.uniform(0.1, 1.0)):
            at_work = [call.pid for call in self._trial.open_calls() if call.pid != os.getpid() and lives(call.pid)]
            if at_work and self.kills < self._most:
                with suppress(ProcessLookupError):
                    os.kill(self._rng.choice(at_work), signal.SIGKILL)
                    self.kills += 1

    def close(self) -> None:
        """Kill nobody any more."""
        self.over.set()
        self._thread.join()


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def kill(name: str, folder: Path, kills: int, seed: int) -> None:
    """Kill workers of runs until so many are killed; every run must end with the right voxels."""
    rng, done, rounds, again = random.Random(seed), 0, 0, 0
    begin = time.perf_counter()
    with settings_of(name) if name != "mpi" else nothing_made(folder) as how:
        while done < kills:
            trial = Trial(folder / str(rounds), how, SLOW)
            killer = Killer(trial, rng, kills - done)
            while True:
                try:
                    call(name, trial, folder)
                    break
                except RunnerError as error:
                    again += 1
                    if error.tmp_folder is None:
                        raise
            killer.close()
            trial.right()
            done, rounds = done + killer.kills, rounds + 1
            shutil.rmtree(trial.folder)
            print(f"{name:12} {done} kills, {rounds} runs, {again} called again", flush=True)
    seconds = time.perf_counter() - begin
    print(f"{name:12} {done} kills in {rounds} runs, {again} called again: every block done once ({seconds:.0f} s)")


@contextmanager
def nothing_made(folder: Path) -> Iterator[dict[str, Any]]:
    (folder / "mpi.py").write_text(MPI)
    yield {}


def call(name: str, trial: Trial, folder: Path) -> None:
    if name != "mpi":
        trial.run()
        return
    done = under_mpi(str(folder / "mpi.py"), str(trial.folder), SLOW, capture_output=True, text=True)
    if done.returncode:
        raise RunnerError(done.stderr, tmp_folder="there")


def under_mpi(script: str, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a script on the first of three ranks; the others work for it."""
    if shutil.which("mpiexec") is None:
        sys.exit("no mpiexec is there: apt-get install openmpi-bin")
    mpi = ["mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", "3", sys.executable, "-m", "mpi4py.futures"]
    return subprocess.run([*mpi, script, *arguments], check=False, **how)


def main() -> None:
    """Measure, or kill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=10**6)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--on", default="", help="local, subprocess, threads, processes, loky, dask, dask-alone, mpi")
    given = parser.parse_args()
    usual = (
        "subprocess,processes,dask,mpi" if given.kills else "local,subprocess,threads,processes,loky,dask,dask-alone"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not given.kills and not RANK:
            print(f"{'':12} {'one block':>12}  {f'{given.blocks:.0e} blocks':>10}  {'processor':>10}  {'each':>9}")
        for one in (given.on or usual).split(","):
            if given.kills:
                kill(one, folder, given.kills, given.seed)
            elif one == "mpi" and not RANK:
                under_mpi(__file__, f"--blocks={given.blocks}", f"--calls={given.calls}", "--on=mpi")
            else:
                cost(one, folder, given.blocks, given.calls)


if __name__ == "__main__":
    main()
