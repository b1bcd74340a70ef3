"""Pieces of objects that get ids of their own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from bioimage_py import segmentation
from bioimage_py.errors import DtypeError, ParameterError, ValueRangeError

from .cases import Case, cases


def split(case: Case, connectivity: int) -> np.ndarray:
    """By scipy, object after object."""
    from scipy.ndimage import generate_binary_structure, label

    inside, result = case.inside, np.zeros(case.labels.shape, object)
    highest = max(0, max((int(one) for one in case.labels[inside]), default=0))
    small = []
    for number, (labels, within, wanted) in enumerate(zip(*map(case.each, (case.labels, inside, result)), strict=True)):
        structure = generate_binary_structure(labels.ndim, min(connectivity, labels.ndim))
        for one in np.unique(labels[within]):
            if not one:
                continue
            pieces, n = label((labels == one) & within, structure)
            sizes = np.bincount(pieces.ravel())[1:]
            for piece in range(1, n + 1):
                where = pieces == piece
                if piece == int(np.argmax(sizes)) + 1:
                    wanted[where] = int(one)
                else:
                    small.append((number, int(np.flatnonzero(where)[0]), where))
    parts = case.each(result)
    for new, (number, _, where) in enumerate(sorted(small, key=lambda one: one[:2]), highest + 1):
        parts[number][where] = new
    return result


@pytest.mark.slow
@given(cases(dtypes=["?", "u1", ">u2", "u4", ">i4", "i8"]))
@settings(max_examples=60, deadline=None)
def test_pieces_are_those_of_the_whole_array(case: Case) -> None:
    for connectivity in range(1, case.labels.ndim - case.apart + 1):
        expected = split(case, connectivity)
        if expected.size and expected.max() > 2**63 - 1:
            continue
        output = np.full(case.labels.shape, 1, "i8")
        segmentation.split_disconnected(case.source, output, connectivity=connectivity, **case.run)
        roi = case.roi
        np.testing.assert_array_equal(output[roi], expected[roi].astype("i8"))
        output[roi] = 1
        assert (output == 1).all()


def test_ids_at_the_end_of_the_range() -> None:
    top = 2**64 - 1
    labels = np.array([top, 0, top - 5, 0, top - 5], "u8")
    with pytest.raises(ValueRangeError, match=f"1 pieces need ids above {top}"):
        segmentation.split_disconnected(labels, retries=0)
    labels[0] = top - 1
    assert segmentation.split_disconnected(labels, block_shape=2).tolist() == [top - 1, 0, top - 5, 0, top]


def test_signed_labels_with_the_highest_id_go_on_above_it() -> None:
    top = 2**63 - 1
    output = np.zeros(3, "u8")
    segmentation.split_disconnected(np.array([top, 0, top]), output)
    assert output.tolist() == [top, 0, top + 1]


def test_bad_input() -> None:
    with pytest.raises(DtypeError):
        segmentation.split_disconnected(np.zeros(3))
    with pytest.raises(DtypeError, match="output"):
        segmentation.split_disconnected(np.zeros(3, int), np.zeros(3))
    with pytest.raises(ParameterError, match="connectivity"):
        segmentation.split_disconnected(np.zeros(3, int), connectivity=2)


def test_in_place() -> None:
    labels = np.array([4, 0, 4, 4, 0, 7], "u1")
    assert segmentation.split_disconnected(labels, labels, block_shape=2, num_workers=2) is labels
    assert labels.tolist() == [8, 0, 4, 4, 0, 7]
