"""What a one-block run costs beyond the scheduler itself, on the SLURM cluster of this host.

    python benchmarks/slurm_latency.py --folder /shared/folder [--partition cpu] [--repeats 5]

Compared are ``srun true``, a job ``true`` from sbatch until the scheduler calls it completed, a one-block run, and a
second one-block run on the jobs that the first one has left waiting. Medians, in seconds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import bioimage_py as bp
from bioimage_py.runner import SlurmConfig, map_blocks


def measure(folder: Path, config: SlurmConfig, repeats: int = 5) -> dict[str, float]:
    """Seconds by what was done.

    Parameters
    ----------
    folder : Path
        Seen by all nodes.
    config : SlurmConfig
    repeats : int
    """
    options = ["-J", "latency", "-D", str(folder), *(["-p", config.partition] if config.partition else [])]
    source = zarr.create_array(folder / "in.zarr", shape=(16,) * 3, chunks=(16,) * 3, dtype="uint8")
    source[...] = 1
    output = zarr.create_array(folder / "out.zarr", shape=(16,) * 3, chunks=(16,) * 3, dtype="uint8")

    def one_block() -> None:
        map_blocks(plus_one, [source], [output], block_shape=(16,) * 3, job_type="slurm", job_config=config)

    found = {
        "srun true": _median(lambda: _run("srun", *options, "true"), repeats),
        "sbatch true": _median(lambda: batch_job(options), repeats),
        "one block": _median(one_block, repeats),
    }
    with bp.execution("slurm", job_config=config):
        one_block()
        found["one block, jobs there"] = _median(one_block, repeats)
    assert np.all(output[...] == 2)
    return found


def plus_one(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
    """The smallest thing to do."""
    roi = tuple(map(slice, block.begin, block.end))
    outputs[0][roi] = inputs[0][roi] + 1


def batch_job(options: list[str]) -> None:
    """A job that does nothing, from sbatch to its end."""
    job = _run("sbatch", "--parsable", "-o", "/dev/null", *options, "--wrap", "true").strip()
    while "JobState=COMPLETED" not in _run("scontrol", "show", "job", job):
        time.sleep(0.02)


def table(found: dict[str, float]) -> list[str]:
    """Lines of text: each figure, and what it is beyond a job that does nothing."""
    bare = found["sbatch true"]
    return [f"{name:<24}{seconds:>6.2f} s{seconds - bare:>+8.2f} s" for name, seconds in found.items()]


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _median(what: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        what()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--partition")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        print(*table(measure(Path(folder), SlurmConfig.load(partition=given.partition), given.repeats)), sep="\n")


if __name__ == "__main__":
    main()
