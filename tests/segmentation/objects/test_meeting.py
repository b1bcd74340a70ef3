"""Pairs of objects: those that share voxels, those that touch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py import segmentation
from bioimage_py.errors import DtypeError, ParameterError
from bioimage_py.segmentation.objects.contact_blocks import touching_pairs
from bioimage_py.sources.axes import Axis
from bioimage_py.wrapper import AxesSource

from .cases import Case, cases


def touching(case: Case, background: bool) -> dict[tuple[Any, ...], list[int]]:
    faces: dict[tuple[Any, ...], list[int]] = {}
    inside, along = case.inside, range(case.apart, case.labels.ndim)
    for at in np.argwhere(inside):
        for number, axis in enumerate(along):
            to = at.copy()
            to[axis] += 1
            if to[axis] == case.labels.shape[axis] or not inside[tuple(to)]:
                continue
            a, b = sorted((int(case.labels[tuple(at)]), int(case.labels[tuple(to)])))
            if a != b and (background or (a and b)):
                key = (*map(int, at[: case.apart]), a, b)
                faces.setdefault(key, [0] * len(along))[number] += 1
    return faces


@pytest.mark.slow
@given(cases(max_side=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_contacts_are_those_of_the_whole_array(case: Case, background: bool) -> None:
    ndim = case.labels.ndim - case.apart
    sampling = [2.0, 0.5, 3.0][:ndim]
    table = segmentation.contacts(case.source, sampling=sampling, background=background, **case.run)
    expected = touching(case, background)
    names = [*["t", "c"][: case.apart], "label_a", "label_b"]
    assert list(table.columns) == [*names, "faces", "area"]
    keys = list(map(tuple, zip(*(table[name].tolist() for name in names), strict=True)))
    assert keys == sorted(expected)
    area = [np.prod(sampling) / step for step in sampling]
    for key, faces, size in zip(keys, table["faces"], table["area"], strict=True):
        assert faces == sum(expected[key])
        assert size == pytest.approx(sum(n * one for n, one in zip(expected[key], area, strict=True)))


@given(cases(dtypes=["?", "u1", ">u2", "i4", "u8", ">u8"], max_side=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_pairs_that_touch_are_those_of_contacts(case: Case, background: bool) -> None:
    labels = np.maximum(case.labels, np.zeros((), case.labels.dtype))
    table = segmentation.contacts(labels, background=background, progress=False)
    found = touching_pairs(labels, range(labels.ndim), background=background)
    assert found.dtype == np.uint64
    assert found.tolist() == table[["label_a", "label_b"]].to_numpy().astype("u8").tolist()


def test_areas_have_the_units_of_the_axes() -> None:
    labels = np.zeros((4, 4, 4), "u1")
    labels[:2], labels[2:] = 3, 9
    axes = [
        Axis("z", unit="micrometer", scale=2.0),
        Axis("y", unit="micrometer", scale=0.5),
        Axis("x", unit="micrometer"),
    ]
    assert segmentation.contacts(AxesSource(labels, axes), block_shape=2)["area"].tolist() == [16.0]
    table = segmentation.contacts(AxesSource(labels, axes), block_shape=2, physical=True)
    assert table.values.tolist() == [[3, 9, 16, 8.0]]
    assert table.attrs["unit"] == "micrometer"


def test_empty_contacts_have_their_columns() -> None:
    table = segmentation.contacts(np.zeros((3, 3), ">u2"))
    assert len(table) == 0
    assert list(table.columns) == ["label_a", "label_b", "faces", "area"]
    assert len(segmentation.contacts(np.zeros((0, 3), "u1"))) == 0


@pytest.mark.parametrize("sampling", [0, (1, 2, 3), "fine", float("nan")])
def test_a_sampling_that_is_none(sampling: Any) -> None:
    with pytest.raises(ParameterError, match="sampling"):
        segmentation.contacts(np.zeros((3, 3), int), sampling=sampling)


@pytest.mark.slow
@given(cases(dtypes=["?", "u1", ">u2", "u8"]), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_intersections_are_those_of_the_whole_array(case: Case, seed: int) -> None:
    b = np.random.default_rng(seed).integers(0, 3, case.labels.shape).astype("u8") * np.uint64(2**62)
    table = segmentation.intersect(case.source, b, **case.run)
    inside = case.inside
    pairs = list(zip(case.labels[inside].tolist(), b[inside].tolist(), strict=True))
    counts, a_sizes, b_sizes = Counter(pairs), Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sorted((int(x), y, n) for (x, y), n in counts.items() if x and y)
    assert list(zip(table["label_a"], table["label_b"], table["overlap"], strict=True)) == expected
    assert table["size_a"].tolist() == [a_sizes[x] for x, _, _ in expected]
    assert table["size_b"].tolist() == [b_sizes[y] for _, y, _ in expected]
    np.testing.assert_allclose(table["share_a"], [n / a_sizes[x] for x, _, n in expected])
    np.testing.assert_allclose(table["share_b"], [n / b_sizes[y] for _, y, n in expected])


def test_intersections_of_bad_input() -> None:
    with pytest.raises(DtypeError, match="b must"):
        segmentation.intersect(np.zeros(3, int), np.zeros(3))
    with pytest.raises(ParameterError, match="negative"):
        segmentation.intersect(np.array([-1, 2]), np.array([1, 2]))
    assert isinstance(segmentation.intersect(np.zeros((0, 2), int), np.zeros((0, 2), int)), pd.DataFrame)
