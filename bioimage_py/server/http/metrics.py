"""Counts of requests as Prometheus reads them, of all processes of a server together.

Each process writes its own into a file now and then. Files of processes that were killed stay, so counts never go back.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...system.files import write_once

_LIMITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper limits of the classes of durations, in seconds."""
_EVERY = 2.0
"""Seconds between two writings of the file."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PREFIX = "bioimage_py_"
_KINDS = {
    "requests_total": ("counter", "Requests by route and status."),
    "request_seconds": ("histogram", "How long requests took, but for those that wait for events."),
    "received_bytes_total": ("counter", "Bytes of bodies of requests."),
    "sent_bytes_total": ("counter", "Bytes of bodies of answers."),
    "cpu_seconds_total": ("counter", "CPU time of the processes of the server."),
    "requests_under_way": ("gauge", "Requests that are being answered, streams among them."),
    "memory_bytes": ("gauge", "Memory of the processes of the server that is resident."),
    "processes": ("gauge", "Processes that answer requests."),
}  # fmt: skip


class Metrics:
    """Counts of one process.

    Parameters
    ----------
    folder : Path, optional
        Where the processes of a server write theirs; None: this is the only one.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._counts: Counter[str] = Counter()
        self._under_way = 0
        self._written = 0.0

    def begin(self) -> None:
        """Count a request that begins."""
        self._under_way += 1

    def end(self, method: str, route: str, status: int, seconds: float, taken: int, given: int) -> None:
        """Count a request that has ended; `route` is "" for none that there is."""
        self._under_way -= 1
        method = method if method in _METHODS else "OTHER"
        counts, labels = self._counts, f'method="{method}",route="{route}"'
        counts[f'requests_total{{{labels},status="{status}"}}'] += 1
        counts["received_bytes_total"] += taken
        counts["sent_bytes_total"] += given
        if not route.endswith(("/events", "/events/stream")):
            first = bisect_left(_LIMITS, seconds)
            for limit in _LIMITS[first:]:
                counts[f'request_seconds_bucket{{route="{route}",le="{limit}"}}'] += 1
            counts[f'request_seconds_bucket{{route="{route}",le="+Inf"}}'] += 1
            counts[f'request_seconds_sum{{route="{route}"}}'] += seconds  # type: ignore[assignment]
            counts[f'request_seconds_count{{route="{route}"}}'] += 1
        if self._folder is not None and time.monotonic() - self._written > _EVERY:
            self.write()

    def write(self) -> None:
        """Let the other processes see it."""
        self._written = time.monotonic()
        if self._folder is not None:
            with suppress(OSError):  # a full disk is no reason to refuse requests
                write_once(self._folder / f"{os.getpid()}.json", json.dumps(self._own()).encode())

    def text(self) -> str:
        """Return the counts of all processes in Prometheus' text format."""
        return shown([self._own(), *(read(self._folder, but=os.getpid()) if self._folder else ())])

    def _own(self) -> dict[str, Any]:
        now = {"requests_under_way": self._under_way, "processes": 1, "memory_bytes": _memory()}
        return {"pid": os.getpid(), "counts": {**self._counts, "cpu_seconds_total": time.process_time()}, "now": now}


@contextmanager
def counting(folder: Path) -> Iterator[Path]:
    """Give the processes of a server a folder, without what one that was killed has left there; it goes at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read(folder: Path, but: int = 0) -> list[dict[str, Any]]:
    """Return what the processes of a server have written, without one of them; what can't be read is left out."""
    found = []
    for path in sorted(folder.glob("[0-9]*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            one = json.loads(path.read_bytes())
            if one["pid"] != but:
                found.append({**one, "now": one["now"] if _lives(one["pid"]) else {}})
    return found


def shown(processes: list[dict[str, Any]]) -> str:
    """Return sums over processes in Prometheus' text format."""
    sums: Counter[str] = Counter()
    for one in processes:
        for values in (one["counts"], one["now"]):
            _add(sums, values)
    lines: list[str] = []
    for name, (kind, text) in _KINDS.items():
        lines += [f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} {kind}"]
        own = sorted(key for key in sums if key.partition("{")[0].removesuffix("_bucket") == name)
        own += sorted(key for key in sums if key.partition("{")[0] in (f"{name}_sum", f"{name}_count"))
        lines += [f"{_PREFIX}{key} {sums[key]:.15g}" for key in own]
    return "\n".join(lines) + "\n"


def _add(sums: Counter[str], values: Mapping[str, float]) -> None:
    for key, value in values.items():
        sums[key] += value  # type: ignore[assignment]


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _memory() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
