"""Pyramids: all levels in one run, the same as one call for each."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest
import zarr

import bioimage_py as bp
from bioimage_py.errors import ParameterError, RunnerError
from bioimage_py.runner.execution import current_session
from bioimage_py.wrapper.downsample import DownsampleSource

FACTORS = [2, (1, 2, 3), (4, 1, 1)]


def levels_of(array: np.ndarray, method: Any) -> list[np.ndarray]:
    levels = [array]
    for factor in FACTORS:
        levels.append(np.asarray(bp.downsample(levels[-1], factor, method=method)))
    return levels[1:]


@pytest.mark.parametrize("method", ["mean", "mode", "stride"])
@pytest.mark.parametrize("kwargs", [{}, {"block_shape": 16}, {"block_shape": (8, 16, 16), "num_workers": 3}])
def test_pyramid_is_a_downsample_per_level(method: Any, kwargs: Any, tmp_path: Any) -> None:
    array = np.random.default_rng(2).integers(0, 200, (37, 40, 70)).astype(np.uint16)
    expected = levels_of(array, method)
    source = zarr.create_array(tmp_path / "in.zarr", shape=array.shape, chunks=(8, 16, 16), dtype="u2")
    source[...] = array
    outputs = [
        zarr.create_array(tmp_path / f"{n}.zarr", shape=level.shape, chunks=(8, 8, 8), dtype="u2")
        for n, level in enumerate(expected)
    ]
    assert bp.pyramid(source, FACTORS, outputs, method=method, **kwargs) == outputs
    for results in (outputs, bp.pyramid(array, FACTORS, method=method, **kwargs)):
        for level, result in zip(expected, results, strict=True):
            np.testing.assert_array_equal(np.asarray(result[...]), level)
    paths = [str(tmp_path / f"{n}.zarr/made") for n in range(3, 6)]
    bp.pyramid(source, FACTORS, paths, method=method, **kwargs)
    np.testing.assert_array_equal(bp.open_source(tmp_path / "5.zarr", "made")[...], expected[-1])


def test_pyramid_in_worker_processes_is_one_run(tmp_path: Any) -> None:
    array = np.random.default_rng(2).integers(0, 200, (37, 40, 70)).astype(np.uint16)
    source = zarr.create_array(tmp_path / "in.zarr", shape=array.shape, chunks=(16,) * 3, dtype="u2")
    source[...] = array
    expected = levels_of(array, "mean")
    with bp.execution("subprocess", 2, progress=False):
        bp.pyramid(source, FACTORS, [str(tmp_path / f"out.zarr/{n}") for n in range(3)])
        session = current_session()
        assert session is not None
        names = [[stage.name for stage in report.stages] for report in session.reports]
    assert names == [["levels 1-3"]]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = [file.create_dataset(str(n), shape=level.shape, dtype="u2") for n, level in enumerate(expected)]
        bp.pyramid(source, FACTORS, made, job_type="subprocess")
        for n, level in enumerate(expected):
            np.testing.assert_array_equal(bp.open_source(tmp_path / "out.zarr", str(n))[...], level)
            np.testing.assert_array_equal(made[n][...], level)


def test_pyramid_that_was_interrupted_goes_on(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(2).integers(0, 200, (37, 40, 70)).astype(np.uint16)
    source = zarr.create_array(tmp_path / "in.zarr", shape=array.shape, chunks=(16,) * 3, dtype="u2")
    source[...] = array
    outputs = [
        zarr.create_array(tmp_path / f"{n}.zarr", shape=level.shape, chunks=(4,) * 3, dtype="u2")
        for n, level in enumerate(levels_of(array, "mean"))
    ]
    read, read_boxes = DownsampleSource._getitem, []

    def broken(view: DownsampleSource, roi: Any) -> np.ndarray:
        if view.factors == (1, 2, 3) and roi[0].start >= 8:
            raise OSError("the second level cannot be read")
        return read(view, roi)

    def counted(view: DownsampleSource, roi: Any) -> np.ndarray:
        read_boxes.append((view.factors, roi))
        return read(view, roi)

    how = {"block_shape": 8, "num_workers": 2, "retries": 0}
    monkeypatch.setattr(DownsampleSource, "_getitem", broken)
    with pytest.raises(RunnerError):
        bp.pyramid(source, FACTORS, outputs, **how)
    assert not outputs[2][...].any()
    monkeypatch.setattr(DownsampleSource, "_getitem", counted)
    bp.pyramid(source, FACTORS, outputs, **how)
    assert {factors for factors, _ in read_boxes} == {(1, 2, 3), (4, 1, 1)}
    monkeypatch.undo()
    for output, level in zip(outputs, levels_of(array, "mean"), strict=True):
        np.testing.assert_array_equal(output[...], level)


def test_pyramid_without_an_output_for_each_level_is_refused() -> None:
    with pytest.raises(ParameterError, match="2 scale factors and 1 outputs"):
        bp.pyramid(np.zeros((4, 4)), [2, 2], [np.zeros((2, 2))])
    assert bp.pyramid(np.zeros((4, 4)), []) == []
