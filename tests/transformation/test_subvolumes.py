"""Coordinates, boxes, and regions of transformed volumes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.errors import ParameterError, RegionError, ShapeError
from bioimage_py.sources import Axis
from bioimage_py.transformation import (
    affine,
    compute_affine_matrix,
    transform_coordinate,
    transform_roi_with_affine,
    transform_subvolume_affine,
    transform_subvolume_coordinates,
    warp,
)
from bioimage_py.wrapper import AxesSource

numbers = st.floats(-100, 100)


@given(st.data())
def test_coordinates_go_through_the_matrix_and_boxes_hold_what_is_in_them(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 4))
    matrix = np.array([[data.draw(numbers) for _ in range(n + 1)] for _ in range(n)])
    start = [data.draw(numbers) for _ in range(n)]
    stop = [value + data.draw(st.floats(0, 50)) for value in start]
    least, most = transform_roi_with_affine(start, stop, matrix)
    share = np.array([data.draw(st.floats(0, 1)) for _ in range(n)])
    inside = np.array(start) + share * (np.array(stop) - start)
    found = np.array(transform_coordinate(inside, matrix))
    np.testing.assert_allclose(found, matrix[:, :n] @ inside + matrix[:, n], atol=1e-9)
    assert (found >= np.array(least) - 1e-8).all()
    assert (found <= np.array(most) + 1e-8).all()
    square = np.vstack([matrix, [*[0] * n, 1]])
    assert transform_coordinate(inside, square) == transform_coordinate(inside, matrix)
    assert all(type(value) is float for value in (*found.tolist(), *least, *most))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_region_is_that_part_of_the_whole(data: st.DataObject) -> None:
    array = np.random.default_rng(0).integers(0, 1000, (9, 11)).astype(data.draw(st.sampled_from(["u2", "f4", "u8"])))
    matrix = compute_affine_matrix((1.1, 0.8), data.draw(st.sampled_from([0, 17, 90])), None, (2, -1.5))
    order = data.draw(st.integers(0, 5))
    whole = affine(array, matrix, shape=(14, 15), order=order, fill_value=3)
    begin = [data.draw(st.integers(0, 12)) for _ in range(2)]
    roi = tuple(slice(b, b + data.draw(st.integers(1, 2))) for b in begin)
    np.testing.assert_array_equal(transform_subvolume_affine(array, matrix, roi, order, 3), whole[roi])
    # what lies before index 0 is there too
    moved = matrix.copy()
    moved[:2, 2] -= matrix[:2, :2] @ [4, 3]
    early = transform_subvolume_affine(array, matrix, (slice(-4, 2), slice(-3, 5)), order, 3)
    again = affine(array, moved, shape=(6, 8), order=order, fill_value=3)
    np.testing.assert_allclose(early.astype(float), again.astype(float), atol=1 if order else 0, rtol=1e-6)
    np.testing.assert_array_equal(early[4:, 3:], whole[:2, :5])


def test_regions_without_ends_smoothing_and_axes() -> None:
    array = np.random.default_rng(0).random((2, 9, 11))
    full = transform_subvolume_affine(array[0], np.eye(3), (slice(None), slice(3, None)), 1)
    np.testing.assert_array_equal(full, array[0][:, 3:])
    assert transform_subvolume_affine(array[0], np.eye(3), (slice(4, 2), slice(None))).shape == (0, 11)
    smooth = transform_subvolume_affine(array[0], np.eye(3), (slice(None), slice(None)), 1, 0, (1.0, 1.0))
    np.testing.assert_array_equal(smooth, transform_subvolume_affine(array[0], np.eye(3), (slice(None),) * 2, 1, 0, 1))
    assert smooth.std() < array[0].std()
    source = AxesSource(array, (Axis("c", "channel"), Axis("y"), Axis("x")))
    matrix = compute_affine_matrix(rotation=20, ndim=2)
    region = transform_subvolume_affine(source, matrix, (slice(1, 2), slice(0, 4), slice(2, 5)), 1, 0, 0.7)
    assert region.shape == (1, 4, 3)
    places = np.random.default_rng(0).random((2, 3, 4)) * 8
    assert transform_subvolume_coordinates(source, places).shape == (2, 3, 4)


def test_values_at_places_are_those_of_a_warp() -> None:
    array = np.random.default_rng(0).random((9, 11))
    places = np.random.default_rng(1).random((2, 3, 4)) * 12 - 1
    for order in range(6):
        found = transform_subvolume_coordinates(array, places, order, 5)
        np.testing.assert_array_equal(found, warp(array, places, order=order, fill_value=5))
    assert transform_subvolume_coordinates(array, places.tolist()).shape == (3, 4)


def test_what_makes_no_sense_is_refused() -> None:
    array = np.zeros((4, 5))
    calls: tuple[tuple[Any, type[Exception], str], ...] = (
        (lambda: transform_coordinate((1, 2, 3), np.eye(3)), ShapeError, "for 3 axes"),
        (lambda: transform_coordinate("ab", np.eye(3)), ParameterError, "coord"),
        (lambda: transform_coordinate((1, float("nan")), np.eye(3)), ParameterError, "coord"),
        (lambda: transform_roi_with_affine((0, 0), (1,), np.eye(3)), ShapeError, "roi_stop 1"),
        (lambda: transform_subvolume_affine(array, np.eye(3), (slice(0, 4, 2), slice(None))), RegionError, "step"),
        (lambda: transform_subvolume_affine(array, np.eye(3), (slice(0, 4),)), RegionError, "2 slices"),
        (lambda: transform_subvolume_affine(array, np.eye(3), (0, slice(None))), RegionError, "2 slices"),
        (lambda: transform_subvolume_affine(array, np.eye(3), (slice(None),) * 2, sigma=-1), ParameterError, "sigmas"),
        (lambda: transform_subvolume_coordinates(array, np.zeros((3, 4, 5))), ShapeError, r"\(2, 4, 5\)"),
        (lambda: compute_affine_matrix(scale=(1, 2), rotation=(1, 2, 3)), ParameterError, "takes 1"),
    )
    for call, kind, match in calls:
        with pytest.raises(kind, match=match):
            call()


def test_matrices_of_quarter_turns_are_whole_and_turns_follow_each_other() -> None:
    assert compute_affine_matrix(rotation=90, ndim=2).tolist() == [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    assert compute_affine_matrix(rotation=-270, ndim=2).tolist() == [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    first, second, third = (compute_affine_matrix(rotation=turn) for turn in ((10, 0, 0), (0, 20, 0), (0, 0, 30)))
    np.testing.assert_allclose(compute_affine_matrix(rotation=(10, 20, 30)), third @ second @ first, atol=1e-15)
