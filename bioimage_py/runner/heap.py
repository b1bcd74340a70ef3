"""Freed block buffers stay with the process while a run lasts: handed back, each next block pays for fresh pages."""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
