"""Runs on a real SLURM cluster: the same bits as here, and nothing left in the queue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster_data import config, empty, slow_plus_one, stored, volume
from conftest import Cluster, wait

import bioimage_py as bp
from bioimage_py.errors import ConfigError, RunnerError
from bioimage_py.filters import gaussian_smoothing
from bioimage_py.runner import RunnerConfig, get_runner, map_blocks
from bioimage_py.segmentation import label, size_filter
from bioimage_py.stats import mean, unique

OPERATIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "gaussian_smoothing": (lambda x, out, **run: gaussian_smoothing(x, 1.5, out, **run), "float32"),
    "label": (lambda x, out, **run: label(x, out, **run), "uint64"),
    "size_filter": (lambda x, out, **run: size_filter(x, out, min_size=1, **run), "uint8"),
    "copy": (lambda x, out, **run: bp.copy(x, out, **run), "uint8"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_same_bits_as_local(queue: Cluster, tmp_path: Path, name: str) -> None:
    call, dtype = OPERATIONS[name]
    data = volume(48)
    source = stored(tmp_path / "in.zarr", data)
    outputs = [empty(tmp_path / f"{kind}.zarr", data.shape, dtype) for kind in ("local", "slurm")]
    call(source, outputs[0], block_shape=(16, 32, 16), num_workers=2)
    call(source, outputs[1], block_shape=(16, 32, 16), num_workers=4, job_type="slurm", job_config=config())
    assert np.any(outputs[0][...])
    np.testing.assert_array_equal(outputs[0][...], outputs[1][...])


def test_values_are_those_of_local(queue: Cluster, tmp_path: Path) -> None:
    source = stored(tmp_path / "in.zarr", np.random.default_rng(1).random((40, 40, 40)).astype(np.float32))
    root = config(tmp_root=tmp_path / "runs")
    on = {"job_type": "slurm", "job_config": root, "num_workers": 3, "block_shape": (16, 16, 16)}
    assert mean(source, **on) == mean(source, block_shape=(16, 16, 16))
    whole = stored(tmp_path / "labels.zarr", volume(40).astype(np.uint32))
    np.testing.assert_array_equal(unique(whole, **on), unique(whole))


def test_runner_returns_values_in_order(queue: Cluster, tmp_path: Path) -> None:
    runner = get_runner("slurm", config(tmp_root=tmp_path))
    values = runner.map(lambda index: index * index, item_ids=[5, 3, 9, 0], num_workers=2)
    assert values == [25, 9, 81, 0]


def test_more_workers_than_an_array_holds(queue: Cluster, tmp_path: Path) -> None:
    before = _arrays(queue)
    source = stored(tmp_path / "in.zarr", volume(48))
    out = empty(tmp_path / "out.zarr", (48, 48, 48), "uint8")
    map_blocks(
        slow_plus_one,
        [source],
        [out],
        block_shape=(16, 16, 16),
        job_type="slurm",
        num_workers=25,
        job_config=config(max_array_size=10, mem="200M"),
    )
    np.testing.assert_array_equal(out[...], source[...] + 1)
    assert sorted(size for array, size in _arrays(queue).items() if array not in before) == [5, 10, 10]


def _arrays(queue: Cluster) -> dict[str, int]:
    """Sizes of the arrays that the scheduler still knows."""
    listed = queue.ask("squeue", "-h", "-r", "-t", "all", "-o", "%F").split()
    return {array: listed.count(array) for array in listed}


def test_an_exception_comes_back_with_its_block(queue: Cluster, tmp_path: Path) -> None:
    def fails(block: Any, inputs: Any, outputs: Any, mask: Any) -> None:
        raise ValueError(f"no good at {block.begin}")

    source = stored(tmp_path / "in.zarr", volume(32))
    out = empty(tmp_path / "out.zarr", (32, 32, 32), "uint8")
    with pytest.raises(RunnerError, match="no good at") as caught:
        map_blocks(fails, [source], [out], block_shape=(16,) * 3, job_type="slurm", num_workers=2, job_config=config())
    assert caught.value.failed_block_ids


def test_refused_submission_says_why(queue: Cluster, tmp_path: Path) -> None:
    source = stored(tmp_path / "in.zarr", volume(32))
    out = empty(tmp_path / "out.zarr", (32, 32, 32), "uint8")
    with pytest.raises(RunnerError, match="invalid partition"):
        bp.copy(source, out, job_type="slurm", job_config=config(partition="nowhere"))
    with pytest.raises(ConfigError, match="is not a slurm configuration"):
        bp.copy(source, out, job_type="slurm", job_config=RunnerConfig())


DRIVER = """
    import zarr
    from cluster_data import config, slow_plus_one
    from bioimage_py.runner import map_blocks
    folder = {folder!r}
    map_blocks(slow_plus_one, [zarr.open_array(folder + "/in.zarr", mode="r")],
               [zarr.open_array(folder + "/out.zarr", mode="r+")], block_shape=(16, 16, 16), num_workers=3,
               job_type="slurm", job_config=config())
"""


def started_driver(folder: Path, **variables: str) -> subprocess.Popen[bytes]:
    """Another process that runs the call on ``in.zarr`` and ``out.zarr`` of a folder."""
    script = textwrap.dedent(DRIVER.format(folder=str(folder)))
    path = ":".join([str(Path(__file__).parent), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path, **variables}, stderr=subprocess.PIPE
    )


def test_the_call_after_a_killed_driver_continues(queue: Cluster, tmp_path: Path) -> None:
    source = stored(tmp_path / "in.zarr", volume(64))
    out = empty(tmp_path / "out.zarr", (64, 64, 64), "uint8")
    driver = started_driver(tmp_path)
    assert wait(lambda: np.count_nonzero(out[...]) > 20 * 16**3, 60)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    done = np.count_nonzero(out[...]) // 16**3
    report = _again(source, out)
    np.testing.assert_array_equal(out[...], source[...] + 1)
    seconds = report.stages[0].seconds
    assert 0 < len(seconds) <= 64
    assert done >= 20
    assert not list(tmp_path.glob(".bioimage_py/*"))


def _again(source: Any, out: Any) -> Any:
    return map_blocks(
        slow_plus_one,
        [source],
        [out],
        block_shape=(16, 16, 16),
        num_workers=3,
        job_type="slurm",
        job_config=config(),
    )


def test_ctrl_c_ends_the_jobs_after_their_blocks(queue: Cluster, tmp_path: Path) -> None:
    source = stored(tmp_path / "in.zarr", volume(64))
    out = empty(tmp_path / "out.zarr", (64, 64, 64), "uint8")
    driver = started_driver(tmp_path)
    assert wait(lambda: np.count_nonzero(out[...]) > 10 * 16**3, 60)
    driver.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in driver.communicate(timeout=30)[1]
    assert queue.empty(5)
    assert np.count_nonzero(out[...]) < 64 * 16**3
    _again(source, out)
    np.testing.assert_array_equal(out[...], source[...] + 1)


def test_ctrl_c_twice_cancels_the_jobs(queue: Cluster, tmp_path: Path) -> None:
    stored(tmp_path / "in.zarr", volume(64))
    empty(tmp_path / "out.zarr", (64, 64, 64), "uint8")
    driver = started_driver(tmp_path, SECONDS_A_BLOCK="100")
    assert wait(lambda: list(tmp_path.glob(".bioimage_py/*/claims/*/0")), 60)
    driver.send_signal(signal.SIGINT)
    assert not wait(lambda: driver.poll() is not None, 2)
    assert queue.jobs("RUNNING")
    driver.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in driver.communicate(timeout=30)[1]
    assert queue.empty(1)
