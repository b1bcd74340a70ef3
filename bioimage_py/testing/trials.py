"""A small run in place on a backend that is watched, in this process or driven by another one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import zarr

from ..backends import Backend, BackendEvent, Work, backend_class, register_backend
from ..blocks import to_roi
from ..run_folder import RunFolder
from ..runner.calls import map_blocks
from ..runner.control.inspect import status_of
from ..runner.execution import Execution
from ..runner.ledger.stage_record import Results
from .failures import Call, Failing, Failure, calls_of

N = 24
"""Blocks of a run, of four voxels each."""
DEADLINE = 240.0
"""Seconds that anything may take on a machine that is busy with something else."""


class BrokenBackendError(AssertionError):
    """A backend does not keep what a backend promises."""


@dataclass
class Watch:
    """What a driver asked of a backend and was told by it.

    Parameters
    ----------
    patience : float
        Seconds after which a worker's end must have been told that is not alive, or that was to be killed.
    """

    patience: float = 60.0
    starts: list[str] = field(default_factory=list)
    ends: list[BackendEvent] = field(default_factory=list)
    kills: dict[str, float] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)

    def look(self, alive: set[str]) -> None:
        """Raise BrokenBackendError where the end of a worker is overdue."""
        now, told = time.monotonic(), {end.worker for end in self.ends}
        for worker in [name for name in self.starts if name not in told]:
            killed = self.kills.get(worker)
            if killed is not None and worker in alive and now - killed > self.patience:
                raise BrokenBackendError(f"{worker} was to be killed {now - killed:.1f} s ago and is alive")
            if worker in alive:
                self.missing.pop(worker, None)
            elif now - self.missing.setdefault(worker, now) > self.patience:
                raise BrokenBackendError(f"{worker} is not alive any more, and its end was not told")

    def class_of(self, cls: type[Backend]) -> type[Backend]:
        """A backend that does the same and is watched."""
        watch = self

        class Watched(cls):  # type: ignore[misc, valid-type]
            def start(self, worker: str, work: Work) -> None:
                watch.starts.append(worker)
                super().start(worker, work)

            def ended(self) -> list[BackendEvent]:
                events: list[BackendEvent] = super().ended()
                watch.ends += events
                watch.look(super().alive())
                return events

            def alive(self) -> set[str]:
                alive: set[str] = super().alive()
                watch.look(alive)
                return alive

            def kill(self, worker: str) -> None:
                watch.kills.setdefault(worker, time.monotonic())
                super().kill(worker)

        Watched.__name__ = cls.__name__
        return Watched


@contextmanager
def watched(job_type: str, watch: Watch) -> Iterator[None]:
    """Inside, the backend of a job type is watched."""
    cls = backend_class(job_type)
    register_backend(job_type, watch.class_of(cls))
    try:
        yield
    finally:
        register_backend(job_type, cls)


@dataclass(frozen=True)
class Trial:
    """A run that adds one to each voxel of an array, in place, with failures.

    Parameters
    ----------
    folder : Path
        That every worker sees.
    execution : mapping
        Fields of `Execution`.
    failures : str
        As `Failure.parse` reads them.
    """

    folder: Path
    execution: Mapping[str, Any]
    failures: str = ""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            data = zarr.create_array(self.path, shape=(4 * N,), chunks=(4,), dtype="i4")
            data[:] = np.arange(4 * N)

    @property
    def path(self) -> Path:
        """Where the array is."""
        return self.folder / "data.zarr"

    @property
    def function(self) -> Failing:
        """The block function."""
        return Failing(str(self.folder), Failure.parse(self.failures))

    def run(self, **settings: Any) -> Any:
        """Run it; the report."""
        data = zarr.open_array(self.path, mode="r+")
        told = {"num_workers": 2, "progress": False, "version": "1", **self.execution, **settings}
        how = Execution(**told)
        options: dict[str, Any] = {"block_shape": 4, "name": "trial", "has_return_val": True, "execution": how}
        return map_blocks(self.function, [data], [data], **options)

    def calls(self, *blocks: int) -> list[Call]:
        """Calls of the block function so far, of some blocks or of all."""
        return [call for call in calls_of(str(self.folder)) if not blocks or call.block in blocks]

    def open_calls(self) -> list[Call]:
        """Calls that have begun and not ended."""
        return [call for call in self.calls() if not call.end]

    def done(self) -> np.ndarray:
        """Which blocks were done once, as the voxels say; BrokenBackendError for a block that is neither."""
        steps = np.asarray(zarr.open_array(self.path, mode="r")[:]).reshape(N, 4) - np.arange(4 * N).reshape(N, 4)
        if not (((steps == 0) | (steps == 1)).all() and (steps == steps[:, :1]).all()):
            raise BrokenBackendError(f"blocks were done in part, or more than once: {steps.tolist()}")
        return np.flatnonzero(steps[:, 0])

    def right(self) -> None:
        """BrokenBackendError where a block was not done, or not once."""
        if missing := sorted(set(range(N)) - set(self.done().tolist())):
            raise BrokenBackendError(f"blocks {missing} were not done")

    def in_thread(self, **settings: Any) -> Background:
        """Run it in a thread."""
        return Background(self, settings)

    def run_folder(self) -> Path | None:
        """The run folder, while there is one."""
        return next((path.parent for path in self.folder.rglob("run.json")), None)


class Background:
    """A run in a thread: ``result`` is the report or the exception, ``left`` the calls that were open at its return."""

    def __init__(self, trial: Trial, settings: Mapping[str, Any]) -> None:
        self.result: Any = None
        self.left: list[Call] = []
        self._trial, self._settings = trial, settings
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._trial.run(**self._settings)
        except BaseException as error:  # noqa: BLE001 - it is looked at by the test
            self.result = error
        self.left = self._trial.open_calls()

    @property
    def over(self) -> bool:
        """Whether it has returned."""
        return not self._thread.is_alive()

    def returns_within(self, seconds: float) -> bool:
        """Whether it returns in time."""
        self._thread.join(seconds)
        return self.over

    def join(self) -> Any:
        """Wait for its end; what it returned or raised."""
        self._thread.join(DEADLINE)
        assert self.over, "the run does not end"
        return self.result


class DriverProcess:
    """Another process that drives a trial, and may be killed.

    What the module ``test`` defines it gets by value, and so what defines the backend, where that is not this package.
    """

    def __init__(self, trial: Trial, job_type: str, test: str) -> None:
        cls = backend_class(job_type)
        modules = {sys.modules[name] for name in (cls.__module__, test) if not name.startswith("bioimage_py.")}
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            order = cloudpickle.dumps((trial, job_type, cls))
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)
        path = trial.folder / "driver.pkl"
        path.write_bytes(order)
        self._log = open(trial.folder / "driver.log", "wb")  # noqa: SIM115 - closed with the process
        code = f"from {__name__} import main; main()"
        paths = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,
        )
        self._path = trial.folder / "driver.log"

    def kill(self) -> None:
        """Kill it without a word."""
        self.process.kill()
        self.process.wait()
        self._log.close()

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for something that it does; AssertionError with what it printed where it ends before."""
        deadline = time.monotonic() + DEADLINE
        while not (found := condition()):
            log = self._path.read_text(errors="replace")
            assert self.process.poll() is None, f"the driver has ended:\n{log}"
            assert time.monotonic() < deadline, f"nothing happened for too long:\n{log}"
            time.sleep(0.02)
        return found

    def wait(self) -> int:
        """Its exit code."""
        try:
            return self.process.wait(DEADLINE)
        finally:
            self.kill()


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; AssertionError where it does not come true."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for too long"
        time.sleep(0.02)


def listed(results: Results) -> list[list[int]]:
    """Values of both stages, in the order of blocks."""
    return [list(results.listed(stage, None)) for stage in ("first", "second")]


def double(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
    """Write twice the input; the id of the block."""
    outputs[0][to_roi(block)] = 2 * inputs[0][to_roi(block)]
    return int(block.id)


def mirror(block: Any, inputs: Any, outputs: Any, mask: Any) -> int:
    """Write the block at the other end of the second input; the id of the block."""
    (here,) = to_roi(block)
    n = inputs[1].shape[0]
    outputs[0][here] = inputs[1][n - here.stop : n - here.start][::-1]
    return int(block.id)


def stopped(trial: Trial) -> bool:
    """Whether the driver of a trial has told its workers to end."""
    run = trial.run_folder()
    return run is not None and RunFolder(run).stop.exists()


def recorded_of(trial: Trial) -> int:
    """How many blocks are recorded while block 10 waits; 0 before it does."""
    run = trial.run_folder()
    if run is None or not trial.calls(10):
        return 0
    done = status_of(run).stages[0].done
    return done if done > 3 else 0


def main() -> None:
    """Drive the trial whose pickle ``sys.argv[1]`` names."""
    trial, job_type, cls = cloudpickle.loads(Path(sys.argv[1]).read_bytes())
    if backend_class(job_type).__module__ != cls.__module__:
        register_backend(job_type, cls)
    trial.run()
