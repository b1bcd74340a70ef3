"""Segmentations that are made tile by tile and joined."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py import segmentation
from bioimage_py.errors import DtypeError, ParameterError, RunnerError, ShapeError, ValueRangeError
from bioimage_py.segmentation.stitching.tiles import Slots, SlotSource, TiledSource
from bioimage_py.sources.axes import Axis
from bioimage_py.wrapper import AxesSource

TOP = 2**64 - 1


def image_of(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < 0.45


def renamed(labels: np.ndarray, tile_id: int) -> np.ndarray:
    """The same objects under ids that mean something in this tile only."""
    ids, inverse = np.unique(labels, return_inverse=True)
    new = np.random.default_rng(tile_id).permutation(len(ids)).astype("u8") + np.uint64(1)
    new[-1:] = TOP if tile_id % 2 else new[-1:]
    new[ids == 0] = 0
    return new[inverse].reshape(labels.shape)


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    alone = all(len(np.unique(pairs[side])) == pairs.shape[1] for side in (0, 1))
    return alone and bool(((pairs[0] == 0) == (pairs[1] == 0)).all())


@st.composite
def tilings(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    ndim = draw(st.integers(1, 3))
    shape = draw(st.tuples(*[st.integers(1, 12)] * ndim))
    tile = draw(st.tuples(*[st.integers(1, 7)] * ndim))
    overlap = draw(st.tuples(*[st.integers(1, 3)] * ndim))
    return shape, tile, overlap


@pytest.mark.slow
@given(
    tilings(),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["multicut", "iou", "max_overlap"]),
    st.integers(1, 9),
    st.sampled_from([1, 2]),
)
@settings(max_examples=80, deadline=None)
def test_tiles_that_agree_give_the_objects_of_the_whole(
    tiling: tuple[Any, ...], seed: int, criterion: Any, block: int, workers: int
) -> None:
    shape, tile, overlap = tiling
    whole = segmentation.label(image_of(seed, shape))
    ours = segmentation.stitch_segmentation(
        whole, renamed, tile, overlap, criterion=criterion, block_shape=block, num_workers=workers, progress=False
    )
    assert ours.dtype == np.uint64
    assert same_partition(ours, whole)
    assert ours.max() == whole.max()


@pytest.mark.slow
@given(tilings(), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from(["?", "u1", ">u4", "i8"]))
@settings(max_examples=80, deadline=None)
def test_tiles_without_overlap_give_the_objects_of_the_whole(
    tiling: tuple[Any, ...], seed: int, unique: bool, dtype: str
) -> None:
    shape, tile, _ = tiling
    image, tiles = image_of(seed, shape), np.zeros(shape, dtype)
    slots = Slots(shape, tuple(map(min, tile, shape)), (0,) * len(shape))
    unique &= np.dtype(dtype).itemsize > 1
    used = 0
    for number in range(slots.n):
        roi = slots.inner(number)
        own = segmentation.label(image[roi])
        tiles[roi] = np.where(own, own + np.uint64(used), 0) if dtype != "?" else own > 0
        used += int(own.max(initial=0)) if unique else 0
    if dtype == "?":  # one object a tile: objects of the whole are joined through it
        return
    ours = segmentation.stitch_tiled_segmentation(
        tiles, tile, criterion="max_overlap", threshold=1e-9, unique=unique, progress=False
    )
    assert same_partition(ours, segmentation.label(image))


@given(tilings(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_slots_hold_tiles_and_their_surroundings(tiling: tuple[Any, ...], seed: int) -> None:
    shape, tile, overlap = tiling
    slots = Slots(shape, tuple(map(min, tile, shape)), overlap)
    volume = np.random.default_rng(seed).random(shape)
    side_by_side = SlotSource(volume, slots.tile, slots.overlap)
    stored = side_by_side[...]
    for number in range(slots.n):
        outer = slots.outer(number)
        np.testing.assert_array_equal(stored[slots.stored(number, outer)], volume[outer])
    begin = tuple(size // 3 for size in stored.shape)
    part = tuple(slice(one, size) for one, size in zip(begin, stored.shape, strict=True))
    np.testing.assert_array_equal(side_by_side[part], stored[part])
    back = TiledSource(stored, shape, slots.tile, slots.overlap)
    np.testing.assert_array_equal(back[...], volume)
    assert sorted(slots.touching(tuple(slice(0, size) for size in shape))) == list(range(slots.n))


def half_of_it() -> np.ndarray:
    """Two tiles: an object of 8 rows, beside it two that touch, of 5 rows each."""
    tiles = np.zeros((10, 20), "u4")
    tiles[1:9, :10], tiles[:5, 10:], tiles[5:, 10:] = 1, 2, 3
    return tiles


def test_objects_that_touch_within_a_tile_are_not_joined_through_another() -> None:
    tiles = half_of_it()
    joined = segmentation.stitch_tiled_segmentation(tiles, (10, 10))
    assert len(np.unique(joined)) == 3
    assert joined[0, 12] != joined[9, 12]
    tiles[5] = 0
    apart = segmentation.stitch_tiled_segmentation(tiles, (10, 10))
    assert apart[0, 12] == apart[9, 12] == apart[2, 2]


@pytest.mark.parametrize(
    ("criterion", "threshold", "joined"),
    [("iou", 0.45, True), ("iou", 0.55, False), ("max_overlap", 1.0, True), ("iou", 0.5, True)],
)
def test_thresholds_of_overlap(criterion: Any, threshold: float, joined: bool) -> None:
    tiles = np.zeros((8, 8), "u1")
    tiles[:2, :4], tiles[:4, 4:] = 1, 2
    found = segmentation.stitch_tiled_segmentation(tiles, (8, 4), criterion=criterion, threshold=threshold)
    assert (found[0, 0] == found[0, 7]) == joined


def test_beta_joins_less() -> None:
    tiles = np.zeros((8, 8), "u1")
    tiles[:2, :4], tiles[:4, 4:] = 1, 2
    for beta, joined in ((0.4, True), (0.5, False), (0.6, False)):
        found = segmentation.stitch_tiled_segmentation(tiles, (8, 4), beta=beta)
        assert (found[0, 0] == found[0, 7]) == joined


def test_an_id_is_an_object_of_the_volume_or_of_its_tile() -> None:
    tiles = np.array([[7, 0, 0, 0, 0, 7]])
    assert segmentation.stitch_tiled_segmentation(tiles, (1, 2)).tolist() == [[1, 0, 0, 0, 0, 1]]
    assert segmentation.stitch_tiled_segmentation(tiles, (1, 2), unique=False).tolist() == [[1, 0, 0, 0, 0, 2]]


def test_without_background_zero_is_an_object() -> None:
    tiles = np.array([[0, 0, 5, 0], [3, 3, 3, 0]])
    found = segmentation.stitch_tiled_segmentation(tiles, (2, 2), with_background=False, unique=False)
    assert found.min() == 1
    assert found[1, 1] == found[1, 2]
    ours = segmentation.stitch_segmentation(tiles, lambda tile, _: tile, 2, 1, with_background=False)
    assert ours.min() == 1


def test_what_tiles_held_before() -> None:
    whole = segmentation.label(image_of(3, (12, 14)))
    after, before = segmentation.stitch_segmentation(whole, renamed, (5, 6), 2, return_before_stitching=True)
    assert same_partition(after, whole)
    slots = Slots((12, 14), (5, 6), (2, 2))
    seen: set[int] = set()
    for number in range(slots.n):
        roi = slots.inner(number)
        assert same_partition(before[roi], whole[roi])
        ids = set(before[roi].ravel().tolist()) - {0}
        assert not ids & seen
        seen |= ids


def of_first(tile: np.ndarray, _: int) -> np.ndarray:
    assert tile.shape[0] == 2
    return tile[0]


def of_last(tile: np.ndarray, _: int) -> np.ndarray:
    assert tile.shape[-1] == 2
    return tile[..., 0]


def test_channels_reach_the_function_together() -> None:
    whole = segmentation.label(image_of(4, (12, 14)))
    both = np.stack([whole, whole * 0])
    for data, function in ((both, of_first), (np.moveaxis(both, 0, -1), of_last)):
        ours = segmentation.stitch_segmentation(data, function, 5, 2, shape=(12, 14), block_shape=4)
        assert same_partition(ours, whole)


def test_times_are_apart() -> None:
    image = np.ones((3, 6, 6), "u1")
    axes = [Axis("t", "time"), Axis("y"), Axis("x")]
    seen = []

    def all_of_it(tile: np.ndarray, tile_id: int) -> np.ndarray:
        seen.append(tile.shape)
        return tile

    ours = segmentation.stitch_segmentation(AxesSource(image, axes), all_of_it, (4, 4), 1)
    assert {len(shape) for shape in seen} == {2}
    assert [np.unique(plane).tolist() for plane in ours] == [[1], [2], [3]]
    tiled = segmentation.stitch_tiled_segmentation(AxesSource(image, axes), 3, unique=False)
    assert [np.unique(plane).tolist() for plane in tiled] == [[1], [2], [3]]


class Logged:
    """Segments tiles, writes down which, and fails from some tile on while a file is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, tile: np.ndarray, tile_id: int) -> np.ndarray:
        if tile_id >= 5 and (self.folder / "stop").exists():
            raise RuntimeError("stopped")
        with open(self.folder / "log", "a") as log:
            log.write(f"{tile_id}\n")
        return tile

    def done(self) -> Counter[int]:
        return Counter(map(int, (self.folder / "log").read_text().split()))


@pytest.mark.processes
@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_tiles_that_were_done_are_not_done_again(tmp_path: Path, job_type: str) -> None:
    whole = segmentation.label(image_of(5, (12, 12)))
    source = zarr.create_array(tmp_path / "in.zarr", shape=whole.shape, chunks=(4, 4), dtype="u8")
    source[...] = whole
    output = zarr.create_array(tmp_path / "out.zarr", shape=whole.shape, chunks=(4, 4), dtype="u8")
    function = Logged(tmp_path)
    (tmp_path / "stop").touch()
    run = {"job_type": job_type, "num_workers": 2, "retries": 0, "progress": False}
    with pytest.raises(RunnerError):
        segmentation.stitch_segmentation(source, function, 4, 1, output, **run)
    before = function.done()
    assert before
    assert not output[...].any()
    (tmp_path / "stop").unlink()
    segmentation.stitch_segmentation(source, function, 4, 1, output, **run)
    assert same_partition(output[...], whole)
    assert all(function.done()[tile] == times for tile, times in before.items())
    assert set(function.done()) == set(range(9))


def test_a_mask_leaves_background_and_whole_tiles_out() -> None:
    image, mask = image_of(6, (12, 14)), np.zeros((12, 14), "u1")
    mask[:7, :8] = 1
    mask[3, 2:5] = 0
    seen = []

    def noted(tile: np.ndarray, tile_id: int) -> np.ndarray:
        seen.append(tile_id)
        return np.asarray(segmentation.label(tile))

    whole = segmentation.label(image & (mask != 0))
    output = np.full(image.shape, 9, "u4")
    segmentation.stitch_segmentation(whole, renamed, 4, 2, output, mask=mask, block_shape=5)
    assert same_partition(output, whole)
    segmentation.stitch_segmentation(image, noted, 4, 1, mask=mask)
    assert set(seen) == {0, 1, 2, 4, 5, 6}
    tiled = segmentation.stitch_tiled_segmentation(
        segmentation.label(image), (12, 14), mask=mask, unique=False, block_shape=5
    )
    assert same_partition(tiled, segmentation.label(image) * mask)
    with pytest.raises(ParameterError, match="background"):
        segmentation.stitch_tiled_segmentation(image, 4, mask=mask, with_background=False)
    with pytest.raises(ShapeError, match="mask"):
        segmentation.stitch_segmentation(image, renamed, 4, 1, mask=mask[1:])


@pytest.mark.parametrize("masked", [False, True])
def test_a_region_is_a_volume_of_its_own(masked: bool, tmp_path: Path) -> None:
    image, roi = image_of(8, (14, 17)), (slice(3, 12), slice(1, 16))
    mask = np.random.default_rng(1).random(image.shape) < 0.9 if masked else np.ones(image.shape, bool)
    run: dict[str, Any] = {"roi": roi, **({"mask": mask.astype("u1")} if masked else {})}
    whole = segmentation.label((image & mask)[roi])
    labels = np.zeros(image.shape, "u8")
    labels[roi] = whole
    output = zarr.create_array(tmp_path / "out.zarr", shape=image.shape, chunks=(4, 4), dtype="u4")
    output[...] = 99
    segmentation.stitch_segmentation(labels, renamed, 5, 2, output, num_workers=2, **run)
    found = output[...]
    assert same_partition(found[roi], whole)
    found[roi] = 99
    assert (found == 99).all()
    ours, before = segmentation.stitch_segmentation(labels, renamed, 5, 2, return_before_stitching=True, **run)
    assert same_partition(ours[roi], whole)
    assert before.shape == image.shape
    tiled = segmentation.stitch_tiled_segmentation(labels, 15, block_shape=4, **run)
    assert same_partition(tiled, labels * mask)


def test_bad_input() -> None:
    image = np.zeros((8, 8), "u1")
    stitch = segmentation.stitch_segmentation
    with pytest.raises(ShapeError, match="tile_shape"):
        stitch(image, renamed, (4, 4, 4), 1)
    with pytest.raises(ParameterError, match="tile_shape"):
        stitch(image, renamed, 0, 1)
    with pytest.raises(ParameterError, match="tile_overlap"):
        stitch(image, renamed, 4, -1)
    with pytest.raises(ShapeError, match="shape="):
        stitch(image, renamed, 4, 1, shape=(3,))
    with pytest.raises(ParameterError, match="criterion"):
        stitch(image, renamed, 4, 1, criterion="dice")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="beta"):
        stitch(image, renamed, 4, 1, beta=0)
    with pytest.raises(ParameterError, match="threshold"):
        stitch(image, renamed, 4, 1, threshold=1.5)
    with pytest.raises(DtypeError, match="output"):
        stitch(image, renamed, 4, 1, np.zeros((8, 8)))
    with pytest.raises(ParameterError, match="overlap=0"):
        segmentation.stitch_tiled_segmentation(image, 4, overlap=0)
    with pytest.raises(DtypeError):
        segmentation.stitch_tiled_segmentation(np.zeros((8, 8)), 4)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda tile, _: tile[1:], "returned the shape"),
        (lambda tile, _: tile.astype(float), "labels of type float64"),
        (lambda tile, _: tile.astype("i4") - 1, "negative label -1"),
    ],
)
def test_what_a_function_must_return(function: Any, message: str) -> None:
    with pytest.raises(RunnerError, match=message):
        segmentation.stitch_segmentation(np.zeros((4, 4), "u1"), function, 4, 1, retries=0)


def test_negative_tiles_and_too_many_objects() -> None:
    with pytest.raises(RunnerError, match="negative label -2"):
        segmentation.stitch_tiled_segmentation(np.array([[-2, 1]]), 1, retries=0)
    labels = np.arange(1, 401, dtype="u2").reshape(20, 20)
    output = np.zeros((20, 20), "u1")
    with pytest.raises(ValueRangeError, match="400 objects"):
        segmentation.stitch_tiled_segmentation(labels, 20, output)
    assert not output.any()


def test_an_empty_volume() -> None:
    assert segmentation.stitch_segmentation(np.zeros((0, 4), "u1"), renamed, 4, 1).shape == (0, 4)
    assert segmentation.stitch_tiled_segmentation(np.zeros((0, 4), "u1"), 4).shape == (0, 4)
