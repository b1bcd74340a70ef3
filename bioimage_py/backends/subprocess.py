"""Workers as spawned processes of this machine, which stay alive across the stages of a run and across runs."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

from ..errors import ConfigError
from . import parent
from .base import Backend, BackendEvent, Limits, Work

SIGKILL = 9
WORKER_CODE = "from bioimage_py.runner.worker import main; main()"


class WorkerProcess:
    """One worker process under its small parent.

    Parameters
    ----------
    folder : Path
        For its log and heartbeat.
    number : int
    python : str
        Interpreter.
    """

    def __init__(self, folder: Path, number: int, python: str) -> None:
        self.log = folder / f"worker-{number}.log"
        self.worker: str | None = None
        self.too_slow = False
        command = [python, "-I", "-S", parent.__file__, str(folder / f"worker-{number}.alive")]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [*command, python, "-c", WORKER_CODE, str(self.log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # a line that waits in a buffer is not seen by select
            start_new_session=True,  # Ctrl-C in the terminal is the driver's alone
            env=environment,
        )

    def order(self, worker: str, run: str) -> None:
        """Have it work on a run."""
        self.worker = worker
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: its last line will say so
            self.process.stdin.write(json.dumps({"run": run, "worker": worker}).encode() + b"\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """End it, whatever it is doing."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class SubprocessBackend(Backend):
    """Worker processes on this machine.

    A block that crashes, or is killed for memory or time, costs one worker process, which is replaced.
    """

    limits = Limits(kills_blocks=True, survives_crashes=True)

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._folder = tempfile.TemporaryDirectory(prefix="bioimage_py-workers-")
        self._idle: list[WorkerProcess] = []
        self._busy: list[WorkerProcess] = []
        self._events: list[BackendEvent] = []
        self._number = 0

    def start(self, worker: str, work: Work) -> None:
        """Give the run to an idle process, or start one."""
        if work.folder is None:
            raise ConfigError("worker processes need a run folder", remedy='job_type="local"')
        if self._idle:
            process = self._idle.pop()
        else:
            python = getattr(self.config, "python_executable", None) or sys.executable
            process = WorkerProcess(Path(self._folder.name), self._number, python)
            self._number += 1
        self._busy.append(process)
        process.order(worker, work.folder)

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
                process.end()

    def join(self, timeout: float | None = None) -> None:
        """Wait until no process is working."""
        deadline = None if timeout is None else monotonic() + timeout
        while self._busy and (deadline is None or monotonic() < deadline):
            self._read(0.1)

    def close(self) -> None:
        """End all processes."""
        for process in [*self._busy, *self._idle]:
            process.end()
        self._busy, self._idle = [], []
        self._folder.cleanup()

    def _read(self, timeout: float) -> None:
        with selectors.DefaultSelector() as selector:
            for process in self._busy:
                assert process.process.stdout is not None
                selector.register(process.process.stdout, selectors.EVENT_READ, process)
            for key, _ in selector.select(timeout) if self._busy else ():
                self._line(key.data)

    def _line(self, process: WorkerProcess) -> None:
        assert process.process.stdout is not None
        line = process.process.stdout.readline()
        self._busy.remove(process)
        worker, process.worker = process.worker or "", None
        answer: dict[str, Any] = json.loads(line) if line.strip() else {"end": None}
        if "end" not in answer:
            self._idle.append(process)
            self._events.append(BackendEvent(worker, answer["kind"], answer["detail"], None, answer["peak_bytes"]))
            return
        process.end()
        self._events.append(self._explain(worker, process, answer))

    def _explain(self, worker: str, process: WorkerProcess, end: dict[str, Any]) -> BackendEvent:
        code = end["end"]
        tail = process.log.read_text(errors="replace")[-2000:].strip() if process.log.exists() else ""
        log = f"\nEnd of its log:\n{tail}" if tail else ""
        if process.too_slow:
            return BackendEvent(worker, "too slow", f"killed{log}")
        if code is None:
            return BackendEvent(worker, "killed", f"its parent process was killed{log}")
        if code == -SIGKILL and end["memory_kills"]:
            return BackendEvent(worker, "memory", f"killed for memory at {end['peak_bytes'] / 2**20:.0f} MiB{log}")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return BackendEvent(worker, "killed", f"{how}, peak memory {end['peak_bytes'] / 2**20:.0f} MiB{log}")
