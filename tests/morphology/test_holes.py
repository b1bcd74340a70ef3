"""Holes and small objects of any size, against scipy and scikit-image on the whole array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import morphology as reference

from bioimage_py.errors import DtypeError, ParameterError
from bioimage_py.morphology import fill_holes, remove_small_holes, remove_small_objects

from . import volumes

QUIET: dict[str, Any] = {"progress": False}


@st.composite
def images(draw: Any) -> np.ndarray:
    shape = draw(volumes.shapes((2, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    return np.asarray(rng.random(shape) < draw(st.sampled_from([0.3, 0.6, 0.8])))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_holes_are_those_of_scipy(data: st.DataObject) -> None:
    image, block = data.draw(images()), None
    block = data.draw(volumes.blocks(image.ndim))
    connectivity = data.draw(st.integers(1, image.ndim))
    structure = ndimage.generate_binary_structure(image.ndim, connectivity)
    found = fill_holes(image, connectivity=connectivity, block_shape=block, num_workers=2, **QUIET)
    assert found.dtype == bool
    assert np.array_equal(found, ndimage.binary_fill_holes(image, structure))
    assert np.array_equal(fill_holes(image, connectivity=connectivity), found)
    roi = data.draw(volumes.regions(image.shape))
    part = fill_holes(image, image.copy(), roi=roi, block_shape=block, **QUIET)
    expected = image.copy()
    expected[roi] = ndimage.binary_fill_holes(image[roi])
    assert np.array_equal(part, expected)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_small_holes_and_objects_are_those_of_scikit_image(data: st.DataObject) -> None:
    image, size = data.draw(images()), data.draw(st.integers(0, 9))
    block, connectivity = data.draw(volumes.blocks(image.ndim)), data.draw(st.integers(1, image.ndim))
    how: dict[str, Any] = {"max_size": size, "connectivity": connectivity}
    found = remove_small_holes(image, block_shape=block, **how, **QUIET)
    if image.any():
        assert np.array_equal(found, reference.remove_small_holes(image, **how))
    found = remove_small_objects(image, block_shape=block, **how, **QUIET)
    assert np.array_equal(found, reference.remove_small_objects(image, **how))


def filled(labels: np.ndarray) -> np.ndarray:
    result = labels.copy()
    holes, n = ndimage.label(labels == 0)
    for one in range(1, n + 1):
        own = holes == one
        edge = np.pad(own, 1)
        if any(edge.take(at, axis).any() for axis in range(own.ndim) for at in (1, -2)):
            continue
        around = ndimage.binary_dilation(own) & ~own
        ids = np.unique(labels[around])
        if len(ids) == 1:
            result[own] = ids[0]
    return result


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_hole_gets_the_id_around_it(data: st.DataObject) -> None:
    labels = data.draw(volumes.labels())
    labels = -labels if labels.dtype.kind == "i" and data.draw(st.booleans()) else labels
    found = fill_holes(labels, block_shape=data.draw(volumes.blocks(labels.ndim)), **QUIET)
    assert found.dtype == labels.dtype
    assert np.array_equal(found, filled(labels))


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_holes_in_a_mask(data: st.DataObject) -> None:
    """A hole touches neither the border nor what the mask leaves out."""
    image = data.draw(images())
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random(image.shape) < 0.9
    expected, (holes, n) = image.copy(), ndimage.label(~image & mask)
    for one in range(1, n + 1):
        own = holes == one
        around = ndimage.binary_dilation(np.pad(own, 1)) & ~np.pad(own, 1)
        if not (around & ~np.pad(mask, 1)).any():
            expected[own] = True
    block = data.draw(volumes.blocks(image.ndim))
    assert np.array_equal(fill_holes(image, image.copy(), mask=mask, block_shape=block, **QUIET), expected)


def test_a_mask_is_a_border_and_what_is_outside_stays() -> None:
    image = np.ones((9, 9), "u1")
    image[2, 2] = image[6, 6] = 0
    mask = np.ones((9, 9), bool)
    mask[6, 7] = False
    output = np.full((9, 9), 7, "u1")
    fill_holes(image, output, mask=mask, block_shape=4, **QUIET)
    assert output[2, 2] == 1
    assert output[6, 6] == 0
    assert output[6, 7] == 7


def test_in_place_and_sizes() -> None:
    image = np.ones((20, 20), "u8") * np.uint64(2**64 - 1)
    image[3:6, 3:6] = 0
    image[10, 10] = 0
    assert fill_holes(image, image, max_size=4, block_shape=5, **QUIET) is image
    assert (image == 0).sum() == 9
    labels = np.array([[1, 1, 0, 2, 0, 2]])
    assert remove_small_objects(labels, max_size=1, block_shape=(1, 2), **QUIET).tolist() == labels.tolist()
    assert remove_small_objects(np.array([[1, 0, 2, 2]]), max_size=1, **QUIET).tolist() == [[0, 0, 2, 2]]


def test_bad_input() -> None:
    with pytest.raises(DtypeError):
        fill_holes(np.ones((3, 3)))
    for wrong in ({"connectivity": 3}, {"max_size": -1}, {"max_size": 1.5}):
        with pytest.raises(ParameterError):
            fill_holes(np.ones((3, 3), int), **wrong)
    with pytest.raises(ParameterError):
        remove_small_objects(np.ones((3, 3), int), connectivity=1)
