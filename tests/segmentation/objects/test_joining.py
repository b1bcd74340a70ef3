"""Objects that are joined by pairs of ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py import segmentation
from bioimage_py.errors import DtypeError, ShapeError, ValueRangeError

from .cases import Case, cases


def joined(labels: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    of = {int(one): int(one) for one in np.unique(labels)}
    of |= {one: one for pair in pairs for one in pair}
    for _ in of:
        for a, b in pairs:
            of[a] = of[b] = min(of[a], of[b])
    return np.array([of[int(one)] for one in labels.ravel()], labels.dtype).reshape(labels.shape)


@pytest.mark.slow
@given(cases(), st.data())
@settings(max_examples=60, deadline=None)
def test_joined_objects_have_the_smallest_id(case: Case, data: Any) -> None:
    ids = sorted({int(one) for one in case.labels.ravel()})
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), max_size=5))
    output = np.full(case.labels.shape, 1, case.labels.dtype)
    segmentation.merge_labels(case.source, pairs, output, **case.run)
    expected = np.where(case.inside, joined(case.labels, pairs), np.ones((), case.labels.dtype))
    np.testing.assert_array_equal(output, expected)


TOP = 2**64 - 1


@pytest.mark.parametrize(
    "table",
    [
        [(TOP, 5), (TOP, 2**63)],
        np.array([[TOP, 5], [TOP, 2**63]], "u8"),
        np.array([[TOP, 5], [TOP, 2**63]], ">u8"),
        {5: TOP, 2**63: TOP},
        pd.DataFrame({"label_a": np.array([5, 2**63], "u8"), "label_b": np.array([TOP, TOP], "u8"), "area": 1.0}),
    ],
    ids=["list", "array", "big-endian", "mapping", "table"],
)
def test_tables_of_large_ids(table: Any) -> None:
    labels = np.array([TOP, 2**63, 5, 6, TOP - 1], "u8")
    assert segmentation.merge_labels(labels, table, block_shape=2).tolist() == [5, 5, 5, 6, TOP - 1]


def test_ids_that_the_labels_cannot_hold_join_others() -> None:
    labels = np.array([1, 2, 3], "u1")
    assert segmentation.merge_labels(labels, [(3, 1000), (1000, 2), (-1, 1)]).tolist() == [1, 2, 2]


def test_no_pairs_change_nothing() -> None:
    labels = np.array([1, 2, 3], "u1")
    for table in ([], {}, np.empty((0, 2), int)):
        assert segmentation.merge_labels(labels, table).tolist() == [1, 2, 3]


def test_bad_tables() -> None:
    labels = np.array([1, 2, 3])
    with pytest.raises(DtypeError):
        segmentation.merge_labels(labels, [(1.0, 2.0)])
    with pytest.raises(DtypeError):
        segmentation.merge_labels(labels, np.ones((2, 2)))
    with pytest.raises(ShapeError):
        segmentation.merge_labels(labels, [(1, 2, 3)])
    with pytest.raises(ShapeError, match="label_a"):
        segmentation.merge_labels(labels, pd.DataFrame({"a": [1], "b": [2]}))
    with pytest.raises(ValueRangeError):
        segmentation.merge_labels(labels, [(-1, TOP)])
    with pytest.raises(DtypeError):
        segmentation.merge_labels(np.ones(3), [(1, 2)])
