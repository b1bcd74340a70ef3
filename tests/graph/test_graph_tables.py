"""Tables of regions and edges: what blocks add up to is what the whole array gives, bit for bit."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import bioimage_py as bp
from bioimage_py.errors import ValueRangeError
from bioimage_py.graph import edge_table, node_table
from bioimage_py.graph.edge_table import LEVELS, Evidence, edges_of, of_boundaries, steps
from bioimage_py.graph.node_table import nodes_of

SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9)
LARGE = 2**64 - 1


def volumes(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(SHAPES)
    ids = draw(st.sampled_from([[0, 1, 2, 3], [0, LARGE, LARGE - 1, 2**53 + 1], [5, 6]]))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    return rng.choice(np.array(ids, np.uint64), shape), steps(rng.random(shape, dtype=np.float32))


def blocks_of(shape: tuple[int, ...], size: int) -> list[tuple[slice, ...]]:
    starts = (range(0, length, size) for length in shape)
    corners = itertools.product(*starts)
    return [tuple(slice(at, min(at + size, n)) for at, n in zip(corner, shape, strict=True)) for corner in corners]


def by_blocks(labels: np.ndarray, evidence: list[Evidence], size: int, halo: int) -> list[edge_table.EdgeTable]:
    tables = []
    for block in blocks_of(labels.shape, size):
        outer = tuple(
            slice(max(0, part.start - halo), min(n, part.stop + halo))
            for part, n in zip(block, labels.shape, strict=True)
        )
        inner = [slice(a.start - b.start, a.stop - b.start) for a, b in zip(block, outer, strict=True)]
        part = [Evidence(one.offset, one.values[outer], one.between) for one in evidence]
        tables.append(edges_of(labels[outer], part, inner))
    return tables


def same(one: Any, other: Any) -> None:
    for column in fields(one):
        np.testing.assert_array_equal(getattr(one, column.name), getattr(other, column.name), column.name)
        assert getattr(one, column.name).dtype == getattr(other, column.name).dtype, column.name


def brute(labels: np.ndarray, evidence: list[Evidence]) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for one in evidence:
        for at in np.ndindex(labels.shape):
            to = tuple(np.add(at, one.offset))
            if all(0 <= place < n for place, n in zip(to, labels.shape, strict=True)):
                a, b = int(labels[at]), int(labels[to])
                if a != b and a and b:
                    value = (int(one.values[at]) + int(one.values[to])) // 2 if one.between else int(one.values[at])
                    found.setdefault((min(a, b), max(a, b)), []).append(value)
    return found


@given(st.data(), st.integers(1, 6), st.booleans())
def test_blocks_add_up_to_the_whole_and_the_whole_is_right(data: Any, size: int, affinities: bool) -> None:
    labels, values = volumes(data.draw)
    ndim, halo = labels.ndim, 1
    evidence = of_boundaries(values)
    if affinities:
        offsets = [tuple(-offset) for offset in np.eye(ndim, dtype=int)] + [(0,) * (ndim - 1) + (3,)]
        evidence, halo = [Evidence(offset, values, False) for offset in offsets], 3
    whole = edges_of(labels, evidence, [slice(0, n) for n in labels.shape])
    same(edge_table.merged(by_blocks(labels, evidence, size, halo)), whole)
    expected = brute(labels, evidence)
    assert [tuple(map(int, row)) for row in whole.ids] == sorted(expected)
    for row, pair in enumerate(sorted(expected)):
        samples = expected[pair]
        assert int(whole.count[row]) == len(samples) == int(whole.histogram[row].sum())
        assert int(whole.total[row]) == sum(samples)
        assert int(whole.squares[row]) == sum(value * value for value in samples)
        assert (int(whole.low[row]), int(whole.high[row])) == (min(samples), max(samples))


@given(st.data(), st.integers(1, 6))
def test_regions_of_blocks_add_up(data: Any, size: int) -> None:
    labels, values = volumes(data.draw)
    whole = nodes_of(labels, values, (0,) * labels.ndim)
    parts = [nodes_of(labels[b], values[b], [part.start for part in b]) for b in blocks_of(labels.shape, size)]
    same(node_table.merged(parts), whole)
    assert whole.ids.tolist() == [one for one in np.unique(labels).tolist() if one]
    for row, one in enumerate(whole.ids.tolist()):
        inside = labels == np.uint64(one)
        assert whole.size[row] == inside.sum()
        assert whole.places[row].tolist() == np.argwhere(inside).sum(axis=0).tolist()
        assert whole.total[row] == values[inside].sum()
        assert whole.begin[row].tolist() == np.argwhere(inside).min(axis=0).tolist()
        assert whole.end[row].tolist() == (np.argwhere(inside).max(axis=0) + 1).tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0.0, 0.5, 1.0, 1.05, -0.05, np.nan]), [0, LEVELS // 2, LEVELS, LEVELS, 0, LEVELS]),
        (np.array([0, 255], np.uint8), [0, LEVELS]),
        (np.array([-5, 0, 32767], np.int16), [0, 0, LEVELS]),
        (np.array([0, 2**64 - 1], np.uint64), [0, LEVELS]),
        (np.array([False, True]), [0, LEVELS]),
        (np.array([0.25, 1], ">f4"), [LEVELS // 4, LEVELS]),
    ],
)
def test_boundaries_in_steps(values: np.ndarray, expected: list[int]) -> None:
    assert steps(values).tolist() == expected


@pytest.mark.parametrize("wrong", [255.0, 2.0, -1.0, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_what_counts_in_something_else_is_refused(wrong: float, dtype: str) -> None:
    with pytest.raises(ValueRangeError, match="probabilities, 0 to 1"):
        steps(np.array([0.5, np.nan, wrong], dtype))
    with pytest.raises(ValueRangeError, match="probabilities"):
        bp.segmentation.distance_watershed(np.full((4, 4), wrong, dtype))


def test_edges_beyond_what_sums_can_hold_are_refused() -> None:
    table = edges_of(
        np.array([[1, 2]], np.uint64), of_boundaries(np.full((1, 2), LEVELS, np.uint32)), (slice(0, 1), slice(0, 2))
    )
    half = dataclasses.replace(table, count=np.array([2**31], np.int64))
    assert edge_table.merged([half, dataclasses.replace(table, count=half.count - 1)]).count.tolist() == [2**32 - 1]
    with pytest.raises(ValueRangeError, match=r"the regions \[1, 2\] touch in 4294967296 pairs"):
        edge_table.merged([half, half])


def test_long_offsets_have_no_faces() -> None:
    labels = np.array([[1, 9, 2]], np.uint64)
    table = edges_of(labels, [Evidence((0, 2), np.full((1, 3), 7, np.uint32), False)], [slice(0, 1), slice(0, 3)])
    assert (table.ids.tolist(), table.faces.tolist(), table.count.tolist()) == ([[1, 2]], [[0, 0]], [1])
