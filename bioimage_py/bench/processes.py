"""A process and all that descend from it: processor seconds, and the most memory they had at one time."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
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
        Most memory of the whole tree at one time, pages that processes share counted once, MiB; 0 without ``/proc``.
    driver : float
        Most memory of the first process alone, shared pages included, MiB; 0 without ``/proc``.
    error : str
        Last lines of what it said where it failed, else "".
    """

    cases: list[dict[str, Any]]
    cpu: float
    peak: float
    driver: float
    error: str = ""


def measure(command: Sequence[str], timeout: float, folder: Path) -> Measured:
    """Run a command in a folder (a checkout there would stand in for an installed package) and watch it.

    Parameters
    ----------
    command : sequence of str
        Prints a JSON line for every case; other lines are ignored.
    timeout : float
        Seconds until it is ended, with all its processes.
    folder : path
    """
    # no package may find another one, or settings, through the caller's environment
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "BIOIMAGE_PY"))}
    before = _waited()
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen(command, env=environment, cwd=folder, start_new_session=True, **pipes) as process,
        _watching(process.pid) as watch,
    ):
        try:
            out, error = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, error = process.communicate()
            error += f"\nended after {timeout:.0f} s"
    cases = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    failed = "" if process.returncode == 0 else error[-2000:] or f"exit {process.returncode}"
    # what was waited for is exact; who was not waited for is known by the last look
    cpu = max(_waited() - before, sum(watch.cpu.values()))
    return Measured(cases, cpu, watch.peak, watch.driver, failed)


def _waited() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Watch:
    def __init__(self, root: int) -> None:
        self.root = root
        self.peak = self.driver = 0.0
        self.cpu: dict[int, float] = {}

    def look(self) -> None:
        tree = _tree(self.root)
        # counters only: to walk through the pages of a process, as for its proportional share, holds the process up
        own = sum(_memory(pid, "status", "RssAnon:") + _memory(pid, "status", "RssShmem:") for pid in tree)
        self.peak = max(self.peak, own + max(_memory(pid, "status", "RssFile:") for pid in tree))
        self.driver = max(self.driver, _memory(self.root, "status", "VmHWM:"))
        for pid in tree:
            self.cpu[pid] = max(self.cpu.get(pid, 0.0), _cpu(pid))


@contextlib.contextmanager
def _watching(root: int) -> Iterator[_Watch]:
    watch, ended = _Watch(root), threading.Event()

    def poll() -> None:
        while not ended.is_set():
            watch.look()
            ended.wait(POLL)

    thread = threading.Thread(target=poll, daemon=True)
    if Path("/proc").is_dir():
        thread.start()
    try:
        yield watch
    finally:
        ended.set()
        if thread.ident is not None:
            thread.join()


def _tree(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := _stat(int(name))):
            parents.setdefault(int(stat[1]), []).append(int(name))
    tree = [root]
    for pid in tree:
        tree += parents.get(pid, [])
    return tree


def _stat(pid: int) -> list[str]:
    """Fields after the name, which may hold anything."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _memory(pid: int, file: str, field: str) -> float:
    """MiB."""
    for line in _read(f"/proc/{pid}/{file}").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def _cpu(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def wait_for_quiet(busy: float, limit: float) -> None:
    """Wait until others use less than `busy` of the machine's processor time, at most `limit` seconds."""
    until = time.monotonic() + limit
    while _busy(0.2) > busy and time.monotonic() < until:
        time.sleep(1)


def _busy(seconds: float) -> float:
    before = _ticks()
    time.sleep(seconds)
    used, total = (after - earlier for after, earlier in zip(_ticks(), before, strict=True))
    return used / total if total else 0.0


def _ticks() -> tuple[int, int]:
    """Busy and all ticks of all cores since the start; none without ``/proc``."""
    line = _read("/proc/stat").partition("\n")[0]
    ticks = [int(field) for field in line.split()[1:9]]
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)
