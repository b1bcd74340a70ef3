"""A cluster of Dask with processes of its own, through the conformance suite, and what is special of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bioimage_py.runner import DaskConfig
from bioimage_py.testing import BackendConformance
from bioimage_py.testing.failures import Call

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers under nannies."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit="600MB"
    ) as cluster:
        yield cluster


class TestDask(BackendConformance):
    few_checks = {"exit"}
    pool_size = 2

    @pytest.fixture
    def settings(self, cluster: Any) -> Mapping[str, Any]:
        return {"job_type": "dask", "job_config": DaskConfig(cluster=cluster.scheduler_address)}

    def lose_node(self, call: Call) -> None:
        os.kill(call.pid, signal.SIGKILL)
