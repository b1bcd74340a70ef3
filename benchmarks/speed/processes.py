"""A process and all that descend from it: wall and processor seconds, largest memory at one time."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLL = 0.05
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Measured:
    """What one process tree took.

    Parameters
    ----------
    cases : list of dict
        ``wall`` (seconds) and ``result`` of every case, in order.
    cpu : float
        Processor seconds of the whole tree, start-up included.
    peak : float
        Largest memory of the whole tree at one time, shared pages counted once, MiB.
    error : str
        Last lines of what it said where it failed, else "".
    """

    cases: list[dict[str, Any]]
    cpu: float
    peak: float
    error: str = ""


def measure(command: list[str], timeout: float, folder: Path) -> Measured:
    """Run a command in a folder (a checkout there would stand in for an installed package) and watch it."""
    # no package may find another one, or settings, through the caller's environment
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "BIOIMAGE_PY"))}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
        start_new_session=True,
    ) as process:
        watch = _Watch(process.pid)
        watch.start()
        try:
            out, error = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, error = process.communicate()
            error += f"\nended after {timeout:.0f} s"
        watch.stop()
    cases = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    failed = "" if process.returncode == 0 else error[-2000:] or f"exit {process.returncode}"
    return Measured(cases, watch.cpu, watch.peak, failed)


class _Watch(threading.Thread):
    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.peak = self.cpu = 0.0
        self._cpu: dict[int, float] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            tree = _tree(self.root)
            self.peak = max(self.peak, sum(_pss(pid) for pid in tree) / 1024)
            for pid in tree:
                self._cpu[pid] = max(self._cpu.get(pid, 0.0), _cpu(pid))
            self._ended.wait(POLL)

    def stop(self) -> None:
        self._ended.set()
        self.join()
        self.cpu = sum(self._cpu.values())


def _tree(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            stat = _read(f"/proc/{entry.name}/stat")
            if stat:
                parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    tree, at = [root], 0
    while at < len(tree):
        tree += parents.get(tree[at], [])
        at += 1
    return tree


def _pss(pid: int) -> int:
    """Proportional memory of a process in KiB: a page shared by n processes counts a n-th."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def _cpu(pid: int) -> float:
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def wait_for_quiet(load: float, limit: float) -> None:
    """Wait until the machine has little else to do, at most `limit` seconds."""
    until = time.monotonic() + limit
    while os.getloadavg()[0] > load and time.monotonic() < until:
        time.sleep(5)
