"""The lattice of write-unit borders and write groups: no write unit ever has two owners."""

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
    Grid,
    Groups,
    Lattice,
    automatic_block_shape,
    common_lattice,
    plan_blocks,
    to_roi,
)
from bioimage_py.errors import BlockShapeError

Bounds = tuple[tuple[int, int], ...]


@st.composite
def bounds_in(draw: st.DrawFn, size: int) -> tuple[int, int]:
    begin = draw(st.integers(0, size))
    return begin, draw(st.integers(begin, size))


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
