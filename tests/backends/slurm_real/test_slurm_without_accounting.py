"""The same without accounting, and with small arrays: squeue and the workers' own marks are enough."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster_data import Job, checksum, config
from matrix import Matrix
from test_slurm import test_runner_returns_values_in_order, test_values_are_those_of_local
from test_slurm_faults import pytestmark, test_fault, test_wall_time_near
from virtual_cluster import Cluster

CLUSTER = {"accounting": False, "SLURM_MAX_ARRAY": "10"}

__all__ = [
    "pytestmark",
    "test_fault",
    "test_runner_returns_values_in_order",
    "test_values_are_those_of_local",
    "test_wall_time_near",
]


@contextmanager
def largest(queue: Cluster) -> Iterator[dict[str, int]]:
    """The arrays of this while, and how many jobs each had: those cancelled before they start end as one entry."""
    sizes: dict[str, int] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            for array, size in queue.arrays().items():
                sizes[array] = max(size, sizes.get(array, 0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield sizes
    finally:
        ended.set()
        watcher.join()


def test_more_workers_than_an_array_holds(
    queue: Cluster, matrix: Matrix, inputs: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    before = queue.arrays()
    job = Job("blocks", inputs, tmp_path)
    job.pace(1.0)  # long enough to be watched
    with matrix.line("25 workers, arrays of 10", "blocks", queue.accounting) as line:
        line.expected = expected["blocks"]
        with largest(queue) as sizes:
            job(job_type="slurm", num_workers=25, job_config=config(mem="200M"))
        line.checksum = checksum(job.output)
        assert sorted(size for array, size in sizes.items() if array not in before) == [5, 10, 10]
        assert queue.empty(5)
        line.verdict = "ok: three arrays"
