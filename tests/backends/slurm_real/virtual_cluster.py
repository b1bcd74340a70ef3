"""A real SLURM cluster of three virtual nodes on this host, started by cluster.sh for as long as this process lives."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.debian import missing

HERE = Path(__file__).parent
NODES = ("n1", "n2", "n3")
PORTS = 20
FIRST_PORT, LAST_PORT = 17000, 32000  # below those that the system gives away
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "sbatch", "sacct", "munged", "mariadbd")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurmdbd", "munge", "mariadb-server")
COMMAND_SECONDS = 240.0
TRIES = 2


class NoClusterError(Exception):
    """This host cannot run a cluster, and why."""


class Cluster:
    """The cluster as a test sees it.

    Parameters
    ----------
    base : Path
        Folder that holds all of it.
    accounting : bool
        Run the accounting daemon and its database, so that sacct answers.
    **variables
        Further settings of cluster.sh.
    """

    def __init__(self, base: Path, *, accounting: bool = True, **variables: str) -> None:
        self.base = base
        self.accounting = accounting
        self.environment = {
            "SLURM_BASE": str(base),
            "SLURM_PORT_BASE": str(free_ports()),
            "SLURM_ACCT": "dbd" if accounting else "none",
            "SLURM_CONF": str(base / "etc" / "slurm.conf"),
            "SLURM_OWNER": str(os.getpid()),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            **variables,
        }

    def do(self, *command: str) -> None:
        """One of the commands of cluster.sh."""
        log = self.base / "cluster.log"
        with open(log, "a") as file:
            done = subprocess.run(
                ["bash", HERE / "cluster.sh", *command],
                env={**os.environ, **self.environment},
                timeout=COMMAND_SECONDS,
                stdout=file,
                stderr=file,
            )
        assert done.returncode == 0, f"cluster.sh {' '.join(command)}:\n{log.read_text()[-3000:]}\n{self._logs()}"

    def _logs(self) -> str:
        """Ends of the daemons' logs."""
        files = sorted((self.base / "log").glob("*"))
        return "\n".join(f"{file.name}: {file.read_text(errors='replace')[-800:]}" for file in files if file.is_file())

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

    def arrays(self) -> dict[str, int]:
        """Number of jobs by array, of all that the scheduler still knows."""
        listed = self.ask("squeue", "-h", "-r", "-t", "all", "-o", "%F").split()
        return {array: listed.count(array) for array in listed}

    def empty(self, seconds: float = 20.0) -> bool:
        """Whether the queue is empty, or gets so."""
        return wait(lambda: not self.jobs(), seconds)

    def whole(self) -> None:
        """Start the nodes and daemons that are down, and wait until all are idle."""
        for node in NODES:
            self.do("node-start", node)
            self.do("slurmd-start", node)
        idle = ("sinfo", "-hN", "-p", "main", "-t", "idle", "-o", "%N")
        assert wait(lambda: self.ask(*idle).split() == [*NODES], 90), self.ask("sinfo", "-N")


def wait(true: Callable[[], object], seconds: float) -> bool:
    """Whether something comes true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def free_ports(count: int = PORTS) -> int:
    """The first of so many free ports; processes begin to look at different ones."""
    choices = range(FIRST_PORT, LAST_PORT, 2 * count)
    start = os.getpid() % len(choices)
    for first in (*choices[start:], *choices[:start]):
        if all(map(_is_free, range(first, first + count))):
            return first
    raise OSError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def check_host() -> None:
    """NoClusterError where the cluster cannot be started here."""
    if not sys.platform.startswith("linux"):
        raise NoClusterError(f"it needs Linux, and this is {sys.platform}")
    try:
        system = platform.freedesktop_os_release().get("ID", "unknown")
    except OSError:
        system = "unknown"
    if system != "debian":
        raise NoClusterError(f"it is made of Debian's packages, and this is {system}")
    if os.geteuid() != 0:
        raise NoClusterError(f"it needs root, and this is user {os.geteuid()}")
    tried = subprocess.run(
        ["unshare", "--pid", "--uts", "--mount", "--fork", "--mount-proc", "true"], capture_output=True, text=True
    )
    if tried.returncode:
        raise NoClusterError(f"it needs namespaces, which are closed here ({tried.stderr.strip()})")


def install() -> None:
    """Install SLURM; NoClusterError where its packages cannot be had."""
    if reason := missing(PROGRAMS, PACKAGES):
        raise NoClusterError(reason)


@contextmanager
def running(*, accounting: bool = True, **variables: str) -> Iterator[Cluster]:
    """A cluster, also for the commands of this process, for the time of a ``with`` block."""
    with pytest.MonkeyPatch.context() as patch:
        cluster = _start(accounting, variables)
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        try:
            yield cluster
        finally:
            cluster.do("stop")
            shutil.rmtree(cluster.base, ignore_errors=True)


def _start(accounting: bool, variables: dict[str, str]) -> Cluster:
    for left in reversed(range(TRIES)):
        base = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # paths of sockets must be short
        base.chmod(0o755)
        cluster = Cluster(base, accounting=accounting, **variables)
        try:
            cluster.do("start")
        except BaseException as error:  # an interrupt too must not leave daemons behind
            cluster.do("stop")
            shutil.rmtree(base, ignore_errors=True)
            if left and isinstance(error, AssertionError):  # such as a port that somebody else was quicker to take
                continue
            raise
        return cluster
    raise AssertionError("unreachable")
