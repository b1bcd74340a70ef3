"""What make test shows on a real cluster: submit, parity, resume, and the death of a node."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster_data import FAST, N_BLOCKS, Job, checksum, config, stored
from striking import kill_node, struck
from virtual_cluster import Cluster, wait

from bioimage_py.filters import gaussian_smoothing
from bioimage_py.runner import get_runner
from bioimage_py.stats import std

CLUSTER = {"SLURM_MEM_MODE": "gather"}  # two clusters on one host would share their jobs' control groups
ON = {"job_type": "slurm", "num_workers": 3}


# one test, so that one process has the one cluster, however the tests are shared out
@pytest.mark.timeout(900)
def test_submit_parity_resume_and_the_death_of_a_node(
    queue: Cluster, inputs: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    submit(tmp_path)
    parity(inputs, expected, tmp_path)
    assert queue.empty(), queue.jobs()
    resume(Job("blocks", inputs, made(tmp_path / "resume")), expected["blocks"])
    assert queue.empty(), queue.jobs()
    death_of_a_node(Job("relabel", inputs, made(tmp_path / "node")), expected["relabel"], queue)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def submit(folder: Path) -> None:
    runner = get_runner("slurm", config(tmp_root=folder / "runs"))
    assert runner.map(lambda index: index * index, item_ids=[5, 3, 9, 0], num_workers=2) == [25, 9, 81, 0]


def parity(inputs: Path, expected: dict[str, str], folder: Path) -> None:
    label = Job("label", inputs, made(folder / "label"))
    label(**ON, job_config=config())
    assert checksum(label.output) == expected["label"]
    source = stored(folder / "in.zarr", np.random.default_rng(2).random((40, 44, 52)).astype(np.float32))
    blocks: dict[str, Any] = {"block_shape": (16, 32, 16)}
    on_nodes = {**blocks, **ON, "job_config": config(tmp_root=folder / "runs")}
    assert std(source, **on_nodes) == std(source, **blocks)
    smooth = [stored(folder / f"{place}.zarr", np.zeros(source.shape, np.float32)) for place in ("here", "nodes")]
    gaussian_smoothing(source, 1.5, smooth[0], **blocks)
    gaussian_smoothing(source, 1.5, smooth[1], **on_nodes)
    assert np.any(smooth[0][...])
    assert checksum(smooth[0]) == checksum(smooth[1])


def resume(job: Job, expected: str) -> None:
    """A driver is killed in the middle; the same call finishes without what was done."""
    job.pace(0.3)
    driver = job.elsewhere()
    assert wait(lambda: job.in_full_swing() or driver.poll() is not None, 90)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL, driver.communicate()
    assert job.runs()
    job.pace(FAST)
    job(**ON, job_config=config())
    assert checksum(job.output) == expected
    assert sum(job.reads().values()) <= N_BLOCKS + ON["num_workers"]
    assert not job.runs()


def death_of_a_node(job: Job, expected: str, cluster: Cluster) -> None:
    """A node and all its processes die during an in-place call, which finishes."""
    with struck(kill_node, cluster, job) as story:
        job(**ON, job_config=config(cpus_per_task=2))
    assert checksum(job.output) == expected
    assert "node" in story.ends()
    assert not job.runs()
