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
from bioimage_py.errors import StorageError
from bioimage_py.per_object.folder import Begin, Publish, hidden, left_by_others
from bioimage_py.runner.ledger.stage_record import Results

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
    assert len(left_by_others(str(tmp_path / "out"))) == 1
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


@pytest.mark.parametrize("what", ["precomputed", "ply"])
def test_overwriting_removes_what_dead_runs_have_left(tmp_path: Path, what: str) -> None:
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 2:6] = 1
    out = str(tmp_path / "out")
    tokens = [Begin(out, False)(Results([], [].__getitem__, run)) for run in ("a", "b")]
    names = (".out.mine", f".outer.{tokens[0]}", f"out.{tokens[0]}", ".out.0123456789ab")  # the last one has no mark
    others = [tmp_path / name for name in names]
    for other in others:
        other.mkdir()
    bp.mesh.surfaces(labels, out, format=what, progress=False)  # type: ignore[arg-type]
    assert sorted(left_by_others(out)) == sorted(hidden(out, token) for token in tokens)
    bp.mesh.surfaces(labels, out, format=what, overwrite=True, progress=False)  # type: ignore[arg-type]
    assert not left_by_others(out)
    assert all(other.is_dir() for other in others)
    before = content(tmp_path / "out")
    # a run whose files are gone never publishes a part of them
    hidden(out, tokens[0]).mkdir()
    (hidden(out, tokens[0]) / "2.ply").touch()
    with pytest.raises(StorageError, match="were removed"):
        Publish(out, None, True, (1.0, 1.0, 1.0))({"begin": tokens[0]})  # type: ignore[arg-type]
    assert content(tmp_path / "out") == before
