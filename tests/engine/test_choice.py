"""job_type="auto": threads, or processes where a kernel holds the interpreter lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py import segmentation
from bioimage_py.runner.execution import Execution, current_session
from bioimage_py.runner.planning import defaults
from bioimage_py.runner.planning.build import Where, blocks_stage

from ..helpers import nothing


def stored(path: Path, array: np.ndarray) -> Any:
    made = zarr.create_array(str(path), shape=array.shape, chunks=(8, 8, 8), dtype=array.dtype)
    made[:] = array
    return made


def job_type(stage: Any, **how: Any) -> str:
    return defaults.chosen([stage], Execution(job_type="auto", **how)).job_type


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "LARGE_VOXELS", 16**3)


def test_auto_is_processes_for_kernels_that_hold_the_gil(few: None, tmp_path: Path) -> None:
    array = stored(tmp_path / "a.zarr", np.zeros((16, 16, 16), np.uint8))
    holding = blocks_stage(nothing, [array], where=Where(8), holds_gil=True)
    assert job_type(holding, num_workers=2) == "subprocess"
    assert job_type(holding, num_workers=1) == "local"
    assert job_type(blocks_stage(nothing, [array], where=Where(8)), num_workers=2) == "local"
    assert (
        job_type(blocks_stage(nothing, [np.asarray(array)], where=Where(8), holds_gil=True), num_workers=2) == "local"
    )


def test_auto_is_threads_where_processes_take_longer_to_start(tmp_path: Path) -> None:
    array = stored(tmp_path / "a.zarr", np.zeros((16, 16, 16), np.uint8))
    assert job_type(blocks_stage(nothing, [array], where=Where(8), holds_gil=True), num_workers=2) == "local"


def test_other_job_types_are_taken_at_their_word(few: None, tmp_path: Path) -> None:
    array = stored(tmp_path / "a.zarr", np.zeros((16, 16, 16), np.uint8))
    stage = blocks_stage(nothing, [array], where=Where(8), holds_gil=True)
    how = Execution(job_type="local", num_workers=2)
    assert defaults.chosen([stage], how) is how


@pytest.mark.slow
def test_auto_gives_the_same_labels(few: None, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 2, (16, 16, 16), np.uint8)
    source = stored(tmp_path / "a.zarr", image)
    output = stored(tmp_path / "b.zarr", np.zeros(image.shape, np.uint64))
    with bp.execution("auto", num_workers=2):
        segmentation.label(source, output, block_shape=8)
        session = current_session()
        assert session is not None
        assert len(session.reports[0].worker_peaks) == 2  # processes, which have memory of their own
    assert np.array_equal(output[:], segmentation.label(image))


@pytest.mark.parametrize(("edge", "processes"), [(256, 0), (512, 2)])
def test_auto_labels_large_volumes_by_processes(tmp_path: Path, edge: int, processes: int) -> None:
    shape, chunks = (edge,) * 3, (128,) * 3
    source, output = (
        zarr.create_array(str(tmp_path / name), shape=shape, chunks=chunks, dtype=dtype)
        for name, dtype in (("a.zarr", np.uint8), ("b.zarr", np.uint64))
    )
    with bp.execution("auto", num_workers=2):
        segmentation.label(source, output, block_shape=128)
        session = current_session()
        assert session is not None
        assert len(session.reports[0].worker_peaks) == processes


def test_auto_takes_and_makes_arrays_in_memory(few: None) -> None:
    image = np.random.default_rng(0).integers(0, 2, (16, 16, 16), np.uint8)
    made = segmentation.label(image, block_shape=8, job_type="auto", num_workers=2)
    assert np.array_equal(made, segmentation.label(image, job_type="auto"))
