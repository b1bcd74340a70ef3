"""Which worker of a run this thread is, for what is dealt out among workers, such as the devices of a machine."""

from __future__ import annotations

import re
import threading

_own = threading.local()


def enter_worker(name: str) -> None:
    """Say that this thread is a worker from now on."""
    _own.name = name


def worker_name() -> str:
    """Name of this thread's worker; empty outside of one."""
    name: str = getattr(_own, "name", "")
    return name


def worker_number() -> int:
    """Number of this thread's worker, counted from 0 in the order in which a run has started them; 0 outside of one."""
    found = re.search(r"(\d+)$", worker_name())
    return int(found[1]) if found else 0
