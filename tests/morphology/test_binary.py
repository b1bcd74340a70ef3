"""Erosion, dilation, opening, closing, growing labels and skeletons, against scipy and scikit-image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import skeletonize as thinned

from bioimage_py import morphology
from bioimage_py.errors import DtypeError, ParameterError
from bioimage_py.io import create_array
from bioimage_py.morphology import expand_labels, skeletonize
from bioimage_py.sources.axes import Axis

from . import volumes

QUIET: dict[str, Any] = {"progress": False}
NAMES = ("binary_erosion", "binary_dilation", "binary_opening", "binary_closing")


def repeated(name: str, found: np.ndarray, footprint: Any, iterations: int, border: int) -> np.ndarray:
    """One iteration of scipy at a time: several of them write beyond its lists for some footprints (1.17.1)."""
    steps = {
        "binary_opening": ("binary_erosion", "binary_dilation"),
        "binary_closing": ("binary_dilation", "binary_erosion"),
    }
    for step in steps.get(name, (name,)):
        for _ in range(iterations):
            found = getattr(ndimage, step)(found, footprint, border_value=border)
    return found


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_binary_is_scipy(data: st.DataObject) -> None:
    name, labels = data.draw(st.sampled_from(NAMES)), data.draw(volumes.labels((1, 2, 3)))
    footprint = None
    if data.draw(st.booleans()):
        shape = data.draw(st.tuples(*[st.integers(1, 4)] * labels.ndim))
        footprint = np.random.default_rng(data.draw(st.integers(0, 99))).random(shape) < 0.6
        footprint.flat[0] = True
    iterations, border = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 1))
    expected = repeated(name, labels != 0, footprint, iterations, border)
    roi = data.draw(volumes.regions(labels.shape)) if data.draw(st.booleans()) else None
    how = {"footprint": footprint, "iterations": iterations, "border_value": border}
    block = data.draw(volumes.blocks(labels.ndim))
    found = getattr(morphology, name)(labels, roi=roi, block_shape=block, num_workers=2, **how, **QUIET)
    assert found.dtype == bool
    assert np.array_equal(found[roi or ...], expected[roi or ...])
    assert np.array_equal(getattr(morphology, name)(labels, **how), expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_axes_in_memory_does_not_show(name: str) -> None:
    image = np.random.default_rng(0).random((9, 10, 11)) < (
        0.1 if name in ("binary_dilation", "binary_closing") else 0.9
    )
    expected = getattr(ndimage, name)(image)
    for how in ({}, {"block_shape": 5}):
        assert np.array_equal(getattr(morphology, name)(np.asfortranarray(image), **how, **QUIET), expected)


def grown(labels: np.ndarray, distance: float, sampling: Any) -> np.ndarray:
    """Every voxel compared with every object voxel."""
    result, at = labels.copy(), np.argwhere(labels != 0)
    if not len(at):
        return result
    ids = labels[tuple(at.T)]
    for voxel in np.argwhere(labels == 0):
        far = (((at - voxel) * np.array(sampling)) ** 2).sum(1)
        if far.min() <= distance**2 * (1 + 1e-9):
            result[tuple(voxel)] = ids[far <= far.min() * (1 + 1e-9)].min()
    return result


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_labels_grow_to_the_nearest_and_lowest(data: st.DataObject) -> None:
    labels = data.draw(volumes.labels((1, 2, 3)))
    labels = labels.view("u1") if labels.dtype == bool else labels
    keep = np.random.default_rng(data.draw(st.integers(0, 999))).random(labels.shape) < 0.2
    labels = np.where(keep, labels, 0).astype(labels.dtype)
    distance = data.draw(st.sampled_from([0, 1, 1.5, 2.3, 4, 20]))
    sampling = data.draw(
        st.sampled_from([(1.0,) * labels.ndim, (2.0, 1.0, 0.5)[: labels.ndim], (0.7, 0.31, 1.1)[: labels.ndim]])
    )
    expected = grown(labels, distance, sampling)
    block = data.draw(volumes.blocks(labels.ndim))
    found = expand_labels(labels, distance, sampling=sampling, block_shape=block, **QUIET)
    assert found.dtype == labels.dtype
    assert np.array_equal(found, expected)
    assert np.array_equal(expand_labels(labels, distance, sampling=sampling), expected)


def test_times_are_apart_and_masks_kept(tmp_path: Path) -> None:
    axes = (Axis("t", "time"), Axis("y"), Axis("x"))
    source = create_array(tmp_path / "a.zarr", "a", shape=(3, 8, 8), dtype="u2", chunks=(1, 4, 4), axes=axes)
    data = np.zeros((3, 8, 8), "u2")
    data[1, 4, 4] = 5
    source[...] = data
    mask = np.ones((3, 8, 8), bool)
    mask[:, 3] = False
    found = expand_labels(source, 1, mask=mask, **QUIET)
    assert np.argwhere(found).tolist() == [[1, 4, 3], [1, 4, 4], [1, 4, 5], [1, 5, 4]]
    assert morphology.binary_dilation(source, **QUIET)[[0, 2]].sum() == 0


def test_skeletons_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.random((30, 40)), 2) > 0.5
    for how in ({}, {"num_workers": 2}, {"job_type": "local", "debug": False}):
        assert np.array_equal(skeletonize(image, **how, **QUIET), thinned(image))
    volume = ndimage.gaussian_filter(rng.random((12, 13, 14)), 1.5) > 0.5
    assert np.array_equal(skeletonize(volume, **QUIET), thinned(volume))
    with pytest.raises(TypeError):
        skeletonize(image, block_shape=8)
    with pytest.raises(ParameterError):
        skeletonize(np.ones(5))


def test_bad_input() -> None:
    array = np.ones((4, 4))
    for wrong in ({"footprint": np.ones(3)}, {"footprint": np.zeros((3, 3))}, {"iterations": 0}, {"border_value": 2}):
        with pytest.raises(ParameterError):
            morphology.binary_erosion(array, **wrong)
    with pytest.raises(DtypeError):
        morphology.binary_opening(array.astype(complex))
    with pytest.raises(DtypeError):
        expand_labels(array)
    with pytest.raises(ParameterError):
        expand_labels(array.astype(int), -1)


@pytest.mark.parametrize("name", [*NAMES, "expand_labels", "skeletonize", "fill_holes", "remove_small_holes"])
def test_empty(name: str) -> None:
    assert getattr(morphology, name)(np.zeros((3, 0), int), **QUIET).shape == (3, 0)
