"""Jobs of a real cluster, through the conformance suite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from cluster_data import config
from virtual_cluster import Cluster

from bioimage_py.testing import BackendConformance
from bioimage_py.testing.failures import Call

pytestmark = pytest.mark.timeout(600)


class TestSlurm(BackendConformance):
    @pytest.fixture
    def settings(self, queue: Cluster) -> Mapping[str, Any]:
        return {"job_type": "slurm", "job_config": config()}

    @pytest.fixture(autouse=True)
    def _a_whole_cluster(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def lose_node(self, call: Call) -> None:
        self.cluster.do("node-kill", call.host)
