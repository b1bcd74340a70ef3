"""Programs that go on without the process that began them, as processes of this machine in a session of their own.

What is told of one is JSON, so that any process can ask for it and end it (`Backend.begin_program`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ..errors import ConfigError, RunningError
from ..system.files import read_by_others
from ..system.processes import begun_here, identify, start_of, visible

END_SECONDS = 30.0
"""How long a program is waited for that is to end; workers end with it."""


def begin(command: Sequence[str], log: Path) -> dict[str, Any]:
    """Begin a program that appends what it prints to a log."""
    paths = os.pathsep.join(path for path in sys.path if path)
    with open(log, "ab", opener=read_by_others) as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
    process.returncode = 0  # nobody waits for it: that it still lives is no leak
    return {**identify(), "pid": process.pid, "start": start_of(process.pid)}


def lives(told: Mapping[str, Any]) -> bool | None:
    """Whether a program lives; None where that cannot be seen from here."""
    if not visible(dict(told)):
        return None
    return bool(told["start"]) and begun_here(int(told["pid"]), told["start"])


def end(told: Mapping[str, Any]) -> None:
    """End a program and wait until it is gone.

    Raises
    ------
    ConfigError
        It runs on another machine.
    RunningError
        It does not go.
    """
    where = f"process {told['pid']} on {told['host']}"
    if lives(told) is None:
        raise ConfigError(f"{where} cannot be reached from here", remedy=f"on {told['host']}: kill {told['pid']}")
    deadline = monotonic() + END_SECONDS
    while lives(told):
        if monotonic() > deadline:
            raise RunningError(f"{where} does not end", remedy=f"kill -9 {told['pid']}")
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(int(told["pid"]), signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(int(told["pid"]), os.WNOHANG)
        sleep(0.02)
