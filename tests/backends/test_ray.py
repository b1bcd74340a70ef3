"""Ray by the ten lines of docs/backends.md, through the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from bioimage_py.runner import ExecutorConfig
from bioimage_py.testing import BackendConformance

ray = pytest.importorskip("ray", reason="pip install ray")
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


class RayExecutor(Executor):
    """Tasks of Ray as an executor, each in a process of its own, none of them repeated."""

    def submit(self, function: Any, *arguments: Any, **named: Any) -> Future[Any]:  # type: ignore[override]
        task = ray.remote(num_cpus=1, max_retries=0, max_calls=1)(function)
        return task.remote(*arguments, **named).future()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


class TestRay(BackendConformance):
    kind = "executor: Ray"
    impossible = {"node": "the cluster of the tests has one host"}
    patience = 120.0

    @pytest.fixture
    def settings(self, cluster: None) -> Mapping[str, Any]:
        return {"job_type": "executor", "job_config": ExecutorConfig(executor=RayExecutor())}
