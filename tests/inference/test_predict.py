"""`predict`: the model's own result where tiles reach far enough, and the same bits whatever the blocks."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import bioimage_py as bp
from bioimage_py.errors import RunnerError, ShapeError, ValueRangeError
from bioimage_py.inference import Percentiles, predict
from bioimage_py.inference.tiling import AxisTiles
from bioimage_py.sources import Axis, as_source
from bioimage_py.wrapper.view import AxesSource

from .networks import REACH, network, whole


def tilted(batch: np.ndarray) -> np.ndarray:
    """A model whose values depend on where a voxel lies in its tile, and on all of the tile."""
    ramps = sum(np.arange(size).reshape(-1, *(1,) * (batch.ndim - 3 - i)) for i, size in enumerate(batch.shape[2:]))
    mean = batch.reshape(*batch.shape[:2], -1).astype(np.float64).mean(-1)
    return np.asarray(batch * 0.37 + ramps + mean.reshape(*mean.shape, *(1,) * (batch.ndim - 2)), np.float32)


def reference(array: np.ndarray, tile: Any, overlap: Any, margin: Any) -> np.ndarray:
    """Tiles of `tilted` one after the other over the whole array."""
    axes = [AxisTiles(*one) for one in zip(array.shape, tile, overlap, margin, strict=True)]
    total = np.zeros(array.shape)
    for index in itertools.product(*(range(axis.count) for axis in axes)):
        begins = [axis.begin(i) for axis, i in zip(axes, index, strict=True)]
        part = array[tuple(slice(b, b + axis.tile) for b, axis in zip(begins, axes, strict=True))].astype(np.float32)
        full = np.pad(
            part, [(0, axis.tile - size) for axis, size in zip(axes, part.shape, strict=True)], mode="reflect"
        )
        share = tilted(full[None, None])[0, 0].astype(np.float64)
        used = [axis.used(i) for axis, i in zip(axes, index, strict=True)]
        share = share[tuple(slice(low - b, high - b) for (low, high), b in zip(used, begins, strict=True))]
        for n, (axis, i) in enumerate(zip(axes, index, strict=True)):
            weights = axis.weights(i)
            if (weights != 1).any():
                share = share * weights.reshape(-1, *(1,) * (len(axes) - n - 1))
        total[tuple(slice(low, high) for low, high in used)] += share
    return total.astype(np.float32)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, dict[str, Any], dict[str, Any]]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=20))
    dtype = draw(st.sampled_from(["u1", ">u2", "i2", "i4", "u8", "f4", ">f8", "f2", "?"]))
    values = (np.random.default_rng(draw(st.integers(0, 9))).random(shape) * 200).astype(dtype)
    tile = tuple(draw(st.integers(1, 12)) for _ in shape)
    overlap = tuple(draw(st.integers(0, t - 1)) for t in tile)
    tiles = {"tile": tile, "overlap": overlap, "margin": tuple(draw(st.integers(0, o // 2)) for o in overlap)}
    begin = [draw(st.integers(0, n - 1)) for n in shape]
    where = {
        "block_shape": tuple(draw(st.integers(1, 21)) for _ in shape),
        "roi": tuple(slice(b, draw(st.integers(b + 1, n))) for b, n in zip(begin, shape, strict=True)),
        "batch": draw(st.integers(1, 5)),
        "num_workers": draw(st.integers(1, 3)),
        "mask": draw(st.none() | st.just(np.random.default_rng(1).random(shape) > 0.8)),
    }
    return values, tiles, where


@given(cases())
@settings(max_examples=60, deadline=None)
def test_the_same_bits_for_any_blocks_region_mask_and_workers(case: Any) -> None:
    values, tiles, where = case
    expected = reference(values, **tiles)
    np.testing.assert_array_equal(predict(values, tilted, **tiles), expected)
    inside = np.zeros(values.shape, bool)
    inside[where["roi"]] = True
    if where["mask"] is not None:
        inside &= where["mask"]
    output = np.full(values.shape, -1, np.float32)
    predict(values, tilted, output, progress=False, **tiles, **where)
    np.testing.assert_array_equal(output, np.where(inside, expected, np.float32(-1)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("networks")
    for ndim, taken, made in ((1, 1, 1), (2, 1, 1), (3, 1, 1), (2, 3, 2), (3, 2, 3)):
        network(path / f"{ndim}-{taken}-{made}.onnx", ndim, taken, made)
    return path


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_network_on_tiles_is_the_network_on_the_whole_volume(folder: Path, data: st.DataObject) -> None:
    ndim, taken, made = data.draw(st.sampled_from([(1, 1, 1), (2, 1, 1), (3, 1, 1), (2, 3, 2), (3, 2, 3)]))
    tile = data.draw(st.integers(2 * REACH + 1, 16))
    shape = tuple(data.draw(st.integers(tile, 30)) for _ in range(ndim))
    margin = data.draw(st.integers(REACH, max(REACH, (tile - 1) // 2)))
    overlap = data.draw(st.integers(2 * margin, tile - 1))
    values = np.random.default_rng(0).random((taken, *shape), np.float32)
    result = predict(
        values if taken > 1 else values[0],
        folder / f"{ndim}-{taken}-{made}.onnx",
        tile=tile,
        overlap=overlap,
        margin=margin,
        channel_axis=0 if taken > 1 else None,
        block_shape=data.draw(st.none() | st.integers(5, 40)),
        batch=data.draw(st.integers(1, 3)),
        progress=False,
    )
    assert result.shape == ((made, *shape) if made > 1 else shape)
    np.testing.assert_allclose(result, whole(values, made).reshape(result.shape), rtol=0, atol=2e-6)


@given(block=st.integers(9, 60), batch=st.sampled_from([1, 4]), workers=st.integers(1, 2))
@example(block=16, batch=4, workers=2)
@settings(max_examples=12, deadline=None)
def test_a_network_gives_the_same_bits_for_any_blocks(folder: Path, block: int, batch: int, workers: int) -> None:
    values = np.random.default_rng(5).integers(0, 255, (40, 33, 45)).astype(np.uint8)
    how: dict[str, Any] = {"tile": 16, "overlap": 5, "normalize": "standard", "batch": batch}
    expected = predict(values, folder / "3-1-1.onnx", **how)
    found = predict(values, folder / "3-1-1.onnx", block_shape=block, num_workers=workers, progress=False, **how)
    np.testing.assert_array_equal(found, expected)


def test_a_volume_shorter_than_a_tile_is_mirrored_and_cut() -> None:
    def seen(batch: np.ndarray) -> np.ndarray:
        shapes.append(batch.shape)
        np.testing.assert_array_equal(batch[0, 0, :3, 0, 0], [0, 1, 2])
        np.testing.assert_array_equal(batch[0, 0, 3:5, 0, 0], [1, 0])
        return batch

    shapes: list[tuple[int, ...]] = []
    values = np.arange(3.0).reshape(3, 1, 1) * np.ones((3, 1, 40))
    np.testing.assert_array_equal(predict(values, seen, tile=(8, 8, 16)), values)
    assert set(shapes) == {(1, 1, 8, 8, 16)}


@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0, 4)])
def test_empty_volumes(shape: tuple[int, ...]) -> None:
    assert predict(np.zeros(shape, "u1"), tilted, tile=4).shape == shape
    assert predict(np.zeros(shape, "u1"), tilted, tile=4, block_shape=2, normalize="standard").shape == shape


def test_tiles_outside_of_the_mask_are_not_computed() -> None:
    seen: list[Any] = []

    def count(batch: np.ndarray) -> np.ndarray:
        seen.append(batch[0, 0, 0, 0])
        return batch

    values = np.arange(64 * 64.0).reshape(64, 64)
    mask = np.zeros(values.shape, bool)
    mask[3, 3] = mask[60, 60] = True
    output = np.full(values.shape, -5.0)
    predict(values, count, output, tile=8, overlap=0, mask=mask, block_shape=64)
    assert seen == [values[0, 0], values[56, 56]]
    np.testing.assert_array_equal(output, np.where(mask, values, -5))


def test_a_model_may_return_the_same_memory_again() -> None:
    memory = np.zeros((1, 1, 16), np.float32)

    def model(batch: np.ndarray) -> np.ndarray:
        memory[...] = batch * 2
        return memory

    values = np.arange(100.0)
    np.testing.assert_array_equal(predict(values, model, tile=16, overlap=6, block_shape=21), values * 2)


@pytest.mark.parametrize(("tile", "overlap", "margin"), [(8, 2, 0), (9, 6, 2), (16, 4, 2)])
def test_a_worker_takes_over_tiles_of_the_block_before(tile: int, overlap: int, margin: int) -> None:
    calls: list[int] = []

    def count(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        return batch

    values = np.arange(2 * 200.0).reshape(2, 200)
    count_of = AxisTiles(200, tile, overlap, margin).count
    how: dict[str, Any] = {"tile": (1, tile), "overlap": (0, overlap), "margin": (0, margin)}
    for blocks in ((2, 200), (1, 200), (1, 23), (1, 100), (1, 5)):
        calls.clear()
        np.testing.assert_array_equal(predict(values, count, block_shape=blocks, **how), values)
        # a block that is shorter than a tile keeps what the next one needs, not what comes after that
        assert len(calls) == 2 * count_of or blocks[1] < tile
        np.testing.assert_array_equal(predict(values, count, block_shape=blocks, batch=3, **how), values)
    calls.clear()
    predict(values.T.copy(), count, block_shape=(23, 2), tile=(tile, 1), overlap=(overlap, 0), margin=(margin, 0))
    assert len(calls) == 2 * count_of


def test_axes_that_are_kept_apart(folder: Path) -> None:
    axes = [Axis("t", "time"), Axis("c", "channel"), Axis("z"), Axis("y"), Axis("x")]
    values = np.random.default_rng(0).random((2, 2, 6, 20, 24), np.float32)
    source = AxesSource(as_source(values), axes)
    how: dict[str, Any] = {"tile": 12, "overlap": 6, "margin": 2, "block_shape": (1, 5, 16, 12)}
    found = predict(source, folder / "3-2-3.onnx", channel_axis="c", **how)
    assert found.shape == (3, 2, 6, 20, 24)
    for time in range(2):  # six slices are fewer than a tile: its mirrored part is seen
        alone = predict(values[time], folder / "3-2-3.onnx", channel_axis=0, tile=12, overlap=6, margin=2)
        np.testing.assert_array_equal(found[:, time], alone)
    slices = predict(source, folder / "2-1-1.onnx", axes="yx", tile=(12, 10), overlap=(6, 4), margin=2, batch=3)
    assert slices.shape == values.shape
    for index in np.ndindex(2, 2, 6):
        np.testing.assert_allclose(slices[index], whole(values[index][None])[0], atol=2e-6)


def test_axes_are_those_of_the_input_also_beside_a_channel_axis(folder: Path) -> None:
    values = np.random.default_rng(0).random((3, 5, 20, 24), np.float32)
    found = predict(values, folder / "2-3-2.onnx", channel_axis=0, axes=(3, 2), tile=(12, 10), overlap=4, margin=2)
    assert found.shape == (2, 5, 20, 24)
    for z in range(5):
        np.testing.assert_allclose(found[:, z], whole(values[:, z], 2), atol=2e-6)
    last = predict(np.moveaxis(values, 0, -1), folder / "2-3-2.onnx", channel_axis=-1, axes=(1, 2), tile=12, overlap=4)
    assert last.shape == (2, 5, 20, 24)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "u4", "i8", "u8"])
def test_integers_are_rounded_to_even_and_clipped(dtype: str) -> None:
    values = np.array([0.0, 0.5, 1.5, 2.5, 3.49, 7.0, -9.0, 1e30, -1e30])
    found = predict(values, lambda batch: batch, tile=9, dtype=dtype, scale=1)
    info = np.iinfo(dtype)
    assert found.dtype == dtype
    assert found.tolist() == [0, 0, 2, 2, 3, 7, max(-9, info.min), found[7], info.min]
    assert found[7] >= info.max - (2048 if info.bits == 64 else 0)


def test_probabilities_fill_unsigned_integers() -> None:
    values = np.array([0.0, 0.25, 0.5, 1.0, 1.01, -0.2])
    assert predict(values, lambda batch: batch, tile=6, dtype="uint8").tolist() == [0, 64, 128, 255, 255, 0]
    assert predict(values, lambda batch: batch, tile=6, dtype="u2").tolist() == [0, 16384, 32768, 65535, 65535, 0]
    output = np.zeros(6, np.uint8)
    assert predict(values, lambda batch: batch, output, tile=6, scale=100) is output
    assert output.tolist() == [0, 25, 50, 100, 101, 0]


def test_half_precision_is_the_nearest_and_refused_beyond_it() -> None:
    values = np.random.default_rng(0).random(500) * 1000
    found = predict(values, lambda batch: batch, tile=32, dtype="float16")
    np.testing.assert_array_equal(found, values.astype(np.float32).astype(np.float16))
    with pytest.raises(RunnerError) as error:
        predict(values * 1000, lambda batch: batch, tile=32, dtype="float16", progress=False)
    assert isinstance(error.value.__cause__, ValueRangeError)


def test_not_a_number_stays_in_floats_and_is_refused_by_integers() -> None:
    values = np.array([1.0, np.nan, 3.0])
    np.testing.assert_array_equal(predict(values, lambda batch: batch, tile=3), values)
    with pytest.raises(RunnerError, match="nan"):
        predict(values, lambda batch: batch, tile=3, dtype="uint8", progress=False)
    mask = np.array([True, False, True])  # outside of the mask nothing is written, so nothing is refused
    assert predict(values, lambda batch: batch, tile=1, dtype="i4", mask=mask).tolist() == [1, 0, 3]


def test_what_a_model_returns_is_checked() -> None:
    values = np.zeros((9, 9))
    for model, remedy in (
        (lambda batch: batch[..., 1:-1, 1:-1], "every voxel"),
        (lambda batch: np.concatenate([batch, batch], 1), "channels=2"),
        (lambda batch: "text", "every voxel"),
    ):
        with pytest.raises(RunnerError) as error:
            predict(values, model, tile=6, progress=False, retries=0)
        assert isinstance(error.value.__cause__, ShapeError)
        assert remedy in str(error.value.__cause__)
    two = predict(values + 1, lambda batch: np.concatenate([batch, -batch], 1), tile=6, channels=2)
    assert two.shape == (2, 9, 9)
    assert two[:, 4, 4].tolist() == [1, -1]
    assert predict(values, lambda batch: batch[:, 0], tile=6).shape == (9, 9)
    assert predict(values, lambda batch: batch, tile=6, channels=1).shape == (1, 9, 9)


def test_stored_arrays_with_channels(tmp_path: Path, folder: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (40, 40, 40)).astype(np.uint8)
    bp.copy(values, tmp_path / "in.zarr/raw", chunks=(16, 16, 16))
    how: dict[str, Any] = {"tile": 16, "overlap": 4, "normalize": (128, 60), "channels": 2, "dtype": "uint8"}

    def model(batch: np.ndarray) -> np.ndarray:
        return np.concatenate([1 / (1 + np.exp(-batch)), 1 / (1 + np.exp(batch))], 1)

    output = predict(tmp_path / "in.zarr/raw", model, tmp_path / "out.zarr/p", num_workers=2, **how)
    stored = zarr.open_array(tmp_path / "out.zarr/p")
    assert stored.chunks == (1, 16, 16, 16)
    assert [axis.kind for axis in output.axes] == ["channel", "space", "space", "space"]
    np.testing.assert_array_equal(stored[...], predict(values, model, **how))
    assert (np.abs(stored[...].astype(int).sum(0) - 255) <= 1).all()
    before = stored[...]
    predict(tmp_path / "in.zarr/raw", model, tmp_path / "out.zarr/p", block_ids=[0], **how)
    np.testing.assert_array_equal(stored[...], before)
    plan = predict(tmp_path / "in.zarr/raw", model, tmp_path / "out.zarr/q", plan=True, **how)
    assert not (tmp_path / "out.zarr/q").exists()
    assert "predict" in str(plan)


def test_percentiles_are_a_value() -> None:
    assert Percentiles() == Percentiles(1, 99.8)
