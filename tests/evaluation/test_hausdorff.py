"""Distances of surfaces, object by object."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, generate_binary_structure
from scipy.spatial.distance import cdist

from bioimage_py import evaluation
from bioimage_py.errors import DtypeError, ParameterError, RunnerError, ShapeError
from bioimage_py.evaluation import surfaces
from bioimage_py.sources.axes import Axis
from bioimage_py.wrapper import AxesSource

from ..segmentation.objects.cases import Case, cases


def of_surfaces(a: np.ndarray, b: np.ndarray, sampling: np.ndarray) -> list[float]:
    cross = generate_binary_structure(a.ndim, 1)
    points = [np.argwhere(one & ~binary_erosion(one, cross)) * sampling for one in (a, b)]
    if not len(points[0]) or not len(points[1]):
        return [np.inf] * 3
    apart = cdist(*points)
    there, back = apart.min(axis=1), apart.min(axis=0)
    tails = max(np.percentile(there, 95), np.percentile(back, 95))
    return [max(there.max(), back.max()), tails, (there.sum() + back.sum()) / (len(there) + len(back))]


@pytest.mark.slow
@given(cases(dtypes=["?", "u1", ">u2", "u8"], max_side=7), st.sampled_from([1, 1000]))
@settings(max_examples=60, deadline=None)
def test_distances_are_those_of_the_whole_array(case: Case, voxels: int) -> None:
    labels, truth, roi = case.labels, np.roll(case.labels, 1, axis=-1), case.roi
    sampling = np.array([1.0, 2.0, 0.5, 1.5, 1.0])[: labels.ndim]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surfaces, "_VOXELS", voxels)
        table = evaluation.hausdorff_distance(labels, truth, sampling=sampling, **case.run)
    inside = case.inside[roi]
    seg, gt = (np.where(inside, one[roi], np.zeros((), one.dtype)) for one in (labels, truth))
    objects = [int(one) for one in np.unique(gt) if one]
    assert table["label_gt"].tolist() == objects
    for row in table.to_dict("records"):
        there = gt == np.array(row["label_gt"]).astype(gt.dtype)
        ious = {
            int(one): ((seg == one) & there).sum() / ((seg == one) | there).sum()
            for one in np.unique(seg[there])
            if one
        }
        assert row["iou"] == max(ious.values(), default=0)
        assert row["label_seg"] == min((one for one in ious if ious[one] == row["iou"]), default=0)
        mine = (seg == np.array(row["label_seg"]).astype(seg.dtype)) & (row["label_seg"] != 0)
        expected = of_surfaces(mine, there, sampling)
        np.testing.assert_allclose([row["hausdorff"], row["hausdorff_95"], row["mean_distance"]], expected)


def test_the_largest_distance_is_that_of_scikit_image() -> None:
    from skimage.metrics import hausdorff_distance

    rng = np.random.default_rng(3)
    a, b = (np.zeros((40, 50), "u1") for _ in range(2))
    a[5:30, 8:33], b[9:36, 3:25] = 4, 9
    a[rng.random(a.shape) < 0.2] = b[rng.random(b.shape) < 0.2] = 0
    table = evaluation.hausdorff_distance(a, b, block_shape=(7, 11), num_workers=2)
    assert table["hausdorff"].tolist() == [hausdorff_distance(surfaces.surface(a > 0), surfaces.surface(b > 0))]


def test_pairs_that_are_given() -> None:
    a, b = np.array([1, 1, 0, 2, 0, 0]), np.array([0, 0, 7, 7, 7, 8])
    table = evaluation.hausdorff_distance(a, b, pairs=[(1, 7), (2, 8), (3, 7), (1, 99)], block_shape=2)
    assert table[["label_seg", "label_gt"]].values.tolist() == [[1, 7], [2, 8], [3, 7], [1, 99]]
    assert table["hausdorff"].tolist() == [3.0, 2.0, np.inf, np.inf]
    assert len(evaluation.hausdorff_distance(a, b, pairs=[])) == 0


def test_units_are_those_of_the_axes() -> None:
    a, b = np.zeros((4, 6), "u1"), np.zeros((4, 6), "u1")
    a[0, 0], b[0, 0], b[3, 0] = 1, 1, 1
    axes = [Axis("y", unit="micrometer", scale=2.5), Axis("x", unit="micrometer", scale=1.0)]
    table = evaluation.hausdorff_distance(AxesSource(a, axes), AxesSource(b, axes), physical=True)
    assert table["hausdorff"].tolist() == [7.5]
    assert evaluation.hausdorff_distance(a, b)["hausdorff"].tolist() == [3.0]


def test_nothing_there() -> None:
    empty = np.zeros((3, 3), "u8")
    assert len(evaluation.hausdorff_distance(empty, empty)) == 0
    assert list(evaluation.hausdorff_distance(empty, empty, mask=empty).columns)[:2] == ["label_seg", "label_gt"]
    alone = evaluation.hausdorff_distance(empty, empty + np.uint64(2**64 - 1))
    assert alone["label_gt"].tolist() == [2**64 - 1]
    assert alone["label_seg"].tolist() == [0]
    assert alone["hausdorff"].tolist() == [np.inf]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"sampling": 0}, ParameterError),
        ({"sampling": (1, 1)}, ParameterError),
        ({"pairs": [1, 2]}, ShapeError),
        ({"pairs": [(1.0, 2.0)]}, DtypeError),
        ({"pairs": [(-1, 2)]}, DtypeError),
    ],
)
def test_bad_input(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        evaluation.hausdorff_distance(np.ones(3, int), np.ones(3, int), **options)


def test_bad_labels() -> None:
    with pytest.raises(DtypeError, match="groundtruth"):
        evaluation.hausdorff_distance(np.ones(3, int), np.ones(3))
    with pytest.raises((RunnerError, ParameterError), match="negative"):
        evaluation.hausdorff_distance(np.array([-1, 2]), np.array([1, 2]), retries=0)
