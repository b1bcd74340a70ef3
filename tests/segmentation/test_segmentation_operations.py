"""The public operations: direct, in blocks, with masks and regions, in place, and on bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py import segmentation
from bioimage_py.blocks import Block
from bioimage_py.errors import (
    AliasError,
    DtypeError,
    HaloError,
    ParameterError,
    RunnerError,
    ShapeError,
    StorageError,
    ValueRangeError,
)
from bioimage_py.segmentation.labelling_blocks import Labelling, WriteComponents
from bioimage_py.segmentation.merging import Merged
from bioimage_py.sources import as_source

BIG = 2**60
SMALL_TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]


def stored(path: Path, data: np.ndarray, chunks: tuple[int, ...]) -> Any:
    array = zarr.create_array(path, shape=data.shape, chunks=chunks, dtype=data.dtype)
    array[...] = data
    return array


def blobs(seed: int, shape: tuple[int, ...] = (13, 17, 11), density: float = 0.35) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < density


def objects(dtype: Any = np.uint32) -> np.ndarray:
    return np.array([[0, 2, 3], [5, 5, 0]], dtype)


# label


@pytest.mark.slow
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.integers(1, 12)] * 3),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([1, 2]),
)
@settings(max_examples=60, deadline=None)
def test_label_in_blocks_has_the_ids_of_a_direct_call(
    seed: int, block_shape: tuple[int, ...], connectivity: int, multi_label: bool, num_workers: int
) -> None:
    shape = (7, 9, 6)
    image = blobs(seed, shape) * np.random.default_rng(seed).integers(1, 4, shape).astype(np.uint64) * BIG
    kwargs = {"connectivity": connectivity, "multi_label": multi_label}
    whole = segmentation.label(image, **kwargs)
    assert whole.dtype == np.uint64
    blocks = segmentation.label(image, block_shape=block_shape, num_workers=num_workers, **kwargs)
    np.testing.assert_array_equal(blocks, whole)


def test_label_of_stored_data_into_stored_data(tmp_path: Path) -> None:
    image = blobs(1, (40, 40, 40))
    source = stored(tmp_path / "in.zarr", image, (16, 16, 16))
    output = stored(tmp_path / "out.zarr", np.full(image.shape, 7, np.uint32), (8, 16, 8))
    returned = segmentation.label(source, output, block_shape=(16, 16, 16), num_workers=2, connectivity=3)
    assert returned is output
    np.testing.assert_array_equal(output[...], segmentation.label(image, connectivity=3))


def test_label_outside_the_mask_is_background() -> None:
    image, mask = blobs(2, density=0.7), blobs(3, density=0.5)
    mask[:4] = False
    output = np.full(image.shape, 77, np.uint64)
    segmentation.label(image, output, mask=mask, block_shape=(4, 5, 6))
    np.testing.assert_array_equal(output, segmentation.label(image & mask))
    np.testing.assert_array_equal(segmentation.label(image, mask=mask.astype(np.uint8)), output)


def test_label_of_a_region_numbers_what_is_inside(tmp_path: Path) -> None:
    image = blobs(4, (20, 20))
    output = stored(tmp_path / "out.zarr", np.zeros(image.shape, np.uint64), (4, 4))
    segmentation.label(image, output, roi=(slice(3, 17), slice(5, 18)), block_shape=(4, 4), num_workers=2)
    expected = np.zeros(image.shape, np.uint64)
    expected[3:17, 5:18] = segmentation.label(image[3:17, 5:18])
    np.testing.assert_array_equal(output[...], expected)


def test_label_in_place() -> None:
    image = blobs(5).astype(np.uint64)
    expected = segmentation.label(image)
    assert segmentation.label(image, image, block_shape=(5, 5, 5)) is image
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.5, [0, 1, 1]), (1, [0, 0, 1]), (-1, [1, 1, 1]), (1.5, [0, 0, 1])]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_threshold_is_exclusive(threshold: float, expected: list[int], dtype: type) -> None:
    image = np.array([0, 1, 2], dtype)
    assert segmentation.label(image, threshold=threshold).tolist() == expected
    assert segmentation.label(image, threshold=threshold, block_shape=2).tolist() == expected


def test_threshold_of_large_integers_is_exact() -> None:
    image = np.array([BIG, BIG + 1, BIG + 2], np.uint64)
    assert segmentation.label(image, threshold=BIG + 1).tolist() == [0, 0, 1]


@pytest.mark.parametrize("shape", [(30,), (9, 9), (4, 5, 3, 4)])
def test_label_in_any_number_of_axes(shape: tuple[int, ...]) -> None:
    image = blobs(6, shape, 0.6)
    for connectivity in range(1, len(shape) + 1):
        whole = segmentation.label(image, connectivity=connectivity)
        np.testing.assert_array_equal(segmentation.label(image, connectivity=connectivity, block_shape=3), whole)


def test_more_components_than_the_output_can_number() -> None:
    image = np.zeros((40, 40), np.uint8)
    image[::2, ::2] = 1
    output = np.full(image.shape, 9, np.uint8)
    text = r"there are 400 components, more than the output's type uint8 can number \(255\)"
    with pytest.raises(ValueRangeError, match=text):
        segmentation.label(image, output)
    with pytest.raises(ValueRangeError, match=text):
        segmentation.label(image, output, block_shape=10)
    assert (output == 9).all()


@pytest.mark.parametrize(
    ("image", "kwargs", "error", "text"),
    [
        (np.ones((3, 3)), {"multi_label": True}, DtypeError, "components of labels of type float64"),
        (np.ones((3, 3), complex), {}, DtypeError, "components of an image of type complex128"),
        (np.ones((3, 3)), {"connectivity": 3}, ParameterError, r"connectivity must be in \[1, 2\].*got 3"),
        (np.ones((3, 3)), {"connectivity": 0}, ParameterError, r"connectivity must be in \[1, 2\].*got 0"),
        (np.ones((3, 3), int), {"threshold": 1, "multi_label": True}, ParameterError, "leave one of them out"),
        (np.ones((3, 3)), {"threshold": np.nan}, ParameterError, "threshold is NaN"),
        (np.ones((3, 3)), {"output": np.ones((3, 3))}, DtypeError, "output of an integer type, got float64"),
        (np.ones((3, 3)), {"output": np.ones((3, 4), int)}, ShapeError, r"\(3, 4\), the result \(3, 3\)"),
        ("image.tif", {}, TypeError, "open_source"),
    ],
)
def test_label_of_bad_input(image: Any, kwargs: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        segmentation.label(image, **kwargs)


def test_an_input_that_changes_between_the_passes_is_noticed() -> None:
    block = Block([0, 0], [2, 2], 0)
    merged = Merged(np.array([0, 2]), np.array([0, 1, 2]), 2)
    sources = [as_source(np.ones((2, 2), np.uint8))], [as_source(np.zeros((2, 2), np.uint64))]
    with pytest.raises(StorageError, match=r"block 0 \[0:2, 0:2\] had 2 components in the first pass and has 1 now"):
        WriteComponents(Labelling(1))(block, *sources, None, context=merged)


# watershed


def landscape(seed: int = 0, shape: tuple[int, ...] = (16, 24, 20)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    seeds = np.where(rng.random(shape) < 0.004, rng.integers(1, 2**63, shape, np.uint64), 0).astype(np.uint64)
    return rng.random(shape).astype(np.float32), seeds


def test_watershed_in_blocks_with_a_halo_over_everything_equals_the_whole() -> None:
    height, seeds = landscape()
    whole = segmentation.watershed(height, seeds)
    assert whole.dtype == np.uint64
    assert set(np.unique(whole)) == set(np.unique(seeds)) - {0}
    blocks = segmentation.watershed(height, seeds, block_shape=(7, 9, 8), halo=24, num_workers=2)
    np.testing.assert_array_equal(blocks, whole)


def test_watershed_of_one_grid_has_the_same_bits_for_any_workers(tmp_path: Path) -> None:
    height, seeds = landscape(1)
    source, markers = stored(tmp_path / "h.zarr", height, (8, 8, 8)), stored(tmp_path / "s.zarr", seeds, (16, 8, 8))
    one = segmentation.watershed(height, seeds, block_shape=8, halo=(2, 4, 4))
    output = stored(tmp_path / "o.zarr", np.zeros_like(seeds), (8, 8, 8))
    segmentation.watershed(source, markers, output, block_shape=8, halo=(2, 4, 4), num_workers=2)
    np.testing.assert_array_equal(output[...], one)
    assert np.isin(one, [0, *np.unique(seeds)]).all()


def test_watershed_of_stored_data_without_halo_is_that_of_the_whole(tmp_path: Path) -> None:
    height, seeds = landscape(2)
    source = stored(tmp_path / "h.zarr", height, (8, 8, 8))
    np.testing.assert_array_equal(segmentation.watershed(source, seeds), segmentation.watershed(height, seeds))


def test_watershed_leaves_the_output_outside_the_mask() -> None:
    height, seeds = landscape(3)
    mask = np.zeros(height.shape, np.uint8)
    mask[:, 3:20, 4:] = 1
    output = np.full(height.shape, BIG + 1, np.int64)
    direct = segmentation.watershed(height, seeds, output.copy(), mask=mask)
    blocks = segmentation.watershed(height, seeds, output.copy(), mask=mask, block_shape=(16, 3, 20), halo=24)
    np.testing.assert_array_equal(direct, blocks)
    assert (direct[mask == 0] == BIG + 1).all()
    assert (direct[mask == 1] != BIG + 1).all()
    assert not segmentation.watershed(height, seeds, mask=mask)[mask == 0].any()


@given(st.integers(0, 2**32), st.data())
@settings(deadline=None)
def test_watershed_floods_a_masked_block_as_if_all_of_it_were_read(seed: int, drawn: st.DataObject) -> None:
    shape = (12, 10, 14)
    height, seeds = landscape(seed, shape)
    mask = np.zeros(shape, np.uint8)
    box = tuple(slice(*sorted(drawn.draw(st.tuples(*[st.integers(0, size)] * 2)))) for size in shape)
    mask[box] = np.random.default_rng(seed).random(mask[box].shape) < drawn.draw(st.sampled_from([0.05, 0.7, 1.0]))
    height[mask == 0] = drawn.draw(st.sampled_from([0.5, -1e6, 1e6, np.nan]))  # nothing there counts
    blocks = segmentation.watershed(height, seeds, mask=mask, block_shape=(5, 10, 6), halo=14)
    np.testing.assert_array_equal(blocks, segmentation.watershed(height, seeds, mask=mask))


def test_a_height_that_cannot_be_flooded_is_named_by_its_place_in_the_volume() -> None:
    height, seeds = landscape()
    mask = np.zeros(height.shape, np.uint8)
    mask[9:12, 10:20, 7:19] = 1
    height[10, 17, 11] = np.nan
    with pytest.raises(RunnerError, match=r"height nan at \(10, 17, 11\) of the volume"):
        segmentation.watershed(height, seeds, mask=mask, block_shape=8, halo=2)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"block_shape": 8, "block_ids": [0]}, HaloError, "watershed of some blocks needs a halo"),
        ({"block_shape": 8, "skip_empty": True}, HaloError, "watershed of some blocks needs a halo"),
        ({"block_shape": 8, "halo": -1}, HaloError, "negative"),
        ({"seeds": np.ones((16, 24, 20), np.float32)}, DtypeError, "seeds must have an integer type, got float32"),
        ({"seeds": np.ones((16, 24, 2), int)}, ShapeError, r"\(16, 24, 2\).*\(16, 24, 20\)"),
        ({"output": np.ones((16, 24, 20))}, DtypeError, "output of an integer type, got float64"),
        ({"input": np.ones(4), "seeds": np.ones(4, int)}, ShapeError, "2 or 3 axes, got 1"),
    ],
)
def test_watershed_of_bad_input(change: dict[str, Any], error: type[Exception], text: str) -> None:
    height, seeds = landscape()
    arguments = {"input": height, "seeds": seeds, **change}
    with pytest.raises(error, match=text):
        segmentation.watershed(**arguments)


def test_watershed_does_not_overwrite_seeds_that_blocks_still_read() -> None:
    height, seeds = landscape()
    with pytest.raises(AliasError, match="read with the halo"):
        segmentation.watershed(height, seeds, seeds, block_shape=8, halo=2)


def test_watershed_seed_that_the_output_cannot_hold() -> None:
    height, seeds = landscape()
    seeds[seeds > 0] = 300
    output = np.zeros(height.shape, np.uint8)
    with pytest.raises(ValueRangeError, match="300"):
        segmentation.watershed(height, seeds, output)
    assert not output.any()


# relabel


@pytest.mark.parametrize("dtype", SMALL_TYPES)
@pytest.mark.parametrize("labeling", [{0: 0, 2: 7, 3: 1, 5: 4}, np.array([0, 9, 7, 1, 9, 4])], ids=["dict", "dense"])
def test_relabel_of_every_integer_type(dtype: type, labeling: Any) -> None:
    labels = objects(dtype)
    direct = segmentation.relabel(labels, labeling)
    blocks = segmentation.relabel(labels, labeling, block_shape=(1, 2))
    assert direct.dtype == blocks.dtype == labels.dtype
    assert direct.tolist() == blocks.tolist() == [[0, 7, 1], [4, 4, 0]]
    assert labels.tolist() == objects().tolist()


def test_relabel_of_stored_labels_is_in_place(tmp_path: Path) -> None:
    labels = stored(tmp_path / "labels.zarr", objects(np.uint64) + np.uint64(BIG), (1, 3))
    labeling = {BIG: 0, BIG + 2: BIG + 3, BIG + 3: BIG + 2, BIG + 5: 1}
    assert segmentation.relabel(labels, labeling) is labels
    assert labels[...].tolist() == [[0, BIG + 3, BIG + 2], [1, 1, 0]]


def test_relabel_with_a_stored_labeling(tmp_path: Path) -> None:
    labeling = stored(tmp_path / "table.zarr", np.array([0, 9, 7, 1, 9, 4], np.uint8), (4,))
    assert segmentation.relabel(objects(), labeling).tolist() == [[0, 7, 1], [4, 4, 0]]


def test_relabel_inside_a_mask_needs_entries_for_inside_only() -> None:
    mask = np.array([[0, 0, 0], [1, 1, 0]])
    assert segmentation.relabel(objects(), {5: 1}, mask=mask).tolist() == [[0, 2, 3], [1, 1, 0]]
    output = np.full((2, 3), 77, np.uint32)
    segmentation.relabel(objects(), {5: 1}, output, mask=mask, block_shape=(2, 3))
    assert output.tolist() == [[77, 77, 77], [1, 1, 77]]


def test_relabel_checks_the_new_ids_before_it_writes() -> None:
    labels = objects(np.uint16)
    for kwargs in ({}, {"block_shape": 1}):
        with pytest.raises(ValueRangeError, match=r"maps id 5 to 70000, which the output's type uint16 cannot hold"):
            segmentation.relabel(labels, {0: 1, 2: 1, 3: 1, 5: 70_000}, labels, **kwargs)
    assert labels.tolist() == objects().tolist()
    assert segmentation.relabel(labels, {0: 0, 2: 0, 3: 0, 5: 70_000}, casting="unsafe").max() == 70_000 - 2**16
    assert segmentation.relabel(labels, {0: 0, 2: 0, 3: 0, 5: 70_000}, np.zeros((2, 3), np.uint32)).max() == 70_000


def test_relabel_names_an_id_without_an_entry() -> None:
    with pytest.raises(IndexError, match="id 5 occurs in the labels but not in the labeling, which has 5 entries"):
        segmentation.relabel(objects(), np.arange(5))
    with pytest.raises(RunnerError, match=r"(?s)id 3 occurs in the labels.*has 3 entries.*an entry for") as caught:
        segmentation.relabel(objects(), {0: 0, 2: 1, 5: 2}, block_shape=(1, 3))
    assert caught.value.failed_block_ids == [0]


@pytest.mark.parametrize(
    ("labels", "labeling", "error", "text"),
    [
        (objects(np.float32), {0: 0}, DtypeError, "input of relabel must have an integer type, got float32"),
        (objects(), np.zeros(6), DtypeError, "a labeling must have an integer type, got float64"),
        (objects(), np.zeros((6, 2), int), ShapeError, r"one axis.*got shape \(6, 2\)"),
        (objects(), [0, 1, 2, 3, 4, 5], TypeError, "list"),
        (objects(), "table.npy", TypeError, "open_source"),
    ],
)
def test_relabel_of_bad_input(labels: Any, labeling: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        segmentation.relabel(labels, labeling)


# relabel_consecutive


@pytest.mark.parametrize("dtype", SMALL_TYPES)
@pytest.mark.parametrize("run", [{}, {"block_shape": (1, 2)}, {"num_workers": 2}], ids=["direct", "blocks", "workers"])
def test_relabel_consecutive(dtype: type, run: dict[str, Any]) -> None:
    labels = objects(dtype)
    result, max_id, mapping = segmentation.relabel_consecutive(labels, **run)
    assert result.dtype == labels.dtype
    assert result.tolist() == [[0, 1, 2], [3, 3, 0]]
    assert (max_id, mapping) == (3, {0: 0, 2: 1, 3: 2, 5: 3})
    assert labels.tolist() == objects().tolist()


@pytest.mark.parametrize("run", [{}, {"block_shape": 1}])
def test_no_object_becomes_background_and_there_is_no_gap(run: dict[str, Any]) -> None:
    result, max_id, mapping = segmentation.relabel_consecutive(objects() + 1, **run)
    assert (result.tolist(), max_id) == ([[1, 2, 3], [4, 4, 1]], 4)
    assert mapping == {1: 1, 3: 2, 4: 3, 6: 4}
    result, max_id, _ = segmentation.relabel_consecutive(objects(), start_label=1, **run)
    assert (result.tolist(), max_id) == ([[0, 1, 2], [3, 3, 0]], 3)
    result, max_id, _ = segmentation.relabel_consecutive(objects(), start_label=3, keep_zeros=False, **run)
    assert (result.tolist(), max_id) == ([[3, 4, 5], [6, 6, 3]], 6)


def test_relabel_consecutive_of_large_ids_in_place(tmp_path: Path) -> None:
    labels = stored(tmp_path / "labels.zarr", objects(np.uint64) + np.uint64(2**63), (1, 2))
    result, max_id, mapping = segmentation.relabel_consecutive(labels, num_workers=2)
    assert result is labels
    assert labels[...].tolist() == [[1, 2, 3], [4, 4, 1]]
    assert mapping == {2**63: 1, 2**63 + 2: 2, 2**63 + 3: 3, 2**63 + 5: 4}
    assert max_id == 4


def test_relabel_consecutive_inside_a_mask() -> None:
    mask = np.array([[0, 0, 0], [1, 1, 0]], bool)
    result, max_id, mapping = segmentation.relabel_consecutive(objects(), mask=mask, block_shape=(1, 3))
    assert (result.tolist(), max_id, mapping) == ([[0, 2, 3], [1, 1, 0]], 1, {5: 1})
    result, max_id, mapping = segmentation.relabel_consecutive(objects(), mask=mask & False)
    assert (result.tolist(), max_id, mapping) == (objects().tolist(), 0, {})


def test_relabel_consecutive_checks_before_it_writes() -> None:
    labels = objects(np.uint8)
    with pytest.raises(ValueRangeError, match=r"maps id 3 to 256, which the output's type uint8 cannot hold"):
        segmentation.relabel_consecutive(labels, labels, start_label=255)
    with pytest.raises(ValueRangeError, match=r"maps id 3 to 256, which the output's type uint8 cannot hold"):
        segmentation.relabel_consecutive(labels, labels, start_label=255, block_shape=1)
    assert labels.tolist() == objects().tolist()
    with pytest.raises(ParameterError, match="start_label must be a whole number >= 0, got -1"):
        segmentation.relabel_consecutive(labels, start_label=-1, block_shape=1)
    with pytest.raises(DtypeError, match="input of relabel_consecutive must have an integer type, got float64"):
        segmentation.relabel_consecutive(objects(float))


# filters


@pytest.mark.parametrize("dtype", SMALL_TYPES)
@pytest.mark.parametrize("run", [{}, {"block_shape": (1, 2)}, {"num_workers": 2}], ids=["direct", "blocks", "workers"])
def test_size_filter(dtype: type, run: dict[str, Any]) -> None:
    labels = objects(dtype)
    assert segmentation.size_filter(labels, min_size=2, **run).tolist() == [[0, 0, 0], [1, 1, 0]]
    assert segmentation.size_filter(labels, min_size=2, relabel=False, **run).tolist() == [[0, 0, 0], [5, 5, 0]]
    assert segmentation.size_filter(labels, max_size=1, **run).tolist() == [[0, 1, 2], [0, 0, 0]]
    assert segmentation.size_filter(labels, min_size=1, max_size=2, **run).tolist() == [[0, 1, 2], [3, 3, 0]]
    assert segmentation.size_filter(labels, min_size=1, **run).dtype == labels.dtype
    assert labels.tolist() == objects().tolist()


def test_size_filter_counts_voxels_across_blocks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 30, (17, 19, 13), np.uint64) ** 3 + np.uint64(BIG)
    labels[0] = 0
    ids, counts = np.unique(labels, return_counts=True)
    limit = int(np.median(counts))
    source = stored(tmp_path / "labels.zarr", labels, (8, 8, 8))
    output = stored(tmp_path / "out.zarr", np.zeros_like(labels), (8, 8, 8))
    kwargs = {"min_size": limit, "relabel": False}
    assert segmentation.size_filter(source, output, num_workers=2, **kwargs) is output
    expected = np.where(np.isin(labels, ids[counts >= limit]), labels, 0)
    np.testing.assert_array_equal(output[...], expected)
    np.testing.assert_array_equal(source[...], labels)


def test_size_filter_inside_a_mask() -> None:
    mask = np.array([[1, 1, 1], [1, 0, 0]], bool)
    for run in ({}, {"block_shape": (1, 3)}):
        output = np.full((2, 3), 77, np.uint32)
        segmentation.size_filter(objects(), output, min_size=1, relabel=False, mask=mask, **run)
        assert output.tolist() == [[0, 2, 3], [5, 77, 77]]


@pytest.mark.parametrize(
    ("labels", "kwargs", "error", "text"),
    [
        (objects(), {}, ParameterError, "size_filter needs a limit"),
        (objects(), {"min_size": 4, "max_size": 2}, ParameterError, "min_size 4 is above max_size 2"),
        (objects(), {"min_size": 2.5}, ParameterError, "min_size must be a whole number >= 0, got 2.5"),
        (objects(float), {"min_size": 2}, DtypeError, "input of size_filter must have an integer type, got float64"),
    ],
)
def test_size_filter_of_bad_input(labels: Any, kwargs: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        segmentation.size_filter(labels, **kwargs)


def drop_two(labels: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    labels[labels == 2] = 0
    return labels


def add_one(labels: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    return labels + 1


@pytest.mark.parametrize("run", [{}, {"block_shape": (1, 2)}], ids=["direct", "blocks"])
def test_segmentation_filter(run: dict[str, Any]) -> None:
    labels = objects()
    assert segmentation.segmentation_filter(labels, drop_two, **run).tolist() == [[0, 0, 3], [5, 5, 0]]
    assert segmentation.segmentation_filter(labels, drop_two, relabel=add_one, **run).tolist() == [[1, 1, 4], [6, 6, 1]]
    assert labels.tolist() == objects().tolist()


def test_segmentation_filter_gets_the_mask() -> None:
    seen: list[list[bool]] = []

    def collect(labels: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        assert mask is not None
        assert mask.dtype == np.bool_
        seen.append(mask.tolist())
        return labels * 2

    mask = np.array([[0, 7, 0], [0, 0, 0]])
    output = np.full((2, 3), 77, np.uint32)
    segmentation.segmentation_filter(objects(), collect, output, mask=mask, block_shape=(1, 3))
    assert output.tolist() == [[77, 4, 77], [77, 77, 77]]
    assert seen == [[[False, True, False]]]


def test_segmentation_filter_of_bad_input() -> None:
    with pytest.raises(ParameterError, match="needs functions, got True"):
        segmentation.segmentation_filter(objects(), drop_two, relabel=True)
    with pytest.raises(DtypeError, match="input of segmentation_filter must have an integer type, got float64"):
        segmentation.segmentation_filter(objects(float), drop_two)
    with pytest.raises(ShapeError, match=r"returned the shape \(3,\) for a block of shape \(2, 3\)"):
        segmentation.segmentation_filter(objects(), lambda labels, mask: labels[0])


# real data and imports


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize(("connectivity", "n"), [(1, 4744), (3, 3619)])
@pytest.mark.long
def test_components_of_a_dense_neuron_segmentation(
    connectomics: np.ndarray, tmp_path: Path, connectivity: int, n: int
) -> None:
    source = stored(tmp_path / "labels.zarr", connectomics, (64, 64, 64))
    output = zarr.create_array(tmp_path / "out.zarr", shape=source.shape, chunks=(64, 64, 64), dtype=np.uint64)
    kwargs = {"multi_label": True, "connectivity": connectivity}
    segmentation.label(source, output, block_shape=(128, 128, 128), num_workers=2, **kwargs)
    assert output[...].max() == n


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, bioimage_py.segmentation as s; dir(s);"
        "print([m for m in ('scipy', 'skimage', 'cc3d', 'zarr', 'bioimage_cpp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_public_names_load() -> None:
    for name in segmentation.__all__:
        assert callable(getattr(segmentation, name))
    with pytest.raises(AttributeError, match="has no attribute 'labels'"):
        segmentation.labels  # noqa: B018
