"""The cluster as a fixture, and the lines that make test-slurm prints at its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_data import OPERATIONS, Job, checksum, make_inputs
from matrix import Matrix
from virtual_cluster import Cluster, NoClusterError, check_host, install, running

ALL = bool(os.environ.get("BIOIMAGE_PY_TEST_SLURM"))
"""Asked for by make test-slurm: all tests, and whatever is missing is a failure. Else the smoke test alone."""
HERE = Path(__file__).parent
SMOKE = "test_slurm_smoke.py"

matrix_key = pytest.StashKey[Matrix]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mine = [item for item in items if HERE in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.slurm)
    left_out = {item for item in mine if not ALL and item.path.name != SMOKE}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def pytest_sessionfinish(session: pytest.Session) -> None:
    matrix = session.config.stash.get(matrix_key, None)
    wanted = ALL and any("matrix" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not (matrix is not None and matrix.complete) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not ALL or matrix_key not in config.stash:  # as where only the conformance suite was asked for
        return
    matrix = config.stash[matrix_key]
    terminalreporter.section("faults on the cluster")
    for line in matrix.table():
        terminalreporter.write_line(line)
    verdict = "every line is there and good" if matrix.complete else "FAILED: a line is missing or wrong"
    terminalreporter.write_line(verdict, green=matrix.complete, red=not matrix.complete)


@pytest.fixture(scope="session")
def slurm_installed() -> None:
    """SLURM's programs, for root on Debian; elsewhere a skip, unless the tests were asked for."""
    try:
        check_host()
        install()
    except NoClusterError as error:
        if ALL:
            pytest.fail(f"no SLURM cluster, which make test-slurm needs: {error}")
        pytest.skip(f"needs a SLURM cluster, which cannot be started: {error}")


@pytest.fixture(scope="module")
def cluster(slurm_installed: None, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A running cluster; a module changes it by ``CLUSTER = {...}``, the arguments of `running`."""
    with running(**getattr(request.module, "CLUSTER", {})) as cluster:
        yield cluster


@pytest.fixture
def queue(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster; whatever a test does, nothing may be left in the queue."""
    yield cluster
    left = [] if cluster.empty() else cluster.jobs()
    if left:
        cluster.ask("scancel", "--full", *(job for job, _ in left))
    cluster.whole()
    assert not left, f"left in the queue: {left}"


@pytest.fixture(scope="session")
def matrix(pytestconfig: pytest.Config) -> Matrix:
    """The lines that are printed at the end."""
    return pytestconfig.stash.setdefault(matrix_key, Matrix())


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what `make_inputs` makes."""
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


@pytest.fixture(scope="session")
def expected(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checksums of what each call gives on this machine."""
    sums = {}
    for name in OPERATIONS:
        job = Job(name, inputs, tmp_path_factory.mktemp(name))
        job(num_workers=2)
        sums[name] = checksum(job.output)
    return sums
