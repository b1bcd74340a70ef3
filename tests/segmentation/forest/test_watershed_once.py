"""Watersheds in blocks without a halo: every voxel belongs to a seed from which the climb to it is least."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import HaloError, ParameterError, RunnerError
from bioimage_py.segmentation import watershed
from bioimage_py.sources import Axis

TYPES = ["u1", "i2", ">u2", "i4", "u8", "f4", ">f8", "?"]
SEEDS = ["u1", "u2", "i4", "u8", "i8", ">u8"]


def climb(height: np.ndarray, seeds: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The least height that one has to climb to each voxel from some voxels; the largest number where none gets."""
    far = np.full(height.shape, np.inf)
    reached = np.where(seeds & inside, height.astype(float), far)
    while True:
        found = reached.copy()
        for axis in range(height.ndim):
            for here, there in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
                to, of = np.moveaxis(found, axis, 0)[here], np.moveaxis(reached, axis, 0)[there]
                np.minimum(to, np.maximum(of, np.moveaxis(height, axis, 0)[here]), out=to)
        found[~inside] = np.inf
        if np.array_equal(found, reached):
            return reached
        reached = found


def check(height: np.ndarray, seeds: np.ndarray, found: np.ndarray, inside: np.ndarray | None = None) -> None:
    """Each voxel has a seed that gets there with the least climb, over voxels that are all its own."""
    inside = np.ones(height.shape, bool) if inside is None else inside
    least = climb(height, seeds != 0, inside)
    assert np.array_equal(found[inside] != 0, np.isfinite(least)[inside])
    for one in np.unique(seeds[inside & (seeds != 0)]):
        own = inside & (found == one)
        assert own[inside & (seeds == one)].all()
        assert np.array_equal(climb(height, seeds == one, own)[own], least[own])


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(9, 11), (1, 12), (5, 6, 7), (4, 1, 9), (12, 3, 3)]),
    st.integers(1, 5),
    st.sampled_from(TYPES),
    st.sampled_from(SEEDS),
    st.sampled_from([2, 5, 300]),
    st.integers(0, 6),
    st.sampled_from([0.0, 0.3]),
)
def test_every_voxel_goes_to_the_least_climb(
    seed: int, shape: Any, block: int, dtype: str, kind: str, levels: int, n_seeds: int, masked: float
) -> None:
    rng = np.random.default_rng(seed)
    height = rng.integers(0, levels, shape).astype(dtype)
    seeds = np.zeros(shape, kind)
    places = rng.choice(seeds.size, n_seeds, replace=False)
    top = np.iinfo(kind).max
    low = max(np.iinfo(kind).min, -100)
    ids = np.array([top - 1, top, 1, 2, low or 3, 5][:n_seeds], kind)
    seeds.flat[places] = ids
    inside = rng.random(shape) >= masked
    output = np.full(shape, 77, np.int64 if np.dtype(kind).kind == "i" else np.uint64)
    mask = inside.astype(np.uint8) * 3 if masked else None
    found = watershed(height, seeds, output, block_shape=block, mask=mask)
    assert found is output
    assert (output[~inside] == 77).all() or not masked
    check(height, seeds, output, inside if masked else None)
    again = watershed(height, seeds, np.full_like(output, 77), block_shape=block, mask=mask, num_workers=2)
    assert np.array_equal(again, output)


def test_a_seed_reaches_as_far_as_on_the_whole_volume() -> None:
    wall = np.zeros((6, 60), np.float32)
    wall[3] = 1
    seeds = np.zeros(wall.shape, np.uint64)
    seeds[0, 0], seeds[5, 59] = 2**64 - 1, 2**53 + 1
    whole = watershed(wall, seeds)
    assert np.array_equal(watershed(wall, seeds, block_shape=5)[[0, 1, 2, 4, 5]], whole[[0, 1, 2, 4, 5]])


def smooth(shape: tuple[int, ...], seed: int) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5).astype(np.float32)


def seeded(height: np.ndarray, every: int = 7) -> np.ndarray:
    tops = bp.morphology.find_local_maxima(-height, exclude_border=False)[::every]
    seeds = np.zeros(height.shape, np.uint64)
    seeds[tuple(tops.T)] = np.arange(1, len(tops) + 1)
    return seeds


@pytest.mark.parametrize("block", [10, (48, 7, 16), 31])
def test_few_voxels_differ_from_the_whole_volume(block: Any) -> None:
    height = smooth((48, 50, 52), 0)
    seeds = seeded(height)
    whole, blocks = watershed(height, seeds), watershed(height, seeds, block_shape=block)
    assert np.mean(whole != blocks) < 0.05  # only where two seeds are equally near: most basins here have none
    assert cc3d.connected_components(blocks, connectivity=6).max() == seeds.max()


def test_a_region_is_flooded_as_if_it_were_all(tmp_path: Path) -> None:
    height = smooth((40, 40), 1)
    seeds = seeded(height, 3)
    output = zarr.create_array(tmp_path / "o.zarr", shape=height.shape, chunks=(8, 8), dtype="u4")
    output[...] = 9
    region = (slice(3, 29), slice(11, 40))
    watershed(height, seeds, output, roi=region, block_shape=8, num_workers=2)
    check(height[region], seeds[region], output[region])
    rest = output[...]
    rest[region] = 9
    assert (rest == 9).all()


def test_channels_are_flooded_apart(tmp_path: Path) -> None:
    height = np.stack([smooth((30, 31), 2), smooth((30, 31), 3), smooth((30, 31), 4)])
    seeds = np.stack([seeded(one, 3) for one in height])
    axes = [Axis("c", "channel"), Axis("y", "space"), Axis("x", "space")]
    source = bp.io.create_array(tmp_path / "h.zarr", "h", shape=height.shape, dtype="f4", axes=axes, chunks=(1, 8, 8))
    source[...] = height
    found = np.asarray(watershed(source, seeds, block_shape=(2, 8, 9)))
    for one, marks, labels in zip(height, seeds, found, strict=True):
        check(one, marks, labels)


def test_blocks_without_seeds_and_volumes_without_any() -> None:
    height = smooth((20, 20), 5)
    seeds = np.zeros(height.shape, np.uint8)
    assert not watershed(height, seeds, block_shape=6).any()
    seeds[19, 19] = 200
    assert (watershed(height, seeds, block_shape=6) == 200).all()
    assert watershed(np.zeros((0, 5)), np.zeros((0, 5), int), block_shape=3).shape == (0, 5)


def test_an_id_that_the_output_cannot_hold_and_heights_that_are_none() -> None:
    height = smooth((20, 20), 6)
    seeds = np.zeros(height.shape, np.uint64)
    seeds[2, 2] = 300
    with pytest.raises(RunnerError, match="300"):
        watershed(height, seeds, np.zeros(height.shape, np.uint8), block_shape=6)
    height[7, 13] = np.nan
    with pytest.raises(RunnerError) as caught:
        watershed(height, seeds, block_shape=6)
    assert isinstance(caught.value.__cause__, ParameterError)
    assert "(7, 13) of the volume" in str(caught.value.__cause__)
    mask = np.isfinite(height)
    check(np.where(mask, height, 0), seeds, watershed(height, seeds, block_shape=6, mask=mask), mask)


def test_some_blocks_need_a_halo() -> None:
    height = smooth((20, 20), 7)
    with pytest.raises(HaloError, match="some blocks"):
        watershed(height, seeded(height), block_shape=6, block_ids=[1])
    plan = watershed(height, seeded(height), block_shape=6, plan=True)
    assert "forest" in str(plan)
