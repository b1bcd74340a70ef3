"""Transformed volumes: the same bits in blocks, regions and masks as in the whole, along the axes of space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

import bioimage_py as bp
from bioimage_py.errors import AliasError, DtypeError, MemoryBudgetError, ParameterError, ShapeError
from bioimage_py.io import create_array
from bioimage_py.sources import Axis, open_source
from bioimage_py.transformation import affine, crop, flip, pad, resample, rotate90, transpose, warp
from bioimage_py.wrapper import AxesSource, FlipSource, compute_affine_matrix

DTYPES = ["?", "u1", "i2", "u8", "f4", ">u2", "f8"]


def values(shape: tuple[int, ...], dtype: str = "u1", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "u" and np.dtype(dtype).itemsize == 8:
        return rng.integers(0, 2**64 - 1, shape, np.uint64, endpoint=True)
    return (rng.random(shape) * (2 if dtype == "?" else 250)).astype(dtype)


Call = Callable[..., Any]


@st.composite
def calls(draw: st.DrawFn) -> tuple[np.ndarray, Call]:
    """An input and a call that takes output and keywords."""
    ndim = draw(st.integers(1, 3))
    shape = draw(hnp.array_shapes(min_dims=ndim, max_dims=ndim, max_side=12))
    array = values(shape, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 5)))
    order = draw(st.sampled_from([0, 0, 1, 3]))
    mode = draw(st.sampled_from(["grid-constant", "constant", "nearest", "reflect", "mirror", "grid-wrap"]))
    sizes = draw(hnp.array_shapes(min_dims=ndim, max_dims=ndim, max_side=12))
    number = st.sampled_from([1.0, -1.0, 0.5, 2.0, 0.3, 1.7])
    matrix = np.array([[draw(number) for _ in range(ndim + 1)] for _ in range(ndim)])
    field = np.random.default_rng(0).normal(size=(ndim, *sizes)) * 8
    factors = [draw(st.floats(0.3, 3)) for _ in shape]
    smooth = draw(st.booleans())
    plane = draw(st.permutations(range(ndim)))[:2]
    wide = [(draw(st.integers(0, 5)), draw(st.integers(0, 5))) for _ in shape]
    region = tuple(slice(draw(st.integers(0, size - 1)), size) for size in shape)
    found: dict[str, Call] = {
        "affine": lambda **k: affine(array, matrix, shape=sizes, order=order, mode=mode, **k),
        "scaled": lambda **k: affine(
            array, np.diag([*factors, 1]), shape=sizes, order=order, mode=mode, anti_aliasing=smooth, **k
        ),
        "warp": lambda **k: warp(array, field, order=order, mode=mode, **k),
        "scale": lambda **k: resample(array, scale=factors, order=order, anti_aliasing=smooth, **k),
        "shape": lambda **k: resample(array, shape=sizes, order=order, anti_aliasing=smooth, **k),
        "spacing": lambda **k: resample(array, spacing=factors, order=order, **k),
        "flip": lambda **k: flip(array, -1, **k),
        "transpose": lambda **k: transpose(array, **k),
        "crop": lambda **k: crop(array, region, **k),
        "pad": lambda **k: pad(array, wide, mode="symmetric", **k),
    }
    if ndim > 1:
        found["rotate90"] = lambda **k: rotate90(array, 3, plane=plane, **k)
    return array, found[draw(st.sampled_from(sorted(found)))]


@settings(max_examples=250, deadline=None)
@given(calls(), st.data())
def test_blocks_regions_and_masks_do_not_show(case: tuple[np.ndarray, Call], data: st.DataObject) -> None:
    array, call = case
    whole = call()
    assert whole.dtype == array.dtype
    blocks = tuple(data.draw(st.integers(2, 13)) for _ in whole.shape)
    how: dict[str, Any] = {"block_shape": blocks, "num_workers": data.draw(st.integers(1, 3)), "progress": False}
    kept = np.zeros(whole.shape, bool)
    if data.draw(st.booleans()):
        begins = [data.draw(st.integers(0, size - 1)) for size in whole.shape]
        how["roi"] = tuple(slice(b, data.draw(st.integers(b + 1, n))) for b, n in zip(begins, whole.shape, strict=True))
        kept[...] = True
        kept[how["roi"]] = False
    if data.draw(st.booleans()):
        how["mask"] = np.random.default_rng(0).random(whole.shape) < 0.6
        kept |= ~how["mask"]
    output = np.ones(whole.shape, array.dtype)
    assert call(output=output, **how) is output
    assert output[~kept].tobytes() == whole[~kept].tobytes()
    assert (output[kept] == 1).all()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_resampling_is_that_of_scipy_where_sizes_are_whole(data: st.DataObject) -> None:
    ndim = data.draw(st.integers(1, 3))
    shape = tuple(4 * data.draw(st.integers(1, 4)) for _ in range(ndim))
    scale = tuple(data.draw(st.sampled_from([0.25, 0.5, 0.75, 1, 1.25, 2, 3])) for _ in shape)
    array = values(shape, "f8")
    expected = ndimage.zoom(array, scale, order=1, mode="nearest", grid_mode=True)
    found = resample(array, scale=scale, order=1, anti_aliasing=False)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_allclose(resample(array, shape=found.shape, order=1, anti_aliasing=False), found, atol=1e-7)
    np.testing.assert_array_equal(
        resample(array, spacing=tuple(1 / one for one in scale), order=1, anti_aliasing=False), found
    )


def test_labels_keep_their_ids_to_the_last_digit() -> None:
    ids = np.array([2**53 + 1, 2**63 + 1, 2**64 - 1, 2**64 - 2], np.uint64).reshape(2, 2).repeat(8, 0).repeat(8, 1)
    matrix = compute_affine_matrix((0.7, 0.9), 33, 10, (1.3, -2))
    for found in (
        affine(ids, matrix),
        resample(ids, scale=1.37),
        warp(ids, np.random.default_rng(0).normal(size=(2, 16, 16)) * 2, displacement=True),
    ):
        assert set(np.unique(found)) <= {0, *map(int, np.unique(ids))}
        assert len(np.unique(found)) >= 4


def test_channels_and_times_are_kept_apart_unless_they_are_named() -> None:
    axes = (
        Axis("t", "time"),
        Axis("c", "channel"),
        Axis("y", unit="micrometer", scale=2),
        Axis("x", scale=3, offset=1),
    )
    source = AxesSource(values((2, 3, 8, 9), "u2"), axes)
    plain = source[...]
    turned = affine(source, rotation=20, order=1)
    halved = resample(source, scale=0.5, order=1)
    assert halved.shape == (2, 3, 4, 5)
    for t, c in np.ndindex(2, 3):
        np.testing.assert_array_equal(turned[t, c], affine(plain[t, c], rotation=20, order=1))
        np.testing.assert_array_equal(halved[t, c], resample(plain[t, c], scale=0.5, order=1))
    np.testing.assert_array_equal(flip(source), plain[..., ::-1, ::-1])
    np.testing.assert_array_equal(rotate90(source), np.rot90(plain, axes=(2, 3)))
    assert pad(source, [(1, 1), 2]).shape == (2, 3, 10, 11)
    assert resample(source, scale=2, axes="c").shape == (2, 6, 8, 9)
    # named axes say in which order things are given
    np.testing.assert_array_equal(
        affine(source, scale=(1, 2), axes="xy", order=1), affine(source, scale=(2, 1), axes="yx", order=1)
    )
    np.testing.assert_array_equal(
        affine(source, rotation=20, axes="xy", order=1), affine(source, rotation=-20, axes="yx", order=1)
    )
    field = np.random.default_rng(0).normal(size=(2, 8, 9))
    np.testing.assert_array_equal(
        warp(source, field, displacement=True, axes="yx"), warp(source, field[::-1], displacement=True, axes="xy")
    )
    assert resample(source, spacing=1.0).shape == (2, 3, 16, 27)


def test_the_axes_of_an_output_say_where_its_voxels_are(tmp_path: Path) -> None:
    axes = (Axis("y", unit="micrometer", scale=2.0, offset=10.0), Axis("x", unit="micrometer", scale=0.5))
    source = AxesSource(values((8, 9)), axes)

    def stored(name: str, call: Call, **how: Any) -> list[tuple[str, float, float]]:
        call(source, output=f"{tmp_path}/out.zarr/{name}", **how)
        found = open_source(tmp_path / "out.zarr", name).axes
        assert {axis.unit for axis in found} == {"micrometer"}
        return [(axis.name, axis.scale, axis.offset) for axis in found]

    assert stored("half", resample, scale=0.5, order=1) == [("y", 4.0, 11.0), ("x", 1.0, 0.25)]
    assert stored("even", resample, spacing=1.0) == [("y", 1.0, 9.5), ("x", 1.0, 0.25)]
    assert stored("moved", affine, translation=(1, 2)) == [("y", 2.0, 12.0), ("x", 0.5, 1.0)]
    assert stored("cut", crop, region=(slice(2, 5), slice(4, 9))) == [("y", 2.0, 14.0), ("x", 0.5, 2.0)]
    assert stored("wide", pad, pad_width=[(1, 0), 1]) == [("y", 2.0, 8.0), ("x", 0.5, 0.0)]
    assert stored("across", transpose) == [("x", 0.5, 0.0), ("y", 2.0, 10.0)]
    assert stored("still", warp, field=np.zeros((2, 8, 9)), displacement=True) == [("y", 2.0, 10.0), ("x", 0.5, 0.0)]


@pytest.mark.parametrize("order", ["yx", "xy"])
def test_a_field_in_physical_units(tmp_path: Path, order: str) -> None:
    """Of displacements and of places, whichever axis comes first."""
    axes = (Axis("y", unit="micrometer", scale=2.0, offset=10.0), Axis("x", unit="micrometer", scale=0.5, offset=-3.0))
    array = values((8, 9))
    create_array(tmp_path / "in.zarr", shape=(8, 9), dtype=array.dtype, axes=axes)[...] = array
    source, how = open_source(tmp_path / "in.zarr"), {"axes": order, "order": 1, "block_shape": 4}
    turn = slice(None, None, 1 if order == "yx" else -1)
    moves = np.random.default_rng(1).normal(size=(2, 8, 9))
    scale, begin = (np.array(one).reshape(2, 1, 1) for one in ((2.0, 0.5), (10.0, -3.0)))
    places = moves + np.indices((8, 9))
    for field, in_units, displacement in ((moves, moves * scale, True), (places, places * scale + begin, False)):
        np.testing.assert_allclose(
            warp(source, in_units[turn], displacement=displacement, physical=True, **how),
            warp(source, field[turn], displacement=displacement, **how),
            atol=1e-9,
        )
    with pytest.raises(ParameterError, match="unit"):
        warp(array, moves, displacement=True, physical=True)


def test_sizes_are_rounded_half_up_and_steps_are_what_was_asked_for() -> None:
    source = AxesSource(values((5, 7), "f4"), (Axis("y", scale=0.3), Axis("x", scale=0.1)))
    assert resample(source, scale=0.5).shape == (3, 4)
    assert resample(source, scale=0.01).shape == (1, 1)
    assert resample(source, scale=1.1).shape == (6, 8)
    found = resample(source, spacing=0.1)
    assert found.shape == (15, 7)
    np.testing.assert_array_equal(resample(values((10,)), scale=0.1), values((10,))[5:6])


def test_smoothing_is_on_by_default_where_values_are_mixed() -> None:
    array = values((32, 32), "f8")
    smooth = ndimage.gaussian_filter(array, 1.5, mode="nearest")
    expected = ndimage.zoom(smooth, 0.25, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(resample(array, scale=0.25, order=1), expected, atol=1e-9)
    np.testing.assert_array_equal(resample(array, scale=0.25), array[2::4, 2::4])


@pytest.mark.parametrize("mode", ["nearest", "reflect", "mirror", "grid-wrap", "grid-constant"])
def test_smoothing_continues_as_the_mode_says(mode: str) -> None:
    array = values((20, 24), "f8")
    beyond = {"grid-constant": "nearest", "grid-wrap": "wrap"}.get(mode, mode)
    smooth = ndimage.gaussian_filter(array, (1.5, 0), mode=beyond)
    matrix = np.array([[1.1, 0.3, -3], [0.2, 0.9, 2]])
    expected = ndimage.affine_transform(smooth, matrix, order=1, mode=mode)
    found = affine(array, matrix, order=1, mode=mode, anti_aliasing=(1.5, 0))
    np.testing.assert_allclose(found, expected, atol=1e-8)
    scaled = affine(array, np.diag([1.2, 0.8, 1]), order=1, mode=mode, anti_aliasing=(1.5, 0))
    expected = ndimage.affine_transform(smooth, np.array([1.2, 0.8]), order=1, mode=mode)
    np.testing.assert_allclose(scaled, expected, atol=1e-8)


def test_outputs_that_are_the_input(tmp_path: Path) -> None:
    array = create_array(tmp_path / "a.zarr", "a", shape=(16, 16), dtype="u1", chunks=(4, 4))
    array[...] = values((16, 16))
    for call in (lambda: flip(array, 0, array), lambda: affine(array, rotation=10, output=array, shape=(16, 16))):
        with pytest.raises(AliasError):
            call()
    plain = values((6, 6))
    expected = plain[::-1].copy()
    np.testing.assert_array_equal(flip(plain, 0, plain), expected)


def test_a_view_as_output_turns_what_is_written(tmp_path: Path) -> None:
    stored = create_array(tmp_path / "a.zarr", "a", shape=(9, 12), dtype="u1", chunks=(4, 5))
    array = values((9, 12))
    bp.copy(array, FlipSource(stored, 1), block_shape=(3, 4), num_workers=2, progress=False)
    np.testing.assert_array_equal(stored[...], array[:, ::-1])


def test_memory_is_promised_and_kept_to() -> None:
    array = np.zeros((64, 64, 64), np.uint8)
    plan = affine(array, rotation=(5, 5, 5), order=1, block_shape=(32,) * 3, plan=True)
    assert plan.stages[0].block_bytes > 32**3 * 40
    with pytest.raises(MemoryBudgetError, match="block_shape"):
        affine(array, rotation=(5, 5, 5), order=1, block_shape=(64,) * 3, memory=2**20)


def test_what_makes_no_sense_is_refused() -> None:
    array = values((4, 5))
    for call, kind, match in (
        (lambda: affine(array), ParameterError, "Give either"),
        (lambda: affine(array, np.eye(3), scale=(2, 2)), ParameterError, "Give either"),
        (lambda: affine(array, np.eye(5)), ShapeError, "for 2 axes"),
        (lambda: affine(array, scale=(2, 2), fill_value=300), ValueError, "300"),
        (lambda: affine(array.astype(complex), scale=(2, 2), order=1), DtypeError, "interpolated"),
        (lambda: resample(array), ParameterError, "one of the three"),
        (lambda: resample(array, scale=2, shape=(8, 8)), ParameterError, "one of the three"),
        (lambda: resample(array, scale=0), ParameterError, "above 0"),
        (lambda: resample(array, scale=(1, 2, 3)), ParameterError, "3 entries"),
        (lambda: resample(array, scale=float("nan")), ParameterError, "not a number"),
        (lambda: resample(array, spacing=float("inf")), ParameterError, "above 0"),
        (lambda: resample(array, scale=2, anti_aliasing="yes"), ParameterError, "anti_aliasing"),
        (lambda: resample(array, scale=2, order=7), ParameterError, "order"),
        (lambda: resample(array, scale=2, order="1"), ParameterError, "order"),
        (lambda: warp(array, np.zeros((2, 5, 5)), displacement=True), ShapeError, "every voxel"),
        (lambda: rotate90(values((4,))), ParameterError, "plane"),
        (lambda: flip(array, "w"), ParameterError, "no axis"),
        (lambda: transpose(array, (0, 0)), ParameterError, "each of the 2"),
        (lambda: crop(array, slice(3, 9)), ValueError, "does not fit"),
        (lambda: pad(array, -1), ParameterError, "negative"),
    ):
        with pytest.raises(kind, match=match) as caught:
            call()
        assert caught.value.remedy  # type: ignore[attr-defined]


def test_empty_arrays_and_single_voxels() -> None:
    assert resample(np.zeros((0, 4)), scale=2).shape == (0, 8)
    assert affine(np.zeros((0, 4)), scale=(1, 1)).shape == (0, 4)
    assert flip(np.zeros((0, 4))).shape == (0, 4)
    for order in range(6):
        assert (resample(np.full((1, 1, 1), 7, np.uint8), shape=(3, 2, 4), order=order) == 7).all()
        assert affine(np.full((1, 1), 7, np.uint8), rotation=30, order=order, mode="nearest") == 7
