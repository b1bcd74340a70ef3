"""Every operation of the parity suite gives on the cluster the bits that it gives here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster_data import config
from virtual_cluster import Cluster

import bioimage_py as bp
from bioimage_py.io.create import create_array

from ...engine import test_parity as parity

stored = parity.stored
ON = {"block_shape": parity.BLOCKS}


@pytest.fixture(scope="module")
def pool(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Three workers that serve all operations."""
    settings = config(mem="600M", time=30, tmp_root=tmp_path_factory.mktemp("runs"))
    with bp.execution("slurm", num_workers=3, job_config=settings, progress=False):
        yield
    assert cluster.empty(), f"left in the queue: {cluster.jobs()}"


@pytest.mark.parametrize("case", parity.CASES, ids=lambda case: case.name)
def test_same_bits_as_local(case: Any, stored: dict[str, Any], pool: None, tmp_path: Path) -> None:
    results = []
    for name, how in (("slurm", {}), ("local", {"job_type": "local", "job_config": None, "num_workers": 2})):
        output = parity._output(case, tmp_path / name)
        results.append(parity._value(case.call(stored, output, {**ON, **how}), output))
    assert parity._same(*results)


@pytest.mark.parametrize(("name", "call"), parity.IN_PLACE, ids=[name for name, _ in parity.IN_PLACE])
def test_same_bits_in_place(name: str, call: Any, pool: None, tmp_path: Path) -> None:
    before = parity._volumes()["few"] * np.uint8(3)
    results = []
    for where, how in (("slurm", {}), ("local", {"job_type": "local", "job_config": None, "num_workers": 2})):
        array = create_array(
            tmp_path / f"{where}.zarr", "x", shape=before.shape, dtype=before.dtype, chunks=parity.CHUNKS
        )
        array[...] = before
        call(array, {**ON, **how})
        results.append(np.asarray(array))
    assert np.array_equal(*results)
    assert not np.array_equal(results[0], before)
