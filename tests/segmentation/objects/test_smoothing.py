"""The most frequent label around a voxel."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py import segmentation
from bioimage_py.errors import DtypeError, ParameterError
from bioimage_py.segmentation.objects import majority_kernel

from .cases import Case, cases


def smoothed(labels: np.ndarray, counts: np.ndarray, reach: tuple[int, ...]) -> np.ndarray:
    result = labels.copy()
    for at in np.ndindex(labels.shape):
        box = tuple(slice(max(0, i - r), i + r + 1) for i, r in zip(at, reach, strict=True))
        found = Counter(labels[box][counts[box]].tolist())
        if found:
            most = max(found.values())
            best = sorted(one for one, count in found.items() if count == most)
            result[at] = labels[at] if labels[at] in best else best[0]
    return result


@pytest.mark.slow
@given(cases(max_side=6), st.lists(st.sampled_from([1, 3, 5]), min_size=3, max_size=3), st.sampled_from([0, 10**9]))
@settings(max_examples=60, deadline=None)
def test_majority_is_that_of_the_whole_array(case: Case, sizes: list[int], boxes: int) -> None:
    ndim = case.labels.ndim - case.apart
    output = np.full(case.labels.shape, 1, case.labels.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(majority_kernel, "_BOXES", boxes)
        segmentation.majority(case.source, output, size=sizes[:ndim], **case.run)
    counts = case.run.get("mask", np.ones(case.labels.shape, "u1")) != 0
    expected = np.full_like(output, 1)
    reach = tuple(size // 2 for size in sizes[:ndim])
    for labels, count, inside, wanted in zip(
        *map(case.each, (case.labels, counts, case.inside, expected)), strict=True
    ):
        np.copyto(wanted, smoothed(labels, count, reach), where=inside)
    np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("size", [3, 5, (1, 7), 21])
def test_both_ways_of_the_kernel_agree(size: object, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(2).integers(0, 3, (8, 9)).astype("u2")
    whole = segmentation.majority(labels, size=size)
    for boxes, values in ((10**9, 2**22), (0, 2**22), (0, 20)):
        monkeypatch.setattr(majority_kernel, "_BOXES", boxes)
        monkeypatch.setattr(majority_kernel, "_VALUES", values)
        np.testing.assert_array_equal(segmentation.majority(labels, size=size), whole)


@pytest.mark.parametrize("size", [2, 0, (3, 3), -1, 3.0])
def test_a_size_that_is_none(size: object) -> None:
    with pytest.raises(ParameterError, match="size"):
        segmentation.majority(np.zeros((3, 3, 3), int), size=size)


def test_labels_are_integers() -> None:
    with pytest.raises(DtypeError):
        segmentation.majority(np.zeros(3))
