"""A real Grid Engine, which root installs from Debian and starts here, through the conformance suite."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bioimage_py.runner import BatchConfig
from bioimage_py.testing import BackendConformance
from bioimage_py.testing.trials import until
from tests.debian import missing

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
PACKAGES = ("gridengine-master", "gridengine-exec", "gridengine-client")
COMMANDS = ("qsub", "qstat", "qdel", "qconf")


def free_port() -> int:
    """A port that is free, as is the one behind it."""
    while True:
        with socket.socket() as one, socket.socket() as other, suppress(OSError):
            one.bind(("", 0))
            port = int(one.getsockname()[1])
            other.bind(("", port + 1))
            return port


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the commands of a cluster of one host."""
    if why := missing((*COMMANDS, "sge_qmaster"), PACKAGES):
        pytest.skip(why)
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    if not addresses:
        pytest.skip("no Grid Engine can be started: this host has no address but that of itself")
    base, port = tmp_path_factory.mktemp("engine") / "cell", free_port()
    base.mkdir()
    log = (base / "log").open("wb")
    script = Path(__file__).with_name("cluster.sh")
    cluster = subprocess.Popen(
        ["unshare", "--mount", "--uts", "bash", str(script), str(base), str(port), addresses[0]],
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    commands = base / "commands"
    commands.mkdir()
    for name in COMMANDS:
        lines = [
            "#!/bin/sh",
            f"export SGE_ROOT={base} SGE_CELL=default SGE_QMASTER_PORT={port} SGE_EXECD_PORT={port + 1}",
            f'exec nsenter -t {cluster.pid} --mount --uts --wd="$PWD" {shutil.which(name)} "$@"',
        ]
        (commands / name).write_text("\n".join(lines) + "\n")
        (commands / name).chmod(0o755)
    try:
        until(lambda: (base / "ready").exists() or cluster.poll() is not None)
        assert cluster.poll() is None, (base / "log").read_text()
        yield commands
    finally:
        with suppress(ProcessLookupError):
            os.killpg(cluster.pid, signal.SIGKILL)
        cluster.wait()


class TestGridEngine(BackendConformance):
    kind = "batch: Grid Engine (real)"
    impossible = {"node": "the cluster of the tests has one host"}

    @pytest.fixture
    def settings(self, engine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, Any]]:
        monkeypatch.setenv("PATH", f"{engine}{os.pathsep}{os.environ['PATH']}")
        yield {
            "job_type": "batch",
            "job_config": BatchConfig(scheduler="grid-engine", poll_interval=1.0, time=5, latency_wait=10.0),
        }
        deadline = time.monotonic() + 60
        while (listed := queue()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not listed


def queue() -> str:
    return subprocess.run(["qstat"], capture_output=True, text=True, check=True).stdout
