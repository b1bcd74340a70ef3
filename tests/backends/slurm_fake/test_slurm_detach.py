"""Leaving a run of jobs and coming back to it, on a scheduler whose jobs are processes of this host."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from bioimage_py.errors import ResumeConflict
from bioimage_py.run_folder import RunState
from bioimage_py.runner import SlurmRunner
from bioimage_py.runner.control.attach import attach
from bioimage_py.runner.control.cancel import cancel_run
from bioimage_py.runner.control.detached import DetachedRun
from bioimage_py.runner.control.inspect import status_of
from bioimage_py.runner.execution import current_session, execution
from bioimage_py.system.frames import read_frame

from . import fake_slurm
from .detached import config, run

SHAPE = (16, 8, 8)
N_BLOCKS = 16

DRIVER = """
import signal, sys
from pathlib import Path
import tests.backends.slurm_fake.detached as here
signal.signal(signal.SIGINT, signal.default_int_handler)
print(here.run(Path(sys.argv[1]), **eval(sys.argv[2])))
"""


def stored(path: Path) -> Any:
    return zarr.open(path)


class Cluster:
    """The scheduler and the data of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs_folder = folder / "slurm"
        data = np.arange(np.prod(SHAPE), dtype="uint16").reshape(SHAPE) % 1000
        for name in ("in.zarr", "out.zarr"):
            array = zarr.create_array(folder / name, shape=SHAPE, chunks=(1, 8, 8), dtype="uint16")
            array[...] = data if name == "in.zarr" else 0

    def jobs(self) -> list[str]:
        return [job["id"] for job in fake_slurm.jobs(self.jobs_folder) if job["alive"]]

    def done(self) -> int:
        """Blocks that are written: a chunk of zeros has no file."""
        return len(list((self.folder / "out.zarr" / "c").glob("*/0/0")))

    def right(self) -> None:
        np.testing.assert_array_equal(stored(self.folder / "out.zarr")[...], stored(self.folder / "in.zarr")[...] + 1)

    def run_folder(self) -> Path:
        (found,) = [path for path in (self.folder / ".bioimage_py").iterdir() if not path.name.startswith(".")]
        return found

    def driver(self, settings: str = "{}", **variables: str) -> subprocess.Popen[str]:
        path = os.pathsep.join(filter(None, sys.path))
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(self.folder), settings],
            env={**os.environ, "PYTHONPATH": path, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def killed(self) -> Path:
        """A run whose driver was killed in the middle."""
        driver = self.driver(SECONDS_A_BLOCK="0.7")
        wait(lambda: self.done() > 2)
        driver.kill()
        driver.communicate()
        assert len(self.jobs()) == 2
        return self.run_folder()


def wait(true: Callable[[], object], seconds: float = 100.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    if not Path("/proc/self/stat").exists():
        pytest.skip("the made-up scheduler looks for its jobs in /proc")
    found = Cluster(tmp_path)
    monkeypatch.setenv("PATH", f"{fake_slurm.install(found.jobs_folder)}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(found.jobs_folder))
    monkeypatch.setenv("BIOIMAGE_PY_NO_CONFIG", "1")
    yield found
    left = found.jobs()
    if left:
        subprocess.run(["scancel", *left], check=True)
    assert not left, f"left in the queue: {left}"


def test_a_killed_driver_leaves_its_workers_and_the_next_one_adopts_them(cluster: Cluster) -> None:
    cluster.killed()
    report = run(cluster.folder)
    assert report.jobs == 0
    cluster.right()
    assert not (cluster.folder / ".bioimage_py").exists()
    wait(lambda: not cluster.jobs())


def test_attaching_replaces_only_what_was_lost(cluster: Cluster) -> None:
    folder = cluster.killed()
    subprocess.run(["scancel", cluster.jobs()[0]], check=True)
    journals = list(folder.glob("journal/0/[!.]*"))
    assert all(json.loads(read_frame(path, 0) or b"")["synced"] for path in journals), "each waits for the disk"
    report = attach(folder)
    assert report.jobs == 1
    cluster.right()
    wait(lambda: not cluster.jobs())


def test_workers_finish_the_stage_alone_and_end(cluster: Cluster) -> None:
    driver = cluster.driver('{"job_config": here.config(idle_timeout=2.0)}')
    wait(lambda: cluster.done() > 2)
    driver.kill()
    driver.communicate()
    wait(lambda: cluster.done() == N_BLOCKS)
    wait(lambda: not cluster.jobs())
    kept: list[str] = []
    assert SlurmRunner(config()).reattach(cluster.run_folder(), name="", pre_cleanup=kept.append) is None
    assert len(kept) == 1
    cluster.right()
    wait(lambda: not cluster.jobs())


def test_ctrl_c_leaves_and_says_how_to_come_back(cluster: Cluster) -> None:
    driver = cluster.driver(SECONDS_A_BLOCK="0.7")
    wait(lambda: cluster.done() > 2)
    driver.send_signal(signal.SIGINT)
    told = driver.communicate(timeout=60)[0]
    folder = cluster.run_folder()
    assert f"bioimage-py runs attach {folder}" in told
    assert f"bioimage-py runs cancel {folder}" in told
    assert driver.returncode != 0
    assert len(cluster.jobs()) == 2
    assert status_of(folder).state == "detached"
    assert attach(folder).jobs == 0
    cluster.right()
    wait(lambda: not cluster.jobs())


def test_ctrl_c_twice_cancels(cluster: Cluster) -> None:
    driver = cluster.driver(SECONDS_A_BLOCK="100")
    wait(lambda: list(cluster.folder.glob(".bioimage_py/*/claims/*/0")))
    driver.send_signal(signal.SIGINT)
    time.sleep(1)
    assert len(cluster.jobs()) == 2
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=60)
    assert cluster.jobs() == []
    assert status_of(cluster.run_folder()).state == "failed"


def test_jobs_without_a_driver_are_cancelled(cluster: Cluster) -> None:
    folder = cluster.killed()
    left = cancel_run(folder)
    assert left is not None
    assert cluster.jobs() == []
    run(cluster.folder)
    cluster.right()
    wait(lambda: not cluster.jobs())


def test_a_job_drives_a_detached_run(cluster: Cluster) -> None:
    detached = run(cluster.folder, detach=True)
    assert isinstance(detached, DetachedRun)
    assert detached.status().state in ("detached", "starting", "running")
    wait(lambda: len(cluster.jobs()) == 3)
    report = detached.attach()
    assert report.jobs == 0, "the job that drives has submitted them"
    cluster.right()
    assert not Path(detached.folder).exists()
    wait(lambda: not cluster.jobs())


def test_the_same_call_gives_the_result_of_a_detached_run(cluster: Cluster) -> None:
    detached = run(cluster.folder, detach=True)
    wait(lambda: detached.status().state == "complete")
    wait(lambda: not cluster.jobs())
    report = run(cluster.folder)
    assert (report.jobs, report.stages[0].n_done) == (0, N_BLOCKS)
    cluster.right()


def test_a_detached_run_is_cancelled(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDS_A_BLOCK", "100")
    detached = run(cluster.folder, detach=True)
    wait(lambda: list(cluster.folder.glob(".bioimage_py/*/claims/*/0")))
    assert len(cluster.jobs()) == 3
    detached.cancel()
    assert cluster.jobs() == []


def test_the_job_that_drives_has_a_successor_before_its_time_is_up(cluster: Cluster) -> None:
    detached = run(cluster.folder, detach=True)
    wait(lambda: cluster.done() > 1)
    (driver,) = [job for job in fake_slurm.jobs(cluster.jobs_folder) if "driver" in job["name"]]
    os.kill(driver["pid"], signal.SIGUSR2)
    wait(lambda: RunState.read(Path(detached.folder)).sessions == 3)  # type: ignore[union-attr]
    state = RunState.read(Path(detached.folder))
    assert state is not None
    assert len(state.adopted) == 2
    assert detached.attach().jobs == 0
    cluster.right()
    wait(lambda: not cluster.jobs())


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs root, to be another host")
def test_a_driver_that_was_cut_off_finds_another_one(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = cluster.driver(SECONDS_A_BLOCK="1")
    wait(lambda: cluster.done() > 1)
    folder = cluster.run_folder()
    driver.send_signal(signal.SIGSTOP)
    os.utime(folder / "driver.alive", (time.time() - 100,) * 2)
    code = f"from bioimage_py.runner.control.attach import attach; print('jobs', attach({str(folder)!r}).jobs)"
    other = subprocess.Popen(
        ["unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh", sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait(lambda: json.loads((folder / "run.json").read_text())["sessions"] == 2)
    driver.send_signal(signal.SIGCONT)
    told = driver.communicate(timeout=60)[0]
    assert "has taken over the run" in told
    assert "on elsewhere" in told
    assert "jobs 0" in other.communicate(timeout=120)[0]
    cluster.right()
    wait(lambda: not cluster.jobs())


def test_calls_inside_an_execution_block_queue_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDS_A_BLOCK", "0.01")
    with execution("slurm", num_workers=2, job_config=config(), progress=False):
        session = current_session()
        assert session is not None
        for _ in range(3):
            run(cluster.folder)
        assert [report.jobs for report in session.reports] == [2, 0, 0]
        assert len(cluster.jobs()) == 2
    wait(lambda: not cluster.jobs())
    cluster.right()
    assert not (cluster.folder / ".bioimage_py").exists()


def test_a_call_that_conflicts_leaves_the_jobs_alone(cluster: Cluster) -> None:
    folder = cluster.killed()
    os.utime(cluster.folder / "in.zarr" / "zarr.json")
    with pytest.raises(ResumeConflict):
        run(cluster.folder)
    assert len(cluster.jobs()) == 2
    assert attach(folder).jobs == 0
    cluster.right()
    wait(lambda: not cluster.jobs())


def test_a_controller_that_is_down_is_waited_for(cluster: Cluster) -> None:
    driver = cluster.driver(SECONDS_A_BLOCK="0.6")
    wait(lambda: cluster.done() > 1)
    (cluster.jobs_folder / "down").touch()
    done = cluster.done()
    victim = next(iter(cluster.run_folder().glob("workers/*.json")))
    os.kill(json.loads(victim.read_text())["pid"], signal.SIGKILL)
    wait(lambda: cluster.done() > done + 4)
    assert driver.poll() is None
    (cluster.jobs_folder / "down").unlink()
    assert driver.wait(60) == 0, driver.communicate()[0]
    driver.communicate()
    cluster.right()
    wait(lambda: not cluster.jobs())
