"""Filters of derivatives: scipy's and numpy's answers, whole and block by block, for every type and number of axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

import bioimage_py as bp
from bioimage_py.errors import AliasError, DtypeError, ParameterError
from bioimage_py.filters import (
    apply_filter,
    difference_of_gaussians,
    gaussian_gradient_magnitude,
    gaussian_smoothing,
    hessian_of_gaussian_eigenvalues,
    laplacian_of_gaussian,
    normalize_local_contrast,
    structure_tensor_eigenvalues,
)
from bioimage_py.filters.symmetric import eigenvalues, pairs
from bioimage_py.sources import Axis
from bioimage_py.wrapper import AxesSource

EPSILON = {np.dtype(np.float32): 2e-7, np.dtype(np.float64): 4e-16}
NAMES = [
    "gaussian_smoothing",
    "gaussian_gradient_magnitude",
    "laplacian_of_gaussian",
    "hessian_of_gaussian_eigenvalues",
    "structure_tensor_eigenvalues",
]


def window(sigma: float, order: int) -> np.ndarray:
    """Sampled derivative of a Gaussian, exact for polynomials of its order: told by moments, not as the package has
    it."""
    radius = math.ceil((3 + order / 2) * sigma)
    x = np.arange(-radius, radius + 1.0)
    g = np.exp(-(x**2) / (2 * sigma**2))
    if order == 0:
        return g / g.sum()
    if order == 1:
        return x * g / np.sum(x**2 * g)
    curved = (x**2 - sigma**2) * g
    curved = curved - curved.mean()
    return np.asarray(2 * curved / np.sum(x**2 * curved))


def derivative(array: np.ndarray, sigma: tuple[float, ...], orders: tuple[int, ...]) -> np.ndarray:
    result = array.astype(np.float64)
    for axis, (value, order) in enumerate(zip(sigma, orders, strict=True)):
        result = ndimage.correlate1d(result, window(value, order), axis, mode="mirror")
    return result


def unit(ndim: int, *axes: int) -> tuple[int, ...]:
    return tuple(axes.count(axis) for axis in range(ndim))


def spectrum(entries: dict[tuple[int, int], np.ndarray], ndim: int) -> np.ndarray:
    shape = entries[0, 0].shape
    matrices = np.empty((*shape, ndim, ndim))
    for (i, j), entry in entries.items():
        matrices[..., i, j] = matrices[..., j, i] = entry
    return np.moveaxis(np.linalg.eigvalsh(matrices)[..., ::-1], -1, 0)


def reference(name: str, array: np.ndarray, sigma: tuple[float, ...], outer: float) -> np.ndarray:
    ndim = array.ndim
    if name == "gaussian_smoothing":
        return derivative(array, sigma, (0,) * ndim)
    first = [derivative(array, sigma, unit(ndim, axis)) for axis in range(ndim)]
    if name == "gaussian_gradient_magnitude":
        return np.asarray(np.sqrt(sum(one**2 for one in first)))
    second = {(i, j): derivative(array, sigma, unit(ndim, i, j)) for i, j in pairs(ndim)}
    if name == "laplacian_of_gaussian":
        return np.asarray(sum(second[axis, axis] for axis in range(ndim)))
    if name == "hessian_of_gaussian_eigenvalues":
        return spectrum(second, ndim)
    products = {(i, j): derivative(first[i] * first[j], (outer,) * ndim, (0,) * ndim) for i, j in pairs(ndim)}
    return spectrum(products, ndim)


def scale_of(name: str, array: np.ndarray, sigma: tuple[float, ...]) -> float:
    """What the docstrings state differences relative to."""
    magnitude = float(np.abs(array.astype(np.float64)).max())
    narrow = min(1.0, *sigma) if name != "gaussian_smoothing" else 1.0
    if name == "structure_tensor_eigenvalues":
        return 20 * magnitude**2 / narrow**2
    return {"gaussian_smoothing": 5, "gaussian_gradient_magnitude": 10 / narrow}.get(name, 20 / narrow**2) * magnitude


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, tuple[float, ...], tuple[int, ...], str]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=9))
    sigma = tuple(draw(st.floats(0.3, 2.5)) for _ in shape)
    block_shape = tuple(draw(st.integers(3, 10)) for _ in shape)
    dtype = draw(st.sampled_from(["u1", "i1", "u2", "i2", "i4", "u8", "f2", "f4", "f8", "?", ">f4"]))
    values = np.random.default_rng(draw(st.integers(0, 9))).random(shape) * draw(st.sampled_from([1, 100]))
    return values.astype(dtype), sigma, block_shape, draw(st.sampled_from(NAMES))


@given(cases())
@settings(max_examples=150, deadline=None)
def test_whole_and_block_by_block_equal_scipy(case: Any) -> None:
    array, sigma, block_shape, name = case
    expected = reference(name, array, sigma, 1.5)
    for run in ({}, {"block_shape": block_shape}):
        found = apply_filter(array, name, sigma, outer_scale=1.5, **run)
        assert found.dtype == (np.float64 if array.dtype == np.float64 else np.float32)
        assert found.shape == expected.shape
        limit = EPSILON[found.dtype] * max(scale_of(name, array, sigma), 1e-30)
        np.testing.assert_allclose(found, expected, rtol=0, atol=limit)


@given(st.integers(1, 4), st.sampled_from(["f4", "f8"]), st.integers(0, 10**6), st.sampled_from(["any", "rank 1", "0"]))
@settings(max_examples=80, deadline=None)
def test_eigenvalues_are_exact_also_where_two_are_equal(ndim: int, dtype: str, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((ndim, 200)) * 10.0 ** rng.integers(-15, 16)
    entries = {
        (i, j): (vectors[i] * vectors[j] if kind == "rank 1" else rng.standard_normal(200) * (kind == "any")).astype(
            dtype
        )
        for i, j in pairs(ndim)
    }
    found = np.empty((ndim, 200), dtype)
    eigenvalues(list(entries.values()), found)
    expected = spectrum(entries, ndim)
    limit = 8 * np.finfo(dtype).eps * np.abs(expected).max(0)
    assert (np.abs(found - expected) <= limit).all()
    assert (np.diff(found, axis=0) <= 0).all()


@pytest.mark.parametrize("name", NAMES[1:])
def test_polynomials_have_their_derivatives(name: str) -> None:
    z, y, x = np.indices((40, 40, 40)).astype(np.float64)
    field = 0.5 * x**2 + 2 * y**2 - z**2 + 3 * x * y + 5 * z
    found = apply_filter(field, name, 1.5, outer_scale=1.0)[..., 20, 20, 20]
    gradient = np.array([-2 * 20 + 5, 4 * 20 + 3 * 20, 20 + 3 * 20])
    matrix = np.array([[-2, 0, 0], [0, 4, 3], [0, 3, 1]])
    expected: Any = {
        "gaussian_gradient_magnitude": np.linalg.norm(gradient),
        "laplacian_of_gaussian": np.trace(matrix),
        "hessian_of_gaussian_eigenvalues": np.linalg.eigvalsh(matrix)[::-1],
        # of the products a Gaussian of width 1 adds the variance of the slopes
        "structure_tensor_eigenvalues": np.linalg.eigvalsh(
            np.outer(gradient, gradient) + matrix @ matrix.T * 2 * np.sum(np.arange(1, 4) ** 2 * window(1.0, 0)[4:])
        )[::-1],
    }[name]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_units_of_length_and_derivatives_per_unit() -> None:
    coarse, fine = 2.0, 0.5
    z, y = np.indices((40, 60))
    ramp = 3 * (z * coarse) + 4 * (y * fine)
    axes = [Axis("z", unit="micrometer", scale=coarse), Axis("y", unit="micrometer", scale=fine)]
    source = AxesSource(ramp, axes)
    found = gaussian_gradient_magnitude(source, 3.0, physical=True)
    assert found[20, 30] == pytest.approx(5.0)
    smooth = gaussian_smoothing(source, 3.0, physical=True)
    np.testing.assert_array_equal(smooth, gaussian_smoothing(ramp, (1.5, 6.0)))
    bowl = AxesSource((z * coarse) ** 2 + (y * fine) ** 2, axes)
    assert laplacian_of_gaussian(bowl, 3.0, physical=True)[20, 30] == pytest.approx(4.0, rel=1e-4)
    tensor = structure_tensor_eigenvalues(source, 3.0, (2.0, 2.0), physical=True)
    np.testing.assert_allclose(tensor[:, 20, 30], [25.0, 0.0], atol=1e-3)
    with pytest.raises(ParameterError, match="sigma cannot count in physical units"):
        gaussian_gradient_magnitude(ramp, 3.0, physical=True)


@pytest.mark.parametrize("letters", ["czyx", "tyxc", "tczyx"])
@pytest.mark.parametrize("name", NAMES)
def test_channels_and_times_are_kept_apart(letters: str, name: str) -> None:
    sizes = {"t": 2, "c": 3, "z": 7, "y": 9, "x": 8}
    kinds = {"t": "time", "c": "channel"}
    array = np.random.default_rng(0).random([sizes[one] for one in letters]).astype("f4")
    source = AxesSource(array, [Axis(one, kinds.get(one, "space")) for one in letters])
    found = apply_filter(source, name, 1.0, outer_scale=1.0, block_shape=4)
    extra = found.ndim - array.ndim
    space = [axis for axis, one in enumerate(letters) if one in "zyx"]
    lead = [axis for axis in range(array.ndim) if axis not in space]
    moved = np.transpose(found, [*(extra + axis for axis in lead), *range(extra), *(extra + axis for axis in space)])
    parts = np.transpose(array, [*lead, *space])
    for index in np.ndindex(parts.shape[: len(lead)]):
        expected = apply_filter(np.ascontiguousarray(parts[index]), name, 1.0, outer_scale=1.0)
        np.testing.assert_allclose(moved[index], expected, atol=2e-5)


@pytest.mark.parametrize("name", NAMES[3:])
def test_one_channel(name: str) -> None:
    array = np.random.default_rng(0).random((9, 10, 11)).astype("f4")
    every = apply_filter(array, name, 1.0, outer_scale=1.0)
    for channel in (0, 1, 2, -1, np.int64(1)):
        found = apply_filter(array, name, 1.0, outer_scale=1.0, return_channel=channel)
        np.testing.assert_array_equal(found, every[channel])
    with pytest.raises(ParameterError, match="has the channels 0 to 2"):
        apply_filter(array, name, 1.0, outer_scale=1.0, return_channel=3)


@pytest.mark.parametrize("name", NAMES)
def test_nan_makes_nan_of_what_its_window_reaches(name: str) -> None:
    array = np.random.default_rng(0).random((21, 22, 23)).astype("f4")
    array[10, 10, 10] = np.nan
    found = apply_filter(array, name, 1.0, outer_scale=1.0)
    lost = np.isnan(found).reshape(-1, *array.shape).any(0)
    reach = {"gaussian_smoothing": 3, "gaussian_gradient_magnitude": 4, "structure_tensor_eigenvalues": 7}.get(name, 4)
    box = (slice(10 - reach, 11 + reach),) * 3
    assert lost[10, 10, 10]
    lost[box] = False
    assert not lost.any()
    blocks = apply_filter(array, name, 1.0, outer_scale=1.0, block_shape=(8, 8, 30))
    np.testing.assert_array_equal(np.isnan(blocks), np.isnan(found))


@given(
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=12), st.integers(0, 99), st.sampled_from(["u1", "i8", "f4", "f8"])
)
@settings(max_examples=60, deadline=None)
def test_what_is_made_of_gaussians(shape: tuple[int, ...], seed: int, dtype: str) -> None:
    array = (np.random.default_rng(seed).random(shape) * 200).astype(dtype)
    zero, ndim = (0,) * array.ndim, array.ndim
    smooth = {sigma: derivative(array, (sigma,) * ndim, zero) for sigma in (0.8, 1.28, 2.0)}
    deviation = np.sqrt(derivative((array - smooth[2.0]) ** 2, (2.0,) * ndim, zero))
    for run in ({}, {"block_shape": 5}):
        band = difference_of_gaussians(array, 0.8, 2.0, **run)
        np.testing.assert_allclose(band, smooth[0.8] - smooth[2.0], atol=4e-6 * 200)
        np.testing.assert_allclose(
            difference_of_gaussians(array, 0.8, **run), smooth[0.8] - smooth[1.28], atol=4e-6 * 200
        )
        even = normalize_local_contrast(array, 2.0, epsilon=0.5, **run)
        np.testing.assert_allclose(even, (array - smooth[2.0]) / (deviation + 0.5), atol=1e-5, rtol=1e-5)


def test_flat_regions_have_no_contrast() -> None:
    for value in (0, 100, 60000):
        flat = np.full((20, 30), value, np.float32) + np.float32(0.1)
        assert np.abs(normalize_local_contrast(flat, 3.0)).max() < 1e-3
    stripes = np.tile(np.array([0, 0, 0, 9, 9, 9], np.uint8), (40, 10))
    assert normalize_local_contrast(stripes, 5.0).std() == pytest.approx(1.0, abs=0.05)


def test_empty_arrays_and_single_voxels() -> None:
    for shape in ((), (0, 5), (1, 1, 1), (1,), (3, 1, 20)):
        array = np.ones(shape, np.uint8)
        for name in NAMES:
            found = apply_filter(array, name, 1.0, outer_scale=1.0)
            assert found.shape[found.ndim - len(shape) :] == shape
            assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("sharpen", 1.0), "there is no filter 'sharpen'"),
        (("structure_tensor_eigenvalues", 1.0), "needs outer_scale="),
        (("laplacian_of_gaussian", 0), "sigma must be positive and finite on every axis, got 0"),
        (("laplacian_of_gaussian", (1.0, 2.0, 3.0)), "sigma has 3 values"),
    ],
)
def test_filters_that_make_no_sense(arguments: Any, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        apply_filter(np.zeros((8, 8), np.float32), *arguments)


def test_other_bad_input() -> None:
    array = np.zeros((16, 16), np.float32)
    with pytest.raises(ParameterError, match="laplacian_of_gaussian has one channel"):
        apply_filter(array, "laplacian_of_gaussian", 1.0, return_channel=0)
    with pytest.raises(ParameterError, match="outer_scale must be positive"):
        structure_tensor_eigenvalues(array, 1.0, -1)
    with pytest.raises(DtypeError, match="laplacian_of_gaussian cannot use dtype complex128"):
        laplacian_of_gaussian(array.astype(complex), 1.0)
    with pytest.raises(AliasError, match="read with the halo"):
        laplacian_of_gaussian(array, 1.0, array, block_shape=8)
    with pytest.raises(ParameterError, match=r"high_sigma=1\.0 is below low_sigma=2\.0"):
        difference_of_gaussians(array, 2.0, 1.0)
    for epsilon in (0, -1, float("nan"), None):
        with pytest.raises(ParameterError, match="epsilon"):
            normalize_local_contrast(array, 2.0, epsilon=epsilon)  # type: ignore[arg-type]


def test_a_filter_is_written_to_a_file_with_its_channels(tmp_path: Any) -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 21, 22), dtype=np.uint8)
    raw = bp.copy(array, tmp_path / "a.zarr" / "raw")
    made = hessian_of_gaussian_eigenvalues(raw, 1.0, tmp_path / "a.zarr" / "hessian", chunks=(3, 8, 8, 8))
    assert made.shape == (3, 20, 21, 22)
    np.testing.assert_allclose(made[...], hessian_of_gaussian_eigenvalues(array, 1.0), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("gaussian_smoothing", {"sigma": 2.0}),
        ("difference_of_gaussians", {"low_sigma": 2.0, "high_sigma": 3.0}),
        ("difference_of_gaussians", {"low_sigma": 1.0}),
        ("normalize_local_contrast", {"sigma": 2.0}),
        ("median", {"size": 4.0}),
        ("white_tophat", {"size": 4.0}),
    ],
)
def test_a_length_in_units_is_one_in_voxels_over_the_scale(name: str, lengths: dict[str, float]) -> None:
    array = np.random.default_rng(0).integers(0, 200, (2, 9, 12, 14), dtype=np.uint8)
    scales = (2.0, 1.0, 0.5)
    axes = [Axis("c", "channel"), *(Axis(a, unit="micrometer", scale=s) for a, s in zip("zyx", scales, strict=True))]
    source = AxesSource(array, axes)
    # a box of 4 micrometres holds the voxels that are at most 2 away
    voxels = {
        key: tuple(2 * (value / s // 2) + 1 if key == "size" else value / s for s in scales)
        for key, value in lengths.items()
    }
    voxels = {key: tuple(map(int, value)) if key == "size" else value for key, value in voxels.items()}
    call = getattr(bp.filters, name)
    for measured in (lengths, {key: (value,) * 3 for key, value in lengths.items()}):
        found = call(source, **measured, physical=True, block_shape=(1, 5, 6, 14))
        np.testing.assert_array_equal(found, call(source, **voxels, block_shape=(1, 5, 6, 14)))
