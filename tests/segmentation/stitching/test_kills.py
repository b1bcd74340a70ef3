"""A process that segments tiles is killed: the tiles that are done stay done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py import segmentation

from .test_stitching import same_partition
from .tile_work import SHAPE, stitch


@pytest.mark.processes
@pytest.mark.parametrize("deadly", [5, 20, 34])  # of 36; the last two may run at once
@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_killed_and_called_again(job_type: str, deadly: int, tmp_path: Path) -> None:
    """Where a thread dies all die, and the same call goes on; a worker process is replaced."""
    whole = segmentation.label(np.random.default_rng(7).random(SHAPE) < 0.45)
    bp.io.create_array(tmp_path / "in.zarr", "x", shape=SHAPE, dtype="u8", chunks=(8, 8))[...] = whole
    output = bp.io.create_array(tmp_path / "out.zarr", "x", shape=SHAPE, dtype="u8", chunks=(8, 8))
    (tmp_path / "token").touch()
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", "from tests.segmentation.stitching.tile_work import child; child()"]
    run = subprocess.run(
        [*command, str(tmp_path), str(deadly), job_type],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        timeout=120,
    )
    assert not (tmp_path / "token").exists()
    assert run.returncode == (-signal.SIGKILL if job_type == "local" else 0), run.stderr.decode()
    done = stitch(str(tmp_path), deadly, job_type).done() if job_type == "local" else None
    if done is not None:
        assert set(done) == set(range(36))
        # what two threads were at when they died, and what they had not yet written down
        assert sum(done.values()) <= 36 + 4
    assert same_partition(output[...], whole)
    assert not list(tmp_path.glob(".bioimage_py/*"))
