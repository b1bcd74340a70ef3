"""The mutex watershed: the truth from its own affinities, in blocks joined again by the graph, on every backend."""

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
from bioimage_py.errors import DtypeError, ParameterError, ShapeError
from bioimage_py.segmentation import mutex_watershed

from ...graph.test_region_graph import volume

OFFSETS = [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (-3, 0, 0), (0, -3, 0), (0, 0, -3)]


def affinities(labels: np.ndarray, offsets: Any = OFFSETS, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    """1 where a voxel and its partner have one label, with noise."""
    found = np.zeros((len(offsets), *labels.shape), np.float32)
    for channel, offset in enumerate(offsets):
        here = tuple(slice(max(0, -step), min(n, n - step)) for step, n in zip(offset, labels.shape, strict=True))
        there = tuple(slice(part.start + step, part.stop + step) for part, step in zip(here, offset, strict=True))
        found[channel][here] = labels[here] == labels[there]
    return np.clip(found + np.random.default_rng(seed).normal(0, noise, found.shape), 0, 1).astype(np.float32)


def test_finds_the_truth_as_a_whole_and_in_blocks() -> None:
    truth, _ = volume(1, (32, 33, 34))
    given_ = affinities(truth)
    whole = np.asarray(mutex_watershed(given_, OFFSETS))
    assert sum(bp.evaluation.variation_of_information(whole, truth)) < 0.3
    blocks = np.asarray(mutex_watershed(given_, OFFSETS, block_shape=16, num_workers=2))
    graph = bp.graph.region_graph(blocks, affinities=given_, offsets=OFFSETS)
    joined = bp.graph.apply_node_labels(blocks.copy(), bp.graph.multicut(graph, bp.graph.costs(graph)))
    assert sum(bp.evaluation.variation_of_information(joined, truth)) < 0.3
    assert blocks.max() > joined.max()


@settings(max_examples=25)
@given(st.sampled_from([None, 7, 12]), st.sampled_from([np.uint8, np.float32, np.float64]), st.integers(0, 3))
def test_dense_ids_of_pieces_that_hang_together(block: Any, dtype: Any, seed: int) -> None:
    truth, _ = volume(seed, (14, 15, 16))
    given_ = affinities(truth, noise=0.3, seed=seed)
    if dtype == np.uint8:
        given_ = np.rint(given_ * 255)
    found = np.asarray(mutex_watershed(given_.astype(dtype), OFFSETS, block_shape=block, strides=2))
    n = int(found.max())
    assert np.unique(found).tolist() == list(range(1, n + 1))
    assert cc3d.connected_components(found, connectivity=6).max() == n


def test_two_axes_a_mask_and_channels_in_any_order() -> None:
    truth = volume(2)[0][7]
    offsets = [(0, 4), (-1, 0), (4, 0), (0, -1)]
    mask = np.zeros(truth.shape, np.uint8)
    mask[3:, :20] = 1
    found = np.asarray(mutex_watershed(affinities(truth, offsets), offsets, mask=mask, block_shape=9))
    assert np.array_equal(found != 0, mask != 0)
    inside = truth * mask.astype(np.uint64)
    assert sum(bp.evaluation.variation_of_information(found, inside)) < 1.5


def test_the_same_bits_from_worker_processes(tmp_path: Path) -> None:
    truth, _ = volume(3, (24, 24, 24))
    given_ = affinities(truth)
    stored = zarr.create_array(tmp_path / "a.zarr", shape=given_.shape, chunks=(1, 12, 12, 12), dtype="f4")
    stored[...] = given_
    output = bp.io.create_array(tmp_path / "out.zarr", "x", shape=truth.shape, dtype="u8", chunks=(12,) * 3)
    mutex_watershed(stored, OFFSETS, output, block_shape=12, job_type="subprocess", num_workers=2)
    assert np.array_equal(output[...], mutex_watershed(given_, OFFSETS, block_shape=12))


def test_bad_calls_are_refused() -> None:
    given_ = affinities(volume()[0])
    with pytest.raises(ShapeError, match="one for each channel"):
        mutex_watershed(given_, OFFSETS[:-1])
    with pytest.raises(ShapeError, match="channels of 2 or 3 axes"):
        mutex_watershed(given_[0, 0], [(1,)])
    with pytest.raises(ParameterError, match="neighbour along every axis"):
        mutex_watershed(given_, [*OFFSETS[:5], (0, 0, 0)])
    with pytest.raises(ParameterError, match="neighbour along every axis"):
        mutex_watershed(given_[:4], [OFFSETS[0], OFFSETS[1], OFFSETS[3], OFFSETS[4]])
    with pytest.raises(ParameterError, match="strides"):
        mutex_watershed(given_, OFFSETS, strides=0)
    with pytest.raises(DtypeError, match="numbers"):
        mutex_watershed(given_.astype(complex), OFFSETS)
