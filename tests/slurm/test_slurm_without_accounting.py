"""The same on a cluster whose accounting is closed: squeue and the workers' own marks are enough."""

from __future__ import annotations

from test_slurm import test_runner_returns_values_in_order, test_values_are_those_of_local
from test_slurm_faults import slow, test_cancelled_job_ends_the_run, test_node_killed, test_preempted, test_wall_time

ACCOUNTING = False

__all__ = [
    "slow",
    "test_cancelled_job_ends_the_run",
    "test_node_killed",
    "test_preempted",
    "test_runner_returns_values_in_order",
    "test_values_are_those_of_local",
    "test_wall_time",
]
