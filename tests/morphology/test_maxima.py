"""Local maxima: those of scikit-image on the whole array, plateaus once, thresholds of the whole volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label, maximum_filter
from skimage.feature import peak_local_max

from bioimage_py.errors import DtypeError, ParameterError
from bioimage_py.morphology import find_local_maxima

from . import volumes

QUIET: dict[str, Any] = {"progress": False}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_without_plateaus_it_is_scikit_image(data: st.DataObject) -> None:
    shape = data.draw(volumes.shapes((1, 2, 3)))
    image = np.random.default_rng(data.draw(st.integers(0, 999))).permutation(int(np.prod(shape))).reshape(shape)
    image = image.astype(data.draw(st.sampled_from(["f4", ">i8", "u2"])))
    how = {
        "min_distance": data.draw(st.integers(1, 4)),
        "threshold_abs": data.draw(st.sampled_from([None, 3.0])),
        "threshold_rel": data.draw(st.sampled_from([None, 0.5])),
        "exclude_border": data.draw(st.sampled_from([True, False, 1])),
    }
    found = find_local_maxima(image, block_shape=data.draw(volumes.blocks(len(shape))), **how, **QUIET)
    assert np.array_equal(found, peak_local_max(image.astype("f8"), **how))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_plateaus_are_counted_once_whatever_the_blocks(data: st.DataObject) -> None:
    shape = data.draw(volumes.shapes((2, 3)))
    small = np.random.default_rng(data.draw(st.integers(0, 999))).integers(0, 4, shape)
    image = small.astype("u8") + np.uint64(2**63)
    found = find_local_maxima(image, exclude_border=False, block_shape=data.draw(volumes.blocks(len(shape))), **QUIET)
    assert np.array_equal(found, find_local_maxima(image, exclude_border=False))
    highest = (small == maximum_filter(small, 3, mode="nearest")) & (small > small.min())
    joined, n = label(highest, np.ones((3,) * len(shape)))
    assert sorted(joined[tuple(found.T)]) == list(range(1, n + 1))
    assert sorted(map(tuple, found)) == sorted(tuple(np.argwhere(joined == one)[0]) for one in range(1, n + 1))


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u4", "u8", "f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("distance", [1, 3, 30])
def test_windows_of_every_type_and_order_in_memory(dtype: str, distance: int) -> None:
    values = np.random.default_rng(distance).permutation(13 * 20 * 24).reshape(13, 20, 24)
    values = (values % 251 if np.dtype(dtype).itemsize < 4 else values).astype(dtype)
    size = [2 * distance + 1] * 3
    highest = maximum_filter(values.astype("f8"), size) == values
    for array in (values, np.asfortranarray(values)):
        found = find_local_maxima(array, min_distance=distance, exclude_border=False, block_shape=9, **QUIET)
        assert len(found)
        assert highest[tuple(found.T)].all()
        if np.dtype(dtype).itemsize >= 4:  # no two are equal
            assert len(found) == highest.sum()


def test_a_plateau_through_all_blocks_and_a_mask() -> None:
    image = np.zeros((30, 30))
    image[3:27, 3] = image[26, 3:27] = image[3:27, 26] = 1
    assert find_local_maxima(image, block_shape=5, **QUIET).tolist() == [[3, 3]]
    mask = np.ones(image.shape, bool)
    mask[26] = False
    assert find_local_maxima(image, block_shape=5, mask=mask, **QUIET).tolist() == [[3, 3], [3, 26]]


def test_thresholds_are_those_of_the_whole_volume() -> None:
    image = np.zeros((4, 40))
    image[2, 5], image[2, 35] = 1, 10
    assert find_local_maxima(image, threshold_rel=0.5, block_shape=(4, 10), **QUIET).tolist() == [[2, 35]]


def test_thresholds_of_large_integers_are_exact() -> None:
    image = np.zeros(9, "u8")
    image[[2, 6]] = 2**60 + 1, 2**60 + 3
    assert find_local_maxima(image, threshold_abs=2**60 + 2, block_shape=4, **QUIET).tolist() == [[6]]
    assert find_local_maxima(image, threshold_abs=2.0**60, block_shape=4, **QUIET).tolist() == [[6], [2]]
    assert find_local_maxima(image, threshold_rel=1 - 2**-50, block_shape=4, **QUIET).tolist() == [[6], [2]]


def test_equal_maxima_that_are_near() -> None:
    image = np.zeros(40)
    image[[10, 12, 14, 30]] = 1
    found = find_local_maxima(image, min_distance=3, block_shape=4, **QUIET)
    assert found.tolist() == peak_local_max(image, min_distance=3).tolist()


def test_nan_hides_nothing() -> None:
    image = np.array([0, 0, np.nan, 2, 0, 0, 1, 0, 0])
    assert find_local_maxima(image, block_shape=2, **QUIET).tolist() == [[3], [6]]
    assert len(find_local_maxima(np.full(5, np.nan))) == 0
    assert find_local_maxima(np.zeros((0, 3))).shape == (0, 2)
    assert find_local_maxima(np.ones((5, 5)), exclude_border=False).shape == (0, 2)


def test_bad_input() -> None:
    with pytest.raises(DtypeError):
        find_local_maxima(np.ones(3, complex))
    for wrong in ({"min_distance": 0}, {"min_distance": 1.5}, {"threshold_abs": "a"}, {"block_ids": [0]}):
        with pytest.raises(ParameterError):
            find_local_maxima(np.ones(3), **wrong)


@pytest.mark.parametrize("shape", [(7, 1, 9), (5, 6)])
def test_a_window_far_larger_than_the_volume_takes_no_memory(shape):
    values = np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape)
    found = find_local_maxima(values, min_distance=10_000, exclude_border=False, block_shape=4, progress=False)
    assert found.tolist() == [list(np.unravel_index(values.argmax(), shape))]
