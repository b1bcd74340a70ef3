"""Kills a process at a named point, to prove that nothing is lost by it; off unless ``$BIOIMAGE_PY_FAULT`` is set.

``BIOIMAGE_PY_FAULT="after-claim:3:/path/of/a/file"``: the process that passes ``after-claim`` for its third time
removes the file and kills itself. Where the file is gone nothing happens: one process dies, and who made the file
sees it.
"""

from __future__ import annotations

import os
import signal
import threading

_ARMED = os.environ.get("BIOIMAGE_PY_FAULT", "")
_lock = threading.Lock()
_passed = 0


def fault(name: str) -> None:
    """A point at which the process may be told to die."""
    if _ARMED:
        _pass(name)


def _pass(name: str) -> None:
    global _passed
    armed, number, token = _ARMED.split(":", 2)
    if name != armed:
        return
    with _lock:
        _passed += 1
        if _passed != int(number):
            return
    try:
        os.unlink(token)
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
