"""A real SLURM cluster of three virtual nodes on this host, for the tests of the slurm backend."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SWITCH = "BIOIMAGE_PY_TEST_SLURM"
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slurm)


class Cluster:
    """The cluster as a test sees it."""

    def __init__(self, base: Path, accounting: bool) -> None:
        self.base = base
        self.environment = {
            "SLURM_BASE": str(base),
            "SLURM_PORT_BASE": str(_free_ports(20)),
            "SLURM_ACCT": "dbd" if accounting else "none",
            "SLURM_CONF": str(base / "etc" / "slurm.conf"),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        }

    def do(self, *command: str) -> None:
        """One of the commands of cluster.sh."""
        with open(self.base / "cluster.log", "a") as log:
            subprocess.run(
                ["bash", HERE / "cluster.sh", *command],
                env={**os.environ, **self.environment},
                check=True,
                timeout=120,
                stdout=log,
                stderr=log,
            )

    def ask(self, *command: str) -> str:
        """The answer of a SLURM command."""
        answer = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60
        )
        assert answer.returncode == 0, f"{command}: {answer.stderr}"
        return answer.stdout

    def jobs(self, *states: str) -> list[tuple[str, str]]:
        """Ids and nodes of the jobs in the queue, or of those in some states."""
        chosen = [f"--states={','.join(states)}"] if states else []
        lines = self.ask("squeue", "-h", "-r", "-o", "%i|%N", *chosen).splitlines()
        return [(job, node) for job, _, node in (line.partition("|") for line in lines)]

    def empty(self, seconds: float = 10.0) -> bool:
        """Whether the queue is empty, or gets so."""
        return wait(lambda: not self.jobs(), seconds)


def wait(true: Callable[[], object], seconds: float) -> bool:
    """Whether something comes true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _free_ports(count: int) -> int:
    for first in range(21000, 32000, 50):
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", first))
                other.bind(("127.0.0.1", first + count))
            except OSError:
                continue
            return first
    raise OSError("no free ports")


def _started(accounting: bool) -> Iterator[Cluster]:
    if not os.environ.get(SWITCH):
        pytest.skip(f"needs a SLURM cluster, which make test-slurm starts ({SWITCH}=1)")
    # asked for: whatever is missing is a failure, not a reason to skip
    assert hasattr(os, "geteuid"), "the cluster needs Linux"
    assert os.geteuid() == 0, "the cluster needs root"
    assert "debian" in platform.freedesktop_os_release().get("ID", ""), "the cluster needs Debian"
    subprocess.run(["bash", HERE / "install.sh"], check=True, timeout=600)
    base = Path(tempfile.mkdtemp(prefix="slurm-"))
    base.chmod(0o755)
    cluster = Cluster(base, accounting)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        try:
            cluster.do("start")
            yield cluster
        finally:
            cluster.do("stop")
            shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A running cluster; a module that sets ``ACCOUNTING = False`` gets one without."""
    yield from _started(getattr(request.module, "ACCOUNTING", True))


@pytest.fixture
def queue(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster; whatever a test does, nothing may be left in the queue."""
    nodes = ("n1", "n2", "n3")
    yield cluster
    left = [] if cluster.empty() else cluster.jobs()
    if left:
        cluster.ask("scancel", "--full", *(job for job, _ in left))
    for node in nodes:
        cluster.do("node-start", node)
    wait(lambda: cluster.ask("sinfo", "-hN", "-p", "main", "-t", "idle", "-o", "%N").split() == [*nodes], 60)
    assert not left, f"left in the queue: {left}"
