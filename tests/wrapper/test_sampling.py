"""Values between voxels: scipy's on the whole array, and the same bits in every box."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from bioimage_py.errors import DtypeError, MemoryBudgetError, ParameterError, ShapeError
from bioimage_py.sources import Axis, Source, from_spec
from bioimage_py.wrapper import (
    AffineSource,
    AxesSource,
    ResizedSource,
    Rotate90Source,
    WarpSource,
    compute_affine_matrix,
)
from bioimage_py.wrapper.interpolation import sampling
from bioimage_py.wrapper.interpolation.boundary import MODES, settled
from bioimage_py.wrapper.interpolation.matrices import lined, one_to_one
from bioimage_py.wrapper.interpolation.splines import RADII, coefficient_window, first_tap, tap_weights

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">u2", ">i8", ">f4"]
PADS = {"nearest": "edge", "reflect": "symmetric", "mirror": "reflect", "grid-wrap": "wrap", "constant": "reflect"}
P = 40
TOLERANCE = 1e-7
"""Of what is left out of the coefficients of a spline, over the largest value."""


def exact(array: np.ndarray, places: np.ndarray, order: int, mode: str, fill: float) -> np.ndarray:
    """What is at some places by definition: the array continued far out, scipy's prefilter, scipy's splines."""
    how: dict[str, Any] = {"mode": PADS[mode]} if mode in PADS else {"constant_values": fill}
    if any(size == 1 for size in array.shape) and mode == "mirror":
        how = {"mode": "edge"} if array.size == 1 else how
    wide = np.pad(array.astype(np.float64), P, **how)
    coefficients = ndimage.spline_filter(wide, order, mode="mirror") if order > 1 else wide
    found = ndimage.map_coordinates(coefficients, places + P, order=order, mode="nearest", prefilter=False)
    if mode == "constant":
        last = np.array(array.shape).reshape(-1, *[1] * (places.ndim - 1)) - 1
        found[((places < 0) | (places > last)).any(axis=0)] = fill
    return np.asarray(found)


def nearest(array: np.ndarray, places: np.ndarray, mode: str, fill: Any) -> np.ndarray:
    whole = np.floor(places)
    at = whole.astype(np.int64) + (places - whole >= 0.5)
    last = np.array(array.shape).reshape(-1, *[1] * (places.ndim - 1)) - 1
    how: dict[str, Any] = {"mode": PADS[mode]} if mode in PADS else {"constant_values": fill}
    found = np.pad(array, P, **how)[tuple(at + P)]
    if mode == "constant":
        found[((places < 0) | (places > last)).any(axis=0)] = fill
    return found


def in_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind == "f":
        return values.astype(dtype)
    info = np.iinfo(dtype)
    whole = np.array([min(max(int(v), int(info.min)), int(info.max)) for v in np.floor(values.ravel() + 0.5)], object)
    return whole.astype(dtype).reshape(values.shape)


def close(found: np.ndarray, expected: np.ndarray, dtype: np.dtype, order: int, top: float) -> None:
    """Equal up to the tolerance of the order, and one step of integers where that is at a half."""
    slack = max(top, 1.0) * (1e-10 if order < 2 else TOLERANCE)
    if dtype.kind == "f":
        eps = float(np.finfo(dtype).eps)
        np.testing.assert_allclose(found.astype(np.float64), expected, rtol=eps, atol=slack + eps * top)
        return
    low, high = in_dtype(expected - slack, dtype), in_dtype(expected + slack, dtype)
    assert ((found >= low) & (found <= high)).all()


def filled(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    info = np.iinfo(kind)
    return rng.integers(info.min, info.max, shape, endpoint=True, dtype=kind.newbyteorder("=")).astype(dtype)


def cut(source: Source, cuts: list[list[int]]) -> np.ndarray:
    """The whole source, read in boxes."""
    result = np.empty(source.shape, source.dtype)
    edges = [sorted({0, size, *(c % (size + 1) for c in own)}) for size, own in zip(source.shape, cuts, strict=True)]
    for corner in np.ndindex(*(len(one) - 1 for one in edges)):
        box = tuple(slice(one[i], one[i + 1]) for one, i in zip(edges, corner, strict=True))
        result[box] = source[box]
    return result


@st.composite
def cases(draw: st.DrawFn, dims: tuple[int, int] = (1, 3)) -> dict[str, Any]:
    ndim = draw(st.integers(*dims))
    shape = draw(hnp.array_shapes(min_dims=ndim, max_dims=ndim, max_side=9))
    mode = draw(st.sampled_from(MODES))
    order = draw(st.integers(0, 5))
    return {
        "array": filled(shape, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 9))),
        "shape": draw(hnp.array_shapes(min_dims=ndim, max_dims=ndim, max_side=9)),
        "order": order,
        "mode": mode,
        "fill": draw(st.sampled_from([0, 1])),
        "cuts": [draw(st.lists(st.integers(0, 9), max_size=2)) for _ in range(ndim)],
    }


def places_of(matrix: np.ndarray, shape: tuple[int, ...], mode: str) -> np.ndarray:
    index, turned = np.indices(shape).astype(np.float64), one_to_one(matrix[:, :-1]) is not None
    rows = [] if mode == "constant" else lined(matrix[:, :-1])
    places = np.zeros_like(index)
    for number, (at, row) in enumerate(zip(places, matrix, strict=True)):
        alone = turned or number in rows
        at += settled(row[-1:])[0]
        for factor, steps in zip(row[:-1], index, strict=True):
            at += settled(factor * steps) if alone else settled(np.array(factor)) * steps
    return places


def check(source: Source, case: dict[str, Any], places: np.ndarray, found: np.ndarray) -> None:
    array, order, mode, fill = case["array"], case["order"], case["mode"], case["fill"]
    assert found.dtype == array.dtype
    if order == 0:
        np.testing.assert_array_equal(found, nearest(array, places, mode, fill))
    else:
        # what a sum makes of the largest integers and of float16 is another matter
        top = float(np.abs(array.astype(np.float64)).max())
        close(found, exact(array, places, order, mode, fill), array.dtype, order, top)
    assert cut(source, case["cuts"]).tobytes() == found.tobytes()


@settings(max_examples=400, deadline=None)
@given(cases(), st.data())
def test_an_affine_transform_is_what_it_is_by_definition(case: dict[str, Any], data: st.DataObject) -> None:
    n = case["array"].ndim
    number = st.sampled_from([0.0, 1.0, -1.0, 0.5, 2.0, 1.7, -0.3, 1 / 3])
    kind = data.draw(st.sampled_from(["scaled", "turned", "in plane", "any"]))
    matrix = np.zeros((n, n + 1))
    if kind == "in plane" and n > 2:
        first, *rest = data.draw(st.permutations(range(n)))
        matrix[first, first] = data.draw(number.filter(bool))
        matrix[np.ix_(rest, rest)] = [[data.draw(number) for _ in rest] for _ in rest]
    elif kind in ("in plane", "any"):
        matrix[:, :n] = [[data.draw(number) for _ in range(n)] for _ in range(n)]
    else:
        order = data.draw(st.permutations(range(n))) if kind == "turned" else range(n)
        for row, column in enumerate(order):
            matrix[row, column] = data.draw(number.filter(bool))
    matrix[:, n] = [data.draw(st.sampled_from([0.0, 1.0, -1.5, 0.25, 3.0, -2.0, 4.3])) for _ in range(n)]
    places = places_of(matrix, case["shape"], case["mode"])
    if np.abs(places).max() > P - 20:  # the reference ends there
        return
    source = AffineSource(
        case["array"],
        case["shape"],
        affine_matrix=matrix,
        order=case["order"],
        mode=case["mode"],
        fill_value=case["fill"],
    )
    check(source, case, places, source[...])


@settings(max_examples=200, deadline=None)
@given(cases((1, 3)), st.booleans(), st.sampled_from(["f4", "f8", ">f8"]), st.integers(0, 9))
def test_a_warp_is_what_it_is_by_definition(case: dict[str, Any], displacement: bool, dtype: str, seed: int) -> None:
    array = case["array"]
    shape = array.shape if displacement else case["shape"]
    rng = np.random.default_rng(seed)
    field = (rng.normal(size=(array.ndim, *shape)) * 6).astype(dtype)
    field[rng.random(field.shape) < 0.2] = 1.5
    places = settled(field.astype(np.float64) + (np.indices(shape) if displacement else 0))
    how = {"order": case["order"], "mode": case["mode"], "fill_value": case["fill"]}
    source = WarpSource(array, field, displacement=displacement, **how)
    check(source, case, places, source[...])
    field[:, rng.random(shape) < 0.3] = np.nan
    field[0, rng.random(shape) < 0.1] = -np.inf
    lost = ~np.isfinite(field).all(axis=0)
    again = WarpSource(array, field, displacement=displacement, **how)[...]
    assert (again[lost] == array.dtype.type(case["fill"])).all()
    np.testing.assert_array_equal(again[~lost], source[...][~lost])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", range(6))
def test_scipy_says_the_same(order: int, mode: str) -> None:
    array = np.random.default_rng(0).normal(size=(60, 70))
    matrix = compute_affine_matrix((1.1, 0.9), 20, 5, (-3, 8))
    found = AffineSource(array, (80, 80), affine_matrix=matrix, order=order, mode=mode, fill_value=2)[...]
    expected = ndimage.affine_transform(array, matrix, output_shape=(80, 80), order=order, mode=mode, cval=2)
    # scipy continues by 12 voxels only before it filters, and by half a period less in "constant"
    tolerance = {0: 0, 1: 1e-9, 2: 1e-7, 3: 1e-6, 4: 3e-5, 5: 1e-3}[order]
    assert (np.abs(found - expected) <= tolerance).mean() > (0.999 if order == 0 else 0.9999)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_what_is_left_out_of_the_coefficients_is_below_the_tolerance(order: int) -> None:
    window = coefficient_window(order)
    assert len(window) == 2 * RADII[order] + 1
    assert window.sum() == pytest.approx(1, abs=1e-14)
    worst = np.sign(np.random.default_rng(0).normal(size=400))
    exact_ones = ndimage.spline_filter1d(worst, order, mode="mirror")[60:-60]
    assert np.abs(ndimage.correlate1d(worst, window, mode="mirror")[60:-60] - exact_ones).max() < TOLERANCE


@pytest.mark.parametrize("order", range(6))
def test_weights_of_splines_are_those_of_scipy(order: int) -> None:
    from scipy.interpolate import BSpline

    rest = np.array([0.0, 1e-9, 0.25, 0.4999999, 0.5, 0.75, 0.999999])
    first, inside = first_tap(order, np.zeros(len(rest), np.int64), rest)
    basis = BSpline.basis_element(np.arange(order + 2) - (order + 1) / 2, extrapolate=False)
    weights = tap_weights(order, inside)
    assert np.sum(weights, axis=0) == pytest.approx(1, abs=1e-15)
    for tap, weight in enumerate(weights if order else []):
        np.testing.assert_allclose(weight, np.nan_to_num(basis(rest - first - tap)), atol=1e-15)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_resizing_is_that_of_scikit_image(data: st.DataObject) -> None:
    from skimage.transform import resize

    ndim = data.draw(st.integers(1, 3))
    shape = data.draw(hnp.array_shapes(min_dims=ndim, max_dims=ndim, min_side=2, max_side=14))
    new = data.draw(hnp.array_shapes(min_dims=ndim, max_dims=ndim, max_side=14))
    order = data.draw(st.sampled_from([1, 3]))
    smooth = data.draw(st.booleans())
    array = np.random.default_rng(0).normal(size=shape)
    expected = resize(array, new, order=order, mode="edge", anti_aliasing=smooth, clip=False)
    found = ResizedSource(array, new, order=order, anti_aliasing=smooth)[...]
    np.testing.assert_allclose(found, expected, atol=1e-12 if order == 1 else 2e-6)


@pytest.mark.parametrize("dtype", [*DTYPES, "c8", "c16", ">c8"])
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_order_0_copies_the_bits_of_any_type(dtype: str, ndim: int) -> None:
    shape = (5, 4, 3, 6)[:ndim]
    kind = np.dtype(dtype)
    bits = np.random.default_rng(0).integers(0, 256, (*shape, kind.itemsize), dtype=np.uint8)
    bits[bits.sum(-1) % 3 == 0] = 255
    array = (bits[..., 0] % 2).astype(bool) if kind.kind == "b" else bits.view(dtype)[..., 0]
    places = np.indices(shape).astype(np.float64) + 0.25
    assert WarpSource(array, places)[...].tobytes() == array.tobytes()
    assert AffineSource(array, translation=(0.25,) * ndim)[...].tobytes() == array.tobytes() if ndim in (2, 3) else True


def test_integer_moves_keep_every_value_also_beside_nan_and_infinity() -> None:
    array = np.random.default_rng(0).normal(size=(9, 9))
    array[4, 4], array[2, 7] = np.nan, np.inf
    moved = AffineSource(array, translation=(1, -2), order=1, fill_value=0)[...]
    np.testing.assert_array_equal(moved[:8, 2:], array[1:, :7])
    turned = AffineSource(array, rotation=90, translation=(8, 0), order=1)[...]
    np.testing.assert_array_equal(turned, np.rot90(array, -1))


def test_a_turn_in_the_plane_keeps_nan_in_its_plane() -> None:
    array = np.random.default_rng(0).random((5, 12, 12))
    array[2, 6, 6] = np.nan
    turned = AffineSource(array, rotation=(30, 0, 0), translation=(0, 4, -2), order=1, fill_value=np.nan)[...]
    lost = np.isnan(turned).sum(axis=(1, 2))
    assert len(set(lost[[0, 1, 3, 4]])) == 1
    assert lost[0] < lost[2] < 100
    for z in range(5):
        alone = AffineSource(array[z], rotation=30, translation=(4, -2), order=1, fill_value=np.nan)[...]
        np.testing.assert_array_equal(turned[z], alone)


def test_a_fill_value_of_nan_reaches_what_lies_outside_only() -> None:
    array = np.random.default_rng(0).random((12, 12))
    for smooth in (False, True):
        view = AffineSource(
            array, (9, 9), scale=(2, 1), translation=(-3, 0), order=1, fill_value=np.nan, anti_aliasing=smooth
        )
        places = np.arange(9) * 2.0 - 3
        outside = (places <= -1) | (places >= 12)
        np.testing.assert_array_equal(np.isnan(view[...]).all(axis=1), outside)
        np.testing.assert_array_equal(np.isnan(view[...]).any(axis=1), outside)


@pytest.mark.parametrize("order", range(6))
def test_quarter_turns_are_exact(order: int) -> None:
    array = np.random.default_rng(0).integers(0, 255, (7, 9), np.uint8)
    turned = AffineSource(array, (9, 7), rotation=90, translation=(6, 0), order=order)[...]
    np.testing.assert_array_equal(turned, np.rot90(array, -1))
    back = AffineSource(turned, (7, 9), rotation=-90, translation=(0, 6), order=order)[...]
    np.testing.assert_array_equal(back, array)


def test_large_numbers_lie_far_outside() -> None:
    array = np.arange(12.0).reshape(3, 4)
    for mode in MODES:
        far = AffineSource(array, translation=(1e300, -1e18), order=1, mode=mode, fill_value=7)[...]
        if mode in ("constant", "grid-constant"):
            assert (far == 7).all()
        if mode == "nearest":
            assert (far == array[2, 0]).all()
        assert np.isfinite(far).all()
        skewed = AffineSource(array, affine_matrix=[[1, 1, 1e300], [1, -1, -1e18]], order=1, mode=mode)[...]
        assert np.isfinite(skewed).all()


def test_axes_kept_apart() -> None:
    array = np.random.default_rng(0).integers(0, 1000, (2, 5, 7, 3, 6)).astype(np.uint16)
    axes = (Axis("t", "time"), Axis("z"), Axis("y"), Axis("c", "channel"), Axis("x"))
    source = AxesSource(array, axes)
    matrix = compute_affine_matrix((1.5, 1, 0.7), (5, 10, 20), None, (0.5, 1, -1))
    field = np.random.default_rng(0).normal(size=(3, 5, 7, 6))
    for order in (0, 1, 3):
        whole = AffineSource(source, (4, 6, 8), affine_matrix=matrix, order=order)
        warped = WarpSource(source, field, displacement=True, order=order)
        scaled = AffineSource(source, (4, 6, 8), scale=(1.5, 1, 0.7), order=order)
        assert whole.shape == scaled.shape == (2, 4, 6, 3, 8)
        assert warped.shape == array.shape
        for t, c in np.ndindex(2, 3):
            one = array[t, :, :, c]
            alone = AffineSource(one, (4, 6, 8), affine_matrix=matrix, order=order)[...]
            np.testing.assert_array_equal(whole[t, :, :, c], alone)
            np.testing.assert_array_equal(
                warped[t, :, :, c], WarpSource(one, field, displacement=True, order=order)[...]
            )
            alone = AffineSource(one, (4, 6, 8), scale=(1.5, 1, 0.7), order=order)[...]
            np.testing.assert_array_equal(scaled[t, :, :, c], alone)
    assert [axis.scale for axis in scaled.axes] == [1, 1.5, 1, 1, 0.7]
    assert AffineSource(source, scale=(2, 2), axes="yx").shape == array.shape
    with pytest.raises(ShapeError, match="2 for the axes that change"):
        AffineSource(source, (4, 4, 4), scale=(2, 2), axes="yx")


def test_large_regions_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).normal(size=(40, 50))
    calls = {
        "lines": lambda: AffineSource(array, (8, 10), scale=(5, 5), translation=(2, 2), order=1, anti_aliasing=True),
        "points": lambda: AffineSource(array, (40, 50), rotation=30, order=1),
        "warp": lambda: WarpSource(array, np.random.default_rng(0).random((2, 30, 30)) * 40, order=1),
        "wrap": lambda: AffineSource(array, (40, 50), translation=(20, 30.5), order=1, mode="grid-wrap"),
    }
    whole = {name: call()[...] for name, call in calls.items()}
    largest: list[int] = []
    read = sampling.read_indices
    monkeypatch.setattr(sampling, "read_indices", lambda *a: (largest.append(math.prod(map(len, a[1]))), read(*a))[1])
    monkeypatch.setattr(sampling, "MOST_VOXELS", 1500)
    monkeypatch.setattr("bioimage_py.wrapper.resample.MOST_PLACES", 100)
    for name, call in calls.items():
        largest.clear()
        np.testing.assert_array_equal(call()[...], whole[name])
        assert len(largest) > 1
        assert max(largest) <= 1500


class Endless(Source):
    """Voxels by a formula, far more than fit anywhere."""

    shape = (300_000, 400_000)
    dtype = np.dtype(np.uint16)

    def _getitem(self, roi: Any) -> np.ndarray:
        y, x = np.ogrid[roi]
        return ((y * 7919 + x * 104729) % 65521).astype(np.uint16)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_far_from_the_corner_and_across_the_border_a_voxel_is_the_same_in_every_box(data: st.DataObject) -> None:
    source = Endless()
    turn = compute_affine_matrix((0.9, 1.1), data.draw(st.floats(1, 89)), 5)
    mode, order = data.draw(st.sampled_from(MODES)), data.draw(st.sampled_from([0, 1, 2, 3]))
    # a place near a corner, an end, or the middle of the source, seen in a box that begins anywhere
    target = [data.draw(st.sampled_from([0, 3, size // 2, size - 4])) for size in source.shape]
    begin = [data.draw(st.integers(0, 250_000)) for _ in range(2)]
    turn[:2, 2] = np.array(target) - turn[:2, :2] @ begin + data.draw(st.floats(-3, 3))
    view = AffineSource(source, (260_000, 260_000), affine_matrix=turn, order=order, mode=mode, fill_value=7)
    box = tuple(slice(b, b + 24) for b in begin)
    whole = view[box]
    for _ in range(4):
        first = [data.draw(st.integers(0, 23)) for _ in range(2)]
        inner = tuple(slice(f, data.draw(st.integers(f + 1, 24))) for f in first)
        part = view[tuple(slice(b + i.start, b + i.stop) for b, i in zip(begin, inner, strict=True))]
        np.testing.assert_array_equal(part, whole[inner])


@pytest.mark.parametrize("order", [0, 1, 3])
def test_blocks_take_no_more_memory_than_promised(order: int) -> None:
    array = np.random.default_rng(0).random((96, 96, 96)).astype(np.float32)
    views = {
        "turned": AffineSource(array, (64,) * 3, rotation=(10, 20, 30), translation=(20, 10, 0), order=order),
        "smaller": AffineSource(array, (48,) * 3, scale=(2, 2, 2), order=order, anti_aliasing=order > 0),
        "larger": AffineSource(array, (64,) * 3, scale=(0.5, 0.5, 0.5), order=order),
        "warped": WarpSource(array, np.random.default_rng(0).random((3, 48, 48, 48)) * 90, order=order),
    }
    for name, view in views.items():
        tracemalloc.start()
        view[...]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < view.block_bytes(view.size), name


def test_what_takes_too_much_at_once_is_refused_before_it_is_read() -> None:
    array = np.zeros((10, 10, 10), np.float32)
    with pytest.raises(MemoryBudgetError, match="downsample"):
        AffineSource(array, (1, 1, 1), scale=(100, 100, 100), order=1, anti_aliasing=True)
    AffineSource(array, (1, 1, 1), scale=(100, 100, 100), order=1)[...]


def test_what_makes_no_sense_is_refused() -> None:
    array = np.zeros((4, 5))
    for call, kind, match in (
        (lambda: AffineSource(array, scale=(2, 2), mode="edge"), ParameterError, "grid-constant"),
        (lambda: AffineSource(array, scale=(2, 2), order=1.5), ParameterError, "order"),
        (lambda: AffineSource(array, scale=(2, 2), order=True), ParameterError, "order"),
        (lambda: AffineSource(array, affine_matrix=[[np.nan, 0, 0], [0, 1, 0]]), ParameterError, "finite"),
        (lambda: AffineSource(array, affine_matrix="abc"), ParameterError, "numbers"),
        (lambda: AffineSource(array, (2, 2.5), scale=(2, 2)), ShapeError, "sizes"),
        (lambda: AffineSource(array, scale=(2, 2), anti_aliasing=(1, -1)), ParameterError, "sigmas"),
        (lambda: AffineSource(array, scale=(2, 2), anti_aliasing="yes"), ParameterError, "sigmas"),
        (lambda: WarpSource(array, np.zeros((3, 4, 5))), ShapeError, r"\(2, 4, 5\)"),
        (lambda: WarpSource(array, np.zeros((2, 4, 4)), displacement=True), ShapeError, "every voxel"),
        (lambda: WarpSource(array, np.zeros((2, 4, 5), complex)), DtypeError, "coordinates"),
        (lambda: ResizedSource(array, (0, 5)), ShapeError, "at least 1"),
        (lambda: Rotate90Source(array, 1, (0, 0)), ParameterError, "plane"),
        (lambda: Rotate90Source(array, 1.0), ParameterError, "quarter"),
        (lambda: AffineSource(np.zeros((0, 5)), (2, 2), scale=(1, 1), mode="nearest"), ParameterError, "empty"),
    ):
        with pytest.raises(kind, match=match):
            call()


def test_empty_arrays() -> None:
    assert ResizedSource(np.zeros((0, 5)), (0, 7), order=1)[...].shape == (0, 7)
    assert (AffineSource(np.zeros((0, 5)), (2, 3), scale=(1, 1), fill_value=4)[...] == 4).all()
    assert AffineSource(np.zeros((3, 5)), (0, 3), rotation=30, order=3)[...].shape == (0, 3)
    assert WarpSource(np.zeros((3, 5)), np.zeros((2, 0, 3)), order=1)[...].shape == (0, 3)


@pytest.mark.parametrize("k", range(-3, 5))
@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (-2, -1), (2, 0)])
def test_quarter_turns_are_numpys_both_ways(k: int, axes: tuple[int, int]) -> None:
    array = np.arange(60).reshape(3, 4, 5)
    view = Rotate90Source(array.copy(), k, axes)
    np.testing.assert_array_equal(view[...], np.rot90(array, k, axes))
    stored = array.copy()
    Rotate90Source(stored, k, axes)[1:, :2] = np.rot90(array, k, axes)[1:, :2] + 100
    changed = np.rot90(array, k, axes).copy()
    changed[1:, :2] += 100
    np.testing.assert_array_equal(np.rot90(stored, k, axes), changed)


def test_a_turned_voxel_stays_where_it_is_in_the_world() -> None:
    axes = (Axis("y", unit="micrometer", scale=2.0, offset=1.0), Axis("x", unit="micrometer", scale=0.5, offset=7.0))
    turned = Rotate90Source(AxesSource(np.arange(12).reshape(3, 4), axes)).axes
    assert turned == (
        Axis("x", unit="micrometer", scale=-0.5, offset=8.5),
        Axis("y", unit="micrometer", scale=2.0, offset=1.0),
    )


def test_specs_say_what_they_show(tmp_path: Any) -> None:
    from bioimage_py.io import create_array

    stored = create_array(tmp_path / "a.zarr", "a", shape=(2, 6, 7), dtype="u2", chunks=(1, 4, 4))
    field = create_array(tmp_path / "a.zarr", "f", shape=(2, 6, 7), dtype="f4", chunks=(2, 4, 4))
    stored[...] = np.random.default_rng(0).integers(0, 1000, (2, 6, 7))
    field[...] = np.random.default_rng(0).normal(size=(2, 6, 7))
    for source in (
        AffineSource(stored, rotation=30, axes=(1, 2), order=3, mode="reflect", anti_aliasing=(0.5, 1)),
        AffineSource(stored, (2, 3, 4), scale=(1, 2, 1), order=1, fill_value=9),
        WarpSource(stored, field, displacement=True, order=1, axes=(1, 2), mode="mirror"),
        ResizedSource(stored, (2, 3, 9), order=1, anti_aliasing=True),
        Rotate90Source(stored, 3, (0, 2)),
    ):
        again = from_spec(source.to_spec())
        assert (again.shape, again.axes) == (source.shape, source.axes)
        np.testing.assert_array_equal(again[...], source[...])
        assert again.to_spec() == source.to_spec()
