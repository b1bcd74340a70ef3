"""A network on every backend: the same bits, also after kills, and what its worker processes do once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.errors import ResumeConflict
from bioimage_py.inference import Percentiles, predict
from bioimage_py.run_folder import RunState
from bioimage_py.runner.lease.ownership import runs_in

from .networks import network

TILES: dict[str, Any] = {"tile": 16, "overlap": 6, "margin": 2, "normalize": Percentiles(1, 99), "dtype": "uint8"}
BLOCKS = (16, 32, 16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (48, 40, 44)).astype(np.uint8)
    bp.copy(values, tmp_path / "in.zarr/raw", chunks=(16, 16, 16))
    network(tmp_path / "net.onnx", 3, 1, 2)
    return tmp_path


def call(folder: Path, key: str, **how: Any) -> np.ndarray:
    keywords = {"block_shape": BLOCKS, "progress": False, **TILES, **how}
    predict(bp.open_source(folder / "in.zarr", "raw"), folder / "net.onnx", folder / f"out.zarr/{key}", **keywords)
    return np.asarray(zarr.open_array(folder / f"out.zarr/{key}")[...])


def test_the_same_bits_on_every_backend(folder: Path) -> None:
    expected = call(folder, "whole", block_shape=None)
    assert expected.shape == (2, 48, 40, 44)
    assert expected.std() > 5
    for key, how in (
        ("one", {}),
        ("ahead", {"read_ahead": False, "num_workers": 2}),
        ("batch", {"batch": 3, "block_shape": (32, 16, 48)}),
        ("processes", {"job_type": "subprocess", "num_workers": 2}),
    ):
        np.testing.assert_array_equal(call(folder, key, **how), expected, key)


@pytest.mark.parametrize("fault", ["before-write", "after-write"])
def test_a_worker_that_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    expected = call(folder, "whole")
    (folder / "token").touch()
    monkeypatch.setenv("BIOIMAGE_PY_FAULT", f"{fault}:3:{folder / 'token'}")
    found = call(folder, "killed", job_type="subprocess", num_workers=2, retries=1)
    assert not (folder / "token").exists(), "nobody was killed"
    np.testing.assert_array_equal(found, expected)


KILLED = """
import sys
from tests.inference import test_backends
test_backends.call(test_backends.Path(sys.argv[1]), "resumed")
"""


def test_a_call_that_is_killed_goes_on(folder: Path) -> None:
    expected = call(folder, "whole")
    (folder / "token").touch()
    where = {**os.environ, "BIOIMAGE_PY_FAULT": f"after-write:6:{folder / 'token'}"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], cwd=root, env=where, timeout=200)
    assert done.returncode == -9
    states: list[RunState] = [state for _, state in runs_in(folder / ".bioimage_py")]
    assert len(states) == 1
    again = network(folder / "net.onnx", 3, 1, 2).read_bytes()
    network(folder / "net.onnx", 3, 1, 2, hidden=5)
    with pytest.raises(ResumeConflict):  # another model under the same name is another call
        call(folder, "resumed")
    (folder / "net.onnx").write_bytes(again)
    written = {path: path.stat().st_mtime_ns for path in (folder / "out.zarr/resumed/c").rglob("*") if path.is_file()}
    assert 0 < len(written) < expected.size / 16**3
    time.sleep(0.02)
    np.testing.assert_array_equal(call(folder, "resumed"), expected)
    kept = [path for path, when in written.items() if path.stat().st_mtime_ns == when]
    assert len(kept) >= len(written) - 4, "what was done is not done again"
    assert list(runs_in(folder / ".bioimage_py")) == []


def setup() -> Path:
    """A file for each process that calls it."""
    folder = Path(os.environ["SETUP_FOLDER"])
    (folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    return folder


def doubled(batch: np.ndarray, context: Path) -> np.ndarray:
    assert context.is_dir()
    return batch * 2


def test_setup_in_worker_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "calls").mkdir()
    monkeypatch.setenv("SETUP_FOLDER", str(folder / "calls"))
    raw = bp.open_source(folder / "in.zarr", "raw")
    how: dict[str, Any] = {"job_type": "subprocess", "num_workers": 2, "block_shape": BLOCKS, "progress": False}
    predict(raw, doubled, folder / "out.zarr/two", tile=16, setup=setup, **how)
    calls = [path.name.split("-")[0] for path in (folder / "calls").iterdir()]
    assert 1 <= len(calls) == len(set(calls)) <= 2
    np.testing.assert_array_equal(zarr.open_array(folder / "out.zarr/two")[...], raw[...] * np.float32(2))
