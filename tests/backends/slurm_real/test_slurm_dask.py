"""Dask by dask-jobqueue on a real cluster: grown and shrunk, its jobs cancelled and out of time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from virtual_cluster import Cluster

from bioimage_py.runner import DaskConfig
from bioimage_py.testing.trials import N, Trial, until

jobqueue = pytest.importorskip("dask_jobqueue", reason="pip install dask-jobqueue")
pytestmark = pytest.mark.timeout(600)
SLOW = "; ".join(f"block {block}: slow 0.5 s, slow 0.5 s" for block in range(N))


@pytest.fixture
def dask(queue: Cluster, tmp_path: Path) -> Iterator[Any]:
    """A cluster whose workers are jobs, two of them at most."""
    made = jobqueue.SLURMCluster(
        queue="main",
        cores=1,
        processes=1,
        memory="800MB",
        walltime="00:10:00",
        interface="lo",
        python=sys.executable,
        log_directory=str(tmp_path / "logs"),
        local_directory=str(tmp_path / "dask"),
        scheduler_options={"dashboard_address": None},
    )
    made.adapt(minimum_jobs=0, maximum_jobs=2, interval="500ms", wait_count=3)
    yield made
    made.close()
    until(queue.empty)


def ends(report: Any) -> list[str]:
    return [e["kind"] for e in report.events if e["event"] == "WorkerEnded" and e["kind"] != "finished"]


def test_it_grows_for_a_run_and_shrinks_after_it(dask: Any, queue: Cluster, tmp_path: Path) -> None:
    for number in range(2):
        trial = Trial(tmp_path / str(number), {"job_type": "dask", "job_config": DaskConfig(cluster=dask)}, SLOW)
        trial.run()
        trial.right()
        until(lambda: not queue.jobs("RUNNING", "PENDING"))


def cancelled(cluster: Cluster, job: str) -> None:
    cluster.ask("scancel", job)


def out_of_time(cluster: Cluster, job: str) -> None:
    cluster.ask("scontrol", "update", f"jobid={job}", "EndTime=now+2")


@pytest.mark.parametrize("end", [cancelled, out_of_time])
def test_a_job_that_ends_is_replaced(
    dask: Any, queue: Cluster, tmp_path: Path, end: Callable[[Cluster, str], None]
) -> None:
    how = {"job_type": "dask", "job_config": DaskConfig(cluster=dask)}
    trial = Trial(tmp_path / "run", how, "block 10: wait")
    run = trial.in_thread()
    until(lambda: trial.calls(10) or run.over)
    assert not run.over, run.result
    told = Path(f"/proc/{trial.calls(10)[0].pid}/environ").read_bytes().split(b"\0")
    (job,) = (one.partition(b"=")[2].decode() for one in told if one.startswith(b"SLURM_JOB_ID="))
    end(queue, job)
    until(lambda: len(trial.calls(10)) > 1 or run.over)
    trial.function.go_on()
    report = run.join()
    assert not isinstance(report, BaseException), report
    assert ends(report), "no worker was lost"
    assert set(ends(report)) <= {"killed", "node"}
    trial.right()
