"""Memory: what a process has used at most, and what a run may use."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def peak_bytes() -> int:
    """Highest resident memory of this process so far, in bytes."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def available_bytes() -> int:
    """Memory this process can still get, in bytes: what the machine and the control group leave."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    else:  # such as macOS, which says how much there is but not how much is free
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text().strip()).isdigit():
        free = min(free, max(0, int(text) - int(used.read_text())))
    return free


_TRIM, _MMAP = -1, -3
"""Names of the two limits, from glibc's malloc.h."""
MAPPED_BYTES = 32 * 2**20
"""Larger arrays are mapped and unmapped on their own; the most that all versions of glibc allow."""
KEPT_BYTES = 512 * 2**20
"""How much freed memory stays at the end of a heap during a run; afterwards twice `MAPPED_BYTES`."""

_lock = threading.Lock()
_runs = 0


def keep_freed() -> bool:
    """Have this process keep freed memory from now on; False where its C library is not glibc."""
    libc = _glibc()
    if libc is None:
        return False
    libc.mallopt(_MMAP, MAPPED_BYTES)
    libc.mallopt(_TRIM, KEPT_BYTES)
    return True


@contextmanager
def freed_kept() -> Iterator[None]:
    """Keep freed memory while the body runs; the last of several at once hands it back.

    What remains are the limits that glibc comes to by itself in a process that has freed one large array.
    """
    global _runs
    with _lock:
        _runs += 1
        kept = keep_freed()
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            if kept and not _runs and (libc := _glibc()) is not None:
                libc.mallopt(_TRIM, 2 * MAPPED_BYTES)
                libc.malloc_trim(2 * MAPPED_BYTES)


def hand_back() -> None:
    """Give the system what is free in the midst of the heap, before much is needed in other sizes; some 10 ms."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
