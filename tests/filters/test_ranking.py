"""Median, ranks and top-hats: scipy's values, the same bits whole and block by block, whatever the type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

import bioimage_py as bp
from bioimage_py.errors import DtypeError, ParameterError
from bioimage_py.filters import black_tophat, median, percentile, rank, rank_kernels, white_tophat
from bioimage_py.filters.footprints import Footprint
from bioimage_py.filters.rank_kernels import Rank, TopHat
from bioimage_py.filters.selection import network
from bioimage_py.sources import Axis
from bioimage_py.wrapper import AxesSource

TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "?", "f2", "f4", "f8", ">u2", ">f4"]


def values(draw: st.DrawFn, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Of the whole range of the type, with many equal ones."""
    kind = np.dtype(dtype)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if kind.kind == "f":
        array = rng.choice(np.array([-np.inf, -3.5, -1.0, 0.0, 0.25, 7.0, 6e4, np.inf]), shape).astype(kind)
        if draw(st.booleans()):
            array[rng.random(shape) < 0.1] = np.nan
        return array
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    info = np.iinfo(kind)
    pool = [info.min, info.min + 1, 0, 1, 2, 3, info.max - 1, info.max]
    return np.array(rng.choice(np.array(pool, kind), shape), kind)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, Any, tuple[int, ...]]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=11))
    array = values(draw, shape, draw(st.sampled_from(TYPES)))
    block_shape = tuple(draw(st.integers(1, 12)) for _ in shape)
    size = tuple(draw(st.integers(1, 5)) for _ in shape)
    if draw(st.booleans()):
        return array, np.ones(size, bool), block_shape
    footprint = np.random.default_rng(draw(st.integers(0, 99))).random(size) < 0.6
    footprint.flat[draw(st.integers(0, footprint.size - 1))] = True
    return array, footprint, block_shape


def around(array: np.ndarray, footprint: np.ndarray, *, mirrored: bool = False) -> np.ndarray:
    """The values around every voxel along a new last axis, sorted: numpy's order, NaN last."""
    size = np.array(footprint.shape)
    before = (size - 1) // 2 if mirrored else size // 2
    width = [(int(b), int(s - 1 - b)) for b, s in zip(before, size, strict=True)]
    padded = np.pad(array.astype(array.dtype.newbyteorder("=")), width, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, footprint.shape)
    chosen = footprint[(slice(None, None, -1),) * footprint.ndim] if mirrored else footprint
    return np.sort(windows[..., chosen], axis=-1)


def ranked(array: np.ndarray, footprint: np.ndarray, index: int, *, mirrored: bool = False) -> np.ndarray:
    return np.asarray(around(array, footprint, mirrored=mirrored)[..., index])


@given(cases(), st.integers(0, 10**6))
@settings(max_examples=120, deadline=None)
def test_ranks_equal_those_of_sorted_values(case: Any, number: int) -> None:
    array, footprint, block_shape = case
    index = number % int(footprint.sum())
    expected = ranked(array, footprint, index)
    for run in ({}, {"block_shape": block_shape}):
        found = rank(array, index, footprint=footprint, **run)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, expected)
    size = footprint.shape
    np.testing.assert_array_equal(median(array, size), ranked(array, np.ones(size, bool), int(np.prod(size)) // 2))


@given(cases(), st.integers(0, 10**6), st.booleans())
@example((np.array([254, 3], "u1"), np.array([False, True, True, True]), (1,)), 1, False)
@settings(max_examples=80, deadline=None)
def test_large_neighbourhoods_are_sorted_to_the_same_values(case: Any, number: int, mirrored: bool) -> None:
    array, inside, _ = case
    index = number % int(inside.sum())
    kernel = Rank(Footprint(inside.shape, inside.tobytes()), index, mirrored)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_kernels, "LARGE_BYTES", 0)
        found = kernel(array)
    np.testing.assert_array_equal(found, ranked(array, inside, index, mirrored=mirrored))
    np.testing.assert_array_equal(found, kernel(array))


@given(cases())
@settings(max_examples=80, deadline=None)
def test_top_hats_equal_what_opening_and_closing_take_away(case: Any) -> None:
    array, footprint, block_shape = case
    n = int(footprint.sum())
    with np.errstate(all="ignore"):
        opened = ranked(ranked(array, footprint, 0), footprint, n - 1, mirrored=True)
        closed = ranked(ranked(array, footprint, n - 1, mirrored=True), footprint, 0)
        above = np.maximum(array, opened), np.maximum(closed, array)
        below = opened, array
        wide = {"i": object, "u": object, "b": np.int8}.get(array.dtype.kind, array.dtype)
        wide = np.float32 if array.dtype == np.float16 else wide
        exact = [high.astype(wide) - low.astype(wide) for high, low in zip(above, below, strict=True)]
    for call, expected in zip((white_tophat, black_tophat), exact, strict=True):
        for run in ({}, {"block_shape": block_shape}):
            found = call(array, footprint=footprint, **run)
            assert found.dtype.kind == {"i": "u"}.get(array.dtype.kind, array.dtype.kind)
            np.testing.assert_array_equal(found.astype(expected.dtype), expected)


@pytest.mark.parametrize("size", [3, (1, 3, 5), (4, 2, 3)])
@pytest.mark.parametrize("dtype", ["u1", "f4", "i2"])
def test_values_are_those_of_scipy(size: Any, dtype: str) -> None:
    array = (np.random.default_rng(0).random((12, 14, 15)) * 100).astype(dtype)
    run = {"block_shape": (5, 7, 8), "num_workers": 2}
    np.testing.assert_array_equal(median(array, size, **run), ndimage.median_filter(array, size))
    np.testing.assert_array_equal(rank(array, -2, size, **run), ndimage.rank_filter(array, -2, size))
    np.testing.assert_array_equal(white_tophat(array, size, **run), ndimage.white_tophat(array, size))
    np.testing.assert_array_equal(black_tophat(array, size, **run), ndimage.black_tophat(array, size))
    for share in (0, 10, 33.3, 100, -25):
        np.testing.assert_array_equal(
            percentile(array, share, size, **run), ndimage.percentile_filter(array, share, size)
        )


def test_a_ball_and_a_ring() -> None:
    array = np.random.default_rng(0).integers(0, 2**63, (9, 20, 21), dtype=np.uint64)
    ball = (np.indices((5, 5, 5)) - 2).__pow__(2).sum(0) <= 5
    ring = ball & ((np.indices((5, 5, 5)) - 2).__pow__(2).sum(0) > 2)
    for footprint in (ball, ring):
        found = median(array, footprint=footprint, block_shape=(4, 9, 21))
        np.testing.assert_array_equal(found, ranked(array, footprint, int(footprint.sum()) // 2))


def test_a_large_box() -> None:
    array = np.random.default_rng(0).integers(0, 256, (70, 80), dtype=np.uint8)
    np.testing.assert_array_equal(median(array, 17, block_shape=(33, 40)), ndimage.median_filter(array, 17))
    np.testing.assert_array_equal(white_tophat(array, 41, block_shape=33), ndimage.white_tophat(array, 41))


def test_neighbours_beyond_a_region_count() -> None:
    array = np.random.default_rng(0).integers(0, 256, (30, 31), dtype=np.uint8)
    expected = ndimage.median_filter(array, 5)
    inside = (slice(3, 20), slice(7, 29))
    found = median(array, 5, roi=inside, block_shape=8)
    np.testing.assert_array_equal(found[inside], expected[inside])
    mask = np.zeros(array.shape, bool)
    mask[5:9, 3:20] = True
    masked = median(array, 5, mask=mask, block_shape=(6, 31))
    np.testing.assert_array_equal(masked, np.where(mask, expected, 0))


def test_channels_are_kept_apart_and_sizes_may_be_lengths() -> None:
    array = np.random.default_rng(0).integers(0, 256, (2, 9, 16, 17), dtype=np.uint8)
    axes = [Axis("c", "channel"), Axis("z", unit="micrometer", scale=1.0), *(Axis(n, scale=0.5) for n in "yx")]
    source = AxesSource(array, [a if a.name in "cz" else Axis(a.name, unit="micrometer", scale=0.5) for a in axes])
    expected = np.stack([ndimage.median_filter(one, (3, 5, 5)) for one in array])
    for size, physical in (((3, 5, 5), False), ((1, 3, 5, 5), False), (2.0, True), (2.4, True)):
        found = median(source, size, physical=physical, block_shape=(1, 5, 8, 17))
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ParameterError, match="size cannot count in physical units"):
        median(array, 2.0, physical=True)


def test_empty_and_single_voxels() -> None:
    for shape in ((), (0, 5), (1, 1, 1), (1,)):
        array = np.zeros(shape, np.int16)
        np.testing.assert_array_equal(median(array, 3), array)
        np.testing.assert_array_equal(black_tophat(array, 4), array)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "neither was given"),
        ({"size": 3, "footprint": np.ones((3, 3))}, "both was given"),
        ({"size": 0}, "size=0 is not made of whole numbers from 1"),
        ({"size": 2.5}, r"size=2.5 is not made of whole"),
        ({"size": (3, 3, 3)}, "size has 3 values, the input has 2 axes"),
        ({"size": "wide"}, "size='wide' is not made of whole"),
        ({"footprint": np.ones(3)}, "it needs 2 axes"),
        ({"footprint": np.zeros((3, 3))}, "with 0 voxels doesn't fit"),
    ],
)
def test_neighbourhoods_that_make_no_sense(arguments: Any, text: str) -> None:
    for call in (median, white_tophat, lambda array, **given: rank(array, 0, **given)):
        with pytest.raises(ParameterError, match=text):
            call(np.zeros((8, 8), np.uint8), **arguments)


def test_other_bad_input() -> None:
    array = np.zeros((8, 8))
    with pytest.raises(ParameterError, match="9 voxels have the ranks 0 to 8"):
        rank(array, 9, 3)
    with pytest.raises(ParameterError, match="percentile=101 is not between"):
        percentile(array, 101, 3)
    for bad in (array.astype(complex), array.astype("M8[s]")):
        with pytest.raises(DtypeError, match="median cannot use dtype"):
            median(bad, 3)


def test_a_network_has_no_step_too_many() -> None:
    """The numbers that the module states."""
    levels = [network(3, 1, (0, 1, 2)), network(3, 3, tuple(range(9))), network(3, 9, (13,))]
    assert sum(len(one.steps) for one in levels) == 76
    assert len(network(27, 1, (13,)).steps) == 125
    assert len(network(40, 1, (0,)).steps) == 39


def test_kernels_are_values() -> None:
    import pickle

    kernel = Rank(Footprint((3, 3), bytes(range(9))), 4)
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    assert hash(TopHat(Footprint((3,)), white=True)) == hash(TopHat(Footprint((3,)), white=True))
    assert bp.filters.median.declaration.relation == "exact"
