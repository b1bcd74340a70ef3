"""Boxes against numpy: what they say is where the voxels are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bioimage_py.blocks.boxes import Box, common, is_empty, shifted, size_of, within

SHAPE = (9, 7)
VOXELS = np.arange(63).reshape(SHAPE)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    ends = [sorted(draw(st.tuples(st.integers(0, size), st.integers(0, size)))) for size in SHAPE]
    return tuple(slice(*pair) for pair in ends)


@given(boxes(), boxes())
def test_what_two_boxes_share_is_seen_from_both(one: Box, other: Box) -> None:
    shared = common(one, other)
    same = np.intersect1d(VOXELS[one], VOXELS[other])
    assert is_empty(shared) == (same.size == 0)
    if not is_empty(shared):
        np.testing.assert_array_equal(np.sort(VOXELS[shared], axis=None), same)
        for box in (one, other):
            np.testing.assert_array_equal(VOXELS[box][within(shared, box)], VOXELS[shared])
            assert shifted(within(shared, box), [part.start for part in box]) == shared


@given(boxes())
def test_the_size_of_a_box_is_the_shape_of_its_voxels(box: Box) -> None:
    assert size_of(box) == VOXELS[box].shape
    assert is_empty(box) == (VOXELS[box].size == 0)
    assert common(box, box) == box
