"""What a run costs beyond the scheduler itself."""

from __future__ import annotations

from pathlib import Path

from cluster_data import config
from matrix import Matrix
from slurm_latency import measure, table
from virtual_cluster import Cluster


def test_one_block(queue: Cluster, matrix: Matrix, tmp_path: Path) -> None:
    found = measure(tmp_path, config(), repeats=5)
    matrix.notes += ["latency (medians of 5), and what it is beyond a job that does nothing:", *table(found)]
    assert found["one block"] - found["sbatch true"] < 5.0
    assert found["one block, jobs there"] < found["one block"]
