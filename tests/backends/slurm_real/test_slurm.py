"""Runs on a real SLURM cluster: the same bits as here, and nothing left in the queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster_data import config, empty, stored, volume
from virtual_cluster import Cluster

import bioimage_py as bp
from bioimage_py.errors import ConfigError, RunnerError
from bioimage_py.runner import RunnerConfig, get_runner, map_blocks
from bioimage_py.stats import mean, unique


def test_values_are_those_of_local(queue: Cluster, tmp_path: Path) -> None:
    source = stored(tmp_path / "in.zarr", np.random.default_rng(1).random((40, 40, 40)).astype(np.float32))
    root = config(tmp_root=tmp_path / "runs")
    on = {"job_type": "slurm", "job_config": root, "num_workers": 3, "block_shape": (16, 16, 16)}
    assert mean(source, **on) == mean(source, block_shape=(16, 16, 16))
    whole = stored(tmp_path / "labels.zarr", volume(40).astype(np.uint32))
    np.testing.assert_array_equal(unique(whole, **on), unique(whole))


def test_runner_returns_values_in_order(queue: Cluster, tmp_path: Path) -> None:
    runner = get_runner("slurm", config(tmp_root=tmp_path))
    values = runner.map(lambda index: index * index, item_ids=[5, 3, 9, 0], num_workers=2)
    assert values == [25, 9, 81, 0]


def test_an_exception_comes_back_with_its_block(queue: Cluster, tmp_path: Path) -> None:
    def fails(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        raise ValueError(f"no good at {block.begin}")

    source = stored(tmp_path / "in.zarr", volume(32))
    out = empty(tmp_path / "out.zarr", (32, 32, 32), "uint8")
    with pytest.raises(RunnerError, match="no good at") as caught:
        map_blocks(fails, [source], [out], block_shape=(16,) * 3, job_type="slurm", num_workers=2, job_config=config())
    assert caught.value.failed_block_ids


def test_refused_submission_says_why(queue: Cluster, tmp_path: Path) -> None:
    source = stored(tmp_path / "in.zarr", volume(32))
    out = empty(tmp_path / "out.zarr", (32, 32, 32), "uint8")
    with pytest.raises(RunnerError, match="invalid partition"):
        bp.copy(source, out, job_type="slurm", job_config=config(partition="nowhere"))
    with pytest.raises(ConfigError, match="is not a slurm configuration"):
        bp.copy(source, out, job_type="slurm", job_config=RunnerConfig())
