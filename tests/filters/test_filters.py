"""Gaussian smoothing: scipy's answer with a mirror border, whole and block by block, whatever the shape."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from bioimage_py.blocks import Grid, to_roi
from bioimage_py.errors import AliasError, DtypeError, ParameterError, ShapeError
from bioimage_py.filters import gaussian_smoothing
from bioimage_py.filters.gaussian_kernel import Gaussian
from bioimage_py.filters.separable import smoothed_dtype
from bioimage_py.filters.windows import gaussian_radius, gaussian_window, normalize_sigma

# largest difference from the exact value, over the largest magnitude of the input
TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-14}


def reference(array: np.ndarray, sigma: tuple[float, ...]) -> np.ndarray:
    radius = [math.ceil(3 * value) for value in sigma]
    smooth: np.ndarray = ndimage.gaussian_filter(array.astype(np.float64), sigma, mode="mirror", radius=radius)
    return smooth


def close(result: np.ndarray, expected: np.ndarray, array: np.ndarray) -> None:
    magnitude = float(np.abs(array.astype(np.float64)).max())
    assert np.abs(result - expected).max() <= TOLERANCE[result.dtype] * magnitude


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, tuple[float, ...], tuple[int, ...]]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=14))
    sigma = tuple(draw(st.floats(0.2, 4.0)) for _ in shape)
    block_shape = tuple(draw(st.integers(1, 15)) for _ in shape)
    dtype = draw(st.sampled_from(["u1", "u2", "i2", "i4", "u8", "f4", "f8", "?"]))
    values = np.random.default_rng(draw(st.integers(0, 9))).random(shape) * draw(st.sampled_from([1, 100, 250]))
    return values.astype(dtype), sigma, block_shape


@given(cases())
@settings(max_examples=150, deadline=None)
def test_whole_and_block_by_block_equal_scipy(case: tuple[np.ndarray, tuple[float, ...], tuple[int, ...]]) -> None:
    array, sigma, block_shape = case
    kernel = Gaussian(sigma)
    expected = reference(array, sigma)
    whole = kernel(array)
    assert whole.dtype == (np.float64 if array.dtype == np.float64 else np.float32)
    close(whole, expected, array)
    blocks = np.empty_like(whole)
    grid = Grid(array.shape, block_shape)
    for block_id in range(min(grid.n_blocks, 60)):
        block = grid.with_halo(block_id, list(kernel.halo))
        smooth = kernel(array[to_roi(block.outer_block)])[to_roi(block.inner_block_local)]
        inner = to_roi(block.inner_block)
        blocks[inner] = smooth
        close(smooth, expected[inner], array)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 1), (3, 2, 5), (40, 1), (2,)])
@pytest.mark.parametrize("sigma", [0.5, 2.0, 5.3])
def test_axes_shorter_than_the_window_are_mirrored_repeatedly(shape: tuple[int, ...], sigma: float) -> None:
    array = (np.random.default_rng(0).random(shape) * 255).astype(np.float32)
    close(Gaussian((sigma,) * len(shape))(array), reference(array, (sigma,) * len(shape)), array)


def test_the_border_mirrors_about_the_centre_of_the_border_voxel() -> None:
    ramp = np.arange(9, dtype=np.float64)
    window = gaussian_window(1.0, np.dtype(np.float64))
    assert gaussian_smoothing(ramp, 1.0)[0] == pytest.approx(2 * (window[4] * 1 + window[5] * 2 + window[6] * 3))


def test_the_window_sums_to_one_in_its_own_precision() -> None:
    for sigma in (0.3, 1.0, 2.0, 7.7):
        window = gaussian_window(sigma, np.dtype(np.float32))
        assert window.size == 2 * math.ceil(3 * sigma) + 1
        assert abs(window.sum() - 1) < 1e-15
        np.testing.assert_array_equal(window, window[::-1])
    assert gaussian_radius((1.0, 0.1, 2.34)) == (3, 1, 8)


def test_a_constant_stays_constant() -> None:
    for value in (7, 200):
        result = gaussian_smoothing(np.full((20, 21, 22), value, np.uint8), 2.0, block_shape=(8, 8, 8))
        np.testing.assert_allclose(result, value, rtol=3e-7)


@pytest.mark.parametrize("kwargs", [{}, {"block_shape": (16, 12, 30)}, {"block_shape": (5, 64, 7), "num_workers": 2}])
@pytest.mark.parametrize("sigma", [1.5, (0.7, 1.0, 2.0)])
def test_public_function(sigma: Any, kwargs: Any, tmp_path: Any) -> None:
    array = np.random.default_rng(0).integers(0, 256, (40, 41, 42)).astype(np.uint8)
    expected = reference(array, normalize_sigma(sigma, 3))
    result = gaussian_smoothing(array, sigma, **kwargs)
    assert result.dtype == np.float32
    close(result, expected, array)
    stored = zarr.create_array(str(tmp_path / "in.zarr"), shape=array.shape, chunks=(16, 16, 16), dtype="u1")
    stored[:] = array
    target = zarr.create_array(str(tmp_path / "out.zarr"), shape=array.shape, chunks=(5, 4, 6), dtype="f4")
    assert gaussian_smoothing(stored, sigma, target) is target
    close(target[:], expected, array)


def test_one_grid_gives_the_same_bits_whatever_the_workers() -> None:
    array = np.random.default_rng(0).random((33, 34, 35)).astype(np.float32)
    results = [gaussian_smoothing(array, 1.3, block_shape=(9, 10, 11), num_workers=n) for n in (1, 2, 3)]
    assert (results[0] == results[1]).all()
    assert (results[0] == results[2]).all()


def test_integer_outputs_are_truncated_and_masks_kept() -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 22)).astype(np.uint8)
    expected = reference(array, (1.0, 1.0))
    out = np.zeros(array.shape, np.uint8)
    gaussian_smoothing(array, 1.0, out)
    assert np.abs(out - np.floor(expected)).max() <= 1
    assert (out != np.floor(expected)).mean() < 0.01
    mask = np.zeros(array.shape, bool)
    mask[5:9, 3:20] = True
    masked = gaussian_smoothing(array, 1.0, mask=mask)
    close(masked[mask], expected[mask], array)
    assert not masked[~mask].any()


def test_strided_big_endian_and_half_precision_input() -> None:
    array = (np.random.default_rng(0).random((20, 30)) * 1000).astype(">u2")[::2, ::-1]
    close(gaussian_smoothing(array, 1.0), reference(array, (1.0, 1.0)), array)
    half = np.random.default_rng(0).random((9, 9)).astype(np.float16)
    close(gaussian_smoothing(half, 1.0), reference(half, (1.0, 1.0)), half)


def test_input_is_not_changed() -> None:
    for dtype in ("f4", "f8", "u1"):
        array = (np.random.default_rng(0).random((9, 8, 7)) * 200).astype(dtype)
        before = array.copy()
        gaussian_smoothing(array, 1.0)
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    ("sigma", "text"),
    [
        (0, "positive and finite on every axis, got 0"),
        (-1.0, "positive and finite on every axis, got -1.0"),
        ((1.0, 0.0), r"positive and finite on every axis, got \(1.0, 0.0\)"),
        (float("nan"), "positive and finite"),
        (float("inf"), "positive and finite"),
        ((1.0, 1.0, 1.0), "sigma has 3 values, the input has 2 axes"),
        ((1.0,), "sigma has 1 values, the input has 2 axes"),
        ("wide", "sigma must be a number, got 'wide'"),
        (None, "sigma must be a number, got None"),
    ],
)
def test_sigma_that_makes_no_sense(sigma: Any, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        gaussian_smoothing(np.zeros((8, 8), np.float32), sigma, block_shape=(4, 4))


def test_other_bad_input() -> None:
    with pytest.raises(DtypeError, match="cannot use dtype complex128"):
        gaussian_smoothing(np.zeros((4, 4), complex), 1.0)
    with pytest.raises(ShapeError, match=r"\(4, 5\).*\(4, 4\)"):
        gaussian_smoothing(np.zeros((4, 4)), 1.0, np.zeros((4, 5)))
    array = np.zeros((16, 16), np.float32)
    with pytest.raises(AliasError, match="read with the halo"):
        gaussian_smoothing(array, 1.0, array, block_shape=(8, 8))
    with pytest.raises(TypeError, match="open_source"):
        gaussian_smoothing("raw.zarr", 1.0)


def test_kernel_pickles_and_takes_empty_arrays() -> None:
    kernel = Gaussian((1.0, 2.0))
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    assert kernel.halo == (3, 6)
    assert kernel(np.empty((0, 5), np.uint8)).shape == (0, 5)
    assert smoothed_dtype("float16") == np.float32
    assert smoothed_dtype(">f8") == np.float64
