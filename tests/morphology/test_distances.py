"""Distances to background: those of scipy on the whole array, whatever the blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from bioimage_py.errors import DtypeError, ParameterError
from bioimage_py.io import create_array
from bioimage_py.morphology import distance_transform
from bioimage_py.morphology.distance import cut
from bioimage_py.sources.axes import Axis

from . import volumes

QUIET: dict[str, Any] = {"progress": False}


@pytest.fixture(params=["planes at once", "a line at a time"], autouse=True)
def together(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small volumes are cut as large ones are."""
    monkeypatch.setattr(cut, "PLANES_VOXELS", 4 * 40 if request.param == "planes at once" else 1)


def foreground(draw: Any) -> np.ndarray:
    shape = draw(volumes.shapes((1, 2, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    found = rng.random(shape) < draw(st.sampled_from([0.3, 0.9, 0.99]))
    found.flat[draw(st.integers(0, found.size - 1))] = False
    return found


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_it_is_the_transform_of_the_whole_array(data: st.DataObject) -> None:
    array = foreground(data.draw)
    sampling = data.draw(st.sampled_from([None, 2.0, (3.0, 1.0, 2.0)[: array.ndim], (0.7, 0.31, 1.1)[: array.ndim]]))
    roi = data.draw(volumes.regions(array.shape)) if data.draw(st.booleans()) else None
    block = data.draw(volumes.blocks(array.ndim)) if data.draw(st.booleans()) else None
    exact = distance_transform_edt(array, sampling=sampling)
    how = {"roi": roi, "block_shape": block, "num_workers": data.draw(st.sampled_from([1, 2]))}
    plain = distance_transform(
        array.astype(data.draw(st.sampled_from(["u1", ">i4", "f4"]))), sampling=sampling, **how, **QUIET
    )
    found, indices = distance_transform(array, sampling=sampling, return_indices=True, **how, **QUIET)
    part = roi or ...
    assert found.dtype == plain.dtype == np.float32
    if sampling in (None, 2.0, (3.0, 1.0, 2.0)[: array.ndim]):
        assert np.array_equal(plain[part], exact.astype("f4")[part])
    np.testing.assert_allclose(plain[part], exact[part], rtol=1e-6)
    np.testing.assert_allclose(found[part], exact[part], rtol=1e-6)
    there = np.indices(array.shape)
    steps = (indices - there) * np.broadcast_to(1.0 if sampling is None else sampling, array.ndim).reshape(
        -1, *(1,) * array.ndim
    )
    np.testing.assert_allclose(np.sqrt((steps**2).sum(0))[part], exact[part], rtol=1e-6)
    assert not array[tuple(indices)][part].any()
    whole = distance_transform(array, sampling=sampling, return_distances=False, return_indices=True)
    assert np.array_equal(indices[(slice(None), *(roi or [...]))], whole[(slice(None), *(roi or [...]))])


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_up_to_a_distance(data: st.DataObject) -> None:
    array, limit = foreground(data.draw), data.draw(st.sampled_from([0.5, 1.0, 2.0, 3.3, 50.0]))
    sampling = data.draw(st.sampled_from([None, (0.7, 0.31, 1.1)[: array.ndim]]))
    block = data.draw(volumes.blocks(array.ndim))
    found, indices = distance_transform(
        array, sampling=sampling, max_distance=limit, return_indices=True, block_shape=block, **QUIET
    )
    exact = distance_transform_edt(array, sampling=sampling)
    np.testing.assert_allclose(found, np.minimum(exact, limit), rtol=1e-6)
    whole = distance_transform(array, sampling=sampling, return_distances=False, return_indices=True)
    near = exact < limit * (1 - 1e-6)
    assert np.array_equal(indices[:, near], whole[:, near])
    assert (indices[:, exact > limit * (1 + 1e-6)] == -1).all()


@pytest.mark.parametrize("how", [{}, {"block_shape": 3}, {"block_shape": 2, "max_distance": 4.0}])
def test_no_background_at_all(how: dict[str, Any]) -> None:
    found, indices = distance_transform(np.ones((4, 5, 6)), return_indices=True, **how, **QUIET)
    assert (found == how.get("max_distance", np.inf)).all()
    assert (indices == -1).all()
    assert (distance_transform(np.ones((4, 5, 6)), **how, **QUIET) == how.get("max_distance", np.inf)).all()


def test_long_lines_and_large_distances() -> None:
    """Beyond what 32-bit floats hold of squares, and 32-bit integers."""
    for length in (5000, 70000):
        array = np.ones((2, length), bool)
        array[0, 3] = False
        exact = distance_transform_edt(array).astype("f4")
        assert np.array_equal(distance_transform(array), exact)
        assert np.array_equal(distance_transform(array, block_shape=(1, 1000), **QUIET), exact)


@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_stored_in_files(job_type: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = rng.random((30, 41, 37)) < 0.99
    source = create_array(tmp_path / "a.zarr", "a", shape=array.shape, dtype="bool", chunks=(16, 16, 16))
    source[...] = array
    output = distance_transform(source, distances=tmp_path / "a.zarr" / "d", job_type=job_type, num_workers=2, **QUIET)
    assert np.array_equal(output[...], distance_transform_edt(array).astype("f4"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_it_fits_the_memory_that_it_may_use(tmp_path: Path) -> None:
    source = create_array(tmp_path / "a.zarr", "a", shape=(1024,) * 3, dtype="bool", chunks=(64,) * 3)
    for memory in (None, 2**29, 2**28, 2**27):
        how: dict[str, Any] = {"distances": tmp_path / "a.zarr" / "d", "memory": memory, "num_workers": 2, "plan": True}
        how["cache"] = None if memory is None else 0
        plan = distance_transform(source, **how)
        assert plan.promised_bytes < (memory or 2**30)
        assert plan.array_bytes in (4 * 1024**3, 8 * 1024**3)


def test_times_are_apart(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((3, 9, 10)) < 0.9
    axes = (Axis("t", "time"), Axis("y"), Axis("x"))
    source = create_array(tmp_path / "a.zarr", "a", shape=array.shape, dtype="bool", chunks=(1, 4, 4), axes=axes)
    source[...] = array
    found, indices = distance_transform(source, return_indices=True, **QUIET)
    assert indices.shape == (2, 3, 9, 10)
    for one, exact in zip(found, array, strict=True):
        assert np.array_equal(one, distance_transform_edt(exact).astype("f4"))


def test_the_forms_of_the_call() -> None:
    array = np.random.default_rng(0).random((9, 10)) < 0.9
    exact = distance_transform_edt(array).astype("f4")
    given = np.zeros(array.shape, "f8")
    assert distance_transform(array, 2, distances=given) is given
    assert np.array_equal(given, exact)
    part = distance_transform(array, (2, 2), block_shape=(3, 10), block_ids=[1], max_distance=3, **QUIET)
    assert np.array_equal(part[3:6], np.minimum(exact, 3)[3:6])
    assert not part[:3].any()


@pytest.mark.parametrize("shape", [(0, 3), (4, 0, 2)])
def test_empty(shape: tuple[int, ...]) -> None:
    assert distance_transform(np.ones(shape), **QUIET).shape == shape


def test_bad_input() -> None:
    array = np.ones((4, 4))
    with pytest.raises(DtypeError):
        distance_transform(array.astype(complex))
    for wrong in (
        {"sampling": (1, 2, 3)},
        {"sampling": -1},
        {"max_distance": 0},
        {"return_distances": False},
        {"block_ids": [0]},
    ):
        with pytest.raises(ParameterError):
            distance_transform(array, block_shape=2, **wrong)
