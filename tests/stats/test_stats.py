"""Statistics: exact integers, the same for every grid, numpy's answers."""

from __future__ import annotations

import math
import pickle
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bioimage_py import stats
from bioimage_py.errors import DtypeError
from bioimage_py.stats.block_statistics import (
    BlockMoments,
    Extrema,
    UniqueValues,
    _integer_sum,
    merge_extrema,
    merge_moments,
    merge_unique,
)

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]


def integer_arrays() -> st.SearchStrategy[np.ndarray]:
    return st.sampled_from(INTEGERS).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6))
    )


def splits(array: np.ndarray, at: int) -> list[np.ndarray]:
    flat = array.reshape(-1)
    at = at % flat.size
    return [part for part in (flat[:at], flat[at:]) if part.size]


def exact(array: np.ndarray) -> tuple[int, int, int]:
    values = [int(v) for v in array.reshape(-1)]
    return len(values), sum(values), sum(v * v for v in values)


@given(integer_arrays(), st.integers(0, 300))
@settings(max_examples=200, deadline=None)
def test_integer_statistics_are_exact_and_do_not_depend_on_the_cut(array: np.ndarray, at: int) -> None:
    parts = splits(array, at)
    values = [int(v) for v in array.reshape(-1)]
    low, high = reduce(merge_extrema, [Extrema()(part) for part in parts])
    assert (low, high) == (min(values), max(values))
    assert type(low) is int
    moments = reduce(merge_moments, [BlockMoments()(part) for part in parts])
    assert (moments.count, moments.total, moments.squares) == exact(array)
    assert moments.mean() == sum(values) / len(values)
    found, counts = reduce(merge_unique, [UniqueValues()(part) for part in parts])
    expected, numbers = np.unique(array, return_counts=True)
    assert found.dtype == array.dtype
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(counts, numbers)


@given(
    hnp.arrays(
        st.sampled_from(["f2", "f4", "f8"]),
        hnp.array_shapes(min_dims=1, max_dims=2, max_side=20),
        elements=st.floats(-1000, 1000, width=16),
    ),
    st.integers(0, 300),
)
@settings(max_examples=100, deadline=None)
def test_float_statistics_agree_with_numpy(array: np.ndarray, at: int) -> None:
    parts = splits(array, at)
    assert reduce(merge_extrema, [Extrema()(part) for part in parts]) == (array.min(), array.max())
    moments = reduce(merge_moments, [BlockMoments()(part) for part in parts])
    assert math.isclose(moments.mean(), array.mean(dtype="f8"), rel_tol=1e-12, abs_tol=1e-9)
    assert math.isclose(moments.std(), array.std(dtype="f8"), rel_tol=1e-9, abs_tol=1e-6)
    found, counts = reduce(merge_unique, [UniqueValues()(part) for part in parts])
    expected, numbers = np.unique(array, return_counts=True)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(counts, numbers)


@pytest.mark.parametrize(
    ("low", "span"), [(0, 90_000), (500, 90_000), (-45_000, 90_000), (2**63, 90_000), (7, 200_000)]
)
@pytest.mark.parametrize("length", [1, 2, 40])
def test_unique_counts_labels_that_are_many_for_their_block(low: int, span: int, length: int) -> None:
    dtype = np.int64 if low < 0 else np.uint64
    offsets = np.random.default_rng(length).integers(0, span, 200_000 // length).repeat(length)
    labels = np.where(offsets % 5, offsets, 0).astype(dtype) + dtype(low)
    found, counts = UniqueValues()(labels)  # type: ignore[misc]
    expected, numbers = np.unique(labels, return_counts=True)
    assert (found.dtype, counts.dtype) == (labels.dtype, np.int64)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(counts, numbers)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("block_shape", [None, (7, 5, 9), (16, 16, 16)])
def test_public_functions_give_exact_python_numbers(dtype: str, block_shape: Any) -> None:
    info = np.iinfo(dtype)
    rng = np.random.default_rng(3)
    volume = rng.integers(info.min, info.max, (20, 18, 25), dtype=dtype, endpoint=True)
    n, total, squares = exact(volume)
    assert stats.min(volume, block_shape=block_shape) == int(volume.min())
    assert type(stats.max(volume, block_shape=block_shape)) is int
    assert stats.min_and_max(volume, block_shape=block_shape) == (int(volume.min()), int(volume.max()))
    assert stats.mean(volume, block_shape=block_shape) == total / n
    spread = math.sqrt((n * squares - total * total) / (n * n))
    assert stats.mean_and_std(volume, block_shape=block_shape) == (total / n, spread)
    assert stats.std(volume, block_shape=block_shape) == spread
    low, high = int(volume.min()), int(volume.max())
    assert stats.summary(volume, block_shape=block_shape) == stats.Summary(n, low, high, total, total / n, spread)


def test_maximum_beyond_the_precision_of_a_float() -> None:
    volume = np.array([[2**60 + 1, 2**60], [3, 2**60 - 1]], np.int64)
    assert stats.max(volume) == 2**60 + 1
    assert stats.max(volume, block_shape=(1, 1)) == 2**60 + 1
    assert stats.max(np.array([2**64 - 1, 0], np.uint64)) == 2**64 - 1


def test_large_arrays_cross_the_pieces() -> None:
    rng = np.random.default_rng(0)
    for dtype, high in (("u1", 256), ("u2", 2**16), ("i4", 2**31), ("u8", 2**63)):
        array = rng.integers(0, high, 200_001, dtype=dtype)
        moments = BlockMoments()(array)
        assert moments is not None
        assert (moments.count, moments.total, moments.squares) == exact(array)  # type: ignore[union-attr]
    for array in (
        np.repeat(rng.integers(0, 2**62, 40_000), 31),
        rng.integers(2**63, 2**63 + 500, 1_100_000, dtype=np.uint64),
        rng.integers(-(2**63), 2**63 - 1, 1_100_000, dtype=np.int64),
        np.repeat(rng.random(5000), 300),
    ):
        values, counts = UniqueValues()(array) or pytest.fail("nothing found")
        expected, numbers = np.unique(array, return_counts=True)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(counts, numbers)


def test_mask_selects_the_voxels_on_every_path() -> None:
    rng = np.random.default_rng(1)
    volume = rng.integers(-500, 500, (14, 15, 16)).astype(np.int16)
    mask = rng.random(volume.shape) < 0.2
    mask[:8, :8] = False
    inside = volume[mask]
    for kwargs in ({}, {"block_shape": (4, 4, 4)}, {"block_shape": (5, 20, 7), "num_workers": 2}):
        assert stats.min(volume, mask=mask, **kwargs) == inside.min()
        assert stats.mean(volume, mask=mask.astype(np.uint8) * 7, **kwargs) == int(inside.sum(dtype="i8")) / inside.size
        values, counts = stats.unique(volume, True, mask=mask, **kwargs)
        expected, numbers = np.unique(inside, return_counts=True)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(counts, numbers)


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("fill", ["low", "high", "mixed"])
def test_sums_of_small_integers_are_exact_at_their_limits(dtype: str, fill: str) -> None:
    low, high = (0, 1) if dtype == "?" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    array = np.full(2**17 + 13, low if fill == "low" else high, dtype)
    if fill == "mixed":
        array[::3] = low
        array[1::7] = low // 2
    numbers = array.astype(np.int64)
    moments = BlockMoments()(array)
    assert moments is not None
    assert (moments.total, moments.squares) == (int(numbers.sum()), int((numbers**2).sum()))  # type: ignore[union-attr]
    assert type(moments.total) is int  # type: ignore[union-attr]
    strided = BlockMoments()(array[::-3])
    assert strided.total == int(numbers[::-3].sum())  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u8", "f4", "f8"])
def test_summary_is_what_its_parts_are(dtype: str) -> None:
    rng = np.random.default_rng(5)
    volume = (rng.random((14, 15, 16)) * 100).astype(dtype)
    mask = rng.random(volume.shape) < 0.3
    for kwargs in ({}, {"block_shape": (5, 20, 7)}, {"block_shape": (5, 20, 7), "num_workers": 2, "mask": mask}):
        found = stats.summary(volume, **kwargs)
        assert (found.minimum, found.maximum) == stats.min_and_max(volume, **kwargs)
        assert (found.mean, found.std) == stats.mean_and_std(volume, **kwargs)
        assert found.count == (mask.sum() if "mask" in kwargs else volume.size)
        assert math.isclose(found.total, found.count * found.mean, rel_tol=1e-15)
        assert isinstance(found.total, float if dtype[0] == "f" else int)
    broken = np.where(mask, np.nan, 1.0)
    nan = stats.summary(broken, block_shape=(4, 4, 4))
    assert nan.count == volume.size
    assert all(math.isnan(part) for part in (nan.minimum, nan.maximum, nan.total, nan.mean, nan.std))
    assert stats.summary(broken, mask=~mask).maximum == 1


def test_unique_returns_values_alone_by_default() -> None:
    labels = np.array([[5, 5, 2], [2**63 + 5, 2, 0]], np.uint64)
    np.testing.assert_array_equal(stats.unique(labels), [0, 2, 5, 2**63 + 5])
    assert stats.unique(labels, block_shape=(1, 2)).dtype == np.uint64


def test_nan_is_not_left_out() -> None:
    volume = np.array([[1.0, 5.0, 2.0], [3.0, np.nan, np.nan]], np.float32)
    for block_shape in (None, (1, 1), (2, 2), (1, 3)):
        assert math.isnan(stats.min(volume, block_shape=block_shape))
        assert math.isnan(stats.max(volume, block_shape=block_shape))
        assert all(math.isnan(value) for value in stats.mean_and_std(volume, block_shape=block_shape))
        values, counts = stats.unique(volume, True, block_shape=block_shape)
        np.testing.assert_array_equal(values, [1, 2, 3, 5, np.nan])
        np.testing.assert_array_equal(counts, [1, 1, 1, 1, 2])
    assert stats.max(volume, mask=~np.isnan(volume), block_shape=(1, 2)) == 5.0


@pytest.mark.parametrize(
    "values", [(np.inf, 1), (1, np.inf, np.inf), (-np.inf, 2), (np.inf, -np.inf), (np.nan, np.inf)]
)
def test_infinity_in_blocks_is_that_of_numpy(values: tuple[float, ...]) -> None:
    volume = np.array(values * 3, np.float32)
    with np.errstate(invalid="ignore"):
        expected = volume.mean()
    for how in ({"block_shape": 1}, {"block_shape": 2, "num_workers": 2}, {}):
        np.testing.assert_equal(np.float32(stats.mean(volume, **how)), expected)
        assert math.isnan(stats.std(volume, **how))
    # one block is looked at in pieces
    np.testing.assert_equal(stats.mean(np.repeat(volume, 30_000)), float(expected))


@pytest.mark.long
@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
def test_sums_of_more_voxels_than_32_bits_count(dtype: Any) -> None:
    value = np.iinfo(dtype).max
    volume = np.broadcast_to(dtype(value), 2**31 + 3)
    assert _integer_sum(volume) == (2**31 + 3) * value


def test_infinity_and_constants() -> None:
    assert stats.max(np.array([1.0, np.inf])) == np.inf
    assert stats.mean(np.array([1.0, np.inf])) == np.inf
    constant = np.full((9, 9, 9), 0.1, np.float64)
    assert stats.std(constant, block_shape=(2, 4, 8)) < 1e-16


def test_booleans_count_as_zero_and_one() -> None:
    volume = np.array([[True, False], [False, False]])
    assert stats.min_and_max(volume) == (0, 1)
    assert stats.mean(volume) == 0.25
    values, counts = stats.unique(volume, return_counts=True)
    assert values.dtype == bool
    np.testing.assert_array_equal(counts, [3, 1])


def test_big_endian_and_strided_input() -> None:
    volume = np.arange(600, dtype=">u2").reshape(20, 30)[::3, ::-2]
    assert stats.mean(volume) == volume.astype(int).sum() / volume.size
    np.testing.assert_array_equal(stats.unique(volume, block_shape=(4, 4)), np.unique(volume))


def test_float_result_is_the_same_for_one_grid_whatever_the_workers() -> None:
    volume = np.random.default_rng(0).normal(size=(40, 41, 42)).astype(np.float32)
    results = {stats.mean_and_std(volume, block_shape=(9, 8, 7), num_workers=n) for n in (1, 2, 3, 2)}
    assert len(results) == 1
    mean, std = results.pop()
    assert math.isclose(mean, volume.mean(dtype="f8"), rel_tol=1e-9, abs_tol=1e-12)
    assert math.isclose(std, volume.std(dtype="f8"), rel_tol=1e-12)


def test_positional_order_is_num_workers_then_block_shape() -> None:
    volume = np.arange(64, dtype=np.uint8).reshape(4, 4, 4)
    assert stats.max(volume, 2, (2, 2, 2), "local", None, volume < 10, [0, 1]) == 7
    assert stats.unique(volume // 32, True, 1, (2, 2, 2))[1].tolist() == [32, 32]


@pytest.mark.parametrize("name", ["min", "max", "mean", "std", "min_and_max", "mean_and_std", "summary", "unique"])
def test_nothing_inside_the_mask_is_an_error(name: str) -> None:
    volume = np.ones((4, 4), np.uint8)
    function = getattr(stats, name)
    with pytest.raises(ValueError, match=rf"stats.{name}: there is no voxel.*nothing is in the mask"):
        function(volume, mask=np.zeros((4, 4), bool), block_shape=(2, 2))
    with pytest.raises(ValueError, match=r"input of shape \(0, 4\) is empty"):
        function(np.empty((0, 4), np.uint8))


def test_complex_and_text_are_refused() -> None:
    with pytest.raises(DtypeError, match=r"stats.mean cannot use dtype complex128"):
        stats.mean(np.ones(3, complex))
    with pytest.raises(TypeError, match="path is not an array"):
        stats.mean("volume.zarr")


@pytest.mark.parametrize("kernel", [Extrema(), BlockMoments(), UniqueValues(), BlockMoments(spread=False)])
def test_kernels_pickle_and_give_none_for_nothing(kernel: Any) -> None:
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    assert kernel(np.ones((2, 2)), np.zeros((2, 2), bool)) is None
