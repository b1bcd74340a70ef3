"""Grids, blocks and halos against naive oracles, and what users may give for them."""

from __future__ import annotations

import ast
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioimage_py.blocks import Block, Grid, normalize_block_shape, normalize_halo, region_bounds, to_roi
from bioimage_py.errors import BlockShapeError, HaloError, RegionError

Bounds = tuple[tuple[int, int], ...]


@st.composite
def grids(draw: st.DrawFn, max_size: int = 14) -> Grid:
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(0, max_size)) for _ in range(ndim))
    block_shape = tuple(draw(st.integers(1, max_size + 3)) for _ in range(ndim))
    roi = tuple(draw(bounds_in(size)) for size in shape)
    anchor = draw(st.sampled_from(["begin", "any"]))
    if anchor == "begin":
        return Grid(shape, block_shape, roi)
    return Grid(shape, block_shape, roi, tuple(draw(st.integers(-20, 20)) for _ in shape))


@st.composite
def bounds_in(draw: st.DrawFn, size: int) -> tuple[int, int]:
    begin = draw(st.integers(0, size))
    return begin, draw(st.integers(begin, size))


def naive_intervals(grid: Grid, axis: int) -> list[tuple[int, int]]:
    """Cut an axis voxel by voxel."""
    begin, end = grid.roi[axis]
    cuts = [i for i in range(begin + 1, end) if (i - grid.anchor[axis]) % grid.block_shape[axis] == 0]
    edges = [begin, *cuts, end]
    return list(itertools.pairwise(edges)) if end > begin else []


@given(grids())
def test_grid_is_that_of_a_naive_loop(grid: Grid) -> None:
    boxes = list(itertools.product(*(naive_intervals(grid, axis) for axis in range(grid.ndim))))
    assert len(grid) == grid.n_blocks == len(boxes)
    for block_id, (block, box) in enumerate(zip(grid, boxes, strict=True)):
        assert block.id == block_id
        assert list(zip(block.begin, block.end, strict=True)) == list(box)
        assert block.shape == [end - begin for begin, end in box]
        assert block.ndim == grid.ndim
        assert to_roi(block) == tuple(slice(begin, end) for begin, end in box)
        assert grid.id_at(grid.position(block_id)) == block_id
        assert all(type(value) is int for value in (*block.begin, *block.end, *block.shape))
    for outside in (-1, len(boxes)):
        for call in (grid.__getitem__, grid.position):
            with pytest.raises(RegionError, match=r"block id -?\d+ is not in 0\.\."):
                call(outside)


@given(grids(), st.integers(0, 5))
def test_halo_is_clipped_at_the_volume_not_at_the_region(grid: Grid, halo: int) -> None:
    volume = np.arange(math.prod(grid.shape)).reshape(grid.shape)
    for block in grid:
        found = grid.with_halo(block.id, (halo,) * grid.ndim)
        assert found.inner_block == block
        assert found.id == found.outer_block.id == block.id
        outer = volume[to_roi(found.outer_block)]
        np.testing.assert_array_equal(outer[to_roi(found.inner_block_local)], volume[to_roi(block)])
        for axis, size in enumerate(grid.shape):
            assert found.outer_block.begin[axis] == max(0, block.begin[axis] - halo)
            assert found.outer_block.end[axis] == min(size, block.end[axis] + halo)


def test_a_grid_of_a_billion_blocks_costs_nothing() -> None:
    grid = Grid((100_000, 100_000, 100_000), (100, 100, 100))
    assert grid.n_blocks == 10**9
    assert grid[10**9 - 1].end == [100_000] * 3
    assert grid[123_456_789].begin == [12_300, 45_600, 78_900]


def test_block_says_where_it_is() -> None:
    block = Block([0, 32], [64, 96], 7)
    assert block.where() == "[0:64, 32:96]"
    assert repr(block) == "Block(7: [0:64, 32:96])"
    assert block == Block([0, 32], [64, 96], 7)
    assert block != Block([0, 32], [64, 96], 8)
    assert len({block, Block([0, 32], [64, 96], 7)}) == 1
    assert "in [0:65, 31:97]" in repr(Grid((99, 99), (64, 64), ((0, 64), (32, 96))).with_halo(0, (1, 1)))


# --- what users give ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("halo", "expected"),
    [(None, None), (0, (0, 0)), (3, (3, 3)), ((1, 2), (1, 2)), ([1, 2], (1, 2)), (np.array([1, 2]), (1, 2))],
)
def test_normalize_halo(halo: Any, expected: tuple[int, ...] | None) -> None:
    assert normalize_halo(halo, 2) == expected


@pytest.mark.parametrize(
    ("halo", "text"),
    [
        (-1, r"halo \(-1, -1\) is negative"),
        ((2, -3), r"\(2, -3\) is negative"),
        (2.7, r"halo 2\.7 is not a whole number of voxels"),
        ((1, 2.5), "not a whole number"),
        ("12", "not a whole number"),
        ((1, 2, 3), "has 3 entries, the volume has 2 axes"),
    ],
)
def test_bad_halo(halo: Any, text: str) -> None:
    with pytest.raises(HaloError, match=text) as error:
        normalize_halo(halo, 2)
    assert error.value.remedy


@pytest.mark.parametrize(
    ("given_shape", "expected"), [(8, (8, 8)), ((4, 5), (4, 5)), ([4, 5], (4, 5)), (np.array([4, 5]), (4, 5))]
)
def test_normalize_block_shape(given_shape: Any, expected: tuple[int, ...]) -> None:
    assert normalize_block_shape(given_shape, 2) == expected


@pytest.mark.parametrize(
    ("given_shape", "text"),
    [
        (0, r"block_shape \(0, 0\) has an entry below 1"),
        ((16, -1), r"\(16, -1\) has an entry below 1"),
        ((16, 2.5), "not made of whole numbers"),
        ("16", "not made of whole numbers"),
        ((16,), "has 1 entries, the volume has 2 axes"),
        ((16, 16, 16), "has 3 entries, the volume has 2 axes"),
    ],
)
def test_bad_block_shape(given_shape: Any, text: str) -> None:
    with pytest.raises(BlockShapeError, match=text) as error:
        normalize_block_shape(given_shape, 2)
    assert len(normalize_block_shape(ast.literal_eval(error.value.remedy.removeprefix("block_shape=")), 2)) == 2


@pytest.mark.parametrize(
    ("roi", "expected"),
    [
        (None, ((0, 10), (0, 20))),
        (slice(2, 5), ((2, 5), (0, 20))),
        ((slice(None), slice(3, None)), ((0, 10), (3, 20))),
        ((slice(np.int64(2), np.int64(2)),), ((2, 2), (0, 20))),
        ((slice(0, 10, 1), slice(0, 20)), ((0, 10), (0, 20))),
    ],
)
def test_region_bounds(roi: Any, expected: Bounds) -> None:
    found = region_bounds(roi, (10, 20))
    assert found == expected
    assert all(type(value) is int for pair in found for value in pair)


@pytest.mark.parametrize(
    ("roi", "text"),
    [
        ((slice(-16, None),), "roi -16:10 of axis 0 is not inside the volume 0:10"),
        ((slice(None), slice(5, 21)), "roi 5:21 of axis 1 is not inside the volume 0:20"),
        ((slice(6, 4),), "roi 6:4 of axis 0 is not inside"),
        ((slice(0, 10, 2),), "axis 0 has the step 2"),
        ((slice(None, None, -1),), "axis 0 has the step -1"),
        ((3,), "roi entry 3 of axis 0 is not a slice"),
        ((...,), "roi entry Ellipsis of axis 0 is not a slice"),
        ((slice(0.5, 2),), r"roi slice\(0\.5, 2, None\) of axis 0 is not made of whole numbers"),
        ((slice(None),) * 3, "names 3 axes, the volume has 2"),
    ],
)
def test_bad_region(roi: Any, text: str) -> None:
    with pytest.raises(RegionError, match=text):
        region_bounds(roi, (10, 20))
