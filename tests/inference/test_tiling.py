"""Tiles: they cover every voxel, their weights sum to one, and they depend on nothing but the volume."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bioimage_py.blocks import Grid, Lattice
from bioimage_py.inference.tiling import TARGET_VOXELS, AxisTiles, Tiling


@st.composite
def axes(draw: st.DrawFn, most: int = 300) -> AxisTiles:
    tile = draw(st.integers(1, 40))
    overlap = draw(st.integers(0, tile - 1))
    return AxisTiles(draw(st.integers(0, most)), tile, overlap, draw(st.integers(0, overlap // 2)))


@given(axes())
@example(AxisTiles(0, 8, 2, 1))
@example(AxisTiles(1, 8, 7, 3))
@example(AxisTiles(8, 8, 4, 2))
@example(AxisTiles(9, 8, 7, 0))
@settings(max_examples=300, deadline=None)
def test_weights_are_positive_and_sum_to_one_at_every_voxel(axis: AxisTiles) -> None:
    total, covered = np.zeros(axis.size), np.zeros(axis.size, int)
    for index in range(axis.count):
        low, high = axis.used(index)
        weights = axis.weights(index)
        assert len(weights) == high - low
        assert (weights > 0).all()
        total[low:high] += weights
        covered[low:high] += 1
        assert 0 <= axis.begin(index) <= max(0, axis.size - axis.tile)
    np.testing.assert_allclose(total, 1, rtol=1e-14)
    alone = np.flatnonzero(covered == 1)
    assert (total[alone] == 1).all()


@given(axes(), st.data())
@settings(max_examples=200, deadline=None)
def test_tiles_of_a_range_are_those_that_give_values_for_it(axis: AxisTiles, data: st.DataObject) -> None:
    if not axis.size:
        assert axis.touching(0, 0) == []
        return
    begin = data.draw(st.integers(0, axis.size - 1))
    end = data.draw(st.integers(begin + 1, axis.size))
    found = axis.touching(begin, end)
    used = [axis.used(index) for index in range(axis.count)]
    assert found == [index for index, (low, high) in enumerate(used) if low < end and high > begin]
    low, high = axis.reach(begin, end)
    assert low <= begin < end <= high
    assert max(begin - low, high - end) <= axis.tile - 1


def test_without_a_ramp_every_voxel_has_one_tile() -> None:
    axis = AxisTiles(34, 10, 4, 2)
    assert [axis.used(index) for index in range(axis.count)] == [(0, 8), (8, 14), (14, 20), (20, 26), (26, 34)]
    assert all((axis.weights(index) == 1).all() for index in range(axis.count))


def test_a_ramp_rises_and_falls_linearly() -> None:
    axis = AxisTiles(20, 8, 4, 0)
    np.testing.assert_allclose(axis.weights(1)[:4], [0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(axis.weights(0), [1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


@given(st.lists(axes(60), min_size=1, max_size=3), st.data())
@settings(max_examples=100, deadline=None)
def test_halo_and_cost_are_those_of_the_blocks(several: list[AxisTiles], data: st.DataObject) -> None:
    tiling = Tiling(tuple(several))
    shape = tuple(axis.size for axis in several)
    block = tuple(data.draw(st.integers(1, 40)) for _ in shape)
    grid = Grid(shape, block)
    halo = tiling.halo(grid)
    computed = 0
    for one in range(min(grid.n_blocks, 200)):
        box = grid[one]
        tiles = 1
        for axis, begin, end, margin in zip(several, box.begin, box.end, halo, strict=True):
            low, high = axis.reach(begin, end)
            assert low >= begin - margin
            assert high <= end + margin
            tiles *= len(axis.touching(begin, end))
        computed += tiles
    if 0 < grid.n_blocks <= 200:
        needed = np.prod([axis.count for axis in several])
        np.testing.assert_allclose(tiling.cost(grid), computed / needed)
        assert tiling.cost(grid) >= 1


@given(st.lists(axes(3000), min_size=1, max_size=3), st.data())
@settings(max_examples=100, deadline=None)
def test_an_automatic_block_is_clean_and_not_too_large(several: list[AxisTiles], data: st.DataObject) -> None:
    lattices = [Lattice(data.draw(st.sampled_from([0, 1, 16, 48, 64]))) for _ in several]
    channels = data.draw(st.integers(1, 5))
    block = Tiling(tuple(several)).block_shape(lattices, channels)
    for size, lattice, axis in zip(block, lattices, several, strict=True):
        assert size >= 1
        assert size % lattice.step == 0 if lattice.step else size == max(1, axis.size)
    least = np.prod([lattice.step or max(1, axis.size) for lattice, axis in zip(lattices, several, strict=True)])
    assert np.prod(block) * channels <= 8 * max(TARGET_VOXELS, channels * least)


def test_blocks_of_a_large_volume_compute_few_tiles_twice() -> None:
    tiling = Tiling((AxisTiles(4096, 64, 16, 0),) * 3)
    shape = tiling.block_shape([Lattice(64)] * 3)
    assert shape == (256, 256, 256)
    assert tiling.cost(Grid((4096,) * 3, shape)) < 1.9
    assert tiling.cost(Grid((4096,) * 3, (64, 64, 64))) > 5
