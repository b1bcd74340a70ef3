"""Labelling and merging of blocks against an oracle that labels value by value with scipy."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bioimage_py.errors import DtypeError, ParameterError, ShapeError
from bioimage_py.segmentation import components, merging, tables

BIG = 2**60
IDS = [0, 1, 2, BIG, BIG + 1, BIG + 2]


def oracle(image: np.ndarray, connectivity: int, multi_label: bool) -> np.ndarray:
    """Components by first voxel in C order: scipy on each value, numbered by a plain scan."""
    structure = ndimage.generate_binary_structure(image.ndim, connectivity)
    parts = [image == value for value in np.unique(image) if value != 0] if multi_label else [image != 0]
    provisional = np.zeros(image.shape, np.int64)
    for part in parts:
        labels, n = ndimage.label(part, structure)
        provisional[part] = labels[part] + provisional.max(initial=0)
        assert n == labels.max(initial=0)
    final: dict[int, int] = {0: 0}
    return np.array([final.setdefault(v, len(final)) for v in provisional.reshape(-1).tolist()], np.uint64).reshape(
        image.shape
    )


def block_wise(
    image: np.ndarray, block_shape: tuple[int, ...], connectivity: int, multi_label: bool, shrink: tuple[int, ...]
) -> np.ndarray:
    """Label blocks of a grid (first blocks smaller by `shrink`), merge them, write final ids."""
    cuts = []
    for size, block, less in zip(image.shape, block_shape, shrink, strict=True):
        inner = list(range(max(1, block - less), size, block))
        cuts.append(list(itertools.pairwise([0, *inner, size])))
    lattice = tuple(map(len, cuts))
    boxes = [tuple(slice(*cut) for cut in position) for position in itertools.product(*cuts)]
    parts: list[merging.Part | None] = []
    for box in boxes:
        found = components.block_components(image[box], connectivity=connectivity, multi_label=multi_label)
        part = components.summary(
            found, image[box], begin=[s.start for s in box], volume=image.shape, multi_label=multi_label
        )
        parts.append(pickle.loads(pickle.dumps(part)) if found.n else None)
    merged = merging.merge(parts, lattice, connectivity)
    result = np.zeros(image.shape, np.uint64)
    for index, box in enumerate(boxes):
        found = components.block_components(image[box], connectivity=connectivity, multi_label=multi_label)
        result[box] = tables.take(merged.table_of(index), found.labels)
    return result


@st.composite
def cut_images(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...], int, bool, tuple[int, ...]]:
    ndim = draw(st.integers(1, 4))
    shape = draw(st.tuples(*[st.integers(1, {1: 40, 2: 12, 3: 7, 4: 4}[ndim])] * ndim))
    block_shape = draw(st.tuples(*[st.integers(1, size + 1) for size in shape]))
    shrink = draw(st.tuples(*[st.integers(0, size) for size in block_shape]))
    multi_label = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.2, 0.4, 0.6, 0.9]))
    foreground = rng.random(shape) < density
    if multi_label:
        dtype = draw(st.sampled_from([np.uint64, np.int64, np.uint8, np.int16]))
        ids = np.array(IDS if np.dtype(dtype).itemsize == 8 else [0, 1, 2, 3, 4, 5], dtype)
        if dtype is np.int64:
            ids[1] = -1
        image = np.where(foreground, ids[rng.integers(1, len(ids), shape)], ids[0])
    else:
        image = foreground.astype(draw(st.sampled_from([np.bool_, np.uint8, np.int32, np.float32])))
    return image, block_shape, draw(st.integers(1, ndim)), multi_label, shrink


@given(cut_images())
@settings(max_examples=300, deadline=None)
def test_blocks_give_the_ids_of_the_whole_array(
    case: tuple[np.ndarray, tuple[int, ...], int, bool, tuple[int, ...]],
) -> None:
    image, block_shape, connectivity, multi_label, shrink = case
    expected = oracle(image, connectivity, multi_label)
    np.testing.assert_array_equal(block_wise(image, block_shape, connectivity, multi_label, shrink), expected)
    whole = components.block_components(image, connectivity=connectivity, multi_label=multi_label)
    np.testing.assert_array_equal(components.ranked(whole), expected)


@given(cut_images())
@settings(max_examples=100, deadline=None)
def test_first_is_the_first_voxel_of_each_component(
    case: tuple[np.ndarray, tuple[int, ...], int, bool, tuple[int, ...]],
) -> None:
    image, _, connectivity, multi_label, _ = case
    labels, n, first = components.block_components(image, connectivity=connectivity, multi_label=multi_label)
    ids, at = np.unique(labels, return_index=True)
    np.testing.assert_array_equal(ids[ids > 0], np.arange(1, n + 1))
    np.testing.assert_array_equal(first, at[ids > 0])
    assert labels.dtype == np.uint32
    assert first.dtype == np.int64
    again, number = components.block_labels(image, connectivity=connectivity, multi_label=multi_label)
    np.testing.assert_array_equal(again, labels)
    assert (number, again.dtype) == (n, labels.dtype)


def test_memory_order_and_byte_order_do_not_matter() -> None:
    image = np.random.default_rng(1).integers(0, 3, (9, 8, 7)).astype(np.int64) * BIG
    expected = oracle(image, 2, True)
    for variant in (np.asfortranarray(image), image.astype(">i8"), np.flip(np.flip(image, 1).copy(), 1)):
        found = components.block_components(variant, connectivity=2, multi_label=True)
        np.testing.assert_array_equal(components.ranked(found), expected)


def test_an_array_is_not_changed_by_labelling() -> None:
    image = np.random.default_rng(1).integers(0, 3, (9, 8, 7))
    before = image.copy()
    components.block_components(image, connectivity=3, multi_label=True)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4, 4), (5, 5), (2, 3, 3, 3), (0, 2, 2, 2), (2, 0, 2, 2)])
def test_nothing_to_label(shape: tuple[int, ...], multi_label: bool) -> None:
    image = np.zeros(shape, np.uint8)
    labels, n, first = components.block_components(image, multi_label=multi_label)
    assert (labels.shape, n, first.shape) == (shape, 0, (0,))
    assert not labels.any()
    labels, n = components.block_labels(image, multi_label=multi_label)
    assert (labels.shape, n, labels.any()) == (shape, 0, False)


@pytest.mark.parametrize("connectivity", [0, 4, -1])
def test_connectivity_out_of_range(connectivity: int) -> None:
    with pytest.raises(ParameterError, match=rf"connectivity must be in \[1, 3\].*got {connectivity}"):
        components.block_components(np.ones((2, 2, 2)), connectivity=connectivity)


def test_float_labels_are_refused_but_float_images_are_not() -> None:
    image = np.array([[0.5, 0.0, -1.0]])
    assert components.block_components(image).n == 2
    with pytest.raises(DtypeError, match="labels of type float64"):
        components.block_components(image, multi_label=True)


def test_faces_of_large_blocks_are_packed_and_only_where_wanted() -> None:
    labels = np.zeros((64, 64, 64), np.uint32)
    labels[10:50, 10:50] = 7
    packed = merging.faces(labels, sides=[(True, False), (False, False), (True, True)])
    assert len(pickle.dumps(packed)) < labels[..., 0].nbytes // 16
    np.testing.assert_array_equal(packed.plane((0, 0, 1)), labels[..., -1])
    np.testing.assert_array_equal(packed.plane((0, 0, -1)), labels[..., 0])
    np.testing.assert_array_equal(packed.plane((-1, 0, 0)), labels[0])
    with pytest.raises(ShapeError, match="no plane on the side"):
        packed.plane((1, 0, 0))


def test_planes_towards_edges_and_corners() -> None:
    labels = np.arange(1, 61, dtype=np.uint32).reshape(3, 4, 5)
    packed = merging.faces(labels)
    assert packed.plane((1, 0, 0)).tolist() == labels[-1].tolist()
    assert packed.plane((0, 1, -1)).tolist() == labels[:, -1, 0].tolist()
    assert packed.plane((1, -1, 1)).tolist() == labels[-1, 0, -1].tolist()


def test_pairs_respect_connectivity_and_values() -> None:
    a = np.array([[1, 0, 2], [0, 0, 0]], np.uint32)[::-1]
    b = np.array([[0, 1, 2]], np.uint32)
    below = merging.faces(a), merging.faces(b)
    assert merging.pairs(*below, (1, 0), 1).tolist() == [[2, 2]]
    assert merging.pairs(*below, (1, 0), 2).tolist() == [[1, 1], [2, 1], [2, 2]]
    valued = merging.faces(a, np.array([5, 6])), merging.faces(b, np.array([6, 5]))
    assert merging.pairs(*valued, (1, 0), 2).tolist() == [[1, 1], [2, 1], [2, 2]][1:2]


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 300, 70_000, 2**32 + 2]))
@settings(max_examples=100, deadline=None)
def test_pairs_are_all_that_touch(seed: int, highest: int) -> None:
    rng = np.random.default_rng(seed)
    ids = np.array([0, 0, 1, 2, highest], np.uint64)
    shape = tuple(rng.integers(1, 7, 2))
    # repeated rows and columns, so that pairs come in runs, and come again
    planes = [
        ids[rng.integers(0, 5, shape)].repeat(rng.integers(1, 4), rng.integers(0, 2))[: shape[0], : shape[1]]
        for _ in "ab"
    ]
    a, b = (merging.faces(plane[np.newaxis], n=highest) for plane in planes)
    for connectivity in (1, 2, 3):
        touching = {
            (int(planes[0][y, x]), int(planes[1][v, u]))
            for y, x in np.ndindex(*shape)
            for v, u in np.ndindex(*shape)
            if max(abs(v - y), abs(u - x)) <= 1 and 1 + abs(v - y) + abs(u - x) <= connectivity
        }
        expected = sorted(pair for pair in touching if all(pair))
        assert [tuple(pair) for pair in merging.pairs(a, b, (1, 0, 0), connectivity).tolist()] == expected


def test_half_space_has_half_of_all_neighbours() -> None:
    for ndim, connectivity, n in [(1, 1, 2), (2, 1, 4), (2, 2, 8), (3, 1, 6), (3, 2, 18), (3, 3, 26)]:
        steps = merging.half_space(ndim, connectivity)
        both = {*steps, *(tuple(-s for s in step) for step in steps)}
        assert 2 * len(steps) == len(both) == n


def test_merge_table_keeps_components_beyond_32_bit_positions() -> None:
    first = np.array([2**40, 2**33, 2**33 + 1, 5], np.int64)
    table, n = merging.merge_table(np.array([2, 0, 2]), np.array([[1, 4]]), first)
    assert table.tolist() == [0, 1, 2, 3, 1]
    assert n == 3
    assert table.dtype == np.int64


def test_merge_checks_its_input() -> None:
    with pytest.raises(ShapeError, match="3 components but 1 first voxels"):
        merging.merge_table(np.array([2, 1]), np.empty((0, 2), np.int64), np.zeros(1, np.int64))
    with pytest.raises(ShapeError, match="2 blocks don't fill a grid of"):
        merging.merge([None, None], (3,), 1)
    with pytest.raises(Exception, match="more than 64-bit ids allow"):
        merging.merge_table(np.full(8, 2**61), np.empty((0, 2), np.int64), np.zeros(1, np.int64))


@pytest.mark.parametrize("shape", [(1, 10), (10, 1), (5, 3), (20, 27), (1, 1, 9), (7, 1, 1)])
def test_all_diagonals_of_thin_and_odd_binary_images(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    for density in (0.1, 0.2, 0.5, 0.8) * 20:
        image = rng.random(shape) < density
        found = components.block_components(image, connectivity=len(shape))
        np.testing.assert_array_equal(components.ranked(found), oracle(image, len(shape), False))
