"""Superpixels: dense ids that no blocks share, pieces that hang together, the same bits on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bioimage_py as bp
from bioimage_py.errors import DtypeError, ParameterError, ShapeError, ValueRangeError
from bioimage_py.segmentation import distance_watershed
from bioimage_py.sources.axes import Axis
from bioimage_py.wrapper import AxesSource


def cells(shape: tuple[int, ...] = (30, 32, 34), step: int = 10) -> np.ndarray:
    """Boundaries of boxes."""
    found = np.zeros(shape, np.float32)
    for axis in range(len(shape)):
        np.moveaxis(found, axis, 0)[::step] = 1
    return found


@settings(max_examples=25)
@given(
    st.sampled_from([(30, 32, 34), (40, 31)]),
    st.sampled_from([None, 8, 13, 16]),
    st.sampled_from([np.uint8, np.uint16, np.float32, np.float64, np.int16, ">f4"]),
    st.integers(0, 3),
)
def test_dense_ids_of_pieces_that_hang_together(shape: Any, block: Any, dtype: Any, seed: int) -> None:
    boundaries = np.clip(cells(shape) * 0.9 + np.random.default_rng(seed).random(shape) * 0.1, 0, 1)
    if np.dtype(dtype).kind in "iu":
        boundaries = np.rint(boundaries * np.iinfo(dtype).max)
    boundaries = boundaries.astype(dtype)
    found = np.asarray(distance_watershed(boundaries, block_shape=block, num_workers=2, min_size=10))
    n = int(found.max())
    assert np.unique(found).tolist() == list(range(1, n + 1))
    assert cc3d.connected_components(found, connectivity=6 if found.ndim == 3 else 4).max() == n
    again = distance_watershed(boundaries, block_shape=block, num_workers=1, min_size=10)
    assert np.array_equal(found, again)


def test_every_box_is_a_piece_and_no_piece_crosses_a_boundary() -> None:
    boundaries = cells((41, 41, 41))
    found = np.asarray(distance_watershed(boundaries, sigma=0))
    inside = cc3d.connected_components(boundaries == 0, connectivity=6)
    for box in range(1, int(inside.max()) + 1):
        ids = np.unique(found[inside == box])
        assert len(ids) == 1
    for one in range(1, int(found.max()) + 1):
        assert len(np.unique(inside[(found == one) & (inside > 0)])) == 1


def test_planes_for_themselves() -> None:
    boundaries = np.broadcast_to(cells((30, 30)), (3, 30, 30)).copy()
    found = np.asarray(distance_watershed(boundaries, axes=(1, 2), block_shape=(2, 16, 16)))
    assert all(len(np.unique(np.nonzero(found == one)[0])) == 1 for one in range(1, int(found.max()) + 1))
    alone = np.asarray(distance_watershed(boundaries[0]))
    first = np.asarray(distance_watershed(boundaries, axes=(1, 2)))[0]
    assert np.array_equal(alone, first)


def test_channels_are_kept_apart(tmp_path: Path) -> None:
    data = np.stack([cells(), 1 - cells()])
    axes = [Axis("c", "channel"), *(Axis(name, "space") for name in "zyx")]
    source = bp.io.create_array(
        tmp_path / "in.zarr", "raw", shape=data.shape, dtype=data.dtype, axes=axes, chunks=(1, 16, 16, 16)
    )
    source[...] = data
    found = np.asarray(distance_watershed(source, block_shape=(2, 16, 16, 16)))
    assert not set(np.unique(found[0])) & set(np.unique(found[1]))
    assert np.unique(found).tolist() == list(range(1, int(found.max()) + 1))


def test_outside_of_a_mask_there_is_nothing() -> None:
    boundaries = cells()
    mask = np.zeros(boundaries.shape, np.uint8)
    mask[3:20, 5:, :17] = 1
    found = np.asarray(distance_watershed(boundaries, mask=mask, block_shape=16))
    assert np.array_equal(found != 0, mask != 0)


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_where_nothing_tells_pieces_apart_there_is_one(value: float) -> None:
    found = np.asarray(distance_watershed(np.full((9, 9, 9), value, np.float32)))
    assert np.unique(found).tolist() == [1]


def test_empty_and_tiny_volumes() -> None:
    assert np.asarray(distance_watershed(np.zeros((0, 4), np.float32))).shape == (0, 4)
    assert np.asarray(distance_watershed(np.zeros((1, 1, 1), np.float32))).tolist() == [[[1]]]


def test_small_pieces_go_into_large_ones() -> None:
    boundaries = np.random.default_rng(0).random((24, 24, 24), dtype=np.float32)
    size = np.bincount(np.asarray(distance_watershed(boundaries, sigma=0, seed_sigma=0, min_size=30)).ravel())[1:]
    assert size.min() >= 30
    few = np.asarray(distance_watershed(boundaries, sigma=0, seed_sigma=0, min_size=10**6))
    assert few.max() > 1  # none is large enough, so all stay


def test_too_many_pieces_for_the_output() -> None:
    boundaries = np.random.default_rng(0).random((24, 24, 24), dtype=np.float32)
    output = np.zeros(boundaries.shape, np.uint8)
    keywords: dict[str, Any] = {"sigma": 0, "seed_sigma": 0, "min_size": 0, "threshold": 0.8}
    with pytest.raises(ValueRangeError, match="uint8"):
        distance_watershed(boundaries, output, **keywords)
    with pytest.raises(ValueRangeError, match="uint8"):
        distance_watershed(boundaries, output, **keywords, block_shape=12)
    assert not output.any()


def test_bad_calls_are_refused() -> None:
    boundaries = cells()
    with pytest.raises(ShapeError, match="2 or 3 axes"):
        distance_watershed(boundaries[0, 0])
    with pytest.raises(DtypeError, match="numbers"):
        distance_watershed(boundaries.astype(complex))
    with pytest.raises(DtypeError):
        distance_watershed(boundaries, np.zeros(boundaries.shape, np.float32))
    for wrong in ({"threshold": 2}, {"alpha": -1}, {"min_size": 1.5}, {"sampling": 0}, {"sigma": -1}):
        with pytest.raises(ParameterError):
            distance_watershed(boundaries, **wrong)


def sections(unit: str, factor: float) -> AxesSource:
    """Thick sections of cells, whose axes say so."""
    scales = (0.3 * factor, 0.1 * factor, 0.1 * factor)
    axes = [Axis(name, unit=unit, scale=scale) for name, scale in zip("zyx", scales, strict=True)]
    rng = np.random.default_rng(3)
    values = np.clip(cells((12, 32, 34)) + rng.normal(0, 0.1, (12, 32, 34)), 0, 1).astype(np.float32)
    return AxesSource(values, axes)


@pytest.mark.parametrize("block_shape", [None, 10])
def test_lengths_in_units_of_the_axes(block_shape: int | None) -> None:
    how: dict[str, Any] = {} if block_shape is None else {"block_shape": block_shape}
    given = sections("micrometer", 1)
    voxels: dict[str, Any] = {"sampling": (3, 1, 1), "halo": (3, 8, 8), **how}
    expected = distance_watershed(given, sigma=(0.7 / 3, 0.7, 0.7), seed_sigma=(2 / 3, 2, 2), **voxels)
    assert expected.max() > 5
    assert np.array_equal(distance_watershed(given, physical=True, **how), expected)
    assert np.array_equal(distance_watershed(sections("nanometer", 1000), physical=True, **how), expected)
    told = distance_watershed(given, sigma=0.1, seed_sigma=(0.6, 0.1, 0.2), physical=True, **how)
    assert np.array_equal(told, distance_watershed(given, sigma=(1 / 3, 1, 1), seed_sigma=(2, 1, 2), **voxels))
    assert not np.array_equal(told, expected)


def test_lengths_need_units() -> None:
    with pytest.raises(ParameterError, match="cannot count in physical units"):
        distance_watershed(cells(), physical=True)
    with pytest.raises(ParameterError, match="exclude each other"):
        distance_watershed(sections("micrometer", 1), physical=True, sampling=(3, 1, 1))
