"""A cluster of Dask with processes of its own, through the conformance suite, and what is special of it."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.backends.hosted.dask import DaskBackend
from bioimage_py.errors import ConfigError
from bioimage_py.runner import DaskConfig, map_blocks
from bioimage_py.testing import BackendConformance
from bioimage_py.testing.failures import Call
from bioimage_py.testing.trials import Trial, until

cloudpickle.register_pickle_by_value(sys.modules[__name__])

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


@contextmanager
def two_workers(memory: str) -> Iterator[Any]:
    """Under nannies, which start a worker again however often it dies.

    Dask's cluster would take one away for good that happens to be dead 15 s after any of its deaths.
    """
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=memory
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers under nannies."""
    with two_workers("600MB") as made:
        yield made


class TestDask(BackendConformance):
    few_checks = {"exit"}
    pool_size = 2

    @pytest.fixture
    def settings(self, cluster: Any) -> Mapping[str, Any]:
        return {"job_type": "dask", "job_config": DaskConfig(cluster=cluster.scheduler_address)}

    def lose_node(self, call: Call) -> None:
        os.kill(call.pid, signal.SIGKILL)


class TestDaskAlone(TestDask):
    """No worker is told where the run folder is: each asks the driver."""

    kind = "Dask, no shared folder"
    few_checks = {"killed"}

    @pytest.fixture
    def settings(self, cluster: Any) -> Mapping[str, Any]:
        return {"job_type": "dask", "job_config": DaskConfig(cluster=cluster.scheduler_address, shared=False)}


@pytest.fixture
def own() -> Iterator[Any]:
    """A cluster that a test may harm."""
    with two_workers("400MB") as made:
        yield made


class Hungry:
    """Takes more memory than there is, once."""

    def __init__(self, folder: Path, block: int) -> None:
        self.flag, self.block = folder / "hungry", block

    def __call__(self, block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if block.id == self.block and not self.flag.exists():
            self.flag.touch()
            held = []
            while True:
                held.append(np.ones(2**22, "u1"))
                time.sleep(0.01)
        outputs[0][bp.to_roi(block)] = inputs[0][bp.to_roi(block)] + 1


def ends(report: Any) -> list[str]:
    return [e["kind"] for e in report.events if e["event"] == "WorkerEnded" and e["kind"] != "finished"]


@pytest.mark.long
def test_a_worker_that_the_nanny_kills_for_memory(own: Any, tmp_path: Path) -> None:
    trial = Trial(tmp_path, {})
    data = zarr.open_array(trial.path, mode="r+")
    with bp.execution(dask=own, num_workers=2, progress=False, version="1"):
        report = map_blocks(Hungry(tmp_path, 9), [data], [data], block_shape=4)
    assert ends(report) == ["memory"]
    trial.right()


@pytest.mark.parametrize("given", ["client", "cluster", "address", "default"])
def test_what_is_given_is_not_closed(cluster: Any, tmp_path: Path, given: str) -> None:
    with distributed.Client(cluster, set_as_default=given == "default") as client:
        what = {"client": client, "cluster": cluster, "address": cluster.scheduler_address, "default": DaskConfig()}
        number = client.submit(int, "7")
        trial = Trial(tmp_path, {"job_type": "dask", "job_config": DaskBackend.configured(what[given])})
        trial.run()
        trial.right()
        assert client.status == "running"
        assert cluster.status.name == "running"
        assert number.result(timeout=60) == 7
        until(lambda: not any("bioimage" in key for key in tasks_of(client)))


def tasks_of(client: Any) -> list[str]:
    """What the scheduler knows."""
    return [str(key) for key in client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))]


@pytest.mark.long
def test_a_worker_that_is_retired(own: Any, tmp_path: Path) -> None:
    """Its cluster has taken it away: nobody is to blame."""
    trial = Trial(
        tmp_path, {"job_type": "dask", "job_config": DaskConfig(cluster=own.scheduler_address)}, "block 10: wait"
    )
    run = trial.in_thread()
    until(lambda: trial.calls(10) or run.over)
    with distributed.Client(own, set_as_default=False) as client:
        told = client.run(os.getpid)
        (address,) = (address for address, pid in told.items() if pid == trial.calls(10)[0].pid)
        client.retire_workers([address], close_workers=True)
        until(lambda: len(trial.calls(10)) > 1 or run.over)
    trial.function.go_on()
    report = run.join()
    assert ends(report) == ["node"], report
    trial.right()


@pytest.mark.long
def test_a_cluster_that_grows_and_shrinks(tmp_path: Path) -> None:
    slow = "; ".join(f"block {block}: slow 0.2 s" for block in range(24))
    with distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None) as cluster:
        cluster.adapt(minimum=0, maximum=2, interval="200ms", wait_count=2)
        for number in range(2):
            trial = Trial(tmp_path / str(number), {"job_type": "dask", "job_config": DaskConfig(cluster=cluster)}, slow)
            trial.run()
            trial.right()
            until(lambda: not cluster.scheduler_info["workers"])


class Processes:
    """A scheduler at a port, and its workers, as processes that a test may end, stop and start again."""

    def __init__(self, folder: Path) -> None:
        self._port, self._folder = free_port(), folder
        self.address = f"tcp://127.0.0.1:{self._port}"
        self._started: list[subprocess.Popen[bytes]] = []

    def _start(self, *what: str) -> subprocess.Popen[bytes]:
        log = (self._folder / f"{len(self._started)}.log").open("wb")
        command = [sys.executable, "-m", "distributed.cli.dask_" + what[0], *what[1:]]
        self._started.append(subprocess.Popen(command, stdout=log, stderr=log))
        return self._started[-1]

    def scheduler(self) -> subprocess.Popen[bytes]:
        return self._start("scheduler", "--port", str(self._port), "--host", "127.0.0.1", "--no-dashboard")

    def workers(self) -> subprocess.Popen[bytes]:
        few = ("--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--death-timeout", "100")
        return self._start("worker", self.address, *few)

    def close(self) -> None:
        for process in self._started:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._started:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.long
def test_a_scheduler_that_is_started_again(processes: Processes, tmp_path: Path) -> None:
    scheduler = processes.scheduler()
    processes.workers()
    how = {"job_type": "dask", "job_config": DaskConfig(cluster=processes.address)}
    trial = Trial(tmp_path / "run", how, "block 10: wait")
    run = trial.in_thread()
    until(lambda: trial.calls(10) or run.over)
    assert not run.over, run.result
    scheduler.kill()
    scheduler.wait()
    processes.scheduler()
    processes.workers()
    until(lambda: len(trial.calls(10)) > 1 or run.over)
    trial.function.go_on()
    report = run.join()
    assert not isinstance(report, BaseException), report
    trial.right()


@pytest.mark.long
def test_a_scheduler_that_does_not_answer(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds nobody up: workers write what they have done, and the run ends without it."""
    asked: list[str] = []
    ask = DaskBackend._ask

    def noted(self: DaskBackend, question: str, **about: Any) -> Any:
        asked.append(question)
        return ask(self, question, **about)

    monkeypatch.setattr(DaskBackend, "_ask", noted)
    scheduler = processes.scheduler()
    processes.workers()
    how = {"job_type": "dask", "job_config": DaskConfig(cluster=processes.address)}
    trial = Trial(tmp_path / "run", how, "block 10: wait")
    run = trial.in_thread()
    until(lambda: trial.calls(10) or run.over)
    scheduler.send_signal(signal.SIGSTOP)
    asked.clear()
    until(lambda: asked or run.over)
    trial.function.go_on()
    report = run.join()
    assert not isinstance(report, BaseException), report
    assert scheduler.poll() is None
    trial.right()


def test_a_cluster_without_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run says that it waits, and goes on as soon as there is one."""
    monkeypatch.setattr("bioimage_py.backends.hosted.dask.EMPTY_SECONDS", 0.0)
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        trial = Trial(tmp_path, {"job_type": "dask", "job_config": DaskConfig(cluster=cluster)})
        said: list[str] = []
        monkeypatch.setattr("warnings.warn", lambda message, *about, **more: said.append(str(message)))
        run = trial.in_thread()
        until(lambda: any("has had no worker" in one for one in said) or run.over)
        assert not run.over, run.result
        cluster.scale(1)
        report = run.join()
        assert not isinstance(report, BaseException), report
        trial.right()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_what_is_no_cluster(cluster: Any) -> None:
    def refused(config: Any, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            bp.stats.max(np.zeros(4), job_type="dask", job_config=config)

    refused(bp.runner.RunnerConfig(), "not that of a Dask cluster")
    refused(DaskConfig(), "no client of Dask")
    refused(DaskConfig(cluster=f"tcp://127.0.0.1:{free_port()}", start_timeout=0.2), "no scheduler of Dask")
    refused(DaskConfig(cluster=7), "no scheduler of Dask")
    client = distributed.Client(cluster, set_as_default=False)
    client.close()
    refused(DaskConfig(cluster=client), "the client of Dask is closed")
    with pytest.raises(ConfigError, match="cannot be opened by the workers"):
        bp.stats.max(np.zeros(4), job_type="dask", job_config=DaskConfig(cluster=cluster))


def test_a_kept_cluster_is_its_address(cluster: Any) -> None:
    for given in (cluster, cluster.scheduler_address, DaskConfig(cluster=cluster).cluster):
        kept = pickle.loads(pickle.dumps(DaskConfig(cluster=given, resources={"GPU": 1})))
        assert kept == DaskConfig(cluster=cluster.scheduler_address, resources={"GPU": 1})
    with distributed.Client(cluster, set_as_default=False) as client:
        assert pickle.loads(pickle.dumps(DaskConfig(cluster=client))).cluster == cluster.scheduler_address
