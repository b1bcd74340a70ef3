"""Backends that are always there, through the conformance suite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bioimage_py.testing import BackendConformance

THREADS = "threads of one process: what ends a worker ends the run, with its driver"


class TestLocal(BackendConformance):
    impossible = {
        **dict.fromkeys(("exit", "killed", "guilty", "node"), THREADS),
        "memory": "threads have no memory of their own",
    }

    @pytest.fixture
    def settings(self) -> Mapping[str, Any]:
        return {"job_type": "local"}


class TestSubprocess(BackendConformance):
    impossible = {"node": "all workers are on this machine"}
    few_checks = {"exit", "ends", "count", "over", "driver", "adopt", "pool"}

    @pytest.fixture
    def settings(self) -> Mapping[str, Any]:
        return {"job_type": "subprocess"}
