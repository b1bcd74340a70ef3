"""What goes wrong on a cluster, made to happen on a real one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster_data import config, empty, slow_plus_one, stored, volume
from conftest import Cluster, wait

from bioimage_py.errors import RunnerError
from bioimage_py.runner import map_blocks
from bioimage_py.segmentation import label

MIB = 2**20


@contextmanager
def meanwhile(action: Callable[[], None]) -> Any:
    """Do something in another thread while a run goes on."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread of the test
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not errors, errors


def working(queue: Cluster, out: Any, blocks: int = 4) -> list[tuple[str, str]]:
    """Ids and nodes of running jobs, once some blocks are done."""
    assert wait(lambda: np.count_nonzero(out[...]) >= blocks * 16**3, 60)
    jobs = queue.jobs("RUNNING")
    assert jobs
    return jobs


def kinds(report: Any) -> list[str]:
    return [event["kind"] for event in report.events if event["event"] == "WorkerEnded" and event["kind"] != "finished"]


@pytest.fixture
def slow(tmp_path: Path) -> Any:
    """A call that takes some seconds, its input and its output."""
    source = stored(tmp_path / "in.zarr", volume(64))
    out = empty(tmp_path / "out.zarr", (64, 64, 64), "uint8")

    def call(function: Any = slow_plus_one, num_workers: int = 3, **settings: Any) -> Any:
        return map_blocks(
            function,
            [source],
            [out],
            block_shape=(16, 16, 16),
            num_workers=num_workers,
            job_type="slurm",
            job_config=config(**settings),
        )

    call.out, call.expected = out, source[...] + 1  # type: ignore[attr-defined]
    return call


def test_node_killed_during_label(queue: Cluster, tmp_path: Path) -> None:
    data = volume(256)
    source = stored(tmp_path / "in.zarr", data, 32)
    out = empty(tmp_path / "out.zarr", data.shape, "uint64", 32)
    journals = tmp_path / ".bioimage_py"

    def kill() -> None:
        assert wait(lambda: any(path.stat().st_size for path in journals.glob("*/journal/0/s*")), 60)
        queue.do("node-kill", queue.jobs("RUNNING")[0][1])

    with meanwhile(kill):
        report = label(source, out, block_shape=(32, 32, 32), num_workers=3, job_type="slurm", job_config=config())
    expected = empty(tmp_path / "local.zarr", data.shape, "uint64", 32)
    label(source, expected, block_shape=(32, 32, 32))
    np.testing.assert_array_equal(out[...], expected[...])
    assert report is not None


def test_node_killed(queue: Cluster, slow: Any) -> None:
    with meanwhile(lambda: queue.do("node-kill", working(queue, slow.out)[0][1])):
        report = slow()
    np.testing.assert_array_equal(slow.out[...], slow.expected)
    assert set(kinds(report)) == {"node"}


def test_slurmd_killed(queue: Cluster, slow: Any) -> None:
    killed: list[str] = []

    def kill() -> None:
        killed.append(working(queue, slow.out)[0][1])
        queue.do("slurmd-kill", killed[0])

    try:
        with meanwhile(kill):
            slow()
    finally:
        queue.do("slurmd-start", killed[0])
    np.testing.assert_array_equal(slow.out[...], slow.expected)


def test_cancelled_job_ends_the_run(queue: Cluster, slow: Any) -> None:
    def cancel() -> None:
        queue.ask("scancel", working(queue, slow.out)[0][0])

    with meanwhile(cancel), pytest.raises(RunnerError, match=r"worker s1w\d cancelled: job .* CANCELLED"):
        slow()
    assert queue.empty()
    slow()
    np.testing.assert_array_equal(slow.out[...], slow.expected)


def test_preempted(queue: Cluster, slow: Any) -> None:
    def preempt() -> None:
        node = working(queue, slow.out)[0][1]
        queue.ask("sbatch", "-p", "high", "-w", node, "--exclusive", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 3")

    with meanwhile(preempt):
        report = slow(partition="low")
    np.testing.assert_array_equal(slow.out[...], slow.expected)
    assert "preempted" in kinds(report)


@pytest.mark.parametrize("left", [2, 80], ids=["over", "near"])
def test_wall_time(queue: Cluster, slow: Any, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDS_A_BLOCK", "0.8")  # the cluster looks at its limits every 30 s only

    def shorten() -> None:
        queue.ask("scontrol", "update", f"jobid={working(queue, slow.out)[0][0]}", f"EndTime=now+{left}")

    with meanwhile(shorten):
        report = slow(num_workers=1)
    np.testing.assert_array_equal(slow.out[...], slow.expected)
    assert kinds(report) == ["wall time"]
    assert ("left before its time was up" in str(report.events)) == (left == 80)


def hungry(mib: int) -> Callable[..., None]:
    def block_function(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        if list(block.begin) == [16, 16, 16]:
            np.ones(mib * 2**20, np.uint8)
        slow_plus_one(block, inputs, outputs, mask)

    return block_function


def test_memory_kill_gets_more(queue: Cluster, slow: Any) -> None:
    report = slow(hungry(500), mem="400M", max_mem="1600M")
    np.testing.assert_array_equal(slow.out[...], slow.expected)
    # the block may first go to the other workers that were there before
    assert set(kinds(report)) == {"more memory"}
    assert len(kinds(report)) <= 3


def test_a_block_beyond_the_memory_is_named(queue: Cluster, slow: Any) -> None:
    with pytest.raises(RunnerError, match=r"the last one memory: job .* killed for memory") as caught:
        slow(hungry(900), mem="400M", max_mem="700M")
    assert caught.value.failed_block_ids == [21]
    slow(hungry(900), mem="1400M")
    np.testing.assert_array_equal(slow.out[...], slow.expected)
