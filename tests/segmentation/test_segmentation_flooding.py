"""The watershed kernel and seeds from distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import bioimage_py as bp
from bioimage_py.errors import DtypeError, ParameterError, ShapeError
from bioimage_py.segmentation.flooding import Watershed, distance_seeds, flood_around, seed_mask

FLOOD = Watershed()


def valley(n: int = 21) -> tuple[np.ndarray, np.ndarray]:
    height = np.zeros((n, n), np.float32)
    height[:, n // 2] = 1
    seeds = np.zeros((n, n), np.uint64)
    seeds[5, 2], seeds[5, n - 3] = 2**60 + 1, 2**60 + 2
    return height, seeds


def test_seeds_above_2_53_are_kept_exactly() -> None:
    height, seeds = valley()
    result = FLOOD(height, seeds)
    assert set(np.unique(result[:, :10]).tolist()) == {2**60 + 1}
    assert set(np.unique(result[:, 11:]).tolist()) == {2**60 + 2}


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64, ">u4"])
def test_every_seed_type_gives_the_same_partition(dtype: str) -> None:
    height = ndimage.gaussian_filter(np.random.default_rng(0).random((12, 20, 20)), 1)
    seeds = np.zeros(height.shape, dtype)
    seeds[3, 4, 5], seeds[8, 15, 3], seeds[2, 17, 17] = 1, 2, 100
    np.testing.assert_array_equal(FLOOD(height, seeds), FLOOD(height, seeds.astype(np.uint64)))


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
def test_ids_at_the_ends_of_32_bits_are_kept_exactly(dtype: type) -> None:
    ends = [0, 2**31, 2**32, -(2**31), 2**63]
    held = [end + step for end in ends for step in (-1, 0, 1) if np.can_cast(np.min_scalar_type(end + step), dtype)]
    height = ndimage.gaussian_filter(np.random.default_rng(1).random((9, 20, 20)), 1)
    seeds = np.zeros(height.shape, dtype)
    for others in (held, [id for id in held if 0 <= id < 2**32], [id for id in held if abs(id) < 2**31]):
        seeds[:] = 0
        ids = [id for id in others if id]
        seeds[4, 3, : 2 * len(ids) : 2] = ids
        plain = np.zeros(height.shape, np.uint32)
        plain[4, 3, : 2 * len(ids) : 2] = np.arange(1, len(ids) + 1)
        flooded = FLOOD(height, seeds)
        assert flooded.dtype == dtype
        np.testing.assert_array_equal(flooded, np.array([0, *ids], dtype)[FLOOD(height, plain)])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float16, np.float64, np.bool_])
def test_every_height_type(dtype: type) -> None:
    height, seeds = valley()
    np.testing.assert_array_equal(FLOOD(height.astype(dtype), seeds), FLOOD(height, seeds))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_flooding_is_deterministic_and_keeps_seeds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height = rng.integers(0, 4, (9, 10, 11)).astype(np.float32)
    seeds = np.where(rng.random(height.shape) < 0.02, rng.integers(1, 2**63, height.shape), 0)
    result = FLOOD(height, seeds)
    np.testing.assert_array_equal(FLOOD(height.copy(order="F"), seeds.copy()), result)
    np.testing.assert_array_equal(result[seeds > 0], seeds[seeds > 0])
    assert (result > 0).all() or not seeds.any()


def test_a_mask_bounds_the_flood() -> None:
    height, seeds = valley()
    mask = np.zeros(height.shape, np.uint8)
    mask[:, :8] = 1
    result = FLOOD(height, seeds, mask)
    assert set(np.unique(result[:, :8]).tolist()) == {2**60 + 1}
    assert not result[:, 8:].any()
    kept = FLOOD(height, seeds, mask, np.full(height.shape, 2**61 + 1, np.uint64))
    assert set(np.unique(kept[:, 8:]).tolist()) == {2**61 + 1}
    np.testing.assert_array_equal(kept[:, :8], result[:, :8])


@pytest.mark.parametrize("far", [1e5, -1e9, 1e300, -1.7e308, 2.0**63, None])
@pytest.mark.parametrize("where", ["array", "mask", "around", "blocks"])
def test_one_height_far_away_does_not_hide_the_others(far: float | None, where: str) -> None:
    """A low wall between two seeds holds, whatever else there is; the wall is at 10, the middle at 20."""
    height = np.zeros((40, 41), np.float64 if far is None or abs(far) > 1e9 else np.float32)
    height[:, 10] = 1e-300 if far == 1e300 else 1.0
    height[0, 40] = height[1, 40] = 0.0 if far is None else far
    if far is not None and far > 0:
        height[1, 40] = -far
    seeds = np.zeros(height.shape, np.uint32)
    seeds[20, 0], seeds[20, 40] = 1, 2
    inside = np.ones(height.shape, bool)
    inside[39] = False
    if where == "around":
        found = flood_around(height, seeds, None)
    elif where == "blocks":
        found = bp.segmentation.watershed(height, seeds, block_shape=(20, 20), progress=False)
    else:
        found = FLOOD(height, seeds, inside if where == "mask" else None)
    assert (found[:39, :10] == 1).all()
    assert (found[:39, 11:] == 2).all()


def test_heights_must_be_finite_inside_the_mask() -> None:
    height, seeds = valley()
    height[3, 4] = np.nan
    with pytest.raises(ParameterError, match=r"cannot flood the height nan at \(3, 4\)"):
        FLOOD(height, seeds)
    mask = np.ones(height.shape, bool)
    mask[3, 4] = False
    result = FLOOD(height, seeds, mask)
    assert result[3, 4] == 0
    assert np.count_nonzero(result == 0) == 1


@pytest.mark.parametrize(("given", "found"), [("u1", "u4"), ("i2", "i4"), (">u4", "u4"), ("i8", "i8"), (">u8", "u8")])
def test_the_type_follows_from_the_seeds_type_not_from_their_values(given: str, found: str) -> None:
    height = valley()[0]
    seeds = np.zeros(height.shape, given)
    assert FLOOD(height, seeds).dtype == np.dtype(found)
    seeds[0, 0] = 1
    assert FLOOD(height, seeds).dtype == np.dtype(found)
    assert FLOOD(height, seeds, np.ones(height.shape, bool)).dtype == np.dtype(found)


def test_no_seeds_and_no_foreground() -> None:
    height, seeds = valley()
    assert not FLOOD(height, seeds * 0).any()
    assert not FLOOD(height, seeds, np.zeros(height.shape, bool)).any()


@pytest.mark.parametrize(
    ("height", "seeds", "error", "text"),
    [
        (np.zeros((3, 3)), np.zeros((3, 3)), DtypeError, "seeds must have an integer type, got float64"),
        (np.zeros((3, 3), complex), np.zeros((3, 3), int), DtypeError, "heights that are numbers, got complex128"),
        (np.zeros(3), np.zeros(3, int), ShapeError, "2 or 3 axes, got 1"),
    ],
)
def test_what_cannot_be_flooded(height: np.ndarray, seeds: np.ndarray, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        FLOOD(height, seeds)


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, (4.0, 1.5, 1.0), 2.0]), st.sampled_from([0.0, 1.0, 2.5]))
@settings(max_examples=30, deadline=None)
def test_threshold_seeds_agree_with_scipy(seed: int, sampling: float | tuple[float, ...] | None, limit: float) -> None:
    rng = np.random.default_rng(seed)
    foreground = rng.random((8, 9, 10)) < 0.9
    foreground[0, 0, 0] = False
    reference = ndimage.distance_transform_edt(foreground, sampling=1.0 if sampling is None else sampling)
    # float32 against float64: voxels at the limit itself may fall on either side
    clear = np.abs(reference - limit) > 1e-4
    seeds = seed_mask(foreground, sampling=sampling, min_distance=limit)
    np.testing.assert_array_equal(seeds[clear], (reference > limit)[clear])


def test_seeds_of_two_touching_disks() -> None:
    y, x = np.mgrid[:40, :60]
    disks = ((y - 20) ** 2 + (x - 18) ** 2 < 14**2) | ((y - 20) ** 2 + (x - 42) ** 2 < 14**2)
    for kwargs in ({"min_distance": 8.0}, {"method": "maxima", "sigma": 2.0, "min_distance": 5.0}):
        seeds = distance_seeds(disks, **kwargs)
        assert seeds.dtype == np.uint64
        assert seeds.max() == 2
        assert seeds[20, 18] == 1 or kwargs.get("method")
        assert set(np.unique(seeds[:, :30]).tolist()) == {0, 1}
        assert set(np.unique(seeds[:, 30:]).tolist()) == {0, 2}


@pytest.mark.parametrize("method", ["threshold", "maxima"])
@pytest.mark.parametrize("shape", [(5,), (5, 5), (5, 5, 5)])
def test_an_array_without_background_is_one_seed(shape: tuple[int, ...], method: str) -> None:
    assert (distance_seeds(np.ones(shape, bool), min_distance=100, method=method) == 1).all()
    assert not distance_seeds(np.zeros(shape, bool), method=method).any()


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"method": "peaks"}, "unknown method 'peaks'"),
        ({"min_distance": -1.0}, "min_distance must be a finite number >= 0, got -1.0"),
        ({"sigma": np.nan}, "sigma must be a finite number >= 0, got nan"),
        ({"sampling": (1.0, 2.0)}, r"one positive number for each of 3 axes, got \(1.0, 2.0\)"),
        ({"sampling": 0.0}, "one positive number for each of 3 axes, got 0.0"),
    ],
)
def test_seed_parameters_that_make_no_sense(kwargs: dict[str, object], text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        distance_seeds(np.ones((3, 3, 3), bool), **kwargs)  # type: ignore[arg-type]
