"""The whole of `segment` on the cluster: the bits of local, also where its driver is killed after each stage."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster_data import config
from virtual_cluster import Cluster

import bioimage_py as bp
from bioimage_py.io import create_array, read_multiscales
from bioimage_py.workflows import correct, segment

from ...graph.test_multicut import neurons

SHAPE = (48, 48, 48)
KILLED = """
import os, sys, bioimage_py as bp
sys.path.insert(0, sys.argv[4])
from cluster_data import config
from bioimage_py.workflows import segment, work
stage = work.Work.stage
def killed(self, name, function):
    value = stage(self, name, function)
    if name == sys.argv[3]: os.kill(os.getpid(), 9)
    return value
work.Work.stage = killed
segment(bp.open_source(sys.argv[1]), sys.argv[2], method="multicut", block_shape=24, job_type="slurm", num_workers=3,
        job_config=config(mem="600M", time=30, idle_timeout=5.0, tmp_root=sys.argv[5]), progress=False)
"""


@pytest.fixture
def boundaries(tmp_path: Path) -> Any:
    array = create_array(tmp_path / "in.zarr", "b", shape=SHAPE, dtype="uint8", chunks=(24, 24, 24))
    array[...] = np.rint(neurons(2)[1] * 255)
    return array


def on_cluster(folder: Path) -> dict[str, Any]:
    return {
        "job_type": "slurm",
        "num_workers": 3,
        "job_config": config(mem="600M", time=30, tmp_root=folder / "runs"),
        "progress": False,
    }


def levels(path: Path) -> list[np.ndarray]:
    (image,) = read_multiscales(path)
    return [np.asarray(bp.open_source(path, name)[...]) for name, _ in image.levels]


def same(one: Path, other: Path) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(levels(one), levels(other), strict=True))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", ["multicut", "agglomerate", "watershed"])
def test_the_bits_of_local(queue: Cluster, boundaries: Any, tmp_path: Path, method: Any) -> None:
    how: dict[str, Any] = {"method": method, "block_shape": 24}
    how |= {"objects": "dark"} if method == "watershed" else {"keep": tmp_path / "kept"}
    segment(boundaries, tmp_path / "there.zarr", **how, **on_cluster(tmp_path))
    how |= {} if method == "watershed" else {"keep": tmp_path / "kept here"}
    segment(boundaries, tmp_path / "here.zarr", **how, progress=False)
    assert same(tmp_path / "here.zarr", tmp_path / "there.zarr")
    if method == "multicut":
        parts = np.asarray(bp.open_source(tmp_path / "kept" / "partition.zarr", "parts")[...])
        graph = bp.graph.open_graph(tmp_path / "kept" / "graph.zarr")
        joined = graph.edges.ids[parts[graph.pairs[:, 0]] == parts[graph.pairs[:, 1]]]
        wanted = bp.graph.Constraints(cut=[tuple(joined[0].tolist())])
        correct(tmp_path / "there.zarr", tmp_path / "kept", wanted, **on_cluster(tmp_path))
        correct(tmp_path / "here.zarr", tmp_path / "kept here", wanted, progress=False)
        assert same(tmp_path / "here.zarr", tmp_path / "there.zarr")


@pytest.mark.timeout(900)
def test_a_driver_that_is_killed_after_each_stage(queue: Cluster, boundaries: Any, tmp_path: Path) -> None:
    for at in ("superpixels", "graph", "multicut", "labels", "count"):
        command = [sys.executable, "-c", KILLED, str(boundaries.path) + "/b", str(tmp_path / "there.zarr"), at]
        command += [str(Path(__file__).parent), str(tmp_path / "runs")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (tmp_path / "there.zarr").exists()
    segment(boundaries, tmp_path / "there.zarr", method="multicut", block_shape=24, **on_cluster(tmp_path))
    segment(boundaries, tmp_path / "here.zarr", method="multicut", block_shape=24, progress=False)
    assert same(tmp_path / "here.zarr", tmp_path / "there.zarr")
