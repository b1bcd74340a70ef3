"""Asking a command of a scheduler, which may hang, print without end, or print anything."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Sequence
from time import monotonic, sleep
from typing import IO

from ...errors import ConfigError

COMMAND_SECONDS = 60.0
"""How long a command may take; one that hangs counts as failed."""
MOST_BYTES = 64 * 2**20
"""What is read of what a command prints; one that prints more counts as failed."""
_AFTER_SECONDS = 1.0
"""How long output is waited for whose command has ended: a child of it may hold the other end open."""
_LOOK_SECONDS = 0.002
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
JOB_ID = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
"""What the number of a job may be: nothing that a command would take for something else."""


class Question:
    """A command that was begun, and what it prints.

    Parameters
    ----------
    command : sequence of str
    text : str, optional
        What it is given on standard input.

    Raises
    ------
    ConfigError
        There is no such command.
    """

    def __init__(self, command: Sequence[str], text: str | None = None) -> None:
        self._command = list(command)
        self._deadline = monotonic() + COMMAND_SECONDS
        self._over: float | None = None
        self._why = ""
        given = subprocess.DEVNULL if text is None else subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                self._command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        except FileNotFoundError as error:
            raise ConfigError(
                f"{command[0]} is not found: this host does not submit to a cluster that has it",
                remedy='job_type="subprocess", or run this on the login node',
            ) from error
        self._printed = {"stdout": bytearray(), "stderr": bytearray()}
        self._threads = [self._begin(self._read, name) for name in self._printed]
        if text is not None:
            self._threads.append(self._begin(self._write, text))

    @staticmethod
    def _begin(target: object, *arguments: str) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True, name="bioimage_py-question")  # type: ignore[arg-type]
        thread.start()
        return thread

    def _read(self, name: str) -> None:
        stream: IO[bytes] = getattr(self._process, name)
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(stream.fileno(), 2**16):
                self._printed[name] += data
                if len(self._printed[name]) > MOST_BYTES:
                    self._why = f"it printed more than {MOST_BYTES >> 20} MiB"
                    self._kill()
                    break

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError), self._process.stdin as stream:  # it may end without reading
            stream.write(text.encode())

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def answer(self) -> subprocess.CompletedProcess[str] | None:
        """What it has said, when it has ended; None while it has not."""
        now = monotonic()
        if self._process.poll() is None:
            if now < self._deadline:
                return None
            self._why = self._why or "timed out"
            self._kill()
            self._process.wait()
        self._over = self._over or now
        if any(thread.is_alive() for thread in self._threads) and now - self._over < _AFTER_SECONDS:
            return None
        code = 1 if self._why else self._process.returncode
        said = {name: _CONTROL.sub(" ", bytes(data).decode(errors="replace")) for name, data in self._printed.items()}
        return subprocess.CompletedProcess(self._command, code, said["stdout"], self._why or said["stderr"])

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for what it says."""
        while (answer := self.answer()) is None:
            if self._over is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(max(0.0, self._deadline - monotonic()))
            else:
                sleep(_LOOK_SECONDS)
        return answer


def ask(command: Sequence[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command and wait for what it says."""
    return Question(command, text).wait()


def checked_id(told: str) -> str:
    """The number of a job as it was told; RuntimeError for what can be none."""
    if JOB_ID.fullmatch(told) is None:
        raise RuntimeError(f"the scheduler calls a job {told[:100]!r}, which is no number of a job")
    return told
