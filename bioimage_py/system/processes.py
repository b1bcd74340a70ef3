"""Who a process is, and whether it can still be alive."""

from __future__ import annotations

import functools
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ..errors import RunningError
from .files import read_small
from .json_text import parse_json
from .owner import own_file

HEARTBEAT_SECONDS = 1.0
STALE_SECONDS = 60.0
"""A heartbeat from another host that is older, by the file server's clock, means that nobody lives there."""
RENEW_SECONDS = 5.0
"""How long a worker may write after it has found that nobody holds it dead."""
FENCED_SECONDS = 15.0
"""How long after a worker was told to leave, and is silent, others do its blocks: longer by what a write takes."""


def passing_seconds() -> float:
    """Seconds of a clock that goes on while this machine sleeps, where it has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return monotonic() if clock is None else time.clock_gettime(clock)


def identify() -> dict[str, Any]:
    """Host, boot, process namespace, process id and start of the calling process."""
    me = os.getpid()
    return {"host": socket.gethostname(), "boot": _boot_id(), "space": _space(), "pid": me, "start": _start_of(me)}


def here() -> str:
    """A name of the system whose processes can be seen: another container or machine may have the same host name."""
    return f"{socket.gethostname()}.{_boot_id()[:8]}.{_space()}"


def begun_here(pid: int, start: str) -> bool:
    """Whether a process of this system with this number and start lives."""
    return _start_of(pid) == start


def start_of(pid: int) -> str:
    """When a process of this system began; empty if there is none."""
    return _start_of(pid)


def started(pid: int) -> str:
    """Return when a process of this system began, as a word; empty if there is none."""
    return re.sub(r"\W+", "_", _start_of(pid))


def rebooted(writer: dict[str, Any]) -> bool:
    """Whether this host was restarted since a process of it wrote without waiting for the disk."""
    return bool(not writer["synced"] and writer["host"] == socket.gethostname() and writer["boot"] != _boot_id())


def lives(process: dict[str, Any], heartbeat: Path) -> bool:
    """Whether a process can be alive: where it can be seen the system knows, elsewhere the heartbeat tells."""
    if visible(process):
        return _runs(process)
    try:
        beat = heartbeat.stat().st_mtime
    except FileNotFoundError:
        return False
    silence = STALE_SECONDS
    if process["host"] == socket.gethostname() and process["boot"] != _boot_id():
        # before this boot: of this machine; since then: of another one that has its name
        silence = min(silence, _up_seconds())
    try:
        now = server_time(heartbeat.parent)
    except PermissionError:  # another user's folder, in which nothing can be made to ask for the time
        now = time.time()
    return now - beat < silence


def visible(process: dict[str, Any]) -> bool:
    """Whether a process would be seen here if it lived: the same host, boot and process namespace."""
    mine = {"host": socket.gethostname(), "boot": _boot_id(), "space": _space()}
    return all(process.get(name, value) == value for name, value in mine.items())


WORKER = "bioimage_py.runner.worker.process"
"""What the command line of every worker process names."""


def is_worker(pid: int, run: Path) -> bool:
    """Whether a process looks like a worker: by its command line, or because it prints to a log of a run."""
    proc = Path("/proc", str(pid))
    if not Path("/proc/self/cmdline").exists():  # such as macOS
        told = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True).stdout
        return WORKER in told
    with suppress(OSError):
        command = (proc / "cmdline").read_bytes()
        if not command or WORKER.encode() in command:  # one that is just ending has none
            return True
        # a block may have given its process another title
        return os.path.dirname(os.readlink(proc / "fd/1")) == os.path.realpath(run / "logs")
    return False


def end(process: dict[str, Any], run: Path, seconds: float = 10.0) -> bool:
    """Kill a worker of a run that can be seen here, if it lives, and wait until it is gone.

    False where it would not go, or does not look like a worker: that is left alone. Its small parent then ends the
    programs that it has started (`backends.parent`).
    """
    if not visible(process):
        return True
    if _runs(process) and not is_worker(process["pid"], run):
        return not _runs(process)
    deadline = monotonic() + seconds
    while _runs(process):
        if monotonic() > deadline:
            return False
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process["pid"], signal.SIGKILL)
        sleep(0.01)
    return True


def _runs(process: dict[str, Any]) -> bool:
    start = _start_of(process["pid"])
    return bool(start == process["start"]) if start else _hidden(process["pid"])


def _hidden(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # another user's, and this system does not show those
        return True
    except (ProcessLookupError, OverflowError):  # no number of a process is as large
        return False
    return False


def server_time(folder: Path) -> float:
    """Time of the clock that stamps files in a folder, in seconds."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
        return os.stat(file.name).st_mtime


class Heartbeat:
    """Touches a file every second, from a thread, while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._over = threading.Event()
        path.touch()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="bioimage_py-heartbeat")
        self._thread.start()

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(self.path)

    def close(self) -> None:
        """Stop."""
        self._over.set()
        self._thread.join()


@functools.cache
def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "unknown"


@functools.cache
def _space() -> str:
    """Number of the namespace in which process ids count; empty where the system has none."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def _up_seconds() -> float:
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return STALE_SECONDS if clock is None else time.clock_gettime(clock)


def _start_of(pid: int) -> str:
    """When a process began (in clock ticks since the boot, or as a date), empty if there is none."""
    if not Path("/proc/self/stat").exists():  # such as macOS
        told = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True).stdout
        state, _, start = told.strip().partition(" ")
        return "" if state.startswith("Z") else start.strip()
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def end_named(path: Path) -> None:
    """End the worker that a file of a run folder names: one's own file, and a process that is a worker.

    Raises
    ------
    RunningError
        The process cannot be ended, or it lives and looks like something else.
    """
    if not own_file(path):
        return
    with suppress(ValueError, KeyError, TypeError, FileNotFoundError):
        process = parse_json(read_small(path))
        if not end({**process, "pid": int(process["pid"])}, path.parent.parent):
            raise RunningError(
                f"process {process['pid']}, which {path} calls a worker, cannot be ended, or does not look like one",
                remedy=f"ps -p {process['pid']}; if it is one: kill -9 {process['pid']}; else: rm {str(path)!r}",
            )
