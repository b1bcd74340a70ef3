"""Grids, halos, the lattice of write-unit borders and write groups, against naive oracles."""

from __future__ import annotations

import ast
import itertools
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py.blocks import (
    MAX_GROUP,
    Block,
    Grid,
    Groups,
    Lattice,
    automatic_block_shape,
    common_lattice,
    normalize_block_shape,
    normalize_halo,
    plan_blocks,
    region_bounds,
    to_roi,
)
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


# --- clean cuts --------------------------------------------------------------------------------------------------

LATTICES = st.builds(Lattice, st.integers(0, 12), st.integers(-20, 20))


@given(LATTICES, LATTICES)
def test_common_cuts_are_those_of_both(one: Lattice, other: Lattice) -> None:
    both = one & other
    for position in range(-300, 300):
        assert both.clean(position) == (one.clean(position) and other.clean(position))


@given(LATTICES, LATTICES, LATTICES)
def test_the_order_of_outputs_does_not_matter(a: Lattice, b: Lattice, c: Lattice) -> None:
    ways = [(a & b) & c, a & (b & c), (c & b) & a]
    assert len({tuple(way.clean(position) for position in range(-2000, 2000)) for way in ways}) == 1


def test_leading_axes_of_an_output_do_not_count() -> None:
    assert common_lattice([((1, 8, 4), (0, -3, 2)), (None, (0, 0))], (20, 20)) == (Lattice(8, 5), Lattice(4, 2))


# --- write groups ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Output:
    """A stand-in for an output: its write unit (None: single voxels) and where the units begin."""

    unit: tuple[int, ...] | None
    origin: tuple[int, ...]

    def units_of(self, begin: list[int], end: list[int]) -> set[tuple[int, ...]]:
        """Every write unit that a box of voxels touches, found voxel by voxel along each axis."""
        unit = self.unit or (1,) * len(begin)
        axes = zip(begin, end, unit, self.origin, strict=True)
        return set(itertools.product(*({(i - start) // size for i in range(b, e)} for b, e, size, start in axes)))


@dataclass(frozen=True)
class Case:
    shape: tuple[int, ...]
    block_shape: tuple[int, ...]
    roi: Bounds
    outputs: tuple[Output, ...]

    def lattices(self) -> tuple[Lattice, ...]:
        return common_lattice([(output.unit, output.origin) for output in self.outputs], self.shape)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    ndim = draw(st.integers(1, 3))
    most = (60, 24, 12)[ndim - 1]
    shape = tuple(draw(st.integers(0, most)) for _ in range(ndim))
    roi = tuple(draw(bounds_in(size)) for size in shape)
    block_shape = tuple(draw(st.integers(1, most + 2)) for _ in range(ndim))
    return Case(shape, block_shape, roi, tuple(draw(st.lists(outputs(ndim), min_size=0, max_size=3))))


@st.composite
def outputs(draw: st.DrawFn, ndim: int) -> Output:
    """Numpy, chunks, or shards (whole numbers of chunks), seen through a view that begins anywhere."""
    kind = draw(st.sampled_from(["numpy", "chunks", "shards"]))
    origin = tuple(draw(st.integers(-13, 13)) for _ in range(ndim))
    if kind == "numpy":
        return Output(None, origin)
    chunks = tuple(draw(st.integers(1, 9)) for _ in range(ndim))
    times = draw(st.integers(1, 3)) if kind == "shards" else 1
    return Output(tuple(size * times for size in chunks), origin)


def planned(case: Case, **options: Any) -> Groups | None:
    """The groups; None where the block shape is refused, after trying the shape that the error names."""
    try:
        return plan_blocks(case.shape, case.block_shape, case.roi, case.lattices(), **options)
    except BlockShapeError as refused:
        named = ast.literal_eval(refused.remedy.removeprefix("block_shape="))
    assert plan_blocks(case.shape, named, case.roi, case.lattices()).trivial
    return None


@settings(max_examples=400, deadline=None)
@given(cases())
def test_no_write_unit_is_ever_owned_by_two_groups(case: Case) -> None:
    groups = planned(case)
    if groups is None:
        return
    owner: list[dict[tuple[int, ...], int]] = [{} for _ in case.outputs]
    voxels = np.zeros(case.shape, int)
    of: dict[int, int] = {}
    sizes = []
    for group in range(groups.n_groups):
        ids = groups.blocks(group)
        assert ids == sorted(ids)
        sizes.append(len(ids))
        members = [groups.grid[block_id] for block_id in ids]
        of.update(dict.fromkeys(ids, group))
        for block in members:
            voxels[to_roi(block)] += 1
        begin, end = groups.box(group)
        assert begin == [min(block.begin[axis] for block in members) for axis in range(len(case.shape))]
        assert end == [max(block.end[axis] for block in members) for axis in range(len(case.shape))]
        assert math.prod(np.subtract(end, begin)) == sum(math.prod(block.shape) for block in members)
        for output, owners in zip(case.outputs, owner, strict=True):
            for unit in output.units_of(begin, end):
                assert owners.setdefault(unit, group) == group, f"unit {unit} of {output} has two owners"
    assert sorted(of) == list(range(groups.grid.n_blocks)), "groups do not partition the blocks"
    inside = np.zeros(case.shape, int)
    inside[tuple(slice(*pair) for pair in case.roi)] = 1
    np.testing.assert_array_equal(voxels, inside, err_msg="blocks do not partition the region")
    ids = np.array(sorted(of), np.int64)
    assert groups.of_blocks(ids).tolist() == [of[block_id] for block_id in ids.tolist()]
    assert groups.largest == max(sizes, default=0) <= MAX_GROUP
    assert groups.trivial == all(size == 1 for size in sizes)


@settings(max_examples=300, deadline=None)
@given(cases())
def test_groups_are_no_larger_than_needed(case: Case) -> None:
    """Two blocks are in one group only if a chain of shared units along an axis leads from one to the other."""
    groups = planned(case)
    if groups is None:
        return
    for group in range(min(groups.n_groups, 30)):
        for axis, (first, last) in enumerate(groups.ranges(group)):
            for index in range(first + 1, last):
                position = [begin for begin, _ in groups.ranges(group)]
                position[axis] = index
                cut = groups.grid[groups.grid.id_at(position)].begin[axis]
                assert not all((cut - o.origin[axis]) % (o.unit[axis] if o.unit else 1) == 0 for o in case.outputs)


@settings(deadline=None)
@given(cases(), st.one_of(st.none(), st.tuples(*[st.integers(1, 9)] * 3)))
def test_the_automatic_shape_is_always_safe(case: Case, chunks: tuple[int, ...] | None) -> None:
    own = None if chunks is None else chunks[: len(case.shape)]
    block_shape = automatic_block_shape(case.shape, case.lattices(), own)
    assert plan_blocks(case.shape, block_shape, case.roi, case.lattices(), anchored=True).trivial


@settings(deadline=None)
@given(cases())
def test_the_grid_starts_at_the_region_where_that_is_safe_else_on_the_write_grid(case: Case) -> None:
    groups = planned(case)
    if groups is None:
        return
    begins = tuple(begin for begin, _ in case.roi)
    owners: list[dict[tuple[int, ...], set[int]]] = [defaultdict(set) for _ in case.outputs]
    free = Grid(case.shape, case.block_shape, case.roi)
    for block in free:
        for output, units in zip(case.outputs, owners, strict=True):
            for unit in output.units_of(block.begin, block.end):
                units[unit].add(block.id)
    safe = all(len(blocks) == 1 for units in owners for blocks in units.values())
    if safe:
        assert groups.grid.anchor == begins
        assert groups.trivial
    else:
        assert groups.grid.anchor == tuple(lattice.offset for lattice in case.lattices())


def chunked(*unit: int, origin: tuple[int, ...] | None = None) -> tuple[Lattice, ...]:
    shape = (512,) * len(unit)
    return common_lattice([(unit, origin or (0,) * len(unit))], shape)


def test_a_region_off_the_chunks_is_anchored_on_them() -> None:
    groups = plan_blocks((256, 256), (32, 32), ((16, 240), (16, 240)), chunked(32, 32))
    assert groups.trivial
    assert groups.grid[0].begin == [16, 16]
    assert groups.grid[0].end == [32, 32]
    assert groups.grid.grid_shape == (8, 8)


def test_a_region_on_the_chunks_starts_there() -> None:
    groups = plan_blocks((256,), (48,), ((32, 224),), common_lattice([((16,), (0,))], (256,)))
    assert [block.begin for block in groups.grid] == [[32], [80], [128], [176]]


def test_numpy_outputs_leave_the_region_its_grid() -> None:
    groups = plan_blocks((100,), (7,), ((3, 90),), common_lattice([(None, (0,))], (100,)))
    assert groups.grid[0].begin == [3]
    assert groups.trivial


def test_blocks_of_half_a_shard_are_grouped() -> None:
    groups = plan_blocks((512, 512), (64, 128), ((0, 512), (0, 512)), chunked(128, 128))
    assert (groups.n_groups, groups.largest) == (16, 2)
    assert groups.blocks(0) == [0, 4]
    assert groups.box(5) == ([128, 128], [256, 256])


def test_the_shape_of_the_issue_is_refused_and_the_nearest_good_one_named() -> None:
    with pytest.raises(BlockShapeError, match=r"makes \d+ blocks share write units") as error:
        plan_blocks((512,) * 3, (100, 90, 70), ((0, 512),) * 3, chunked(64, 64, 64))
    assert error.value.remedy == "block_shape=(128, 64, 64)"
    plan_blocks((512,) * 3, (128, 64, 64), ((0, 512),) * 3, chunked(64, 64, 64))


def test_a_block_larger_than_the_volume_is_fine() -> None:
    groups = plan_blocks((50, 50), (64, 64), ((0, 50), (0, 50)), chunked(50, 50))
    assert groups.grid.n_blocks == groups.n_groups == 1
    assert groups.grid[0].shape == [50, 50]


def test_runs_are_found_without_walking_along_the_axis() -> None:
    lattices = common_lattice([((999_999_937,), (0,)), ((999_999_929,), (5,))], (10**12,))
    with pytest.raises(BlockShapeError, match=f"makes {10**12} blocks"):
        plan_blocks((10**12,), (1,), ((0, 10**12),), lattices)


def test_automatic_shape_follows_chunks_up_to_two_million_voxels() -> None:
    volume = (512,) * 3
    assert automatic_block_shape(volume, chunked(64, 64, 64), (64, 64, 64)) == (128, 128, 128)
    assert automatic_block_shape(volume, common_lattice([], volume)) == (128, 128, 128)
    assert automatic_block_shape((10, 2000), common_lattice([], (10, 2000))) == (10, 2000)
    big = automatic_block_shape((4096,) * 3, common_lattice([((1000,) * 3, (0,) * 3)], (4096,) * 3))
    assert big == (1000, 1000, 1000)
