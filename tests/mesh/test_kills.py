"""A run that was killed has left nothing under the name of its output, and is continued by the same call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bioimage_py as bp

from .dying import content, run


@pytest.mark.processes
@pytest.mark.parametrize(
    ("what", "where", "after"),
    [
        ("ply", "pieces", 9),
        ("shards", "pieces", 20),
        ("ply", "files", 1),
        ("levels", "files", 3),
        ("shards", "publish", 0),
        ("skeleton", "pieces", 5),
        ("skeleton", "publish", 0),
    ],
)
def test_killed_and_called_again(tmp_path: Path, what: str, where: str, after: int) -> None:
    labels = np.zeros((30, 30, 30), np.uint64)
    labels[2:28, 3:14, 2:28], labels[4:10, 16:28, 3:27], labels[14:28, 16:28, 4:9] = 1, 2**60 + 1, 7
    bp.io.create_array(tmp_path / "labels.zarr", "x", shape=labels.shape, dtype="u8", chunks=(12, 12, 12))[...] = labels
    root = Path(__file__).parents[2]
    dead = subprocess.run(
        [sys.executable, "-c", "from tests.mesh.dying import child; child()", str(tmp_path), what, where, str(after)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        timeout=250,
    )
    assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()
    assert not (tmp_path / "out").exists()
    begun = list(tmp_path.glob(".bioimage_py/*-*"))
    assert len(begun) == 1
    run(str(tmp_path), what)
    assert not list(tmp_path.glob(".bioimage_py/*-*"))
    hidden = [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")]
    assert not hidden
    run(str(tmp_path), what, "undisturbed")
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


@pytest.mark.processes
@pytest.mark.parametrize("what", ["shards", "skeleton"])
def test_processes_give_the_same_bytes(tmp_path: Path, what: str) -> None:
    labels = np.zeros((26, 26, 26), np.uint16)
    labels[2:24, 3:14, 2:24], labels[4:10, 16:25, 3:23] = 1, 9
    bp.io.create_array(tmp_path / "labels.zarr", "x", shape=labels.shape, dtype="u2", chunks=(12, 12, 12))[...] = labels
    run(str(tmp_path), what, "threads")
    with bp.execution("subprocess", num_workers=2):
        run(str(tmp_path), what, "processes")
    assert content(tmp_path / "threads") == content(tmp_path / "processes")
