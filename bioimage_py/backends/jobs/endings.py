"""How a worker in a job ended: what its own mark says goes before what the scheduler says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...run_folder import RunFolder
from ..dismissal import Dismissal
from ..subprocess import SIGKILL, end_of_log
from .scheduler import TERMINAL

VANISHED = "VANISHED"
"""Stands for the state of a job that the scheduler does not list and that gives no sign of life."""


@dataclass
class JobWorker:
    """A worker in the job ``<array>_<index>`` of some name, submitted with ``mem`` bytes.

    ``pool`` is where the job looks for further orders, ``orders`` how many runs it was told to work on. ``state`` and
    ``nodes`` are what the scheduler says, ``mark`` what the worker's parent wrote when it ended; ``submitted`` and
    ``ended`` (when that was seen) are times of this process's clock. ``dismissal`` is that of one which is held dead.
    """

    worker: str
    job: str
    name: str
    mem: int | None
    submitted: float
    pool: str | None = None
    orders: int = 1
    state: str = ""
    nodes: str = ""
    ended: float | None = None
    mark: dict[str, Any] | None = None
    dismissal: Dismissal | None = None

    @property
    def stays(self) -> bool:
        """Whether its job is free for another run."""
        return self.mark is not None and bool(self.mark.get("stays"))


def explain(worker: JobWorker) -> tuple[str, str]:
    """Kind of an end, and the same for people; ``"no word"`` where a finished job has left no mark (yet)."""
    mark = worker.mark
    told = TERMINAL.get(worker.state, "node" if worker.state == VANISHED else "")
    if mark is None:
        state = "is not known to the scheduler any more" if worker.state == VANISHED else f"is {worker.state}"
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


def log_of(run: Path, worker: JobWorker) -> str:
    """The end of what a worker printed, or its job."""
    return end_of_log(RunFolder(run).log_of(worker.worker), RunFolder(run).orders / f"{worker.job}_0_log.out")
