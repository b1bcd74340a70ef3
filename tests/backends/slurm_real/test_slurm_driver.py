"""Drivers that die, are interrupted or leave: jobs go on, whoever attaches finishes, the queue is empty then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_data import FAST, N_BLOCKS, Job, checksum, config
from matrix import Line, Matrix
from virtual_cluster import Cluster, wait

from bioimage_py.runner import SlurmRunner

pytestmark = pytest.mark.timeout(600)
ON: dict[str, Any] = {"job_type": "slurm", "num_workers": 3}
PACE = 0.7


@pytest.fixture
def job(inputs: Path, tmp_path: Path) -> Job:
    """A call that takes a quarter of a minute."""
    job = Job("blocks", inputs, tmp_path)
    job.pace(PACE)
    return job


@pytest.fixture
def driver(queue: Cluster, job: Job) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the call, which is in full swing."""
    process = job.elsewhere()
    try:
        assert wait(lambda: job.in_full_swing() or process.poll() is not None, 90)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        process.kill()
        process.communicate()


def attached(folder: Path) -> subprocess.CompletedProcess[str]:
    """What `bioimage-py runs attach` says, from a process that knows nothing of the call."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "bioimage_py", "runs", "attach", str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )


def goes_on(job: Job) -> bool:
    """Whether blocks are still being done."""
    before = sum(job.reads().values())
    return wait(lambda: sum(job.reads().values()) >= before + 3, 10)


def finished(line: Line, job: Job, queue: Cluster, expected: dict[str, str], arrays: dict[str, int]) -> None:
    """Right, nothing run twice, no further job, and nothing left behind."""
    line.checksum, line.expected = checksum(job.output), expected["blocks"]
    assert sum(job.reads().values()) == N_BLOCKS, "blocks were run twice"
    assert queue.arrays() == arrays, "further jobs were submitted"
    assert queue.empty(5), f"left in the queue: {queue.jobs()}"
    assert not job.runs()


def test_killed_and_attached_from_another_process(
    queue: Cluster, matrix: Matrix, job: Job, driver: subprocess.Popen[str], expected: dict[str, str]
) -> None:
    with matrix.line("driver killed, attached", "blocks", queue.accounting) as line:
        arrays = queue.arrays()
        driver.send_signal(signal.SIGKILL)
        assert driver.wait() == -signal.SIGKILL
        assert goes_on(job)
        answer = attached(job.runs()[0])
        assert answer.returncode == 0, answer
        finished(line, job, queue, expected, arrays)
        line.verdict = "ok: finished with the same jobs"


def test_killed_and_called_again(
    queue: Cluster, matrix: Matrix, job: Job, driver: subprocess.Popen[str], expected: dict[str, str]
) -> None:
    with matrix.line("driver killed, same call", "blocks", queue.accounting) as line:
        arrays = queue.arrays()
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        assert goes_on(job)
        assert job(**ON, job_config=config()).jobs == 0
        finished(line, job, queue, expected, arrays)
        line.verdict = "ok: finished with the same jobs"


def test_killed_and_attached_when_its_workers_have_gone(
    queue: Cluster, matrix: Matrix, inputs: Path, tmp_path: Path, expected: dict[str, str]
) -> None:
    job = Job("label", inputs, tmp_path)
    with matrix.line("driver killed, jobs gone", "label", queue.accounting) as line:
        driver = job.elsewhere(idle_timeout=2.0)
        assert wait(lambda: sum(job.reads().values()) > 5 or driver.poll() is not None, 60)
        driver.kill()
        driver.communicate()
        assert queue.empty(60), "workers wait for ever for a driver"
        assert attached(job.runs()[0]).returncode == 0
        line.checksum, line.expected = checksum(job.output), expected["label"]
        assert sum(job.reads().values()) == 2 * N_BLOCKS, "blocks were run twice"
        assert queue.empty(5)
        line.verdict = "ok: finished with new jobs"


def test_interrupted_once(
    queue: Cluster, matrix: Matrix, job: Job, driver: subprocess.Popen[str], expected: dict[str, str]
) -> None:
    with matrix.line("Ctrl-C, attached", "blocks", queue.accounting) as line:
        arrays = queue.arrays()
        driver.send_signal(signal.SIGINT)
        said = driver.communicate(timeout=30)[1]
        (run,) = job.runs()
        assert "KeyboardInterrupt" in said
        assert f"bioimage-py runs attach {run}" in said
        assert goes_on(job)
        kept: list[list[str]] = []
        SlurmRunner(config()).reattach(str(run), "", lambda folder: kept.append(os.listdir(folder)))
        assert "events.jsonl" in kept[0], "pre_cleanup came too late"
        finished(line, job, queue, expected, arrays)
        line.verdict = "ok: finished with the same jobs"


def test_interrupted_twice(
    queue: Cluster, matrix: Matrix, job: Job, driver: subprocess.Popen[str], expected: dict[str, str]
) -> None:
    with matrix.line("Ctrl-C twice", "blocks", queue.accounting) as line:
        job.pace(20.0)
        driver.send_signal(signal.SIGINT)
        time.sleep(1)
        assert driver.poll() is None
        driver.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in driver.communicate(timeout=20)[1]
        assert queue.empty(2), f"left in the queue: {queue.jobs()}"
        job.pace(FAST)
        job(**ON, job_config=config())
        line.checksum, line.expected = checksum(job.output), expected["blocks"]
        assert queue.empty(5)
        line.verdict = "ok: the queue is empty, the same call finished"


def test_detached(queue: Cluster, matrix: Matrix, job: Job, expected: dict[str, str]) -> None:
    with matrix.line("detached", "blocks", queue.accounting) as line:
        run = job(**ON, job_config=config(), detach=True)
        assert wait(job.in_full_swing, 60)
        names = queue.ask("squeue", "-h", "-o", "%j").split()
        assert [name.startswith("bioimage_py-driver-") for name in names].count(True) == 1, names
        arrays = queue.arrays()
        run.attach()
        finished(line, job, queue, expected, arrays)
        line.verdict = "ok: finished by its own job"


def test_stages_share_their_jobs(queue: Cluster, inputs: Path, tmp_path: Path, expected: dict[str, str]) -> None:
    """The three stages of `label` queue once."""
    before = queue.arrays()
    job = Job("label", inputs, tmp_path)
    job(**ON, job_config=config())
    assert checksum(job.output) == expected["label"]
    assert [size for array, size in queue.arrays().items() if array not in before] == [3]
