"""A server in a process of its own, which can be killed and started again where it was."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx


class Running:
    """A process that serves a folder.

    Parameters
    ----------
    root : Path
    **more
        Environment variables.
    """

    def __init__(self, root: Path, *options: str, **more: str) -> None:
        self.root = root
        self.options = options
        self.port, self.password, self.lines = 0, "", []
        self.start(**more)

    def start(self, **more: str) -> None:
        command = [sys.executable, "-m", "bioimage_py", "server", "run", str(self.root), "--port", str(self.port)]
        with open(self.root.with_suffix(".log"), "ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.options], stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **more}
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(r"with the password (\S+)", line):
                self.password = found[1]
            if found := re.search(r"at (https?://[^:]+:(\d+))", line):
                self.url, self.port = found[1], int(found[2])
                return
        raise AssertionError(f"it ended: {self.process.wait()}: {self.log()}")

    def log(self) -> str:
        return self.root.with_suffix(".log").read_text()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        code = self.process.wait(120)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def stop(self) -> int:
        """End it as an operator does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def client(self, name: str = "admin", password: str = "") -> httpx.Client:
        base = f"{self.url}/api/v1"
        body = {"username": name, "password": password or self.password}
        answer = httpx.post(f"{base}/auth/login", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        headers = {"Authorization": f"Bearer {answer.json()['access']}"}
        return httpx.Client(base_url=base, headers=headers, timeout=60)
