"""What all operations of the package share: examples, plans, debug mode, four axes, paths, resuming."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import bioimage_py as bp
from bioimage_py import morphology
from bioimage_py.engine.declaration import Declaration
from bioimage_py.errors import RunnerError
from bioimage_py.io import create_array
from bioimage_py.runner.planning.estimate import RunPlan

QUIET: dict[str, Any] = {"progress": False}
LABELS = (np.arange(16**3).reshape(16, 16, 16) // 37 % 5).astype("u2")
CALLS: dict[str, Any] = {
    "binary_closing": {},
    "binary_dilation": {},
    "binary_erosion": {},
    "binary_opening": {},
    "distance_transform": {},
    "expand_labels": {"distance": 2},
    "fill_holes": {},
    "find_local_maxima": {},
    "map_points_to_objects": {"points": [[1, 2, 3]]},
    "morphology": {},
    "regionprops": {"compute_surface": True},
    "remove_small_holes": {},
    "remove_small_objects": {},
    "skeletonize": {},
}


def test_all_are_here_and_declared() -> None:
    assert sorted(CALLS) == sorted(morphology.__all__)
    for name in CALLS:
        assert isinstance(getattr(morphology, name).declaration, Declaration)


@pytest.mark.parametrize("name", CALLS)
def test_plans_and_debug_mode(name: str) -> None:
    call, how = getattr(morphology, name), CALLS[name]
    blocks = {} if name == "skeletonize" else {"block_shape": (8, 8, 8)}
    assert isinstance(call(LABELS, **how, plan=True), RunPlan)
    assert isinstance(call(LABELS, **how, **blocks, plan=True), RunPlan)
    call(LABELS, **how, **blocks, debug=True)


@pytest.mark.parametrize("name", ["binary", "distance.distances", "growing", "holes", "maxima", "measures.measuring"])
def test_examples(name: str) -> None:
    module = importlib.import_module(f"bioimage_py.morphology.{name}")
    names = {"np": np, **{one: getattr(morphology, one) for one in morphology.__all__}}
    flags = doctest.NORMALIZE_WHITESPACE
    found = doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=names)
    runner = doctest.DocTestRunner(optionflags=flags)
    for one in found:
        runner.run(one)
    assert runner.summarize().failed == 0


def test_four_axes(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((5, 6, 7, 8)) < 0.97
    source = create_array(tmp_path / "a.zarr", "a", shape=array.shape, dtype="bool", chunks=(2, 3, 3, 4))
    source[...] = array
    exact = ndimage.distance_transform_edt(array).astype("f4")
    how = {"axes": (0, 1, 2, 3), "block_shape": (2, 3, 3, 4), **QUIET}
    output = morphology.distance_transform(source, distances=tmp_path / "a.zarr" / "d", **how)
    assert np.array_equal(output[...], exact)
    assert np.array_equal(morphology.fill_holes(source, **how), ndimage.binary_fill_holes(array))
    assert morphology.morphology(source, **how)["size"].tolist() == [array.sum()]
    assert len(morphology.find_local_maxima(exact, block_shape=3, **QUIET)) == len(morphology.find_local_maxima(exact))


def test_a_distance_transform_that_failed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bioimage_py.morphology.distance import distance_blocks

    source = create_array(tmp_path / "a.zarr", "a", shape=(20, 30, 30), dtype="u1", chunks=(10, 10, 10))
    source[...] = array = (np.random.default_rng(0).random((20, 30, 30)) < 0.99).astype("u1")
    output = create_array(tmp_path / "a.zarr", "d", shape=array.shape, dtype="f4", chunks=(10, 10, 10))
    run, calls = distance_blocks.NextAxis.run, []

    def failing(self: Any, inputs: Any, outer: Any) -> Any:
        calls.append(outer)
        if len(calls) == 3:
            raise OSError("the disk is away")
        return run(self, inputs, outer)

    how: dict[str, Any] = {"distances": output, "block_shape": 10, "retries": 0, **QUIET}
    from bioimage_py.morphology.distance import cut

    monkeypatch.setattr(cut, "PLANES_VOXELS", 4)
    with monkeypatch.context() as patch:
        patch.setattr(distance_blocks.NextAxis, "run", failing)
        with bp.execution(version="1"), pytest.raises(RunnerError) as caught:
            morphology.distance_transform(source, **how)
    assert (Path(caught.value.tmp_folder) / "arrays.zarr").exists()
    with bp.execution(version="1"):
        morphology.distance_transform(source, **how)
    assert np.array_equal(output[...], ndimage.distance_transform_edt(array).astype("f4"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
