"""A script that runs as the driver job of its pipeline, without the process that began it."""

from __future__ import annotations

import json
import os
import pickle
import runpy
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle

from ..backends import backend_class, get_backend
from ..errors import BioimageError, ConfigError, RunningError
from ..run_folder import RunState
from ..runner.control.cancel import cancel_run
from ..runner.driver.driver import Left
from ..runner.execution import Execution
from ..runner.lease.stamp_places import InFolder
from ..runner.lease.stamps import Stamp, folder_of
from ..system.files import own_folder, read_small, write_once
from ..system.json_text import parse_json
from ..system.owner import check_own
from .folder import check_folder, driving, known_calls, lock_folder, write_about

_DRIVER, _ORDER, _CONFIG, _END, _LOG = (f"driver.{end}" for end in ("json", "order", "config", "end", "log"))
_CODE = "from bioimage_py.pipelines.detached import main; main()"


@dataclass(frozen=True)
class DriverStatus:
    """What is known of the job that runs a script.

    Attributes
    ----------
    state : {"waiting or running", "finished", "failed", "cancelled", "died", "unknown"}
        ``unknown``: it runs on another machine, or the scheduler does not answer.
    job : str
    log : str
        What the script prints.
    error : str
        The last line of the error that ended it.
    """

    state: str
    job: str
    log: str
    error: str = ""

    def __str__(self) -> str:
        told = f"{self.job}: {self.state}" + (f": {self.error}" if self.error else "")
        return f"{told}\n  log: {self.log}"


class Detached(SystemExit):
    """Ends a script that goes on as a job.

    Attributes
    ----------
    pipeline : DetachedPipeline
    """

    def __init__(self, pipeline: DetachedPipeline) -> None:
        super().__init__(0)
        self.pipeline = pipeline


@dataclass(frozen=True)
class DetachedPipeline:
    """A script that runs as a job.

    Parameters
    ----------
    folder : Path
        Of its pipeline.
    """

    folder: Path

    def _told(self) -> dict[str, Any]:
        check_own(self.folder)  # what it says of processes is ended
        try:
            return dict(parse_json(read_small(self.folder / _DRIVER)))
        except FileNotFoundError:
            raise ConfigError(
                f"the pipeline in {self.folder} was not detached", remedy="bioimage-py pipeline run SCRIPT --detach"
            ) from None

    @property
    def log(self) -> Path:
        """Where the script prints to."""
        return self.folder / _LOG

    def status(self) -> DriverStatus:
        """How the job is.

        Raises
        ------
        ConfigError
            The pipeline was not detached.
        """
        told = self._told()
        job = told["job"]
        with suppress(FileNotFoundError):
            end = parse_json(read_small(self.folder / _END))
            return DriverStatus(end["state"], job, str(self.log), end["error"])
        alive = backend_class(told["job_type"]).program_lives(told["program"])
        state = {True: "waiting or running", False: "died", None: "unknown"}[alive]
        return DriverStatus(state, job, str(self.log))

    def cancel(self) -> DriverStatus:
        """End the job, and the workers of its call; what is done stays done, and the script goes on later.

        Raises
        ------
        ConfigError
            The pipeline was not detached, or the job cannot be reached from here.
        RunningError
            The job does not end.
        """
        told = self._told()
        backend_class(told["job_type"]).end_program(told["program"])
        for run in _unfinished(self.folder):
            with suppress(ConfigError):  # its workers have ended with the job
                cancel_run(run)
        write_once(self.folder / _END, json.dumps({"state": "cancelled", "error": ""}).encode())
        return self.status()

    def check_alone(self) -> None:
        """RunningError where the script runs as a job already."""
        if (self.folder / _DRIVER).exists() and (now := self.status()).state in ("waiting or running", "unknown"):
            raise RunningError(
                f"{self.folder} is the pipeline of {now}", remedy=f"bioimage-py pipeline cancel {self.folder}"
            )


def detach(folder: Path, how: Execution, script: str) -> DetachedPipeline:
    """Have a script run as a job, from its beginning.

    Raises
    ------
    ConfigError
        There is no script.
    RunnerError
        A scheduler refuses the job.
    """
    if not os.path.isfile(script):
        raise ConfigError(
            "detach=True: there is no script that a job could run", remedy="write the calls into a file, and run that"
        )
    made = DetachedPipeline(folder)
    for name in (_END, _DRIVER):
        (folder / name).unlink(missing_ok=True)
    told = {"job_type": how.job_type, "script": script, "arguments": sys.argv[1:], "cwd": os.getcwd()}
    write_once(folder / _CONFIG, cloudpickle.dumps(how.job_config), sync=True)
    write_once(folder / _ORDER, json.dumps(told).encode(), sync=True)
    with_backend = get_backend(how.job_type, how.job_config)
    try:
        python = os.fspath(with_backend.settings.python_executable or sys.executable)
        program = with_backend.begin_program([python, "-c", _CODE, str(folder)], made.log)
    finally:
        with_backend.leave()
    job = f"job {program['job']}" if "job" in program else f"process {program['pid']} on {program['host']}"
    write_once(folder / _DRIVER, json.dumps({**told, "program": program, "job": job}).encode(), sync=True)
    return made


def as_job(path: Path, script: str, how: Execution) -> Detached:
    """What ends this process when its script has begun as a job; see `pipeline`."""
    own_folder(path)
    check_own(path)
    check_folder(path)
    DetachedPipeline(path).check_alone()
    with lock_folder(path):
        write_about(path, {"script": script})
    detached = detach(path, how, script)
    told = f"the script runs as {detached.status()}\n  look: bioimage-py pipeline status {path}"
    sys.stderr.write(f"{told}\n  end:  bioimage-py pipeline cancel {path}\n")
    return Detached(detached)


_detaching: ContextVar[bool] = ContextVar("bioimage_py_detaching", default=False)


def wanted_as_job() -> bool:
    """Whether the script that runs here is to be begun as a job."""
    return _detaching.get()


@contextmanager
def detaching() -> Iterator[None]:
    """Have the script that begins a pipeline in a ``with`` block go on as a job."""
    token = _detaching.set(True)
    try:
        yield
    finally:
        _detaching.reset(token)


def _unfinished(folder: Path) -> Iterator[Path]:
    """Folders of runs that calls of a pipeline have begun, as their outputs say."""
    found = set()
    for name in {name for call in known_calls(folder) if not call.done for name in call.wrote}:
        place = InFolder(name)
        for run in place.names():
            found.add(folder_of(Stamp.parse(run, place.read(run) or ""), place))
    yield from (run for run in found if run is not None and RunState.read(run) is not None)


@contextmanager
def _leaving(told: list[int]) -> Iterator[None]:
    """Have workers that can go on do so where the job is told to end."""

    def leave(number: int, _: object) -> None:
        told.append(number)
        raise Left

    before = {number: signal.signal(number, leave) for number in (signal.SIGUSR2, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """Run the script of the pipeline in the folder ``argv[1]``; where its time is up, another job takes over."""
    folder = Path(sys.argv[1])
    check_own(folder)
    order, told = parse_json(read_small(folder / _ORDER)), list[int]()
    log = os.open(folder / _LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.chdir(order["cwd"])
    error = ""
    try:
        with _leaving(told), driving():
            run_script(order["script"], order["arguments"])
    except Left:
        if signal.SIGUSR2 in told:
            _hand_over(folder, order)
            return
        error = "it was told to end"
    except SystemExit as end:
        error = "" if end.code in (None, 0) else f"exit code {end.code}"
    except BaseException as failure:  # noqa: BLE001 - whatever it is, the one who asks has to hear it
        traceback.print_exc()
        error = failure.message if isinstance(failure, BioimageError) else f"{type(failure).__name__}: {failure}"
    sys.stdout.flush()
    state = "failed" if error else "finished"
    write_once(folder / _END, json.dumps({"state": state, "error": error}).encode())
    sys.exit(1 if error else 0)


def _hand_over(folder: Path, order: dict[str, Any]) -> None:
    """Let another job go on: it waits until this one has let go of the folder."""
    backend = get_backend(order["job_type"], pickle.loads((folder / _CONFIG).read_bytes()))
    program = backend.begin_program([sys.executable, "-c", _CODE, str(folder)], folder / _LOG)
    told = {**order, "program": program, "job": f"job {program.get('job', program.get('pid'))}"}
    write_once(folder / _DRIVER, json.dumps(told).encode(), sync=True)


def run_script(script: str, arguments: Sequence[str]) -> None:
    """Run a script as the main program."""
    path = os.path.abspath(script)
    before, sys.argv = sys.argv, [path, *arguments]
    sys.path.insert(0, os.path.dirname(path))
    try:
        runpy.run_path(path, run_name="__main__")
    finally:
        sys.argv = before
        sys.path.remove(os.path.dirname(path))
