"""Executors of others: through the conformance suite, and what is special of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.backends.hosted import task as tasks
from bioimage_py.errors import ConfigError, RunnerError
from bioimage_py.run_folder import RunFolder
from bioimage_py.runner import ExecutorConfig, map_blocks, resume_run
from bioimage_py.testing import BackendConformance
from bioimage_py.testing.trials import N, Trial, until
from tests.debian import missing

from .test_conformance import THREADS


def spawned() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2)


def lokies() -> Executor:
    loky = pytest.importorskip("loky")  # imported where it is called: other processes call it too
    return loky.ProcessPoolExecutor(2)  # type: ignore[no-any-return]


class TestThreads(BackendConformance):
    kind = "executor: threads"
    few_checks = {"order", "ends", "over"}
    impossible = {
        **dict.fromkeys(("exit", "killed", "guilty", "node"), THREADS),
        "memory": "threads have no memory of their own",
    }

    @pytest.fixture
    def settings(self) -> Mapping[str, Any]:
        return {"job_type": "executor", "job_config": ExecutorConfig(make=threads)}


class TestProcesses(BackendConformance):
    kind = "executor: processes"
    few_checks = {"exit"}
    pool_size = 2
    impossible = {"node": "all workers are on this machine"}

    @pytest.fixture
    def settings(self) -> Mapping[str, Any]:
        return {"job_type": "executor", "job_config": ExecutorConfig(make=spawned)}


class TestLoky(TestProcesses):
    kind = "executor: loky"
    few_checks: set[str] = set()

    @pytest.fixture
    def settings(self) -> Mapping[str, Any]:
        return {"job_type": "executor", "job_config": ExecutorConfig(make=lokies)}


def on(pool: Any, **settings: Any) -> dict[str, Any]:
    return {"job_type": "executor", "job_config": ExecutorConfig(executor=pool), **settings}


def test_an_executor_that_is_given_is_left_open(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        trial = Trial(tmp_path, {})
        data = zarr.open_array(trial.path, mode="r+")
        with bp.execution(executor=pool, num_workers=2, progress=False):
            map_blocks(trial.function, [data], [data], block_shape=4)
        trial.right()
        assert pool.submit(int, "7").result() == 7


def test_arrays_in_memory_on_threads() -> None:
    data = np.arange(4000).reshape(40, 100)
    with ThreadPoolExecutor(2) as pool, bp.execution(executor=pool, num_workers=4, progress=False):
        assert bp.stats.max(data, block_shape=(8, 50)) == 3999


def test_one_that_forks_is_refused_with_the_line_to_type() -> None:
    fork = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(1, mp_context=fork)
    with bp.execution(executor=pool), pytest.raises(ConfigError, match="forks this process") as caught:
        bp.stats.max(np.zeros(4))
    assert "spawn" in str(caught.value.remedy)


class Forking(Executor):
    """One of which nothing is known but what it does."""

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))

    def submit(self, *what: Any, **more: Any) -> Any:
        return self.pool.submit(*what, **more)


def test_one_that_forks_behind_a_curtain_is_found() -> None:
    pool = Forking()
    with bp.execution(executor=pool), pytest.raises(ConfigError, match="forks this process"):
        bp.stats.max(np.zeros(4))
    pool.pool.shutdown()


class Mistaken(Executor):
    """A pool whose host says of a task that its worker was lost, when a test wants that; the task goes on."""

    def __init__(self) -> None:
        self.pool = spawned()
        self.told: list[Future[Any]] = []

    def submit(self, function: Any, *arguments: Any, **more: Any) -> Any:  # type: ignore[override]
        told: Future[Any] = Future()
        if function is tasks.work:
            self.told.append(told)

        def pass_on(real: Future[Any]) -> None:
            if not told.done():
                told.set_result(real.result())

        self.pool.submit(function, *arguments, **more).add_done_callback(pass_on)
        return told

    def lose(self, pid: int, run: Path) -> None:
        """Say that the tasks have gone of the worker in a process."""
        for number, told in enumerate(self.told):
            beat = tasks.told_alive(RunFolder(run).beats / f"s1w{number}")
            if beat is not None and beat["pid"] == pid:
                told.set_exception(RuntimeError("its manager was lost"))


def test_a_worker_that_is_called_dead_and_lives_keeps_its_block(tmp_path: Path) -> None:
    """Else two would write it at the same time."""
    pool = Mistaken()
    trial = Trial(tmp_path, on(pool), "block 10: wait")
    run = trial.in_thread()
    until(lambda: trial.calls(10) or run.over)
    folder = trial.run_folder()
    assert folder is not None, run.result
    pool.lose(trial.calls(10)[0].pid, folder)
    gone = RunFolder(folder).gone
    until(lambda: (gone.exists() and any(gone.iterdir())) or run.over)
    until(lambda: len({call.block for call in trial.calls()}) == N or run.over)  # the other one does all the rest
    assert len(trial.calls(10)) == 1, "another worker is in its block"
    trial.function.go_on()
    report = run.join()
    assert not isinstance(report, BaseException), report
    first, *again = trial.calls(10)
    assert all(first.end <= call.begin for call in again)
    trial.right()
    pool.pool.shutdown()


@pytest.mark.long
def test_a_worker_that_is_stopped_and_replaced_does_not_write_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is silent for longer than it may write without looking; by then the array holds what came afterwards."""
    monkeypatch.setattr("bioimage_py.backends.dismissal.FENCED_SECONDS", 6.5)
    pool = Mistaken()
    trial = Trial(tmp_path, on(pool), "block 10: wait")
    run = trial.in_thread()
    until(lambda: trial.calls(10) or run.over)
    (stopped,) = trial.calls(10)
    folder = trial.run_folder()
    assert folder is not None, run.result
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        pool.lose(stopped.pid, folder)
        trial.function.go_on()
        report = run.join()
        assert not isinstance(report, BaseException), report
        trial.right()
        assert len(trial.calls(10)) == 2
        after = zarr.open_array(trial.path, mode="r+")
        after[:] = -1
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    until(lambda: trial.calls(10)[0].end > 0)
    pool.pool.shutdown()
    assert (zarr.open_array(trial.path, mode="r")[:] == -1).all(), "a worker that was held dead has written"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "not that of an executor"),
        (bp.runner.RunnerConfig(), "not that of an executor"),
        (ExecutorConfig(), "there is no executor"),
        (ExecutorConfig(executor=7), "has no submit"),
        (ExecutorConfig(make=lambda: 7), "has no submit"),
    ],
)
def test_what_is_no_executor(config: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        bp.stats.max(np.zeros(4), job_type="executor", job_config=config)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        ExecutorConfig(executor=7, make=lambda: 7)
    with pytest.raises(ConfigError, match="cannot be called"):
        ExecutorConfig(make=7)
    with pytest.raises(ConfigError, match="start_timeout"):
        ExecutorConfig(start_timeout=0)


def test_one_that_was_shut_down() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with bp.execution(executor=pool), pytest.raises(ConfigError, match="takes no tasks"):
        bp.stats.max(np.zeros(4))


def test_a_given_pool_that_breaks_ends_the_run_and_the_same_call_goes_on(tmp_path: Path) -> None:
    trial = Trial(tmp_path, {}, "block 9: exit 3")
    with spawned() as pool, pytest.raises(RunnerError, match=r"executor is broken.*the same call goes on") as caught:
        trial.run(**on(pool))
    folder = caught.value.tmp_folder
    assert folder is not None
    with pytest.raises(ConfigError, match="not kept with a run"):
        resume_run(folder)
    trial.run(job_type="local")
    trial.right()
    assert not RunFolder(Path(folder)).path.exists()


def test_what_make_is_is_kept_with_a_run() -> None:
    kept = cloudpickle.loads(cloudpickle.dumps(ExecutorConfig(make=lambda: "made", tasks_per_worker=3)))
    assert (kept.make(), kept.tasks_per_worker, kept.executor) == ("made", 3, None)
    assert cloudpickle.loads(cloudpickle.dumps(kept)).make() == "made"
    lock = multiprocessing.Lock()
    assert cloudpickle.loads(cloudpickle.dumps(ExecutorConfig(make=lambda: lock))).make is None


MPI = """
import sys
from pathlib import Path
from mpi4py.futures import MPIPoolExecutor
import bioimage_py as bp
from bioimage_py.testing.trials import Trial
if __name__ == "__main__":
    trial = Trial(Path(sys.argv[1]), {}, sys.argv[2])
    with MPIPoolExecutor() as pool:
        from bioimage_py.runner import ExecutorConfig
        config = ExecutorConfig(executor=pool)
        trial.run(job_type="executor", job_config=config)
    trial.right()
    print(len({call.pid for call in trial.calls()}), "processes")
"""


@pytest.mark.long
def test_three_ranks_of_mpi(tmp_path: Path) -> None:
    """Rank 0 drives; a rank that dies takes all with it, and the same call goes on."""
    pytest.importorskip("mpi4py", reason="pip install mpi4py; make test-backends does so")
    if why := missing(["mpiexec"], ["openmpi-bin"]):
        pytest.skip(why)
    script = tmp_path / "script.py"
    script.write_text(MPI)
    mpi = ["mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", "3", sys.executable, "-m", "mpi4py.futures"]

    def call(failures: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*mpi, str(script), str(tmp_path / "run"), failures], capture_output=True, text=True)

    slow = "; ".join(f"block {block}: slow 0.2 s" for block in range(8))
    died = call(f"{slow}; block 9: exit 3")
    assert died.returncode != 0
    went_on = call(slow)
    assert went_on.returncode == 0, went_on.stderr
    assert went_on.stdout.split() == ["4", "processes"]  # two of each call


class OneThread(Executor):
    """One of which nobody knows how many tasks it takes at once."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)

    def submit(self, *what: Any, **more: Any) -> Any:
        return self.pool.submit(*what, **more)


def test_a_block_that_was_left_to_a_worker_that_never_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that it failed on takes it after a while."""
    monkeypatch.setattr("bioimage_py.runner.ledger.worker_side.AVOID_SECONDS", 0.2)
    executor = OneThread()
    trial = Trial(tmp_path, {}, "block 7: raise, ok")
    trial.run(**on(executor))
    trial.right()
    executor.pool.shutdown()


class NoCancel(Executor):
    """One process, whose tasks cannot be taken back, as those of Parsl."""

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def submit(self, *what: Any, **more: Any) -> Any:
        future: Any = self.pool.submit(*what, **more)
        future.cancel = self._refuse
        return future

    def _refuse(self) -> bool:
        raise NotImplementedError("Cancel not implemented")


def test_tasks_that_cannot_be_taken_back(tmp_path: Path) -> None:
    """The second worker never begins while the first one works: the run ends, and what begins later leaves."""
    executor = NoCancel()
    for number in range(2):
        trial = Trial(tmp_path / str(number), {})
        trial.run(**on(executor))
        trial.right()
        assert len({call.worker for call in trial.calls()}) == 1
    executor.pool.shutdown()


class Silent(Executor):
    """A process for each task, of whose death it says nothing."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []
        self.pools: list[ProcessPoolExecutor] = []

    def submit(self, *what: Any, **more: Any) -> Any:
        pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self.tasks.append(what[0])
        self.pools.append(pool)
        future: Future[Any] = Future()
        pool.submit(*what, **more).add_done_callback(
            lambda done: None if done.exception() else future.set_result(done.result())
        )
        return future


def test_an_executor_that_does_not_tell_of_a_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets a task, so that it looks at its processes; then its worker is held dead all the same."""
    monkeypatch.setattr("bioimage_py.backends.hosted.executor.UNTOLD_SECONDS", 1.0)
    executor = Silent()
    trial = Trial(tmp_path, {}, "block 9: exit 137")
    report = trial.run(**on(executor))
    trial.right()
    ends = [event for event in report.events if event["event"] == "WorkerEnded" and event["kind"] == "killed"]
    assert len(ends) == 1
    assert "has not said so" in ends[0]["detail"]
    assert executor.tasks.count(tasks.probe) == 2
    for pool in executor.pools:
        pool.shutdown()


def order(folder: Path) -> dict[str, Any]:
    me = tasks.identify()
    return {"run": str(folder), "worker": "s1w0", "session": 1, "driver": me, "idle_timeout": 1.0, "mem": None}


def test_a_worker_that_does_not_see_the_run_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LATENCY_SECONDS", 0.0)
    told = tasks.work(order(tmp_path / "elsewhere"))
    assert told["kind"] == "cannot start"
    assert "tmp_root=" in told["detail"]


def test_a_task_that_its_host_repeats_ends_at_once(tmp_path: Path) -> None:
    alive = RunFolder(tmp_path).beats
    alive.mkdir()
    (alive / "s1w0").write_text("{}")
    assert tasks.work(order(tmp_path))["kind"] == tasks.BEGUN_AGAIN
