"""`bioimage-py mesh` and `bioimage-py skeleton`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bioimage_py as bp
from bioimage_py.cli import main


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    array = np.zeros((12, 12, 40), np.uint16)
    array[2:6, 2:6, 2:38], array[7:11, 7:11, 3:30] = 5, 300
    bp.copy(array, tmp_path / "a.zarr/labels")
    return tmp_path / "a.zarr"


def call(*arguments: Any, code: int = 0) -> str:
    done = CliRunner(mix_stderr=False).invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_mesh(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "meshes"
    assert call("mesh", labels / "labels", out, "--format", "ply", "--ids", "300,7", "--quiet") == "1\n"
    assert {path.name for path in out.iterdir()} == {"300.ply", "provenance.json"}
    assert "--overwrite" in call("mesh", labels / "labels", out, code=1)
    how = ("--sharded", "--overwrite", "--json", "--levels", "2", "--sampling", "40,4,4", "--block-shape", "16,16,16")
    assert json.loads(call("mesh", labels / "labels", out, *how)) == 2
    assert (out / "0.shard").exists()
    assert "OUTPUT" in call("mesh", labels / "labels", code=2)


def test_skeleton(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "skeletons"
    how = ("--format", "swc", "--json", "--block-shape", "12,12,16")
    table = json.loads(call("skeleton", labels / "labels", out, *how))
    assert {row["label"] for row in table} == {5, 300}
    assert sum(row["cable_length"] for row in table) == pytest.approx(60, rel=0.2)
    assert {path.name for path in out.iterdir()} == {"5.swc", "300.swc", "provenance.json"}
    assert "cable_length" in call("skeleton", f"{labels}/labels::0:12,:,0:25", tmp_path / "more", "--quiet")
