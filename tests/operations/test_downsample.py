"""Downsampling and copying: brute-force oracles, conventions, views, errors."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

import bioimage_py as bp
from bioimage_py.errors import AliasError, DtypeError, ParameterError, ReadOnlyError, RunnerError, ShapeError
from bioimage_py.sources import as_source, from_spec
from bioimage_py.sources.array import ArraySource
from bioimage_py.sources.axes import Axis
from bioimage_py.wrapper import RoiSource
from bioimage_py.wrapper import downsample as downsampling
from bioimage_py.wrapper.base import WrapperSource
from bioimage_py.wrapper.downsample import DownsampleSource
from bioimage_py.wrapper.voxel_blocks import mean_blocks, mode_blocks

INTEGERS = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]


def brute(array: np.ndarray, factors: tuple[int, ...], function: Any) -> np.ndarray:
    """Every block by itself, with Python numbers."""
    shape = [-(-size // factor) for size, factor in zip(array.shape, factors, strict=True)]
    result = np.empty(shape, array.dtype)
    for index in np.ndindex(*shape):
        block = array[tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factors, strict=True))]
        result[index] = function(block.reshape(-1).tolist())
    return result


def half_to_even(values: list[int]) -> int:
    return round(Fraction(sum(values), len(values)))


def smallest_mode(values: list[int]) -> int:
    counts = Counter(values)
    return min(value for value, count in counts.items() if count == max(counts.values()))


@st.composite
def cases(draw: st.DrawFn, dtypes: list[str]) -> tuple[np.ndarray, tuple[int, ...]]:
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=7))
    factors = tuple(draw(st.integers(1, 5)) for _ in shape)
    if dtype.kind == "b":
        return draw(hnp.arrays(dtype, shape)), factors
    info = np.iinfo(dtype)
    few = draw(st.lists(st.integers(int(info.min), int(info.max)), min_size=1, max_size=4))
    limits = [int(info.min), int(info.max), int(info.max) - 1]
    return draw(hnp.arrays(dtype, shape, elements=st.sampled_from([*few, *limits]))), factors


@given(cases(INTEGERS))
@settings(max_examples=250, deadline=None)
def test_integer_mean_is_exact_and_rounds_halves_to_even(case: tuple[np.ndarray, tuple[int, ...]]) -> None:
    array, factors = case
    result = mean_blocks(array, factors)
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(result, brute(array, factors, half_to_even))


RANGES = [(0, 256), (250, 256), (0, 1000), (8180, 8200), (16380, 16390), (0, 65536), (65530, 65536)]


@given(
    st.integers(0, 2**32),
    st.tuples(*[st.integers(1, 4)] * 2),
    st.sampled_from("CFK"),
    st.sampled_from([("u1", 0, 256), ("u1", 250, 256), *(("u2", *each) for each in RANGES)]),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_mean_of_pairs_of_a_row(
    seed: int, factors: tuple[int, int], order: Any, values: tuple[str, int, int], drawn: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    dtype, low, high = values
    whole = np.asarray(rng.integers(low, high, (7, 9, 12), dtype), order=order)
    whole.flags.writeable = False
    begin = drawn.draw(st.tuples(*[st.integers(0, 3)] * 3))  # rows that do not begin where a word does
    array = whole[tuple(slice(start, None) for start in begin)]
    np.testing.assert_array_equal(mean_blocks(array, (*factors, 2)), brute(array, (*factors, 2), half_to_even))


@given(cases(INTEGERS))
@settings(max_examples=250, deadline=None)
def test_mode_is_exact_and_takes_the_smallest_of_ties(case: tuple[np.ndarray, tuple[int, ...]]) -> None:
    array, factors = case
    np.testing.assert_array_equal(mode_blocks(array, factors), brute(array, factors, smallest_mode))
    labels = brute(array, factors, lambda values: smallest_mode([value for value in values if value] or [0]))
    np.testing.assert_array_equal(mode_blocks(array, factors, nonzero=True), labels)


@given(st.sampled_from(INTEGERS[1:]), st.integers(1, 9), st.integers(-1, 1), st.booleans())
def test_mean_of_values_at_the_edge_of_what_can_be_summed_in_their_own_type(
    dtype: str, factor: int, beside: int, least: bool
) -> None:
    info, n = np.iinfo(dtype), 2 * factor
    edge = -(-int(info.min) // n) if least else (int(info.max) - n // 2) // n
    value = min(max(edge + beside, int(info.min)), int(info.max))
    array = np.full((factor * 3, 5), value, dtype)
    np.testing.assert_array_equal(mean_blocks(array, (factor, 2)), np.full((3, 3), value, dtype))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_float_mean(dtype: str) -> None:
    array = np.random.default_rng(0).normal(size=(9, 10, 11)).astype(dtype)
    expected = brute(array, (2, 3, 4), lambda values: np.mean(values))
    result = mean_blocks(array, (2, 3, 4))
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_allclose(result, expected, rtol=4 * np.finfo(dtype).eps, atol=1e-3 if dtype == "f2" else 1e-7)


def test_conventions_on_a_ramp() -> None:
    ramp = np.arange(10, dtype=np.float64) * 10
    assert bp.downsample(ramp, 2, method="mean").tolist() == [5, 25, 45, 65, 85]
    assert bp.downsample(ramp, 2, method="stride").tolist() == [0, 20, 40, 60, 80]
    assert bp.downsample(ramp, 3).tolist() == [0, 30, 60, 90]
    assert bp.downsample(ramp, 3, method="mean").tolist() == [10, 40, 70, 90]
    assert bp.downsample(np.array([1, 2, 5, -1, -2, -4], np.int8), 2, method="mean").tolist() == [2, 2, -3]
    assert bp.downsample(np.array([1, 2, 2, 3, -1, -2], np.int8), 2, method="mean").tolist() == [2, 2, -2]
    assert bp.downsample(np.array([7, 3, 3, 7, 9], np.uint8), 4, method="mode").tolist() == [3, 9]
    assert bp.downsample(np.arange(101), 2).shape == (51,)
    assert bp.downsample(np.arange(101), 2)[-1] == 100


@pytest.mark.parametrize("factors", [(1, 2), (2, 2), (1, 3)])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8"])
def test_a_deep_pyramid_keeps_its_brightness(dtype: str, factors: tuple[int, int]) -> None:
    image = np.random.default_rng(3).integers(0, 200, (512, 3**6 if 3 in factors else 512)).astype(dtype)
    levels = bp.pyramid(image, [factors] * 5, method="mean", block_shape=(128, 128), progress=False)
    assert abs(float(levels[-1].mean()) - float(image.mean())) < 0.3


def test_points_stay_in_a_pyramid_of_labels() -> None:
    labels = np.zeros((48, 48), np.uint64)
    labels[1::8, 1::8] = np.arange(2**60, 2**60 + 36).reshape(6, 6)
    levels = bp.pyramid(labels, [2, 2, 2], method="mode_nonzero", block_shape=(16, 16), progress=False)
    for level in levels:
        np.testing.assert_array_equal(np.unique(level[level > 0]), np.unique(labels[labels > 0]))


@pytest.mark.parametrize("order", range(6))
def test_order_does_not_move_the_samples(order: int) -> None:
    array = np.random.default_rng(0).integers(0, 255, (8, 9, 10)).astype(np.uint8)
    np.testing.assert_array_equal(bp.downsample(array, (2, 1, 3), order=order), array[::2, :, ::3])


@pytest.mark.parametrize("block_shape", [None, (2, 3, 1), (3, 3, 3)])
@pytest.mark.parametrize("dtype", ["u1", "f4", "i8"])
def test_anti_aliasing_is_a_gaussian_before_striding(dtype: str, block_shape: Any) -> None:
    array = (np.random.default_rng(0).random((13, 14, 9)) * 200).astype(dtype)
    smooth = ndimage.gaussian_filter(array.astype("f8"), (0.5, 0, 1), mode="mirror", radius=(2, 0, 3))
    expected = smooth[::2, :, ::3]
    result = bp.downsample(array, (2, 1, 3), anti_aliasing=True, block_shape=block_shape)
    assert result.dtype == np.dtype(dtype)
    if dtype == "f4":
        np.testing.assert_allclose(result, expected, rtol=1e-6)
    else:
        np.testing.assert_array_equal(result, np.rint(expected))


def test_anti_aliasing_of_axes_shorter_than_the_window() -> None:
    array = np.random.default_rng(0).random((3, 2, 40))
    expected = ndimage.gaussian_filter(array, (3.5, 3.5, 3.5), mode="mirror", radius=11)[::8, ::8, ::8]
    for block_shape in (None, (1, 1, 1), (1, 1, 2)):
        result = bp.downsample(array, 8, anti_aliasing=True, block_shape=block_shape)
        np.testing.assert_allclose(result, expected, rtol=1e-12)


@pytest.mark.parametrize("method", ["mean", "mode", "mode_nonzero", "stride", None])
@pytest.mark.parametrize("shape", [(20, 21, 22), (16, 16, 16), (33, 5, 1)])
def test_every_grid_gives_the_whole_array_result(method: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    array = rng.integers(0, 5, shape).astype(np.uint64) + np.uint64(2**53)
    whole = bp.downsample(array, (2, 3, 4), method=method)
    for kwargs in (
        {"block_shape": (3, 4, 5)},
        {"block_shape": (4, 1, 9), "num_workers": 2},
        {"num_workers": 2},
    ):
        np.testing.assert_array_equal(bp.downsample(array, (2, 3, 4), method=method, **kwargs), whole)


def test_storage_in_and_out(tmp_path: Any) -> None:
    array = np.random.default_rng(0).integers(0, 256, (50, 60, 70)).astype(np.uint8)
    source = zarr.create_array(str(tmp_path / "in.zarr"), shape=array.shape, chunks=(16, 16, 16), dtype="u1")
    source[:] = array
    expected = mean_blocks(array, (2, 2, 2))
    target = zarr.create_array(str(tmp_path / "out.zarr"), shape=expected.shape, chunks=(16, 16, 16), dtype="u1")
    assert bp.downsample(source, 2, target, method="mean") is target
    np.testing.assert_array_equal(target[:], expected)
    np.testing.assert_array_equal(bp.downsample(source, 2, method="mean", num_workers=2), expected)


def test_region_and_mask_are_those_of_the_output() -> None:
    array = np.arange(400, dtype=np.int32).reshape(20, 20)
    expected = mean_blocks(array, (2, 2))
    out = np.zeros((10, 10), np.int32)
    bp.downsample(array, 2, out, method="mean", roi=(slice(3, 7), slice(0, 5)), block_shape=(2, 2))
    np.testing.assert_array_equal(out[3:7, :5], expected[3:7, :5])
    assert np.count_nonzero(out) == np.count_nonzero(expected[3:7, :5])
    mask = np.zeros((10, 10), bool)
    mask[4, 2:9] = True
    out = bp.downsample(array, 2, method="mean", mask=mask)
    np.testing.assert_array_equal(out, np.where(mask, expected, 0))


class Located(WrapperSource):
    """A source with physical axes."""

    def _getitem(self, roi: Any) -> np.ndarray:
        return self._source._getitem(roi)

    @property
    def axes(self) -> tuple[Axis, ...]:
        return (Axis("z", unit="nanometer", scale=40.0, offset=100.0), Axis("x", unit="nanometer", scale=4.0))


def test_axes_follow_the_half_voxel_convention() -> None:
    source = Located(np.zeros((11, 12)))
    mean = DownsampleSource(source, (3, 2), "mean")
    assert [(a.name, a.unit, a.scale, a.offset) for a in mean.axes] == [
        ("z", "nanometer", 120.0, 140.0),
        ("x", "nanometer", 8.0, 2.0),
    ]
    assert DownsampleSource(Located(np.zeros((11, 12), int)), (3, 2), "mode").axes == mean.axes
    stride = DownsampleSource(source, (3, 2), "stride")
    assert [(a.scale, a.offset) for a in stride.axes] == [(120.0, 100.0), (8.0, 0.0)]


def test_the_view_is_a_source(tmp_path: Any) -> None:
    array = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40)
    stored = zarr.create_array(str(tmp_path / "a.zarr"), shape=array.shape, chunks=(10, 8), dtype="u2")
    stored[:] = array
    for method, anti_aliasing in (("mean", False), ("mode", False), ("stride", False), ("stride", True)):
        view = DownsampleSource(stored, (2, 4), method, anti_aliasing)
        whole = view[:]
        assert (view.shape, view.dtype, view.chunks, view.ndim) == ((15, 10), np.dtype("u2"), (5, 2), 2)
        assert (view.shards, view.write_chunks, view.grid_origin, view.writable) == (None, None, (0, 0), False)
        assert view.identity == as_source(stored).identity
        assert (view.factors, view.method) == ((2, 4), method)
        for roi in itertools.product((slice(0, 15), slice(3, 4), slice(13, 15)), (slice(0, 1), slice(2, 9))):
            np.testing.assert_array_equal(view[roi], whole[roi])
        np.testing.assert_array_equal(view[-1, ::-3], whole[-1, ::-3])
        assert view[4:4].shape == (0, 10)
        np.testing.assert_array_equal(from_spec(view.to_spec())[:], whole)
        np.testing.assert_array_equal(view.fresh(cache_bytes=1000)[:], whole)
        with pytest.raises(ReadOnlyError, match="read-only"):
            view[:] = 0


def test_reading_gives_an_array_of_the_callers_own() -> None:
    array = np.arange(12).reshape(3, 4)
    for method in ("mean", "mode", "stride"):
        region = DownsampleSource(array, 1, method)[:]
        region[:] = -1
    assert (array.min(), array.max()) == (0, 11)


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"scale_factor": 0}, "scale_factor 0 has an entry below 1"),
        ({"scale_factor": (2, -1)}, "entry below 1"),
        ({"scale_factor": 1.5}, "scale_factor 1.5 is not made of whole numbers"),
        ({"scale_factor": (1, 2, 3)}, "has 3 entries, the source has 2 axes"),
        ({"scale_factor": 2, "order": 7}, "order is 7, not one of 0 to 5"),
        ({"scale_factor": 2, "order": None}, "order is None"),
        ({"scale_factor": 2, "method": "median"}, "The method is 'median'"),
        (
            {"scale_factor": 2, "method": "mean", "order": 1},
            "order=1 and anti_aliasing=False do nothing for method='mean'",
        ),
        ({"scale_factor": 2, "method": "mode", "anti_aliasing": True}, "anti_aliasing=True do nothing"),
    ],
)
def test_parameters_that_make_no_sense(kwargs: Any, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        bp.downsample(np.zeros((4, 6), np.uint8), **kwargs)


def test_data_types_and_shapes_that_do_not_fit() -> None:
    with pytest.raises(DtypeError, match="The mode of blocks cannot be taken of dtype float64"):
        bp.downsample(np.zeros((4, 6)), 2, method="mode")
    with pytest.raises(DtypeError, match="The mean of blocks cannot be taken of dtype complex128"):
        bp.downsample(np.zeros((4, 6), complex), 2, method="mean")
    for kwargs in ({}, {"block_shape": (2, 2)}):
        with pytest.raises(ShapeError, match=r"\(2, 4\).*\(2, 3\)"):
            bp.downsample(np.zeros((4, 6)), 2, np.zeros((2, 4)), **kwargs)


def test_downsampling_onto_its_own_input_is_refused() -> None:
    array = np.zeros((4, 6))
    with pytest.raises(AliasError, match="different views of one storage"):
        bp.downsample(array, (1, 2), array[:, :3], block_shape=(2, 2))


class Recording(ArraySource):
    """An array that says which boxes were read."""

    def __init__(self, array: Any) -> None:
        super().__init__(array)
        self.boxes: list[tuple[slice, ...]] = []

    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        self.boxes.append(roi)
        return super()._getitem(roi)

    def _viewitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        self.boxes.append(roi)
        return super()._viewitem(roi)


@pytest.mark.parametrize("method", ["mean", "mode", "mode_nonzero", "stride"])
@given(
    st.tuples(*[st.tuples(st.integers(1, 20), st.integers(1, 9), st.integers(1, 4), st.integers(0, 19))] * 3),
    st.sampled_from([30, 200, 1500]),
)
@settings(max_examples=25, deadline=None)
@pytest.mark.slow
def test_pieces_change_nothing_and_read_no_chunk_twice(
    method: str, axes: tuple[tuple[int, int, int, int], ...], limit: int
) -> None:
    shape, chunks, factors, starts = zip(*axes, strict=True)
    array = np.random.default_rng(0).integers(0, 9, shape).astype(np.uint8)
    stored = zarr.create_array(zarr.storage.MemoryStore(), shape=shape, chunks=chunks, dtype="u1")
    stored[...] = array
    source = Recording(stored)
    view = DownsampleSource(source, factors, method)
    roi = tuple(slice(start % size, size) for start, size in zip(starts, view.shape, strict=True))
    expected = DownsampleSource(array, factors, method)[roi]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downsampling, "_PIECE_BYTES", limit)
        np.testing.assert_array_equal(view[roi], expected)
        np.testing.assert_array_equal(DownsampleSource(array, factors, method)[roi], expected)
    read = np.zeros([-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)], int)
    for box in source.boxes:
        touched = (slice(b.start // chunk, -(-b.stop // chunk)) for b, chunk in zip(box, chunks, strict=True))
        read[tuple(touched)] += 1
    assert read.max() == 1


def test_pieces_are_small_where_that_is_free() -> None:
    stored = zarr.create_array(zarr.storage.MemoryStore(), shape=(256,) * 3, chunks=(64,) * 3, dtype="u8")
    source = Recording(stored)
    assert not DownsampleSource(source, 2, "mode")[:, :128, :].any()
    sizes = [math.prod(part.stop - part.start for part in box) * 8 for box in source.boxes]
    assert max(sizes) <= 4 << 20
    assert len(sizes) == 32
    # a wrapper may read more than it is asked for, such as a halo, so it is asked once
    whole = Recording(np.zeros((256,) * 3, "u8"))
    assert not DownsampleSource(RoiSource(whole, (slice(None),) * 3), 2, "mode")[:, :128, :].any()
    assert len(whole.boxes) == 1


def test_strides_span_no_more_than_a_piece_where_voxels_between_the_steps_are_read_too(tmp_path: Any) -> None:
    stored = zarr.create_array(tmp_path / "a.zarr", shape=(256,) * 3, chunks=(64,) * 3, dtype="u2")
    source = Recording(stored)
    assert not DownsampleSource(source, 8, "stride")[...].any()
    assert max(math.prod(part.stop - part.start for part in box) * 2 for box in source.boxes) <= 4 << 20
    with h5py.File(tmp_path / "a.h5", "w") as file:
        assert not as_source(file.create_dataset("a", (4, 4), chunks=(2, 2))).thins
    assert as_source(stored).thins
    assert as_source(np.zeros(3)).thins
    assert not source.thins


def test_mode_of_blocks_that_hold_many_values() -> None:
    rng = np.random.default_rng(1)
    array = rng.integers(2**63, 2**63 + 3, (33, 18, 40), dtype=np.uint64)
    array[:, 9:] = np.arange(40, dtype=np.uint64) // 4
    for factors in ((2, 2, 2), (1, 3, 2), (4, 4, 4), (3, 1, 1)):
        np.testing.assert_array_equal(mode_blocks(array, factors), brute(array, factors, smallest_mode))
        turned = array[:, ::-1]
        np.testing.assert_array_equal(mode_blocks(turned, factors), brute(turned, factors, smallest_mode))


# -- copy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kwargs", [{}, {"block_shape": (4, 5, 6)}, {"num_workers": 2}])
def test_copy(kwargs: Any, tmp_path: Any) -> None:
    array = np.random.default_rng(0).integers(0, 1000, (17, 18, 19)).astype(np.uint16)
    copied = bp.copy(array, **kwargs)
    np.testing.assert_array_equal(copied, array)
    assert copied.dtype == array.dtype
    assert not np.shares_memory(copied, array)
    stored = zarr.create_array(str(tmp_path / "a.zarr"), shape=array.shape, chunks=(8, 8, 8), dtype="f4")
    bp.copy(array, stored)
    np.testing.assert_array_equal(stored[:], array)
    np.testing.assert_array_equal(bp.copy(stored, np.zeros(array.shape, "u2"), **kwargs), array)
    assert bp.copy(array, array) is array


def test_copy_checks_values_and_shapes() -> None:
    array = np.array([[0.0, 300.0], [1.0, 2.7]])
    for kwargs in ({}, {"block_shape": (1, 1)}):
        with pytest.raises((ValueError, RunnerError), match=r"300.0 .*does not fit uint8"):
            bp.copy(array, np.zeros((2, 2), np.uint8), **kwargs)
        assert bp.copy(array, np.zeros((2, 2), np.uint8), casting="unsafe", **kwargs)[1, 1] == 2
        with pytest.raises(ShapeError):
            bp.copy(array[:1], np.zeros((2, 2)), **kwargs)
    with pytest.raises(TypeError, match="open_source"):
        bp.copy("in.zarr", np.zeros(3))
