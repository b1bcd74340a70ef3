"""`bioimage_py.util`: the names that existing scripts import, on our own functions."""

from __future__ import annotations

import math
import typing
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bioimage_py
from bioimage_py import util
from bioimage_py.errors import (
    BlockShapeError,
    ConfigError,
    DtypeError,
    HaloError,
    IndexingError,
    ParameterError,
    RegionError,
    ValueRangeError,
)
from bioimage_py.sources import Source, as_source
from bioimage_py.wrapper import RoiSource


class Chunked(Source):
    """A source of zeros with chunks or shards and an origin, for arithmetic only."""

    def __init__(self, shape: tuple[int, ...], unit: tuple[int, ...], origin: tuple[int, ...] | None = None) -> None:
        self._shape, self._unit, self._origin = shape, unit, origin or (0,) * len(shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        return np.dtype("u1")

    @property
    def chunks(self) -> tuple[int, ...]:
        return self._unit

    @property
    def grid_origin(self) -> tuple[int, ...]:
        return self._origin

    def _getitem(self, roi: tuple[slice, ...]) -> np.ndarray:
        return np.zeros([part.stop - part.start for part in roi], "u1")


def test_types_describe_blocks_and_functions() -> None:
    assert set(typing.get_args(util.BlockDescriptor)) == {bioimage_py.Block, bioimage_py.BlockWithHalo}
    assert typing.get_args(util.ComputeFn)[1] is Any
    assert util.to_roi is bioimage_py.to_roi
    assert set(util.__all__) <= set(dir(util))


def test_get_blocking_has_the_names_of_bioimage_cpp() -> None:
    blocking = util.get_blocking((20, 20, 24), (6, 10, 8))
    assert blocking.number_of_blocks == len(blocking) == 24
    assert blocking.blocks_per_axis == [4, 2, 3]
    assert blocking.block_grid_position(5) == [0, 1, 2]
    assert util.to_roi(blocking.get_block(5)) == (slice(0, 6), slice(10, 20), slice(16, 24))
    block = blocking.get_block_with_halo(5, [1, 2, 3])
    assert util.to_roi(block.outer_block) == (slice(0, 7), slice(8, 20), slice(13, 24))
    assert util.to_roi(block.inner_block_local) == (slice(0, 6), slice(2, 12), slice(3, 11))
    assert blocking.get_block_with_halo(5, 1).outer_block.begin == [0, 9, 15]


def test_get_blocking_of_a_region_starts_there() -> None:
    blocking = util.get_blocking((10, 10), (4, 4), (slice(2, 8), slice(None)))
    assert (blocking.number_of_blocks, blocking.roi_begin, blocking.roi_end) == (6, [2, 0], [8, 10])
    assert (blocking.get_block(0).begin, blocking.get_block(0).end) == ([2, 0], [6, 4])


def test_get_blocking_refuses_what_makes_no_grid() -> None:
    with pytest.raises(BlockShapeError, match="an entry below 1"):
        util.get_blocking((10, 10), (4, 0))
    with pytest.raises(BlockShapeError, match="has 1 entries, the volume has 2 axes"):
        util.get_blocking((10, 10), (4,))
    with pytest.raises(RegionError, match="roi 0:12 of axis 0 is not inside"):
        util.get_blocking((10, 10), 4, (slice(0, 12), slice(None)))
    with pytest.raises(RegionError, match=r"block id 9 is not in 0\.\.8"):
        util.get_blocking((10, 10), 4).get_block(9)
    with pytest.raises(HaloError, match="negative"):
        util.get_blocking((10, 10), 4).get_block_with_halo(0, [-1, 0])


def test_full_roi_is_everything() -> None:
    assert util.full_roi(3) == (slice(None),) * 3
    assert np.zeros((2, 3))[util.full_roi(2)].shape == (2, 3)


def test_normalize_halo_gives_a_list() -> None:
    assert util.normalize_halo(2, 3) == [2, 2, 2]
    assert util.normalize_halo((1, 0, 4), 3) == [1, 0, 4]
    for halo, text in (((1, 2), "has 2 entries"), (None, "not a number of voxels"), (-1, "negative"), (2.7, "whole")):
        with pytest.raises(HaloError, match=text):
            util.normalize_halo(halo, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sigma", "order", "expected"),
    [(1.0, 0, 8), (1.0, 1, 8), (1.0, 2, 10), (1.0, 3, 10), (2.0, 0, 14), (0.3, 0, 4), ((1, 2), 1, [8, 14])],
)
def test_sigma_to_halo(sigma: Any, order: int, expected: Any) -> None:
    assert util.sigma_to_halo(sigma, order) == expected


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf, (1.0, -2.0)])
def test_sigma_to_halo_refuses(sigma: Any) -> None:
    with pytest.raises(ParameterError, match="is not a width in voxels"):
        util.sigma_to_halo(sigma, 0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=4))
def test_downscale_shape_counts_strides(axes: list[tuple[int, int]]) -> None:
    shape, factors = [n for n, _ in axes], [f for _, f in axes]
    assert util.downscale_shape(shape, factors) == tuple(len(range(0, n, f)) for n, f in axes)
    assert util.downscale_shape(shape, factors, False) == tuple(n // f for n, f in axes)


def test_downscale_shape_takes_one_factor_and_refuses_nonsense() -> None:
    assert util.downscale_shape((5, 6), 2) == (3, 3)
    assert util.downscale_shape((5,), np.int64(2)) == (3,)  # type: ignore[arg-type]
    for factor, text in ((0, "at least 1"), ((2, -1), "at least 1"), ((2,), "for each axis"), (2.5, "whole numbers")):
        with pytest.raises(ParameterError, match=text):
            util.downscale_shape((5, 6), factor)  # type: ignore[arg-type]


def test_derive_block_shape() -> None:
    numpy, chunked = as_source(np.zeros((8, 8))), Chunked((8, 8), (4, 5))
    assert util.derive_block_shape(numpy, [2, 3]) == (2, 3)
    assert util.derive_block_shape(chunked, None) == (4, 5)
    with pytest.raises(ConfigError, match="has no chunks to take a block shape from") as error:
        util.derive_block_shape(numpy, None)
    assert isinstance(error.value, ValueError)
    with pytest.raises(BlockShapeError, match="has 3 entries"):
        util.derive_block_shape(numpy, (2, 2, 2))


def test_same_array_knows_second_handles_and_views() -> None:
    data = np.zeros((4, 4))
    assert util.same_array(as_source(data), as_source(data))
    assert util.same_array(as_source(data), RoiSource(data, (slice(0, 2),)))
    assert not util.same_array(as_source(data), as_source(data.copy()))


def test_is_direct() -> None:
    assert util.is_direct("local", 1, None)
    assert util.is_direct("Local", 1, None)
    assert not util.is_direct("local", 2, None)
    assert not util.is_direct("local", 1, (3, 3))
    assert not util.is_direct("subprocess", 1, None)


def test_check_direct_refuses_masks_and_ids_without_blocks() -> None:
    assert util.check_direct("local", 1, None, None, None)
    assert not util.check_direct("local", 2, None, np.ones(3), None)
    for mask, ids in ((np.ones(3), None), (None, [1])):
        with pytest.raises(ValueError, match="mask and block_ids need blocks"):
            util.check_direct("local", 1, None, mask, ids)


def test_check_rerun_args() -> None:
    util.check_rerun_args("local", None, [1])
    util.check_rerun_args("subprocess", "folder", None)
    with pytest.raises(ValueError, match="resume_from and item_ids exclude each other"):
        util.check_rerun_args("slurm", "folder", [1], subset_name="item_ids")
    with pytest.raises(ValueError, match="keeps no run folder"):
        util.check_rerun_args("local", "folder", None)


def test_group_blocks_by_shard() -> None:
    blocking = util.get_blocking((16, 16), (4, 4))
    sharded, aligned = Chunked((16, 16), (8, 8)), Chunked((16, 16), (4, 2))
    expected = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert util.group_blocks_by_shard(blocking, [sharded], range(16)) == expected
    assert util.group_blocks_by_shard(blocking, [sharded], [5, 2, 0, 15]) == [[5, 0], [2], [15]]
    assert util.group_blocks_by_shard(blocking, [aligned], range(16)) is None
    assert util.group_blocks_by_shard(blocking, [as_source(np.zeros((16, 16)))], range(16)) is None


def test_group_blocks_by_shard_sees_where_a_view_begins() -> None:
    blocking = util.get_blocking((16,), (8,))
    assert util.group_blocks_by_shard(blocking, [Chunked((16,), (8,), (-4,))], [0, 1]) == [[0, 1]]


def test_maybe_warn_imbalance() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loads, workers, groups in (([10, 10], 2, 2), ([], 2, 0), ([10], 1, 1), ([10, 6], 2, 5)):
            util.maybe_warn_imbalance(loads, workers, groups, "x")
    with pytest.warns(UserWarning, match="'x': workers get between 1 and 10 blocks"):
        util.maybe_warn_imbalance([10, 1], 2, 2, "x")
    with pytest.warns(UserWarning, match="only 2 groups of blocks can run at once on 4 workers"):
        util.maybe_warn_imbalance([10, 10], 4, 2, "x")


@given(st.dictionaries(st.integers(0, 200), st.integers(0, 255), min_size=1), st.sampled_from("BbHhIiQq"))
def test_take_mapping_works_for_every_integer_type(mapping: dict[int, int], code: str) -> None:
    limit = np.iinfo(code).max
    mapping = {old: min(new, limit) for old, new in mapping.items() if old <= limit} or {0: 1}
    seg = np.array([list(mapping)], code)
    found = util.take_mapping(mapping, seg)
    assert found.dtype == seg.dtype
    assert found.tolist() == [list(mapping.values())]


def test_take_mapping_refuses() -> None:
    large = 720575940612345601
    assert util.take_mapping({large: large + 1}, [large]).tolist() == [large + 1]
    with pytest.raises(IndexingError, match="7"):
        util.take_mapping({1: 10}, np.array([1, 7]))
    with pytest.raises(DtypeError, match="seg must have an integer type, got float64"):
        util.take_mapping({1: 10}, np.array([1.0]))
    with pytest.raises(ValueRangeError, match="300"):
        util.take_mapping({1: 300}, np.array([1], "u1"))
