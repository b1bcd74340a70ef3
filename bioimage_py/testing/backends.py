"""What a backend has to do, as tests."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import numpy as np
import pytest
import zarr

from ..backends import Backend, get_backend
from ..errors import ConfigError, RunnerError
from ..run_folder import RunFolder
from ..runner.calls import map_blocks
from ..runner.control.cancel import cancel_run
from ..runner.control.detached import DetachedRun
from ..runner.control.inspect import status_of
from ..runner.execute import execute
from ..runner.execution import Execution, execution
from ..runner.planning.build import Where, blocks_stage
from .checks import check
from .failures import Call
from .trials import DriverProcess, N, Trial, Watch, double, listed, mirror, recorded_of, stopped, until, watched

EARLY_SECONDS = 2.0
"""How long a run that was stopped is watched that has to wait for a block."""
BACKEND_CHECKS = (
    "order",
    "retries",
    "aside",
    "exit",
    "killed",
    "guilty",
    "node",
    "ends",
    "count",
    "over",
    "timeout",
    "memory",
    "limits",
    "pool",
    "driver",
    "cancel",
    "adopt",
    "detach",
)
"""The columns of the table of backends; a backend may declare some of them impossible."""


class BackendConformance:
    """Proves that a backend is right; to be derived from, in a test file.

    The derived class (its name begins with "Test") overrides the fixture ``settings``, which gives the fields of
    `bioimage_py.Execution` that choose the backend. Every check is a small run in place, whose failures are written as
    data (`Failure.parse`): whatever happens to blocks, workers and drivers, each block is done once. What a backend
    cannot do is named in `impossible`.

    ===========  =====================================================================================
    order        a stage begins when all of the stage in front is there; values are in the order of blocks
    retries      a block that raises is run again
    aside        one that always raises is set aside, all others are done, and the error names it
    exit         a block that ends its process (``exit 137``) is run again by a worker that takes its place
    killed       a worker is killed after some blocks
    guilty       a block that always ends its process is set aside after three workers
    node         the machine of a worker is lost (fixture `lose_node`)
    ends         the end of each worker is told once, with its reason, and of no other worker
    count        no more workers than were asked for, and only those that were
    over         a run that has returned has no worker that goes on
    timeout      a block that hangs is ended, or ``block_timeout`` is refused before the first block
    memory       the peak memory of each worker is told
    limits       `Limits` are what they say: shared memory, one machine
    pool         calls in one ``with bioimage_py.execution(...)`` have the same workers
    driver       the driver is killed; the same call goes on with what is left, and nobody disturbs it
    cancel       a run that is cancelled ends, leaves nobody, and the same call goes on
    adopt        workers that have ended, or never were, are not adopted
    detach       a run goes on without its driver, or ``detach=True`` is refused
    ===========  =====================================================================================

    Attributes
    ----------
    kind : str
        Name in the table of backends; by default the name of the class without "Test".
    impossible : mapping
        From the name of a check to the reason why this backend cannot pass it, shown with the skipped tests.
    patience : float
        Seconds after which the end of a worker must have been told.
    pool_size : int
        Processes in which one worker after the other of a block may be.

    Examples
    --------
    >>> class TestMyBackend(BackendConformance):
    ...     impossible = {"node": "all workers are on this machine"}
    ...
    ...     @pytest.fixture
    ...     def settings(self):
    ...         register_backend("mine", MyBackend)
    ...         return {"job_type": "mine"}
    """

    kind: ClassVar[str] = ""
    impossible: ClassVar[Mapping[str, str]] = {}
    patience: ClassVar[float] = 60.0
    pool_size: ClassVar[int] = 1

    @pytest.fixture
    def settings(self) -> Mapping[str, Any]:
        """Fields of `Execution` that choose the backend; to be overridden."""
        pytest.fail("override the fixture settings: see BackendConformance")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return an empty folder that every worker sees; to be overridden where not all see the usual one."""
        return tmp_path

    def lose_node(self, call: Call) -> None:
        """Lose the machine (or what stands for it) on which a call runs; to be overridden."""
        pytest.skip("no machine can be lost: override lose_node, or declare it impossible")

    @pytest.fixture(autouse=True)
    def _possible(self, request: pytest.FixtureRequest) -> None:
        for name in getattr(request.function, "checks", ()):
            if name in self.impossible:
                pytest.skip(f"declared impossible: {self.impossible[name]}")

    @pytest.fixture
    def watch(self, settings: Mapping[str, Any]) -> Iterator[Watch]:
        """What the backend was asked for and said in this test."""
        watch = Watch(self.patience)
        with watched(settings["job_type"], watch):
            yield watch

    def _backend(self, settings: Mapping[str, Any]) -> Backend:
        return get_backend(settings["job_type"], settings.get("job_config"))

    @check("order")
    def test_stages_and_values_are_in_order(self, folder: Path, settings: Mapping[str, Any], watch: Watch) -> None:
        """The second stage reads blocks that other workers wrote in the first one."""
        arrays = []
        for name in "abc":
            arrays.append(zarr.create_array(folder / f"{name}.zarr", shape=(4 * N,), chunks=(4,), dtype="i4"))
        first, middle, last = arrays
        first[:] = np.arange(4 * N)
        where = Where(4)
        stages = [
            blocks_stage(double, [first], [middle], where, name="first", returns="each"),
            blocks_stage(mirror, [first, middle], [last], where, name="second", returns="each", reads_outputs=False),
        ]
        how = Execution(**{"num_workers": 2, "progress": False, **settings})
        values = execute("order", stages, how, value=listed).results
        assert values == [list(range(N)), list(range(N))]
        np.testing.assert_array_equal(last[:], 2 * np.arange(4 * N)[::-1])

    @check("retries")
    def test_a_block_that_raises_is_run_again(self, folder: Path, settings: Mapping[str, Any], watch: Watch) -> None:
        """Block 7 raises twice, and is done once."""
        trial = Trial(folder, settings, "block 7: raise, raise, ok")
        report = trial.run(retries=2)
        trial.right()
        assert list(report.results) == list(range(N))
        assert len(trial.calls(7)) == 3
        assert len(trial.calls()) == N + 2

    @check("aside")
    def test_a_block_that_always_raises_is_set_aside(
        self, folder: Path, settings: Mapping[str, Any], watch: Watch
    ) -> None:
        """All others are done, and the same call does what is left."""
        trial = Trial(folder, settings, "block 5: raise, raise, ok")
        with pytest.raises(RunnerError, match="told to raise") as caught:
            trial.run(retries=1)
        assert caught.value.failed_block_ids == [5]
        assert sorted({*range(N)} - {5}) == trial.done().tolist()
        before = len(trial.calls())
        trial.run()
        trial.right()
        assert len(trial.calls()) == before + 1

    @check("exit")
    def test_a_block_that_ends_its_process(self, folder: Path, settings: Mapping[str, Any], watch: Watch) -> None:
        """Another worker takes over; a block that raises is retried all the same."""
        trial = Trial(folder, settings, "block 9: exit 137; block 15: raise, ok")
        trial.run()
        trial.right()
        assert len(trial.calls(9)) == 2

    @check("killed")
    def test_a_worker_that_is_killed(self, folder: Path, settings: Mapping[str, Any], watch: Watch) -> None:
        """What it has done counts, and the rest is done by others."""
        trial = Trial(folder, settings, "worker 0: killed after 3 blocks")
        trial.run(num_workers=1)
        trial.right()
        assert len(watch.starts) == 2
        # what was not recorded yet when it was killed is done again
        assert N + 1 <= len(trial.calls()) <= N + 4

    @check("guilty")
    def test_a_block_that_always_ends_its_process(
        self, folder: Path, settings: Mapping[str, Any], watch: Watch
    ) -> None:
        """It is set aside after three workers; all others are done."""
        trial = Trial(folder, settings, "block 9: always exit 3")
        with pytest.raises(RunnerError, match="workers ended while they ran this block") as caught:
            trial.run(num_workers=1)
        assert caught.value.failed_block_ids == [9]
        assert sorted({*range(N)} - {9}) == trial.done().tolist()

    @check("node")
    def test_a_machine_that_is_lost(self, folder: Path, settings: Mapping[str, Any], watch: Watch) -> None:
        """Its worker's blocks are done elsewhere."""
        trial = Trial(folder, settings, "block 10: wait")
        run = trial.in_thread()
        until(lambda: trial.calls(10) or run.over)
        self.lose_node(trial.calls(10)[0])
        until(lambda: len(trial.calls(10)) > 1 or run.over)
        trial.function.go_on()
        report = run.join()
        if isinstance(report, BaseException):
            raise report
        trial.right()

    @check("ends")
    def test_the_end_of_each_worker_is_told_once(self, folder: Path, settings: Mapping[str, Any], watch: Watch) -> None:
        """Also of one that died, with its reason."""
        dies = "exit" not in self.impossible
        trial = Trial(folder, settings, "block 3: exit 137" if dies else "block 3: raise")
        trial.run()
        trial.right()
        names = [end.worker for end in watch.ends]
        assert len(names) == len(set(names)), f"an end was told more than once: {names}"
        assert set(names) <= set(watch.starts), f"the end of a worker was told that was not started: {names}"
        worked = {call.worker for call in trial.calls()}
        assert worked <= set(names), f"an end was not told: {worked - set(names)}"
        if dies:
            died = [end for end in watch.ends if end.worker == trial.calls(3)[0].worker]
            assert died, "no word of the worker that died"
            assert died[0].kind not in ("finished", "")
            assert died[0].detail

    @check("count")
    def test_no_more_workers_than_were_asked_for(self, folder: Path, settings: Mapping[str, Any], watch: Watch) -> None:
        """And no others than those of the driver."""
        trial = Trial(folder, settings, "; ".join(f"block {block}: slow 0.05 s" for block in range(8)))
        trial.run(num_workers=1)
        trial.right()
        workers = {call.worker for call in trial.calls()}
        assert workers <= set(watch.starts), f"workers that nobody asked for: {workers - set(watch.starts)}"
        calls = trial.calls()
        at_once = max(sum(other.begin < call.end and call.begin < other.end for other in calls) for call in calls)
        assert at_once == 1, f"{at_once} blocks at once, of one worker"

    @check("over")
    def test_a_run_that_has_returned_has_no_worker_that_goes_on(
        self, folder: Path, settings: Mapping[str, Any], watch: Watch
    ) -> None:
        """Not even one that was in the middle of a block when the run was stopped."""
        trial = Trial(folder, settings, "block 0: wait; block 20: always raise")
        run = trial.in_thread(retries=0, max_failures=0)
        until(lambda: (trial.calls(20) and stopped(trial)) or run.over)
        run.returns_within(EARLY_SECONDS)  # one that does not wait returns now
        trial.function.go_on()
        assert isinstance(run.join(), RunnerError)
        assert not run.left, f"the run had returned and these calls went on: {run.left}"

    @check("timeout")
    def test_a_block_that_hangs(self, folder: Path, settings: Mapping[str, Any], watch: Watch) -> None:
        """It is ended where the backend says that it can; else the call is refused before the first block."""
        kills = self._limits(settings).kills_blocks
        trial = Trial(folder, settings, "block 5: hang, ok" if kills else "")
        if not kills:
            with pytest.raises(ConfigError, match="block_timeout"):
                trial.run(block_timeout=2.0)
            assert trial.calls() == []
            return
        trial.run(num_workers=1, block_timeout=2.0)
        trial.right()
        assert watch.kills

    @check("memory")
    def test_the_memory_of_each_worker_is_told(self, folder: Path, settings: Mapping[str, Any], watch: Watch) -> None:
        """In bytes, at least those that numpy needs."""
        trial = Trial(folder, settings)
        report = trial.run()
        assert {call.worker for call in trial.calls()} <= set(report.worker_peaks)
        assert min(report.worker_peaks.values()) > 2**24

    @check("limits")
    def test_limits_are_what_they_say(self, folder: Path, settings: Mapping[str, Any], watch: Watch) -> None:
        """Workers share this process or do not, and are on this machine where that is said."""
        limits = self._limits(settings)
        trial = Trial(folder, settings)
        trial.run()
        here = {call.pid == os.getpid() and call.host == socket.gethostname() for call in trial.calls()}
        assert here == {limits.shares_memory}
        if limits.one_machine:
            assert {call.host for call in trial.calls()} == {socket.gethostname()}

    @check("pool")
    def test_calls_in_a_block_have_the_same_workers(
        self, folder: Path, settings: Mapping[str, Any], watch: Watch
    ) -> None:
        """Later calls start no process."""
        trials = [Trial(folder / str(number), settings) for number in range(3)]
        with execution(**{**settings, "num_workers": 1, "progress": False}):
            for trial in trials:
                data = zarr.open_array(trial.path, mode="r+")
                map_blocks(trial.function, [data], [data], block_shape=4, version="1")
        assert len({(call.host, call.pid) for trial in trials for call in trial.calls()}) <= self.pool_size
        for trial in trials:
            trial.right()

    @check("driver")
    def test_a_driver_that_is_killed(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """The same call does what is left, each block once, and nobody disturbs it."""
        trial = Trial(folder, settings, "block 10: wait")
        driver = DriverProcess(trial, settings["job_type"], type(self).__module__)
        recorded = driver.until(lambda: recorded_of(trial))
        before = [call.block for call in trial.calls() if call.end]
        driver.kill()
        trial.function.go_on()
        trial.run()
        trial.right()
        calls = trial.calls()
        assert sum(len(trial.calls(block)) > 1 for block in before) <= len(before) - recorded
        if not self._limits(settings).detaches:
            first = min(call.begin for call in calls if not call.worker.startswith("s0"))
            late = [call for call in calls if call.worker.startswith("s0") and call.begin > first]
            assert not late, f"workers of the driver that was killed went on beside the next one: {late}"

    @check("cancel")
    def test_a_run_that_is_cancelled(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """It ends after the blocks that run, or at once; the same call goes on."""
        trial = Trial(folder, settings, "block 10: wait")
        driver = DriverProcess(trial, settings["job_type"], type(self).__module__)
        recorded = driver.until(lambda: recorded_of(trial))
        run = trial.run_folder()
        assert run is not None
        cancelling = Thread(target=cancel_run, args=(run,), kwargs={"timeout": 120.0}, daemon=True)
        cancelling.start()
        until(lambda: RunFolder(run).over.exists() or not cancelling.is_alive())
        trial.function.go_on()
        cancelling.join(240)
        assert driver.wait() != 0
        number, done = len(trial.calls()), status_of(run).stages[0].done
        assert done >= recorded
        trial.run()
        trial.right()
        assert len(trial.calls()) - number == N - done

    @check("adopt")
    def test_nobody_is_adopted_that_is_not_there(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Of a run whose workers have all ended."""
        trial = Trial(folder, settings, "block 5: always raise")
        with pytest.raises(RunnerError) as caught:
            trial.run(num_workers=1, retries=0)
        assert caught.value.tmp_folder is not None
        backend = self._backend(settings)
        try:
            adopted = backend.adopt(Path(caught.value.tmp_folder))
            assert adopted == frozenset(), f"workers were adopted that have ended or never were: {sorted(adopted)}"
        finally:
            backend.leave()
            backend.close()

    @check("detach")
    def test_a_run_that_goes_on_without_its_driver(
        self, folder: Path, settings: Mapping[str, Any], watch: Watch
    ) -> None:
        """Where the backend says that it can; else the call is refused before the first block."""
        trial = Trial(folder, settings)
        if not self._limits(settings).detaches:
            with pytest.raises(ConfigError, match="detach"):
                trial.run(detach=True)
            assert trial.calls() == []
            return
        run = trial.run(detach=True)
        assert isinstance(run, DetachedRun)
        run.attach()
        trial.right()

    def _limits(self, settings: Mapping[str, Any]) -> Any:
        backend = self._backend(settings)
        try:
            return backend.limits
        finally:
            backend.close()
