"""Objects and points that match by distance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from bioimage_py import evaluation
from bioimage_py.errors import DtypeError, ParameterError, ShapeError
from bioimage_py.evaluation.geometry import geometry_of
from bioimage_py.sources.axes import Axis
from bioimage_py.wrapper import AxesSource

from ..segmentation.objects.cases import Case, cases


def matched(a: np.ndarray, b: np.ndarray, limit: float) -> int:
    if not len(a) or not len(b):
        return 0
    near = cdist(a, b) <= limit
    at = linear_sum_assignment(~near)
    return int(near[at].sum())


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_points_are_those_of_a_whole_matrix(n: int, m: int, axes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, (n, axes)), rng.integers(0, 4, (m, axes))
    resolution = rng.choice([0.5, 1.0, 2.0], axes)
    for limit in (0, 1.0, np.sqrt(2), 1e9):
        found = matched(a * resolution, b * resolution, limit)
        scores = evaluation.coordinate_matching(a, b, distance_threshold=limit, resolution=resolution)
        assert scores["precision"] == (found / n if n else 0)
        assert scores["recall"] == (found / m if m else 0)
        assert scores["f1"] == (2 * found / (n + m) if n + m else 0)
        assert scores["segmentation_accuracy"] == (found / (n + m - found) if n + m else 0)


@pytest.mark.slow
@given(cases(dtypes=["?", "u1", ">u2", "i8", "u8"]))
@settings(max_examples=60, deadline=None)
def test_centroids_are_those_of_the_whole_array(case: Case) -> None:
    truth = np.roll(case.labels, 1, axis=-1)
    inside = case.inside
    points = []
    for labels in (case.labels, truth):
        ids = np.unique(labels[inside])
        points.append([np.argwhere((labels == one) & inside).mean(axis=0) for one in ids if one])
    ours = evaluation.centroid_matching(case.labels, truth, distance_threshold=1.0, **case.run)
    expected = evaluation.coordinate_matching(*points, distance_threshold=1.0)
    assert ours == expected


@given(cases(dtypes=["?", "u1", ">i4", "u8"]))
@settings(max_examples=60, deadline=None)
def test_geometry_is_that_of_scipy(case: Case) -> None:
    labels, inside = case.labels, case.inside
    found = geometry_of(labels, (10,) * labels.ndim, inside)
    ids = np.unique(labels[inside].astype(labels.dtype.newbyteorder("=")))
    assert [int(one) for one in found.ids] == [int(one) for one in ids]
    for row, one in enumerate(ids):
        at = np.argwhere((labels == one) & inside) + 10
        assert found.sizes[row] == len(at)
        assert found.sums[row].tolist() == at.sum(axis=0).tolist()
        assert found.begins[row].tolist() == at.min(axis=0).tolist()
        assert found.ends[row].tolist() == (at.max(axis=0) + 1).tolist()
        mean = ndimage.center_of_mass((labels == one) & inside)
        np.testing.assert_allclose(found.centroids[row], np.array(mean) + 10)


def test_background_and_its_lack() -> None:
    zeros = np.zeros((4, 4), int)
    assert evaluation.centroid_matching(zeros, zeros, distance_threshold=1)["recall"] == 0
    assert evaluation.centroid_matching(zeros, zeros, distance_threshold=1, ignore_label=None)["recall"] == 1
    top = np.full((2, 2), 2**64 - 1, "u8")
    assert evaluation.centroid_matching(top, top, distance_threshold=0, ignore_label=2**64 - 1)["recall"] == 0
    assert evaluation.centroid_matching(top, top, distance_threshold=0, mask=top * 0)["recall"] == 0


def test_a_threshold_in_units_of_the_axes() -> None:
    a, b = np.zeros((6, 6), "u1"), np.zeros((6, 6), "u1")
    a[0, 0] = b[0, 3] = 1
    b = AxesSource(b, [Axis("y", scale=1.0, unit="micrometer"), Axis("x", scale=-0.5, unit="micrometer")])
    for limit, physical, recall in ((2, False, 0), (3, False, 1), (1.4, True, 0), (1.5, True, 1)):
        scores = evaluation.centroid_matching(a, b, distance_threshold=limit, physical=physical)
        assert scores["recall"] == recall
    with pytest.raises(ParameterError, match="exclude"):
        evaluation.centroid_matching(a, b, distance_threshold=1, physical=True, resolution=(1, 1))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"distance_threshold": -1}, ParameterError),
        ({"distance_threshold": float("nan")}, ParameterError),
        ({"distance_threshold": "far"}, ParameterError),
        ({"distance_threshold": 1, "resolution": (1.0,)}, ParameterError),
        ({"distance_threshold": 1, "resolution": (1.0, 0.0)}, ParameterError),
        ({"distance_threshold": 1, "resolution": 3.0}, ParameterError),
    ],
)
def test_bad_numbers(options: dict[str, Any], error: type[Exception]) -> None:
    labels = np.ones((2, 2), int)
    with pytest.raises(error):
        evaluation.coordinate_matching([[0, 0]], [[1, 1]], **options)
    if options.get("resolution") not in ((1.0,), 3.0):  # one number is one for all axes
        with pytest.raises(error):
            evaluation.centroid_matching(labels, labels, **options)


def test_bad_points() -> None:
    with pytest.raises(ShapeError):
        evaluation.coordinate_matching([[0, 0]], [[1]], distance_threshold=1)
    with pytest.raises(ShapeError):
        evaluation.coordinate_matching([0, 0], [[1]], distance_threshold=1)
    with pytest.raises(ParameterError, match=r"coordinates_a\[1\]"):
        evaluation.coordinate_matching([[0], [np.nan]], [[1]], distance_threshold=1)
    with pytest.raises(DtypeError):
        evaluation.coordinate_matching([["a"]], [[1]], distance_threshold=1)
    with pytest.raises(DtypeError):
        evaluation.centroid_matching(np.ones(3), np.ones(3, int), distance_threshold=1)
