"""`segment` with a network: raw image to objects in one call, as the operations one by one, and after kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.errors import ParameterError, SourceNotFoundError
from bioimage_py.io import create_array
from bioimage_py.sources import Axis
from bioimage_py.workflows import segment

from ..inference.networks import network

OFFSETS = [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (-3, 0, 0)]
SHAPE = (36, 40, 44)
CALLED: dict[str, Any] = {"tile": 24, "overlap": 8, "margin": 2, "normalize": "standard"}
QUIET: dict[str, Any] = {"progress": False, "block_shape": 20}


@pytest.fixture
def raw(tmp_path: Path) -> Any:
    array = create_array(tmp_path / "in.zarr", "raw", shape=SHAPE, dtype="uint8", chunks=(20, 20, 20))
    array[...] = np.random.default_rng(0).integers(0, 256, SHAPE)
    return array


def labels(found: Any) -> np.ndarray:
    return np.asarray(bp.open_source(found.path)[...])


def test_boundaries_of_a_network(raw: Any, tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx")
    found = segment(
        raw, tmp_path / "a.zarr", method="multicut", model=path, network=CALLED, keep=tmp_path / "kept", **QUIET
    )
    assert [stage.name for stage in found.stages][:2] == ["network", "superpixels"]
    boundaries = bp.inference.predict(raw, path, np.zeros(SHAPE, np.uint8), **CALLED)
    assert np.array_equal(bp.open_source(tmp_path / "kept" / "network.zarr")[...], boundaries)
    alone = segment(boundaries, tmp_path / "b.zarr", method="multicut", **QUIET)
    assert np.array_equal(labels(found), labels(alone))
    assert sorted(os.listdir(tmp_path)) == ["a.zarr", "b.zarr", "in.zarr", "kept", "net.onnx"]


@pytest.mark.processes
def test_affinities_of_a_network_on_worker_processes_and_by_the_command(raw: Any, tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx", made=4)
    how: dict[str, Any] = {"method": "mutex", "offsets": OFFSETS, "model": path, "network": CALLED, **QUIET}
    found = segment(raw, tmp_path / "a.zarr", job_type="subprocess", num_workers=2, **how)
    affinities = bp.inference.predict(raw, path, np.zeros((4, *SHAPE), np.uint8), channels=4, **CALLED)
    alone = segment(affinities, tmp_path / "b.zarr", method="mutex", offsets=OFFSETS, **QUIET)
    assert np.array_equal(labels(found), labels(alone))
    line = ["segment", "in.zarr/raw", "c.zarr", "--method", "mutex", "--block-shape", "20", "--quiet", "--model", path]
    line += ["--offsets", ";".join(",".join(map(str, offset)) for offset in OFFSETS), "--normalize", "standard"]
    line += ["--tile", "24", "--overlap", "8", "--margin", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "bioimage_py", *line], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.asarray(bp.open_source(tmp_path / "c.zarr")[...]), labels(found))


def test_channels_of_the_image_and_a_region(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx", taken=2)
    axes = [Axis("z", "space"), Axis("c", "channel"), Axis("y", "space"), Axis("x", "space")]
    shape = (20, 2, 24, 28)
    image = create_array(tmp_path / "in.zarr", "i", shape=shape, dtype="f4", axes=axes, chunks=(10, 1, 12, 14))
    image[...] = np.random.default_rng(1).random(shape)
    part = (slice(0, 20), slice(4, 24), slice(0, 28))
    called = {"channel_axis": "c", "tile": 16}
    found = segment(
        image, tmp_path / "a.zarr", method="agglomerate", model=path, network=called, roi=part, progress=False
    )
    volume = np.ascontiguousarray(np.moveaxis(image[...], 1, 0)[(slice(None), *part)])
    boundaries = bp.inference.predict(
        volume, path, np.zeros((20, 20, 28), np.uint8), channel_axis=0, axes=(1, 2, 3), tile=16
    )
    alone = segment(boundaries, tmp_path / "b.zarr", method="agglomerate", progress=False)
    assert np.array_equal(labels(found), labels(alone))


def test_bad_calls_are_refused_before_anything_is_made(raw: Any, tmp_path: Path) -> None:
    path, output = network(tmp_path / "net.onnx"), tmp_path / "a.zarr"
    with pytest.raises(ParameterError, match=r"which method='watershed' does not take"):
        segment(raw, output, model=path, **QUIET)
    with pytest.raises(ParameterError, match="there is none"):
        segment(raw, output, method="multicut", network=CALLED, **QUIET)
    with pytest.raises(ParameterError, match="'tiles', which is none of tile, overlap"):
        segment(raw, output, method="multicut", model=path, network={"tiles": 3}, **QUIET)
    with pytest.raises(SourceNotFoundError):
        segment(raw, output, method="multicut", model=tmp_path / "none.onnx", **QUIET)
    with pytest.raises(ParameterError, match="channels"):
        segment(raw, output, method="mutex", offsets=OFFSETS, model=path, **QUIET)
    with pytest.raises(ParameterError, match="overlap"):
        segment(raw, output, method="multicut", model=path, network={"tile": 8, "overlap": 9}, **QUIET)
    assert sorted(os.listdir(tmp_path)) == ["in.zarr", "net.onnx"]


@pytest.mark.processes
def test_after_a_kill_the_network_is_not_run_again_but_another_one_is(raw: Any, tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx")
    code = (
        "import os, sys, bioimage_py as bp\n"
        "from bioimage_py.workflows import segment, work\n"
        "stage = work.Work.stage\n"
        "def killed(self, name, function):\n"
        "    value = stage(self, name, function)\n"
        "    if name == 'superpixels': os.kill(os.getpid(), 9)\n"
        "    return value\n"
        "work.Work.stage = killed\n"
        "segment(bp.open_source(sys.argv[1], 'raw'), sys.argv[2], method='multicut', block_shape=20, progress=False,"
        f" model=sys.argv[3], network={CALLED!r})\n"
    )
    command = [sys.executable, "-c", code, str(raw.path), str(tmp_path / "a.zarr"), str(path)]
    assert subprocess.run(command, timeout=300, check=False).returncode == -signal.SIGKILL
    predicted = tmp_path / "a.zarr.scratch" / "scratch" / "network.zarr"
    files = {one: one.stat().st_mtime_ns for one in predicted.rglob("*") if one.is_file()}
    assert files
    calls: list[str] = []
    how: dict[str, Any] = {"method": "multicut", "model": path, "network": CALLED, **QUIET}
    with pytest.MonkeyPatch.context() as patch:
        from bioimage_py.inference.models import OnnxFile

        opened = OnnxFile.open
        patch.setattr(OnnxFile, "open", lambda self, device: calls.append(device) or opened(self, device))
        found = segment(raw, tmp_path / "a.zarr", **how)
        assert not calls
        fresh = segment(raw, tmp_path / "b.zarr", **how)
        again = calls.copy()
        assert again
        assert np.array_equal(labels(found), labels(fresh))
        killed = subprocess.run([*command[:4], str(tmp_path / "c.zarr"), str(path)], timeout=300, check=False)
        assert killed.returncode < 0
        network(path, hidden=7)
        other = segment(raw, tmp_path / "c.zarr", **how)
        assert calls == 2 * again
    assert np.array_equal(labels(other), labels(segment(raw, tmp_path / "d.zarr", **how)))
