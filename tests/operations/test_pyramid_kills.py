"""Levels that share a stage: kills, the same call again, a second run, and the disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.engine.job import Job
from bioimage_py.errors import RunningError
from bioimage_py.io import create_array
from bioimage_py.operations import pyramids
from bioimage_py.runner.lease import ownership
from bioimage_py.runner.lease.regions import written_regions
from bioimage_py.runner.planning.build import blocks_stage
from bioimage_py.sources.arrays.tensor_handle import TensorHandle
from bioimage_py.wrapper import RoiSource
from bioimage_py.wrapper.downsample import DownsampleSource

from .pyramid_levels import QUIET, levels_of, same_bits, stages_of, voxels, zarrs

SCRIPT = """
    import json, os, sys, time
    import bioimage_py as bp
    from bioimage_py.operations import pyramids

    write = pyramids.write_levels

    def write_levels(block, inputs, outputs, mask):
        while os.path.exists("wait"):
            time.sleep(0.01)
        write(block, inputs, outputs, mask)

    if __name__ == "__main__":
        how = json.loads(sys.argv[1])
        if os.path.exists("wait"):
            pyramids.write_levels = write_levels
        outputs = [bp.open_source("levels.zarr", str(n), mode="r+") for n in (1, 2, 3)]
        print("begin", flush=True)
        bp.pyramid(bp.open_source("in.zarr", "a"), [2, 2, 2], outputs, block_shape=16, progress=False, **how)
"""


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Any, list[Any], list[np.ndarray]]:
    """An input, its levels (two stages), and what they should hold."""
    array = voxels((64, 61, 66), "u2")
    source = create_array(tmp_path / "in.zarr", "a", shape=array.shape, dtype="u2", chunks=(16,) * 3)
    source[...] = array
    outputs = zarrs(tmp_path, array.shape, [2, 2, 2], "u2", (8,) * 3)
    assert stages_of(source, [2, 2, 2], outputs, block_shape=16) == ["levels 1-2", "level 3"]
    return source, outputs, levels_of(array, [2, 2, 2], "mean")


def started(folder: Path, fault: str = "", **how: Any) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "script.py", json.dumps(how)]
    environment = {**os.environ, "BIOIMAGE_PY_FAULT": fault}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("at", ["before-write:2", "after-write:3", "before-write:6", "after-write:13"])
def test_killed_between_two_levels_and_called_again(at: str, stored: Any, tmp_path: Path) -> None:
    """With other workers, and only what is left is done: a block is done when all its levels are written."""
    source, outputs, expected = stored
    (tmp_path / "token").touch()
    assert started(tmp_path, f"{at}:{tmp_path / 'token'}", num_workers=1).wait(60) == -signal.SIGKILL
    read, boxes = DownsampleSource._getitem, []

    def counted(view: DownsampleSource, roi: Any) -> np.ndarray:
        if view.shape == expected[0].shape:
            boxes.append(roi)
        return read(view, roi)

    with mock.patch.object(DownsampleSource, "_getitem", counted):
        bp.pyramid(source, [2, 2, 2], outputs, block_shape=16, num_workers=3, **QUIET)
    n_written = int(at.rpartition(":")[2])
    assert 0 < len(boxes) <= 2 * 2 * 3 - (n_written - 1) // 2 + 1
    assert n_written < 13 or len(boxes) < 8, "blocks that are done are not done again"
    same_bits(outputs, expected)


def test_a_worker_that_is_killed_between_two_levels(stored: Any, tmp_path: Path, monkeypatch: Any) -> None:
    source, outputs, expected = stored
    (tmp_path / "token").touch()
    monkeypatch.setenv("BIOIMAGE_PY_FAULT", f"after-write:3:{tmp_path / 'token'}")
    how: dict[str, Any] = {"job_type": "subprocess", "num_workers": 2, "retries": 1, "progress": False}
    bp.pyramid(source, [2, 2, 2], outputs, block_shape=16, **how)
    assert not (tmp_path / "token").exists(), "nobody was killed"
    same_bits(outputs, expected)


def test_a_second_run_on_any_of_the_levels_is_refused(stored: Any, tmp_path: Path) -> None:
    _, outputs, expected = stored
    (tmp_path / "wait").touch()
    running = started(tmp_path, num_workers=2)
    try:
        deadline = time.monotonic() + 60
        while not any(state.state == "running" for _, state in ownership.runs_in(tmp_path / ".bioimage_py")):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for output in outputs:
            beside = RoiSource(output, tuple(slice(size - 1, size) for size in output.shape))
            with pytest.raises(RunningError, match="is writing the same region"):
                bp.copy(np.ones(beside.shape, "u2"), beside, block_shape=8, **QUIET)
    finally:
        (tmp_path / "wait").unlink()
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    same_bits(outputs, expected)


def test_claims_are_boxes_of_the_levels_themselves(stored: Any) -> None:
    source, outputs, _ = stored
    views = [DownsampleSource(one, 2) for one in (source, *outputs[:2])]
    job = Job(16)
    claims = written_regions(pyramids._stages(views, outputs, job))
    units = [tuple((0, -(-size // 8) * 8) for size in output.shape) for output in outputs]
    assert [(claim.storage, claim.box) for claim in claims] == [
        (repr(output.identity), box) for output, box in zip(outputs, units, strict=True)
    ]
    (left, right) = (
        written_regions([blocks_stage(pyramids.write_levels, [], [part], reads_outputs=False)])[0]
        for part in (RoiSource(outputs[1], slice(0, 8)), RoiSource(outputs[1], slice(8, 16)))
    )
    assert claims[1].overlaps(left)
    assert claims[1].overlaps(right)
    assert not left.overlaps(right)


@pytest.mark.parametrize("durability", ["process", "node"])
def test_all_levels_wait_for_the_disk(durability: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array, seen = voxels((32,) * 3, "u1"), set()
    outputs = zarrs(tmp_path, array.shape, [2, 2], "u1", (8,) * 3)
    write = TensorHandle.write

    def noted(self: TensorHandle, roi: Any, value: np.ndarray) -> None:
        seen.add((self.place.url[-1], self.sync))
        write(self, roi, value)

    monkeypatch.setattr(TensorHandle, "write", noted)
    bp.pyramid(array, [2, 2], outputs, durability=durability, num_workers=2, **QUIET)
    assert seen == {("1", durability == "node"), ("2", durability == "node")}
