"""Workers as spawned processes of this machine, which stay alive across the stages of a run and across runs."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from ..errors import ConfigError
from ..run_folder import RunFolder
from ..system.files import read_small
from ..system.json_text import parse_json
from ..system.owner import own_file
from ..system.processes import begun_here, identify, visible
from . import worker_parent
from .base import Backend, BackendEvent, Limits, Work

SIGKILL = 9
END_SECONDS = 2 * worker_parent.END_SECONDS
NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
WORKER_CODE = "from bioimage_py.runner.worker.process import main; main()"
PREFIX = "bioimage_py-workers-"
LOG_TAIL = 2000


class WorkerProcess:
    """One worker process under its small parent; ConfigError where there is no such interpreter.

    Its heartbeat, and what it prints before its first run, lie in ``folder``.
    """

    def __init__(self, folder: Path, number: int, python: str) -> None:
        self.log = folder / f"worker-{number}.log"
        self.worker: str | None = None
        self.ready = False
        self.too_slow = False
        version = "{}.{}".format(*sys.version_info)
        command = [python, "-I", "-S", worker_parent.__file__, str(folder / f"worker-{number}.alive"), version]
        self._orders, theirs = socket.socketpair()
        try:
            with open(self.log, "wb") as log, theirs:
                self.process = subprocess.Popen(
                    [*command, python, "-P", "-c", WORKER_CODE],  # -P: a file that lies here is no module
                    stdin=theirs.fileno(),
                    stdout=subprocess.PIPE,
                    stderr=log,
                    bufsize=0,  # a line that waits in a buffer is not seen by select
                    start_new_session=True,  # Ctrl-C in the terminal is the driver's alone
                    env={**os.environ, **worker_environment(python)},
                )
        except (FileNotFoundError, PermissionError) as error:
            self._orders.close()
            raise ConfigError(
                f"python_executable {python!r} cannot be started: {error}",
                remedy=f"python_executable={sys.executable!r}",
            ) from error

    @property
    def over(self) -> bool:
        """Whether its parent has ended. It is not waited for here, so that its number stays taken."""
        if self.process.returncode is not None or not hasattr(os, "waitid"):  # macOS, before Python 3.13
            return self.process.returncode is not None
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def order(self, worker: str, run: str) -> None:
        """Have it work on a run."""
        self.worker = worker
        self.run_log = RunFolder(Path(run)).log_of(worker)
        self._send(json.dumps({"run": run, "worker": worker}).encode() + b"\n")

    def tell_end(self) -> None:
        """Have its parent end it, and what it has started."""
        self._send(worker_parent.END)
        self._orders.close()

    def _send(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # it has ended, as its last line will say, or was told before
            # a script may have set SIGPIPE to its default, with which a write to an ended process kills this one
            self._orders.sendall(line, NO_SIGNAL)

    def logged(self) -> str:
        """The end of what it has printed."""
        return end_of_log(self.run_log, self.log)


def end_of_log(*paths: Path) -> str:
    """The last lines of the first log that has any, however much was printed before."""
    for path in paths:
        with contextlib.suppress(OSError), open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL))
            if tail := file.read(LOG_TAIL).decode(errors="replace").strip():
                return f"\nEnd of its log {path}:\n{tail}"
    return ""


def end_processes(processes: Sequence[WorkerProcess]) -> None:
    """End worker processes, whatever they are doing; what they have written can still be read."""
    for process in processes:
        process.tell_end()
    for process in processes:
        try:
            process.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.kill(process.process.pid, SIGKILL)
            worker_parent.end_session(process.process.pid)  # before its parent is waited for: the number is still taken
            process.process.wait()


def worker_environment(python: str) -> dict[str, str]:
    """Variables of a worker process beyond those of the driver: where to find what is imported, and one thread."""
    paths = [path or os.getcwd() for path in sys.path]
    if python != sys.executable:  # it has its own libraries
        own = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
        paths = [path for path in paths if not any(path == one or path.startswith(one + os.sep) for one in own)]
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # glibc gives every thread of the storage engine a heap, each of which keeps what is freed: twice the memory
    heaps = os.environ.get("MALLOC_ARENA_MAX", "1")
    return {**one_thread, "MALLOC_ARENA_MAX": heaps, "PYTHONPATH": os.pathsep.join(paths)}


class SubprocessBackend(Backend):
    """Worker processes on this machine.

    A block that crashes, or is killed for memory or time, costs one worker process, which is replaced.
    """

    limits = Limits(kills_blocks=True)

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        _sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        (self._folder / worker_parent.OWNER).write_text(json.dumps(identify()))
        self._cleanup = weakref.finalize(self, _remove, self._folder, os.getpid())
        self._idle: list[WorkerProcess] = []
        self._busy: list[WorkerProcess] = []
        self._events: list[BackendEvent] = []
        self._number = 0

    def start(self, worker: str, work: Work) -> None:
        """Give the run to an idle process, or start one."""
        if work.folder is None:
            raise ConfigError("worker processes need a run folder", remedy='job_type="local"')
        process = self._idle_process()
        if process is None:
            self._number += 1
            python = os.fspath(self.settings.python_executable or sys.executable)
            process = WorkerProcess(self._folder, self._number, python)
        self._busy.append(process)
        process.order(worker, work.folder)

    def _idle_process(self) -> WorkerProcess | None:
        while self._idle:
            process = self._idle.pop()
            if process.process.poll() is None:
                return process
            _forget([process])
        return None

    def alive(self) -> set[str]:
        """Names of the workers that are working."""
        self._read(0)
        return {process.worker for process in self._busy if process.worker is not None}

    def ended(self) -> list[BackendEvent]:
        """Ends of workers since the last call."""
        self._read(0)
        events, self._events = self._events, []
        return events

    def kill(self, worker: str) -> None:
        """End the process of a worker that is too slow; the end is reported by `ended`."""
        for process in self._busy:
            if process.worker == worker:
                process.too_slow = True
                end_processes([process])

    def join(self, timeout: float | None = None) -> None:
        """Wait until no process is working."""
        deadline = None if timeout is None else monotonic() + timeout
        while self._busy and (deadline is None or monotonic() < deadline):
            self._read(0.1)

    def abandon(self) -> None:
        """End the processes that are working."""
        _forget(self._busy)
        self._busy, self._events = [], []

    def close(self) -> None:
        """End all processes."""
        _forget([*self._busy, *self._idle])
        self._busy, self._idle = [], []
        self._cleanup()

    def _read(self, timeout: float) -> None:
        over = [process for process in self._busy if process.over]  # before its last line is looked for
        with selectors.DefaultSelector() as selector:
            for process in self._busy:
                assert process.process.stdout is not None
                selector.register(process.process.stdout, selectors.EVENT_READ, process)
            told = [key.data for key, _ in selector.select(0 if over else timeout)] if self._busy else []
        for process in told:
            assert process.process.stdout is not None
            self._line(process, process.process.stdout.readline())
        for process in over:
            if process not in told:  # without a word, and what it started holds its pipe open
                self._line(process, b"")

    def _line(self, process: WorkerProcess, line: bytes) -> None:
        answer: Any = {"end": None}  # an empty line: the process has ended
        if line:
            try:
                answer = json.loads(line)
            except ValueError:
                return
            if not isinstance(answer, dict) or not answer:  # something else that was printed
                return
        if "ready" in answer:
            process.ready = True
            return
        self._busy.remove(process)
        worker, process.worker = process.worker or "", None
        if "end" not in answer:
            self._idle.append(process)
            peak = answer.get("peak_bytes", 0)
            self._events.append(BackendEvent(worker, answer["kind"], answer["detail"], None, peak))
            return
        if answer["end"] is None and process.process.returncode is None:  # killed: nobody else is left to do that
            worker_parent.end_session(process.process.pid)
        _forget([process])
        self._events.append(self._explain(worker, process, answer))

    def _explain(self, worker: str, process: WorkerProcess, end: dict[str, Any]) -> BackendEvent:
        code, log = end["end"], process.logged()
        if process.too_slow:
            return BackendEvent(worker, "too slow", f"killed{log}")
        if code is None:
            return BackendEvent(worker, "killed", f"its parent process was killed{log}")
        peak = f"{end['peak_bytes'] / 2**20:.0f} MiB"
        if code >= 0 and not process.ready:
            return BackendEvent(worker, "cannot start", f"exit code {code}{log}")
        if code == -SIGKILL and end["memory_kills"]:
            return BackendEvent(worker, "memory", f"killed for memory at {peak}{log}", None, end["peak_bytes"])
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return BackendEvent(worker, "killed", f"{how}, peak memory {peak}{log}", None, end["peak_bytes"])


@functools.cache
def _sweep() -> None:
    """Remove, once a process, what drivers of this system have left that were killed with their workers."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = folder / worker_parent.OWNER
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if own_file(owner):
                told = parse_json(read_small(owner))
                if visible(told) and not begun_here(int(told["pid"]), told["start"]):
                    shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not at the end of a forked child
        shutil.rmtree(folder, ignore_errors=True)


def _forget(processes: Sequence[WorkerProcess]) -> None:
    end_processes(processes)
    for process in processes:
        assert process.process.stdout is not None
        process.process.stdout.close()
