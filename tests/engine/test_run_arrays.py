"""Stages with grids of their own, and the arrays that a run makes for itself: kills, failures, and what is left."""

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
from bioimage_py.cli.main import main
from bioimage_py.errors import MemoryBudgetError, RunnerError
from bioimage_py.io import create_array
from bioimage_py.runner import resume_run

from .run_array_work import SHAPE, double_sums, expected

DATA = np.random.default_rng(0).integers(0, 9, SHAPE).astype(np.uint8)
BACKENDS = [("local", 1), ("local", 3), ("subprocess", 2)]


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Any, Any]:
    source = create_array(tmp_path / "in.zarr", "a", shape=SHAPE, dtype="u1", chunks=(6, 6))
    source[...] = DATA
    return source, create_array(tmp_path / "out.zarr", "a", shape=SHAPE, dtype="i8", chunks=(6, 8))


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".bioimage_py/*")]


@pytest.mark.parametrize(("job_type", "workers"), BACKENDS)
def test_same_on_every_backend(job_type: str, workers: int, stored: Any, tmp_path: Path) -> None:
    source, output = stored
    double_sums(source, output, job_type=job_type, num_workers=workers, progress=False)
    assert np.array_equal(output[...], expected(DATA))
    assert left(tmp_path) == []


def test_in_memory_and_in_debug_mode() -> None:
    assert np.array_equal(double_sums(DATA, progress=False), expected(DATA))
    assert double_sums(DATA, debug=True, progress=False).shape == SHAPE


def test_to_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        output = file.create_dataset("a", SHAPE, "i8", chunks=(6, 8))
        double_sums(DATA, output, num_workers=2, progress=False)
        assert np.array_equal(output[...], expected(DATA))
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize(("job_type", "workers"), [("local", 2), ("subprocess", 2)])
@pytest.mark.parametrize("at", ["before-write:2", "after-write:4", "before-write:6", "after-write:7"])
def test_killed_and_called_again(
    at: str, job_type: str, workers: int, stored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a thread dies all die, and the same call goes on; a worker process is replaced."""
    source, output = stored
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").touch()
    command = [sys.executable, "-c", "from tests.engine.run_array_work import child; child()", job_type, str(workers)]
    root = Path(__file__).parents[2]
    fault = {"BIOIMAGE_PY_FAULT": f"{at}:{tmp_path / 'token'}", "PYTHONPATH": str(root)}
    child = subprocess.run(command, cwd=tmp_path, env={**os.environ, **fault}, capture_output=True, timeout=90)
    killed_itself = job_type == "local"
    assert child.returncode == (-signal.SIGKILL if killed_itself else 0), child.stderr
    if killed_itself:
        assert len(left(tmp_path)) == 1
        before = (tmp_path / "calls").read_text().splitlines()
        double_sums(source, output, "calls", num_workers=2, progress=False)
        after = (tmp_path / "calls").read_text().splitlines()[len(before) :]
        if any(line.startswith("0 ") for line in before):  # the first stage is over
            assert not any(line.startswith("1 ") for line in after)
    assert np.array_equal(output[...], expected(DATA))
    assert left(tmp_path) == []


def test_a_stage_that_is_done_is_not_run_again(stored: Any, tmp_path: Path) -> None:
    """Not by the same call, and not by who continues the folder."""
    source, output = stored
    calls, fails = tmp_path / "calls", tmp_path / "fails"
    for again in (lambda folder: double_sums(source, output, str(calls), str(fails), progress=False), resume_run):
        output[...] = 0
        fails.touch()
        calls.write_text("")
        with pytest.raises(RunnerError) as caught:
            double_sums(source, output, str(calls), str(fails), progress=False, retries=0, num_workers=2)
        fails.unlink()
        assert (Path(caught.value.tmp_folder) / "arrays.zarr" / "rows" / "zarr.json").exists()
        rows = [line for line in calls.read_text().splitlines() if line.startswith("1 ")]
        again(caught.value.tmp_folder)
        assert [line for line in calls.read_text().splitlines() if line.startswith("1 ")] == rows
        assert np.array_equal(output[...], expected(DATA))
        assert left(tmp_path) == []


def test_clean_removes_it(stored: Any, tmp_path: Path) -> None:
    source, output = stored
    (tmp_path / "fails").touch()
    with pytest.raises(RunnerError) as caught:
        double_sums(source, output, "", str(tmp_path / "fails"), progress=False, retries=0)
    with pytest.raises(SystemExit) as ended:
        main(["runs", "clean", str(caught.value.tmp_folder), "--yes"])
    assert not ended.value.code
    assert left(tmp_path) == []


def test_two_runs_at_once_have_an_array_each(stored: Any, tmp_path: Path) -> None:
    """A run that failed keeps its array; another call on another output makes its own."""
    source, output = stored
    (tmp_path / "fails").touch()
    with pytest.raises(RunnerError):
        double_sums(source, output, "", str(tmp_path / "fails"), progress=False, retries=0)
    other = create_array(tmp_path / "out.zarr", "b", shape=SHAPE, dtype="i8", chunks=(6, 8))
    double_sums(source, other, progress=False)
    assert np.array_equal(other[...], expected(DATA))
    assert len(left(tmp_path)) == 1


def test_plan_counts_it(stored: Any, tmp_path: Path) -> None:
    from bioimage_py.runner.planning.instead import Instead

    source, output = stored
    found = []
    for target in (output, None):
        with pytest.raises(Instead) as caught:
            double_sums(source, target, plan=True)
        assert caught.value.plan is not None
        found.append(caught.value.plan)
    size = 8 * SHAPE[0] * SHAPE[1]
    assert [plan.array_bytes for plan in found] == [size, size]
    assert "between stages" in str(found[0])
    assert found[1].promised_bytes - found[0].promised_bytes == size
    assert found[0].stages[0].bytes_written == size
    with pytest.raises(MemoryBudgetError):
        double_sums(source, memory=found[1].promised_bytes - 1, progress=False)
    assert left(tmp_path) == []


def test_in_a_pipeline_it_is_done_once(stored: Any, tmp_path: Path) -> None:
    source, output = stored
    for _ in range(2):
        with bp.pipeline(tmp_path / "p", progress=False):
            double_sums(source, output, str(tmp_path / "calls"))
    assert np.array_equal(output[...], expected(DATA))
    assert len((tmp_path / "calls").read_text().splitlines()) == 8
