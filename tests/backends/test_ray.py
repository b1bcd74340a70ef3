"""Ray by the ten lines of docs/backends.md, through the conformance suite."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Any

import cloudpickle
import pytest

from bioimage_py.runner import ExecutorConfig
from bioimage_py.testing import BackendConformance

ray = pytest.importorskip("ray", reason="pip install ray; make test-backends does so")
cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


class RayExecutor(Executor):
    """Tasks of Ray as an executor, none of them repeated."""

    def __init__(self) -> None:
        if not ray.is_initialized():
            ray.init(address="auto", log_to_driver=False, configure_logging=False)

    def submit(self, function: Any, *arguments: Any, **named: Any) -> Future[Any]:  # type: ignore[override]
        task = ray.remote(num_cpus=1, max_retries=0)(function)
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
    pool_size = 2

    @pytest.fixture
    def settings(self, cluster: None) -> Mapping[str, Any]:
        return {"job_type": "executor", "job_config": ExecutorConfig(make=RayExecutor)}
