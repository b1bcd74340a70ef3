"""Lengths in the units of the axes: the same as with the sizes of voxels spelled out, for every operation with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import ParameterError
from bioimage_py.sources import Axis
from bioimage_py.wrapper import AxesSource

STEPS = (2.0, 0.5, 0.25)
QUIET: dict[str, Any] = {"progress": False, "block_shape": 8}
Call = Callable[..., Any]


def seen(labels: np.ndarray, units: tuple[str | None, ...] = ("micrometer",) * 3) -> AxesSource:
    """Labels whose x axis runs backwards."""
    scales = (STEPS[0], STEPS[1], -STEPS[2])
    axes = [Axis(name, unit=unit, scale=scale) for name, unit, scale in zip("zyx", units, scales, strict=True)]
    return AxesSource(labels, axes)


def ids() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(1, 4, (12, 16, 20)).repeat(1, 0).astype("u2") * (rng.random((12, 16, 20)) > 0.6)


POINTS = np.array([[0, 0, 0], [5, 8, 9], [11, 15, 19]])
OPERATIONS: dict[str, tuple[str, Call]] = {
    "distance_transform": ("sampling", bp.morphology.distance_transform),
    "distance_transform within": (
        "sampling",
        lambda data, **how: bp.morphology.distance_transform(data, max_distance=0.6, **how),
    ),
    "expand_labels": ("sampling", lambda data, **how: bp.morphology.expand_labels(data, 0.6, **how)),
    "map_points_to_objects": (
        "sampling",
        lambda data, **how: np.stack(bp.morphology.map_points_to_objects(data, POINTS, max_distance=3, **how)),
    ),
    "contacts": ("sampling", lambda data, **how: bp.segmentation.contacts(data, **how)["area"]),
    "hausdorff_distance": (
        "sampling",
        lambda data, **how: bp.evaluation.hausdorff_distance(data, data, pairs=[(1, 2)], **how)["hausdorff"],
    ),
    "centroid_matching": (
        "resolution",
        lambda data, **how: list(
            bp.evaluation.centroid_matching(ids()[::-1].copy(), data, distance_threshold=0.7, **how).values()
        ),
    ),
    "regionprops": (
        "resolution",
        lambda data, **how: bp.morphology.regionprops(data, **how)[["area", "axis_major_length"]],
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_units_are_the_sizes_of_voxels(name: str) -> None:
    spelled, call = OPERATIONS[name]
    physical = np.asarray(call(seen(ids()), physical=True, **QUIET))
    np.testing.assert_array_equal(physical, np.asarray(call(ids(), **{spelled: STEPS}, **QUIET)))
    in_voxels = np.asarray(call(seen(ids()), **QUIET))
    np.testing.assert_array_equal(in_voxels, np.asarray(call(ids(), **QUIET)))


@pytest.mark.parametrize("name", OPERATIONS)
def test_axes_that_say_nothing_two_units_and_both_ways_are_refused(name: str) -> None:
    spelled, call = OPERATIONS[name]
    with pytest.raises(ParameterError, match=r"the axis '[dz]0?' of the input"):
        call(ids(), physical=True, **QUIET)
    with pytest.raises(ParameterError, match="one unit of length"):
        call(seen(ids(), ("nanometer", "micrometer", "micrometer")), physical=True, **QUIET)
    with pytest.raises(ParameterError, match=f"{spelled}= and physical=True exclude each other"):
        call(seen(ids()), physical=True, **{spelled: 2.0}, **QUIET)
    for bad in (0, (1.0, 2.0), (1.0, 2.0, float("nan")), "fine"):
        with pytest.raises(ParameterError, match=f"{spelled}=.* is not one positive number"):
            call(ids(), **{spelled: bad}, **QUIET)


def test_centroids_lie_where_the_axes_say() -> None:
    labels = np.zeros((4, 4, 4), "u1")
    labels[1, 2, 3] = 5
    row = bp.morphology.regionprops(seen(labels), physical=True, progress=False).iloc[0]
    assert [row[f"centroid_{axis}"] for axis in "zyx"] == [2.0, 1.0, -0.75]
    assert row["area"] == 0.25


@given(
    arrays.arrays(np.int64, arrays.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=14), elements=st.just(0)),
    st.floats(0.3, 4),
    st.integers(0, 2**32 - 1),
    st.integers(3, 9),
)
def test_maxima_are_apart_along_every_axis(empty: np.ndarray, distance: float, seed: int, block: int) -> None:
    values = np.random.default_rng(seed).permutation(empty.size).reshape(empty.shape)
    source = AxesSource(values, [Axis("y", unit="micrometer", scale=1.0), Axis("x", unit="micrometer", scale=0.25)])
    found = bp.morphology.find_local_maxima(
        source, min_distance=distance, physical=True, exclude_border=0, block_shape=block, progress=False
    )
    reach = [max(1, int(distance / step * (1 + 1e-9))) for step in (1.0, 0.25)]
    expected = [
        at
        for at in np.ndindex(values.shape)
        if values[at] == values[tuple(slice(max(0, i - r), i + r + 1) for i, r in zip(at, reach, strict=True))].max()
        and values[at] > 0
    ]
    assert sorted(map(tuple, found.tolist())) == expected


def test_a_box_of_majority_in_units() -> None:
    labels = ids()
    found = bp.segmentation.majority(seen(labels), size=1.2, physical=True, **QUIET)
    np.testing.assert_array_equal(found, bp.segmentation.majority(labels, size=(1, 3, 5), **QUIET))
    with pytest.raises(ParameterError, match="size=0 is not above 0"):
        bp.segmentation.majority(seen(labels), size=0, physical=True)


def test_a_border_in_units() -> None:
    labels = np.arange(1, 12 * 16 * 20 + 1).reshape(12, 16, 20)
    found = bp.segmentation.remove_border_objects(seen(labels), buffer_size=0.6, physical=True, **QUIET)
    expected = np.zeros_like(labels)
    inner = (slice(1, -1), slice(2, -2), slice(3, -3))  # 0, 1 and 2 voxels from the voxels of the border
    expected[inner] = labels[inner]
    np.testing.assert_array_equal(found, expected)
    far = bp.segmentation.remove_border_objects(seen(labels), buffer_size=1e9, physical=True, progress=False)
    assert not far.any()
    for wrong in (-1, float("nan"), "wide"):
        with pytest.raises(ParameterError, match="buffer_size"):
            bp.segmentation.remove_border_objects(seen(labels), buffer_size=wrong, physical=True)
    with pytest.raises(ParameterError, match="buffer_size cannot count in physical units"):
        bp.segmentation.remove_border_objects(labels, buffer_size=1, physical=True)


def test_a_translation_in_units() -> None:
    labels, move = ids(), bp.transformation.affine
    for how in (QUIET, {"progress": False}):
        found = move(seen(labels), translation=(4.0, 1.0, 0.5), physical=True, **how)
        np.testing.assert_array_equal(found, move(labels, translation=(2, 2, -2), **how))
    turned = move(seen(labels), translation=(0.5, 1.0), physical=True, axes="xy", progress=False)
    np.testing.assert_array_equal(turned, move(labels, translation=(0, 2, -2), progress=False))
    with pytest.raises(ParameterError, match="is for a translation="):
        move(seen(labels), rotation=(0, 0, 5), physical=True)
    with pytest.raises(ParameterError, match="translation cannot count in physical units"):
        move(labels, translation=(1, 1, 1), physical=True)
    for wrong in (("far", 1, 1), (1.0, 2.0), (float("nan"), 0, 0)):
        with pytest.raises(ParameterError, match=r"translation|no numbers"):
            move(seen(labels), translation=wrong, physical=True)
