"""The nearest object of points, against a search through all voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.errors import DtypeError, ParameterError, ShapeError
from bioimage_py.morphology import map_points_to_objects, points_blocks

from . import volumes

QUIET: dict[str, Any] = {"progress": False}


def searched(labels: np.ndarray, points: np.ndarray, sampling: Any) -> tuple[list[int], list[float]]:
    at, ids, distances = np.argwhere(labels != 0), [], []
    for point in points:
        if not len(at) or (point < 0).any() or (point >= labels.shape).any():
            ids.append(0)
            distances.append(np.inf)
            continue
        far = np.sqrt((((at - point) * sampling) ** 2).sum(1))
        ids.append(int(labels[tuple(at[far <= far.min() * (1 + 1e-12)].T)].min()))
        distances.append(far.min())
    return ids, distances


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_it_is_the_nearest_of_all(data: st.DataObject) -> None:
    labels = data.draw(volumes.labels((1, 2, 3)))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    labels = np.where(rng.random(labels.shape) < data.draw(st.sampled_from([0.0, 0.8, 0.99])), 0, labels).astype(
        labels.dtype
    )
    points = np.stack([rng.integers(-2, size + 2, 7) for size in labels.shape], axis=1)
    sampling = data.draw(st.sampled_from([1.0, (2.0, 1.0, 0.4)[: labels.ndim]]))
    block = data.draw(volumes.blocks(labels.ndim))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points_blocks, "_FIRST_MARGIN", 1)
        patch.setattr(points_blocks, "_BOX_VOXELS", 30)
        ids, distances = map_points_to_objects(labels, points, block, sampling=sampling, **QUIET)
    expected = searched(labels, points, sampling)
    np.testing.assert_allclose(distances, expected[1], rtol=1e-6)
    assert ids.tolist() == expected[0]
    whole = map_points_to_objects(labels, points, sampling=sampling)
    assert whole[0].tolist() == expected[0]


def test_the_forms_of_the_call() -> None:
    labels = np.zeros((20, 20), "u8")
    labels[2, 2], labels[15, 15] = 2**64 - 1, 7
    points = np.array([[2.9, 2.0], [2, 9], [12, 12], [0, 19], [40, 0]])
    ids, distances = map_points_to_objects(labels, points, (10, 10), halo=(3, 3), **QUIET)
    assert [int(one) for one in ids] == [2**64 - 1, 2**64 - 1, 7, 7, 0]
    np.testing.assert_allclose(distances, [0, 7, 18**0.5, 241**0.5, np.inf])
    near = map_points_to_objects(labels, points, (10, 10), max_distance=5, **QUIET)
    assert np.isinf(near[1]).tolist() == [False, True, False, True, True]
    part = map_points_to_objects(labels, points, (10, 10), block_ids=[0], **QUIET)
    assert np.isinf(part[1]).tolist() == [False, False, True, True, True]
    assert len(map_points_to_objects(labels, [], (10, 10))[0]) == 0


def test_bad_input() -> None:
    labels = np.ones((3, 3), int)
    with pytest.raises(DtypeError):
        map_points_to_objects(np.ones((3, 3)), [[0, 0]])
    with pytest.raises(ShapeError):
        map_points_to_objects(labels, [[0, 0, 0]])
    with pytest.raises(ParameterError):
        map_points_to_objects(labels, [[np.nan, 0]])
