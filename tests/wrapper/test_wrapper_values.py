"""Lazy transforms give what the same function of the whole array gives, whatever box is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bioimage_py.errors import DtypeError, HaloError, ParameterError, ReadOnlyError, ShapeError, ValueRangeError
from bioimage_py.sources import Axis, Source, as_source
from bioimage_py.wrapper import (
    AffineSource,
    AxesSource,
    CachedSource,
    CastSource,
    ChannelSource,
    ConcatenateSource,
    ExpandDimsSource,
    FlipSource,
    MultiTransformationSource,
    NormalizeSource,
    PadSource,
    ResizedSource,
    RoiSource,
    SimpleTransformationSource,
    SimpleTransformationWithHaloSource,
    StackSource,
    StandardizeSource,
    ThresholdSource,
    TransformationSource,
    TransposeSource,
    compute_affine_matrix,
    first_pass,
)
from bioimage_py.wrapper.cached import with_cache
from bioimage_py.wrapper.pad import MODES


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[slice, ...]:
    parts = []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        parts.append(slice(start, draw(st.integers(start + 1, size))))
    return tuple(parts)


class Counted:
    """An array that counts the voxels that are read of it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.voxels = array, array.shape, array.dtype, 0

    def __getitem__(self, index: Any) -> np.ndarray:
        self.voxels += self.array[index].size
        return self.array[index]


# padding


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_pad_equals_numpy(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.integers(1, 6)) for _ in range(data.draw(st.integers(1, 3))))
    array = np.random.default_rng(0).integers(-50, 50, shape, np.int16)
    widths = [data.draw(st.tuples(st.integers(0, 15), st.integers(0, 15))) for _ in shape]
    mode = data.draw(st.sampled_from(MODES))
    options = {"constant": {"constant_values": 7}, "linear_ramp": {"end_values": 7}}.get(mode, {})
    expected = np.pad(array, widths, mode, **options)  # type: ignore[call-overload]
    source = PadSource(array, widths, mode, constant_values=7)
    assert source.shape == expected.shape
    box = data.draw(boxes(expected.shape))
    np.testing.assert_array_equal(source[box], expected[box])


def test_pad_reads_no_more_than_it_needs() -> None:
    counted = Counted(np.arange(10_000).reshape(100, 100))
    source = PadSource(counted, 50, "reflect")
    source[:10, :10]
    source[100:110, 60:70]
    assert counted.voxels == 200
    beyond = PadSource(counted, [(50, 50), (0, 0)])
    assert not beyond[:40].any()
    assert counted.voxels == 200


def test_pad_says_what_is_wrong_with_its_arguments() -> None:
    array = np.zeros((3, 4), np.uint8)
    assert PadSource(array, (1, (2, 3))).shape == (4, 9)
    assert PadSource(array, 2).shape == (5, 6)
    for widths in ((1, 2, 3), (-1, 0), (1.5, 0), ((1, 2, 3), 0)):
        with pytest.raises(ParameterError, match="pad_width"):
            PadSource(array, widths)
    with pytest.raises(ParameterError, match="use one of constant, edge"):
        PadSource(array, 1, "mirror")
    with pytest.raises(ValueRangeError, match="300"):
        PadSource(array, 1, constant_values=300)


# first passes, normalising


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint32", "int64", "uint64", "float16", "float32", "float64"]
)
def test_percentiles_are_exact(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_pass, "BLOCK_VOXELS", 50)
    generator = np.random.default_rng(1)
    values = generator.normal(0, 30, (7, 9, 11))
    array = (np.abs(values) if dtype[0] == "u" else values).astype(dtype)
    if dtype in ("int64", "uint64"):
        array += np.array(2**62, dtype)
    wanted = [0, 0.1, 1, 25, 50, 77.7, 99, 100]
    found = first_pass.percentiles(as_source(array), wanted)
    assert (
        found
        == np.percentile(array.astype(object) if dtype == "bool" else array, wanted, method="inverted_cdf").tolist()
    )
    assert first_pass.value_range(as_source(array)) == (array.min(), array.max())
    mean, std = first_pass.mean_and_std(as_source(array))
    assert mean == pytest.approx(array.mean(dtype=np.float64), rel=1e-12)
    if dtype not in ("int64", "uint64"):
        assert std == pytest.approx(array.std(dtype=np.float64), rel=1e-9)


def test_first_passes_leave_out_what_is_no_number() -> None:
    source = as_source(np.array([np.nan, -np.inf, -0.0, 0.0, 3.0, np.inf]))
    assert first_pass.value_range(source) == (0, 3)
    assert first_pass.percentiles(source, [0, 50, 100]) == [0, 0, 3]
    assert first_pass.mean_and_std(source) == pytest.approx((1, np.sqrt(2)))
    nothing = as_source(np.full(3, np.nan))
    assert first_pass.value_range(nothing) == (0, 0)
    assert first_pass.percentiles(nothing, [50]) == [0]
    with pytest.raises(ParameterError, match="not within 0 and 100"):
        first_pass.percentiles(nothing, [101])


def test_normalising_does_not_depend_on_blocks() -> None:
    array = np.random.default_rng(0).integers(0, 1000, (20, 30), np.uint16)
    whole = (array.astype(np.float64) - array.min()) / (array.max() - array.min())
    source = NormalizeSource(array)
    blocks = [source[y : y + 7, x : x + 7] for y in range(0, 20, 7) for x in range(0, 30, 7)]
    again = np.block([[blocks[i * 5 + j] for j in range(5)] for i in range(3)])
    np.testing.assert_array_equal(again, whole.astype(np.float32))
    low, high = np.percentile(array, [5, 95], method="inverted_cdf")
    expected = np.clip((array.astype(np.float64) - low) / (high - low), 0, 1)
    np.testing.assert_array_equal(NormalizeSource(array, "float64", percentiles=(5, 95))[...], expected)
    np.testing.assert_array_equal(
        NormalizeSource(array, range=(0, 500))[3], np.clip(array[3] / 500, 0, 1).astype(np.float32)
    )
    assert not NormalizeSource(np.full(5, 7))[...].any()
    np.testing.assert_allclose(
        StandardizeSource(array, "float64")[...], (array - array.mean()) / array.std(), rtol=0, atol=1e-12
    )
    assert not StandardizeSource(np.full(5, 7))[...].any()


def test_channels_have_their_own_numbers() -> None:
    array = np.stack([np.arange(20.0), np.arange(20.0) * 100 - 7]).reshape(2, 4, 5)
    source = NormalizeSource(array, "float64", with_channels=True)
    for channel in (0, 1):
        np.testing.assert_allclose(source[channel], np.linspace(0, 1, 20).reshape(4, 5), atol=1e-12)
    np.testing.assert_array_equal(source[1:, 2], source[...][1:, 2])
    assert source.range == ((0, 19), (-7, 1893))
    assert NormalizeSource(array, with_channels=True, range=(0, 1)).range == ((0, 1), (0, 1))


def test_the_pass_is_made_once_and_travels_with_the_spec() -> None:
    counted = Counted(np.arange(100.0))
    source = NormalizeSource(counted, percentiles=(10, 90))
    assert counted.voxels == 0
    source[3]
    passes = counted.voxels - 1
    assert passes == 4 * 100
    source[4], source._params()
    assert counted.voxels == passes + 2
    assert source._params()["range"] == [9, 89]
    NormalizeSource(counted, range=source._params()["range"])[5]
    assert counted.voxels == passes + 3


def test_normalising_refuses_what_makes_no_sense() -> None:
    array = np.zeros((2, 3))
    for kwargs in ({"range": (1, 0)}, {"range": 3}, {"range": (0, np.inf)}, {"percentiles": (99, 1)}):
        with pytest.raises(ParameterError):
            NormalizeSource(array, **kwargs)
    with pytest.raises(ParameterError, match="both given"):
        NormalizeSource(array, range=(0, 1), percentiles=(0, 1))
    with pytest.raises(DtypeError, match="fractions"):
        NormalizeSource(array, "uint8")
    with pytest.raises(ParameterError, match="negative deviation"):
        StandardizeSource(array, mean_and_std=(0, -1))


# other grids


def test_the_parts_of_an_affine_matrix() -> None:
    np.testing.assert_allclose(compute_affine_matrix(rotation=90, ndim=2)[:2, :2], [[0, -1], [1, 0]], atol=1e-15)
    sheared = compute_affine_matrix(shear=45, ndim=2)
    np.testing.assert_allclose(sheared @ [2, 3, 1], [5, 3, 1])
    sheared = compute_affine_matrix(shear=(45, 0, 0))
    np.testing.assert_allclose(sheared @ [2, 3, 5, 1], [5, 3, 5, 1])
    sheared = compute_affine_matrix(shear=(0, 0, -45))
    np.testing.assert_allclose(sheared @ [2, 3, 5, 1], [2, -2, 5, 1])
    both = compute_affine_matrix((2, 3), 90, 45, (10, 20))
    # scaled (2, 3) -> sheared (5, 3) -> turned (-3, 5) -> moved
    np.testing.assert_allclose(both @ [1, 1, 1], [7, 25, 1])
    turned = compute_affine_matrix(rotation=(90, 0, 0)) @ [1, 2, 3, 1]
    np.testing.assert_allclose(turned, [1, -3, 2, 1], atol=1e-12)
    determinant = np.linalg.det(compute_affine_matrix((2, 3, 4), (10, 20, 30), (5, 6, 7))[:3, :3])
    assert determinant == pytest.approx(24)
    with pytest.raises(ParameterError, match="takes 3"):
        compute_affine_matrix(scale=(1, 2, 3), shear=4)
    with pytest.raises(ParameterError, match="No parameter"):
        compute_affine_matrix()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_affine_equals_scipy_on_the_whole_array(data: st.DataObject) -> None:
    ndim = data.draw(st.sampled_from([2, 3]))
    shape = (17, 23, 13)[:ndim]
    array = np.random.default_rng(0).normal(size=shape)
    angle = st.integers(-60, 60)
    angles = data.draw(angle) if ndim == 2 else tuple(data.draw(angle) for _ in range(3))
    shears = data.draw(angle) if ndim == 2 else tuple(data.draw(angle) for _ in range(3))
    scale = tuple(data.draw(st.sampled_from([0.4, 0.9, 1.0, 1.7, -1.0])) for _ in range(ndim))
    translation = tuple(data.draw(st.integers(-8, 30)) + 0.25 for _ in range(ndim))
    order = data.draw(st.sampled_from([0, 1, 3]))
    source = AffineSource(
        array,
        (15, 20, 11)[:ndim],
        scale=scale,
        rotation=angles,
        shear=shears,
        translation=translation,
        order=order,
        fill_value=5,
    )
    matrix = compute_affine_matrix(scale, angles, shears, translation)
    expected = ndimage.affine_transform(
        array, matrix[:ndim, :ndim], matrix[:ndim, ndim], source.shape, order=order, mode="grid-constant", cval=5
    )
    box = data.draw(boxes(source.shape))
    whole, found = source[...], source[box]
    if order == 0:
        np.testing.assert_array_equal(found, whole[box])
        # rounding of coordinates that lie half-way differs
        assert (found != expected[box]).mean() < 0.1
    else:
        np.testing.assert_allclose(found, expected[box], rtol=0, atol={1: 1e-9, 3: 2e-6}[order])


def test_affine_of_labels_keeps_large_ids_and_reads_only_what_it_needs() -> None:
    ids = (np.arange(10_000, dtype=np.uint64) + 2**63).reshape(100, 100)
    counted = Counted(ids)
    source = AffineSource(counted, (50, 50), scale=(2, 2), translation=(1, 0))
    np.testing.assert_array_equal(source[10:20, 5:10], ids[21:41:2, 10:20:2])
    assert counted.voxels < 600
    outside = AffineSource(counted, (50, 50), translation=(200, 0), fill_value=9)
    assert (outside[...] == 9).all()
    assert counted.voxels < 600


@pytest.mark.parametrize("anti_aliasing", [False, True])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_resized_equals_itself_in_boxes(order: int, anti_aliasing: bool) -> None:
    array = np.random.default_rng(0).normal(size=(40, 31)).astype(np.float32)
    source = ResizedSource(array, (17, 47), order=order, anti_aliasing=anti_aliasing)
    whole = source[...]
    for box in ((slice(0, 3), slice(40, 47)), (slice(5, 17), slice(0, 1)), (slice(8, 9), slice(20, 30))):
        np.testing.assert_allclose(source[box], whole[box], rtol=0, atol=0 if order == 0 else 3e-6)


def test_resized_has_the_half_voxel_convention() -> None:
    from skimage.transform import resize

    array = np.random.default_rng(0).normal(size=(12, 31))
    for shape in ((6, 62), (24, 10), (5, 31)):
        expected = resize(array, shape, order=1, mode="edge", anti_aliasing=False)
        np.testing.assert_allclose(ResizedSource(array, shape, order=1)[...], expected, atol=1e-12)
    ramp = np.arange(8.0)
    np.testing.assert_array_equal(ResizedSource(ramp, (4,), order=1)[...], [0.5, 2.5, 4.5, 6.5])
    np.testing.assert_array_equal(ResizedSource(ramp, (16,))[...], np.repeat(ramp, 2))
    np.testing.assert_array_equal(ResizedSource(np.arange(9), (3,))[...], [1, 4, 7])
    axes = (Axis("x", unit="nanometer", scale=2.0, offset=10.0),)
    assert ResizedSource(AxesSource(ramp, axes), (4,)).axes == (Axis("x", "space", "nanometer", 4.0, 11.0),)


def test_interpolated_integers_are_rounded_and_kept_in_range() -> None:
    array = np.array([0, 0, 255, 255, 0, 0, 255], np.uint8)
    found = ResizedSource(array, (28,), order=3)[...]
    assert found.dtype == np.uint8
    exact = ResizedSource(array.astype(np.float64), (28,), order=3)[...]
    assert exact.max() > 260
    np.testing.assert_array_equal(found, np.clip(np.floor(exact + 0.5), 0, 255))
    top = np.full(4, np.iinfo(np.int64).max)
    assert (ResizedSource(top, (8,), order=1)[...] == top[0]).all()


def test_affine_says_what_is_wrong() -> None:
    array = np.zeros((4, 4))
    with pytest.raises(ParameterError, match="Give either"):
        AffineSource(array)
    with pytest.raises(ParameterError, match="Give either"):
        AffineSource(array, affine_matrix=np.eye(3), scale=(1, 1))
    with pytest.raises(ShapeError, match=r"\(4, 4\)"):
        AffineSource(array, affine_matrix=np.eye(4))
    with pytest.raises(ParameterError, match="last row"):
        AffineSource(array, affine_matrix=np.ones((3, 3)))
    with pytest.raises(ParameterError, match="order"):
        ResizedSource(array, (2, 2), order=7)
    with pytest.raises(DtypeError, match="interpolated"):
        ResizedSource(array.astype(complex), (2, 2), order=1)


def test_axes_of_a_turned_grid() -> None:
    axes = (Axis("y", unit="nanometer", scale=4.0, offset=8.0), Axis("x", unit="nanometer", scale=2.0))
    source = AxesSource(np.zeros((9, 9)), axes)
    scaled = AffineSource(source, scale=(2, 0.5), translation=(3, 0)).axes
    assert scaled == (Axis("y", "space", "nanometer", 8.0, 20.0), Axis("x", "space", "nanometer", 1.0, 0.0))
    turned = AffineSource(source, rotation=90).axes
    assert [axis.scale for axis in turned] == pytest.approx([2.0, 4.0])


# functions


def blur(block: np.ndarray) -> np.ndarray:
    return ndimage.uniform_filter(block.astype(np.float32), 5, mode="nearest")


def test_a_halo_gives_the_function_of_the_whole() -> None:
    array = np.random.default_rng(0).integers(0, 100, (20, 30), np.uint8)
    source = SimpleTransformationWithHaloSource(array, blur, 2)
    assert source.dtype == np.float32
    whole = blur(array)
    for box in ((slice(0, 5), slice(3, 9)), (slice(7, 20), slice(29, 30)), (slice(None), slice(None))):
        np.testing.assert_allclose(source[box], whole[box], rtol=1e-5)
    with pytest.raises(HaloError):
        SimpleTransformationWithHaloSource(array, blur, (1, 2, 3))


def test_functions_of_channels_places_and_several_sources() -> None:
    array = np.random.default_rng(0).integers(0, 100, (3, 20, 30))
    most = SimpleTransformationSource(array, lambda block: block.argmax(axis=0).astype("uint8"), with_channels=True)
    assert (most.shape, most.dtype) == ((20, 30), np.uint8)
    np.testing.assert_array_equal(most[3:9, ::2], array.argmax(axis=0)[3:9, ::2])
    assert most[3:3].shape == (0, 30)
    rows = TransformationSource(array, lambda block, roi: block * 0 + roi[1].start)
    np.testing.assert_array_equal(rows[:, 4:6, 7], np.full((3, 2), 4))
    total = MultiTransformationSource(np.add, array, array * 2)
    np.testing.assert_array_equal(total[1, 2:4], 3 * array[1, 2:4])
    listed = MultiTransformationSource(lambda blocks: np.max(blocks, axis=0), array, array * 2, apply_to_list=True)
    np.testing.assert_array_equal(listed[...], array * 2)
    with pytest.raises(ShapeError, match="pass sources of one shape"):
        MultiTransformationSource(np.add, array, array[0])
    np.testing.assert_array_equal(ThresholdSource(array, 50)[...], array > 50)
    np.testing.assert_array_equal(ThresholdSource(array, 50, np.less_equal)[...], array <= 50)


def test_functions_that_do_not_fit_are_named() -> None:
    array = np.zeros((4, 5), np.uint8)
    with pytest.raises(ParameterError, match="cannot be called"):
        SimpleTransformationSource(array, 3)
    with pytest.raises(ShapeError, match=r"block \[0:4, 0:5\]"):
        SimpleTransformationSource(array, np.sum, dtype="uint8")[...]
    with pytest.raises(ParameterError, match="dtype='float32'"):
        SimpleTransformationSource(array, lambda block: 1 // 0).dtype  # noqa: B018 - the property is what fails
    with pytest.raises(ValueRangeError, match="does not fit uint8"):
        SimpleTransformationSource(array, lambda block: block + np.int64(300), dtype="uint8")[...]
    with pytest.raises(ReadOnlyError):
        SimpleTransformationSource(array, np.negative)[0] = 1


def test_functions_may_change_their_block() -> None:
    array = np.arange(12).reshape(3, 4)

    def clear(block: np.ndarray) -> np.ndarray:
        block[...] = 0
        return block

    SimpleTransformationSource(array, clear)[...]
    MultiTransformationSource(lambda a, b: clear(a) + clear(b), array, array)[...]
    np.testing.assert_array_equal(array, np.arange(12).reshape(3, 4))


# casts and views


def test_casts_check_both_ways() -> None:
    array = np.array([[1.0, 2.5], [300.0, -1.0]])
    view = CastSource(array, "uint8")
    np.testing.assert_array_equal(view[0], [1, 2])
    with pytest.raises(ValueRangeError, match=r"300.0 at index \(1, 0\)"):
        view[1, :1]
    view[0, 0] = 200
    assert array[0, 0] == 200
    np.testing.assert_array_equal(CastSource(array[1:], "uint8", "unsafe")[...], array[1:].astype("uint8"))
    ids = np.array([2**63 + 1], np.uint64)
    assert CastSource(ids, "uint64")[0] == 2**63 + 1
    narrow = np.zeros(2, np.uint8)
    with pytest.raises(ValueRangeError, match="300"):
        CastSource(narrow, "int64")[1] = 300
    with pytest.raises(ParameterError, match="casting"):
        CastSource(narrow, "int64", "safe")


def test_views_map_axes_by_name_and_refuse_others() -> None:
    axes = (Axis("c", "channel"), Axis("y", scale=2.0), Axis("x", scale=0.5))
    array = np.arange(60).reshape(3, 4, 5)
    source = AxesSource(array, axes)
    turned = TransposeSource(source, ("x", "y", "c"))
    assert [axis.name for axis in turned.axes] == ["x", "y", "c"]
    np.testing.assert_array_equal(turned[...], array.transpose(2, 1, 0))
    np.testing.assert_array_equal(TransposeSource(source)[...], array.T)
    assert ChannelSource(turned, 1).axes == (axes[2], axes[1])
    np.testing.assert_array_equal(ChannelSource(turned, 1)[...], array[1].T)
    np.testing.assert_array_equal(ChannelSource(source, slice(1, 3))[...], array[1:3])
    flipped = FlipSource(source, "y")
    np.testing.assert_array_equal(flipped[...], array[:, ::-1])
    assert flipped.axes[1] == Axis("y", scale=-2.0, offset=6.0)
    wide = ExpandDimsSource(array[0], (0, -1))
    assert wide.shape == (1, 4, 5, 1)
    assert [axis.name for axis in wide.axes] == ["c", "y", "x", "d1"]
    for make in (
        lambda: TransposeSource(source, (0, 1)),
        lambda: TransposeSource(source, (0, 1, 1)),
        lambda: FlipSource(source, "z"),
        lambda: FlipSource(source, 3),
        lambda: ExpandDimsSource(source, 5),
        lambda: ExpandDimsSource(source, (0, 0)),
        lambda: AxesSource(source, axes[:2]),
        lambda: ChannelSource(source, 0, "q"),
        lambda: StackSource(source, axis=9),
    ):
        with pytest.raises(ParameterError) as caught:
            make()
        assert caught.value.remedy


def test_stacks_refuse_what_does_not_fit() -> None:
    array = np.zeros((2, 3))
    with pytest.raises(ShapeError, match=r"Source 1 has the shape \(3, 2\)"):
        StackSource(array, array.T)
    with pytest.raises(ShapeError, match="Source 1"):
        ConcatenateSource(array, array.T)
    with pytest.raises(DtypeError, match="CastSource"):
        ConcatenateSource(array, array.astype(int))
    joined: Source = ConcatenateSource(array, array[:1] + 1, axis=0)
    np.testing.assert_array_equal(joined[1:], [[0, 0, 0], [1, 1, 1]])
    assert joined.identity != as_source(array).identity
    with pytest.raises(ParameterError, match="needs a source"):
        StackSource()


# caches


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_kept_chunks_are_the_voxels(data: st.DataObject) -> None:
    array = np.arange(20 * 30).reshape(20, 30)
    chunked = Counted(array)
    chunked.chunks = (6, 7)  # type: ignore[attr-defined]
    source = RoiSource(chunked, (slice(data.draw(st.integers(0, 5)), 19), slice(3, None)))
    cached = CachedSource(source, data.draw(st.sampled_from([0, 300, 900, 1 << 20])))
    for _ in range(4):
        box = data.draw(boxes(source.shape))
        np.testing.assert_array_equal(cached[box], source[box])
    assert sum(chunk.nbytes for chunk in cached._kept.values()) == cached._kept_bytes <= cached._cache_bytes


def test_halos_are_read_once_through_a_cache() -> None:
    chunked = Counted(np.random.default_rng(0).integers(0, 99, (64, 64)))
    chunked.chunks = (8, 8)  # type: ignore[attr-defined]
    cached = with_cache(as_source(chunked), 1 << 20)
    for y in range(0, 64, 16):
        for x in range(0, 64, 16):
            box = (slice(max(0, y - 3), y + 19), slice(max(0, x - 3), x + 19))
            np.testing.assert_array_equal(cached[box], chunked.array[box])
    plain = sum((min(64, y + 19) - max(0, y - 3)) for y in range(0, 64, 16)) ** 2
    assert chunked.voxels < 1.3 * 64 * 64 < plain
    assert with_cache(as_source(chunked), 0).__class__ is not CachedSource
    with pytest.raises(ParameterError, match="negative"):
        CachedSource(chunked, -1)


def test_a_failed_read_is_not_kept() -> None:
    class Failing(Counted):
        fails = True
        chunks = (4,)

        def __getitem__(self, index: Any) -> np.ndarray:
            if self.fails:
                raise OSError("gone")
            return super().__getitem__(index)

    inner = Failing(np.arange(10))
    cached = CachedSource(inner, 1000)
    with pytest.raises(OSError, match="gone"):
        cached[2:6]
    inner.fails = False
    np.testing.assert_array_equal(cached[2:6], [2, 3, 4, 5])
