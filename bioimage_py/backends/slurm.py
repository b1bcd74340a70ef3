"""Workers as jobs of a SLURM cluster, on a run folder that every node sees.

What the run folder says goes before what the scheduler says: a worker's small parent (`job`) writes how it ended, and
its heartbeat tells that it lives. The scheduler is asked for what nobody can write: that a job was cancelled, ran out
of time or memory, was preempted, or lost its node. In the run folder: ``slurm/<token>.json`` (workers of an array and
its id), ``alive/``, ``ends/`` and ``gone/`` by worker.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ..errors import ConfigError, RunnerError
from . import job, sbatch
from .base import Backend, BackendEvent, Limits, Work
from .config import SlurmConfig, memory_bytes
from .subprocess import LOG_TAIL, SIGKILL, WORKER_CODE, worker_environment

NAME = "bioimage_py-"
STALE_SECONDS = 60.0
"""A heartbeat that is older than the driver's by this, of a job that the scheduler does not know, is of a dead one."""
END_SECONDS = 2.0
"""How long to wait for the last word of a worker whose job the scheduler calls ended."""
KILLED_SECONDS = 10.0
"""How long to wait for the scheduler to say who killed a worker."""
LOOK_SECONDS = 0.1
FIRST_QUERY = 1.0
SUBMIT_TRIES = 6
BAD_NODE = 2
"""Failures after which a node is excluded."""
QUEUE_SECONDS = 30.0
_OVERSTEPPED = re.compile(r"maxsubmit|array spec", re.IGNORECASE)


@dataclass
class SlurmWorker:
    """A worker that was submitted, by the id of its job."""

    worker: str
    job: str
    name: str
    mem: int | None
    submitted: float
    state: str = ""
    nodes: str = ""
    ended: float | None = None
    mark: dict[str, Any] | None = None


class SlurmBackend(Backend):
    """Workers as jobs of a SLURM cluster.

    Parameters
    ----------
    config : SlurmConfig, optional
        By default that of the user's configuration file.
    """

    limits = Limits(kills_blocks=True, survives_crashes=True, one_machine=False)

    def __init__(self, config: Any = None) -> None:
        super().__init__(SlurmConfig.load() if config is None else config)
        self._folder: Path | None = None
        self._waiting: list[str] = []
        self._jobs: dict[str, SlurmWorker] = {}
        self._names: list[str] = []
        self._events: list[BackendEvent] = []
        self._too_slow: set[str] = set()
        self._failures: dict[str, int] = {}
        self._mem = memory_bytes("mem", self.config.mem)
        self._most = memory_bytes("max_mem", self.config.max_mem)
        self._query = sbatch.StateQuery()
        self._interval = FIRST_QUERY
        self._next_query = self._next_look = self._next_submit = 0.0
        self._array = 0
        self._cancelled = False

    @classmethod
    def check(cls, config: Any) -> None:
        """Refuse what is no `SlurmConfig`."""
        if config is not None and not isinstance(config, SlurmConfig):
            raise ConfigError(
                f"job_config {config!r} is not a slurm configuration",
                remedy='job_config=bioimage_py.runner.SlurmConfig(partition="...")',
            )

    @property
    def job_bytes(self) -> int | None:
        """Memory of a job."""
        return self._mem

    def start(self, worker: str, work: Work) -> None:
        """Note a worker; all that are noted are submitted together by `ended`."""
        if work.folder is None:
            raise ConfigError("jobs need a run folder", remedy='job_type="local"')
        if self._folder != Path(work.folder):
            self._open(Path(work.folder).absolute())
        self._waiting.append(worker)

    def _open(self, folder: Path) -> None:
        self._folder, self._names, self._jobs, self._cancelled = folder, [], {}, False
        for name in ("slurm", "alive", "ends", "gone"):
            (folder / name).mkdir(exist_ok=True)
        earlier = [f"{NAME}{path.stem}" for path in (folder / "slurm").glob("*.json")]
        if earlier:  # jobs of a driver that has died: what they hold is given out again
            self._cancel_all(earlier)

    def alive(self) -> set[str]:
        """Names of the workers that wait or work."""
        return {*self._jobs, *self._waiting}

    def ended(self) -> list[BackendEvent]:
        """Ends of workers since the last call."""
        if self._waiting and not self._cancelled and monotonic() >= self._next_submit:
            self._submit()
        if self._jobs and monotonic() >= self._next_look:
            self._read_marks()
            self._ask()
            self._judge()
            self._next_look = monotonic() + LOOK_SECONDS
        events, self._events = self._events, []
        return events

    def kill(self, worker: str) -> None:
        """Cancel the job of a worker that is too slow; the end is reported by `ended`."""
        if worker in self._jobs:
            self._too_slow.add(worker)
            sbatch.cancel(self._jobs[worker].job)
            self._next_query = 0.0

    def join(self, timeout: float | None = None) -> None:
        """Wait until no worker works; those that wait in the queue are cancelled."""
        deadline = None if timeout is None else monotonic() + timeout
        self._waiting.clear()
        if self._jobs and not self._cancelled:
            sbatch.cancel("--state=PENDING", f"--name={','.join(self._names)}")
            self._cancelled, self._next_query = True, 0.0
        while self._jobs:
            self._events += self.ended()
            if monotonic() >= self._next_query:
                self._drop_unqueued()
            if deadline is not None and monotonic() > deadline:
                break
            sleep(LOOK_SECONDS / 2)

    def _drop_unqueued(self) -> None:
        self._next_query = monotonic() + FIRST_QUERY
        queued = sbatch.queued(self._names)
        for worker in list(self._jobs.values()):
            gone = worker.job not in queued if queued is not None else self._lost(worker, known=True)
            if gone and monotonic() - worker.submitted > END_SECONDS:
                self._jobs.pop(worker.worker)

    def abandon(self) -> None:
        """Cancel all jobs."""
        self._waiting.clear()
        self._jobs.clear()
        self._cancel_all(self._names)

    def close(self) -> None:
        """Cancel what is left in the queue."""
        if self._jobs:
            self.abandon()

    def _cancel_all(self, names: list[str]) -> None:
        if not names:
            return
        deadline = monotonic() + QUEUE_SECONDS
        while True:
            sbatch.cancel(f"--name={','.join(names)}")
            if sbatch.queued(names) == set() or monotonic() > deadline:
                return
            sleep(0.2)

    def _submit(self) -> None:
        assert self._folder is not None
        self._array = self._array or sbatch.array_limit(self.config)
        while self._waiting:
            workers = self._waiting[: self._array]
            token = secrets.token_hex(6)
            about = self._about(workers)
            self._write(token, about)
            name = NAME + token
            self._names.append(name)
            array = self._submit_array(token, len(workers))
            if array is None:  # the site takes fewer at once
                self._names.remove(name)
                (self._folder / "slurm" / f"{token}.json").unlink()
                if len(workers) > 1:
                    self._array = len(workers) // 2
                    continue
                if not self._jobs:
                    raise RunnerError("the site's limits leave no room for a single job", remedy="squeue --me")
                self._array, self._next_submit = 0, monotonic() + self.config.poll_interval
                return
            self._write(token, {**about, "job": array})
            for index, worker in enumerate(workers):
                job_id = f"{array}_{index}"
                self._jobs[worker] = SlurmWorker(worker, job_id, name, self._mem, monotonic())
            del self._waiting[: len(workers)]
            self._interval = FIRST_QUERY
            self._next_query = monotonic() + FIRST_QUERY

    def _about(self, workers: list[str]) -> dict[str, Any]:
        assert self._folder is not None
        python = self._python()
        return {
            "workers": workers,
            "job": None,
            "session": json.loads((self._folder / "run.json").read_text())["sessions"],
            "patience": max(STALE_SECONDS, self.config.latency_wait),
            "python": "{}.{}".format(*sys.version_info),
            "command": [python, "-c", WORKER_CODE],
            "environment": worker_environment(python),
        }

    def _python(self) -> str:
        return os.fspath(self.config.python_executable or sys.executable)

    def _write(self, token: str, about: dict[str, Any]) -> None:
        assert self._folder is not None
        path = self._folder / "slurm" / f"{token}.json"
        with open(path.with_suffix(".new"), "w") as file:
            json.dump(about, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path.with_suffix(".new"), path)

    def _submit_array(self, token: str, n_jobs: int) -> str | None:
        """The id of a new array; None where the site takes no more at the moment."""
        assert self._folder is not None
        name, mem = NAME + token, None if self._mem is None else f"{-(-self._mem // 2**20)}M"
        command = shlex.join([self._python(), "-I", "-S", job.__file__, str(self._folder), token])
        avoid = ",".join(node for node, times in self._failures.items() if times >= BAD_NODE)
        why = ""
        for attempt in range(SUBMIT_TRIES):
            sleep(min(30.0, 2.0**attempt - 1))
            if why:  # the last answer was unclear: the job may be in
                with suppress(OSError):
                    if (found := sbatch.find(name)) is not None:
                        return found
            try:
                return sbatch.submit(self._folder / "slurm", name, n_jobs, command, self.config, mem, avoid)
            except (RuntimeError, OSError) as error:
                why = str(error).strip()
            if _OVERSTEPPED.search(why):
                return None
            if not any(word in why.lower() for word in sbatch.TRANSIENT):
                break
        raise RunnerError(f"sbatch refused the jobs: {why}", remedy="bioimage_py.runner.SlurmConfig(...)")

    def _heartbeat(self, worker: str) -> Path:
        assert self._folder is not None
        return self._folder / "alive" / worker

    def _read_marks(self) -> None:
        assert self._folder is not None
        # a listing refreshes what this host knows of a shared folder
        for name in os.listdir(self._folder / "ends"):
            worker = self._jobs.get(name.removesuffix(".json"))
            if worker is not None and worker.mark is None and name.endswith(".json"):
                worker.mark = json.loads((self._folder / "ends" / name).read_text())
                worker.ended = monotonic()

    def _ask(self) -> None:
        now = monotonic()
        if not self._query.asked and now >= self._next_query and not self._cancelled:
            arrays = sorted({worker.job.partition("_")[0] for worker in self._jobs.values()})
            self._query.ask(arrays, sorted({worker.name for worker in self._jobs.values()}))
            self._interval = min(1.5 * self._interval, max(self.config.poll_interval, FIRST_QUERY))
            self._next_query = now + self._interval
        answer = self._query.answer()
        if answer is None:
            return
        for worker in self._jobs.values():
            worker.state, worker.nodes = answer.get(worker.job, ("", worker.nodes))
            if worker.state in sbatch.TERMINAL:
                worker.ended = worker.ended or now
            elif worker.mark is None and not worker.state and self._lost(worker, known=bool(answer)):
                worker.state, worker.ended = "VANISHED", now - END_SECONDS

    def _lost(self, worker: SlurmWorker, *, known: bool) -> bool:
        """Whether a job that the scheduler does not list must be dead."""
        assert self._folder is not None
        try:
            beat = self._heartbeat(worker.worker).stat().st_mtime
        except FileNotFoundError:
            return known and monotonic() - worker.submitted > max(STALE_SECONDS, self.config.latency_wait)
        return (self._folder / "driver.alive").stat().st_mtime - beat > STALE_SECONDS

    def _judge(self) -> None:
        for worker in [worker for worker in self._jobs.values() if worker.ended is not None]:
            kind, detail = self._explain(worker)
            assert worker.ended is not None
            patience = 0.0 if worker.mark is not None else END_SECONDS
            if kind == "killed" and worker.state not in sbatch.TERMINAL:
                patience, self._next_query = KILLED_SECONDS, min(self._next_query, monotonic() + FIRST_QUERY)
            elif kind == "no word":
                patience = self.config.latency_wait
            if monotonic() - worker.ended >= patience:
                self._end(worker, "killed" if kind == "no word" else kind, detail)

    def _explain(self, worker: SlurmWorker) -> tuple[str, str]:
        mark = worker.mark
        told = sbatch.TERMINAL.get(worker.state, "node" if worker.state == "VANISHED" else "")
        if worker.worker in self._too_slow:
            return "too slow", "cancelled"
        if mark is None:
            state = "is not known to the scheduler any more" if worker.state == "VANISHED" else f"is {worker.state}"
            return ("no word" if told == "finished" else told), f"job {worker.job} on {worker.nodes or '?'} {state}"
        where = f"job {worker.job} on {mark['host']}"
        if "kind" in mark:
            left = mark["kind"] == "finished" and mark["leaving"]
            return ("wall time", f"{where} left before its time was up") if left else (mark["kind"], mark["detail"])
        code = mark["end"]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        peak = f"peak memory {mark['peak_bytes'] / 2**20:.0f} MiB"
        if told == "memory" or (code == -SIGKILL and mark["memory_kills"]):
            return "memory", f"{where} was killed for memory, {peak}"
        if told and told not in ("finished", "killed"):
            return told, f"{where} is {worker.state}"
        if code >= 0 and "ready" not in mark:
            return "cannot start", f"{where}: {how}"
        return "killed", f"{where}: {how}, {peak}"

    def _end(self, worker: SlurmWorker, kind: str, detail: str) -> None:
        assert self._folder is not None
        self._jobs.pop(worker.worker)
        if kind != "finished":
            (self._folder / "gone" / worker.worker).touch()
        if kind == "node":
            for node in filter(None, worker.nodes.split(",")):
                self._failures[node] = self._failures.get(node, 0) + 1
        if kind == "memory":
            kind = self._more_memory(worker)
        elif kind == "cancelled" and not self._cancelled:
            detail += " (by you or the site); the same call continues the run"
        peak = (worker.mark or {}).get("peak_bytes", 0)
        self._events.append(BackendEvent(worker.worker, kind, detail + self._log(worker, kind), None, peak))

    def _more_memory(self, worker: SlurmWorker) -> str:
        if worker.mem is None or self._mem is None or self._most is None:
            return "memory"
        if worker.mem == self._mem:
            self._mem = min(2 * self._mem, self._most)
        return "more memory" if worker.mem < self._mem else "memory"

    def _log(self, worker: SlurmWorker, kind: str) -> str:
        assert self._folder is not None
        if kind in ("finished", "crashed", "wall time"):
            return ""
        for path in (
            self._folder / "logs" / f"{worker.worker}.log",
            self._folder / "slurm" / f"{worker.job}_0_log.out",
        ):
            with suppress(OSError):
                if tail := path.read_text(errors="replace")[-LOG_TAIL:].strip():
                    return f"\nEnd of its log {path}:\n{tail}"
        return ""
