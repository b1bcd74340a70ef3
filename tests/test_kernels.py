"""Kernels of other libraries at the limits of every type that they are called with.

`make test-cpu` runs this file again with vector instructions switched off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import bioimage_py as bp
from bioimage_py.filters.derivative_kernels import GradientMagnitude, HessianEigenvalues, Laplacian
from bioimage_py.filters.footprints import Footprint
from bioimage_py.filters.gaussian_kernel import Gaussian
from bioimage_py.filters.rank_kernels import Rank
from bioimage_py.graph.edge_table import LEVELS, edges_of, of_boundaries
from bioimage_py.graph.node_table import nodes_of
from bioimage_py.graph.problem import Problem
from bioimage_py.graph.solving import SOLVERS, solved
from bioimage_py.segmentation.components import block_components
from bioimage_py.segmentation.flooding import Watershed, seed_mask
from bioimage_py.segmentation.merging import merge_table
from bioimage_py.segmentation.superpixels.fragments import Fragments
from bioimage_py.segmentation.tables import counted
from bioimage_py.stats.block_statistics import BlockMoments, Extrema, UniqueValues
from bioimage_py.wrapper.interpolation.lookup import nearest_values, rounded, spline_values
from bioimage_py.wrapper.voxel_blocks import mean_blocks, mode_blocks

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]
ALL = [*INTEGERS, "f4", "f8"]
LONG = (2**17 + 13, 1, 2**16 + 1, 2**15, 2**12 - 1)


def limits(dtype: str) -> tuple[Any, Any]:
    kind = np.dtype(dtype)
    info = np.iinfo(kind) if kind.kind in "ui" else np.finfo(kind)
    return kind.type(info.min), kind.type(info.max)


def checkered(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """The smallest and the largest value in turn."""
    low, high = limits(dtype)
    return np.where(np.indices(shape).sum(0) % 2, high, low).astype(dtype)


@pytest.mark.parametrize("size", LONG)
@pytest.mark.parametrize("which", ["low", "high", "both", "last"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_sums_and_squares(dtype: str, which: str, size: int) -> None:
    low, high = limits(dtype)
    array = np.full(size, low if which in ("low", "last") else high, dtype)
    if which == "both":
        array[::2] = low
    if which == "last":
        array[-1] = high
    moments: Any = BlockMoments()(array)
    values, counts = np.unique(array, return_counts=True)
    pairs = list(zip(map(int, values), map(int, counts), strict=True))
    assert moments.total == sum(value * count for value, count in pairs)
    assert moments.squares == sum(value * value * count for value, count in pairs)
    assert Extrema()(array) == (min(map(int, values)), max(map(int, values)))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_moments_of_the_largest_floats(dtype: str) -> None:
    high = limits(dtype)[1] / 2**20
    moments: Any = BlockMoments(spread=False)(np.full(70_001, high, dtype))
    assert moments.mean() == pytest.approx(float(high), rel=1e-12)


@pytest.mark.parametrize("dtype", ALL)
def test_unique(dtype: str) -> None:
    array = checkered(dtype, (37, 41))
    values, counts = UniqueValues()(array)  # type: ignore[misc]
    np.testing.assert_array_equal(values, np.unique(array))
    assert counts.sum() == array.size
    if np.dtype(dtype).kind in "ui":
        ids, numbers = counted(array)
        np.testing.assert_array_equal(ids, np.unique(array))
        np.testing.assert_array_equal(numbers, counts)


@pytest.mark.parametrize("shape", [(40, 70), (9, 17, 33)])
@pytest.mark.parametrize("dtype", [*INTEGERS, "f4"])
def test_gaussian(dtype: str, shape: tuple[int, ...]) -> None:
    array = checkered(dtype, shape)
    if dtype == "f4":
        array /= np.float32(4.0)
    expected = ndimage.gaussian_filter(array.astype(np.float64), 1.5, mode="mirror", radius=5)
    found = Gaussian((1.5,) * len(shape))(array)
    scale = float(np.abs(array.astype(np.float64)).max())
    np.testing.assert_allclose(found / scale, expected / scale, atol=2e-6)


@pytest.mark.parametrize("shape", [(40, 70), (9, 17, 33)])
@pytest.mark.parametrize("dtype", [*INTEGERS, "f4"])
def test_derivatives(dtype: str, shape: tuple[int, ...]) -> None:
    array = checkered(dtype, shape)
    if dtype == "f4":
        array /= np.float32(2**70)
    scale = float(np.abs(array.astype(np.float64)).max())
    ndim = len(shape)
    exact = array.astype(np.float64) / scale
    for kernel in (
        GradientMagnitude((1.5,) * ndim, (1.0,) * ndim),
        Laplacian((1.5,) * ndim, (1.0,) * ndim),
        HessianEigenvalues((1.5,) * ndim, (1.0,) * ndim),
    ):
        np.testing.assert_allclose(kernel(array) / scale, kernel(exact), atol=4e-6)


@pytest.mark.parametrize("size", [3, (1, 5, 2)])
@pytest.mark.parametrize("dtype", ALL)
def test_ranks(dtype: str, size: Any) -> None:
    rng = np.random.default_rng(0)
    (low, high), one = limits(dtype), np.dtype(dtype).type(1)
    array = rng.choice(np.array([low, low + one, 0, one, high - one, high], dtype), (9, 17, 33))
    footprint = Footprint((size,) * 3 if size == 3 else size)
    # the order of the values is that of their ranks, which scipy can hold in its float64
    values, ranks = np.unique(array, return_inverse=True)
    for index in (0, len(footprint) // 2, len(footprint) - 1):
        expected = values[ndimage.rank_filter(ranks.reshape(array.shape), index, footprint.size)]
        np.testing.assert_array_equal(Rank(footprint, index)(array), expected)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_components(dtype: str, multi_label: bool) -> None:
    low, high = limits(dtype)
    array = np.zeros((6, 7, 35), dtype)
    array[1:3], array[4], array[5, :, ::2] = high, low or high - 1, high
    found = block_components(array, connectivity=1, multi_label=multi_label)
    classes = [array == value for value in np.unique(array[array != 0])] if multi_label else [array != 0]
    assert found.n == sum(ndimage.label(one)[1] for one in classes)
    for one in classes:
        labels, n = ndimage.label(one)
        assert all(len(np.unique(found.labels[labels == i])) == 1 for i in range(1, n + 1))
    assert not found.labels[array == 0].any()


@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 1), (1, 1), (5, 1, 1), (1, 5, 1), (1, 1, 5), (5, 1, 4)])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_components_of_thin_arrays(dtype: str, shape: tuple[int, ...]) -> None:
    high = limits(dtype)[1]
    array = np.where(np.arange(np.prod(shape)).reshape(shape) % 3 == 2, high - 1, high).astype(dtype)
    found = block_components(array, connectivity=1, multi_label=True)
    assert found.n == sum(ndimage.label(array == value)[1] for value in np.unique(array))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("height", [*INTEGERS, "f4", "f8"])
def test_watershed(height: str, dtype: str) -> None:
    levels = np.zeros((5, 9, 40), height)
    levels[:, :, 20] = limits(height)[1]
    seeds = np.zeros(levels.shape, dtype)
    first, second = limits(dtype)[1], limits(dtype)[1] - np.dtype(dtype).type(1)
    seeds[2, 4, 3], seeds[2, 4, 35] = first, second
    found = Watershed()(levels, seeds)
    assert (found[:, :, :20] == first).all()
    assert (found[:, :, 21:] == second).all()


def test_distances_and_maxima_far_from_the_border() -> None:
    inside = np.ones((3, 5, 4001), bool)
    inside[:, :, 0] = inside[:, :, -1] = False
    seeds = seed_mask(inside, min_distance=1999.0)
    assert np.unique(np.nonzero(seeds)[2]).tolist() == [2000]


@pytest.mark.parametrize("dtype", ALL)
def test_maxima(dtype: str) -> None:
    low, high = limits(dtype)
    image = np.full((40, 37), low, dtype)
    image[5, 5], image[20, 20], image[30, 30] = high, high // 2, 1
    found = bp.morphology.find_local_maxima(image, min_distance=2)
    assert found.tolist() == [[5, 5], [20, 20], [30, 30]]
    assert bp.morphology.find_local_maxima(checkered(dtype, (9, 33)), exclude_border=False).tolist() == [[0, 1]]


@pytest.mark.parametrize("dtype", ALL)
def test_intensities_of_objects(dtype: str) -> None:
    image = checkered(dtype, (40, 70))
    labels = np.where(np.indices(image.shape)[1] < 35, 1, 3)
    with np.errstate(over="ignore"):
        found = bp.morphology.regionprops(labels, intensity_image=image)
    low, high = limits(dtype)
    assert found["intensity_min"].tolist() == [low, low]
    assert found["intensity_max"].tolist() == [high, high]
    if dtype in ("u1", "i1", "u2", "i2", "u4", "i4"):
        assert found["intensity_sum"].tolist() == [700 * (int(low) + int(high))] * 2
        np.testing.assert_allclose(found["intensity_std"], (int(high) - int(low)) / 2, rtol=1e-12)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_ids_of_objects_and_holes(dtype: str) -> None:
    low, high = limits(dtype)
    labels = np.zeros((20, 33), dtype)
    labels[2:9, 2:30], labels[11:18, 2:30] = high, low or 1
    labels[4, 5:20] = labels[14, 7:9] = 0
    assert [int(one) for one in bp.morphology.morphology(labels)["label"]] == sorted([int(high), int(low) or 1])
    filled = bp.morphology.fill_holes(labels)
    assert (filled[2:9, 2:30] == high).all()
    assert (filled[11:18, 2:30] == (low or 1)).all()
    grown = bp.morphology.expand_labels(labels, 1)
    assert (grown[1, 2:30] == high).all()
    assert (grown[9, 2:30] == high).all()


@pytest.mark.parametrize("length", [*LONG, 40000])
def test_distances_along_lines(length: int) -> None:
    array = np.ones((3, length), bool)
    array[1, length // 3] = False
    expected = np.hypot(np.indices(array.shape)[0] - 1.0, np.indices(array.shape)[1] - length // 3).astype("f4")
    assert np.array_equal(bp.morphology.distance_transform(array), expected)


def test_joining_of_many_components() -> None:
    n = 70_000
    edges = np.stack([np.arange(1, n), np.arange(2, n + 1)], axis=1).astype(np.uint64)
    table, left = merge_table(np.array([n]), edges, np.arange(n))
    assert left == 1
    assert (table[1:] == 1).all()


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("factors", [(2, 2), (1, 2), (3, 2), (5, 3), (1, 16)])
def test_reductions_of_blocks(dtype: str, factors: tuple[int, int]) -> None:
    low, high = limits(dtype)
    for value in (low, high):
        full = np.full((16, 48), value, dtype)
        assert (mean_blocks(full, factors) == value).all()
        assert (mode_blocks(full, factors) == value).all()
    mixed = checkered(dtype, (16, 48))
    shape = [-(-size // factor) for size, factor in zip(mixed.shape, factors, strict=True)]
    found = mean_blocks(mixed, factors)
    for y, x in np.ndindex(*shape):
        block = mixed[y * factors[0] : (y + 1) * factors[0], x * factors[1] : (x + 1) * factors[1]]
        quotient, rest = divmod(sum(map(int, block.reshape(-1))), block.size)
        assert int(found[y, x]) == quotient + (2 * rest > block.size or (2 * rest == block.size and quotient % 2))


OPERATIONS = {
    "copy": lambda a, **on: bp.copy(a, **on),
    "mean": lambda a, **on: bp.downsample(a, 2, method="mean", **on),
    "mode": lambda a, **on: bp.downsample(a, 2, method="mode", **on),
    "mode_nonzero": lambda a, **on: bp.downsample(a, 2, method="mode_nonzero", **on),
    "stride": lambda a, **on: bp.downsample(a, 2, method="stride", **on),
    "anti_aliasing": lambda a, **on: bp.downsample(a, 2, anti_aliasing=True, **on),
    "pyramid": lambda a, **on: bp.pyramid(a, [2, 2], progress=False, **on)[-1],
    "gaussian": lambda a, **on: bp.filters.gaussian_smoothing(a, 1.0, **on),
    "gradient": lambda a, **on: bp.filters.gaussian_gradient_magnitude(a, 1.0, **on),
    "laplacian": lambda a, **on: bp.filters.laplacian_of_gaussian(a, 1.0, **on),
    "hessian": lambda a, **on: bp.filters.hessian_of_gaussian_eigenvalues(a, 1.0, **on),
    "tensor": lambda a, **on: bp.filters.structure_tensor_eigenvalues(a, 1.0, 2.0, **on),
    "bands": lambda a, **on: bp.filters.difference_of_gaussians(a, 1.0, **on),
    "contrast": lambda a, **on: bp.filters.normalize_local_contrast(a, 1.0, **on),
    "median": lambda a, **on: bp.filters.median(a, 3, **on),
    "percentile": lambda a, **on: bp.filters.percentile(a, 80, (2, 5), **on),
    "white_tophat": lambda a, **on: bp.filters.white_tophat(a, 4, **on),
    "black_tophat": lambda a, **on: bp.filters.black_tophat(a, 4, **on),
    "map": lambda a, **on: bp.map(lambda block: np.gradient(block.astype(float))[1], a, halo=1, **on),
    "add": lambda a, **on: bp.operations.add(a, 3, **on),
    "subtract": lambda a, **on: bp.operations.subtract(a, a, **on),
    "maximum": lambda a, **on: bp.operations.maximum(a, 7, **on),
    "greater": lambda a, **on: bp.operations.greater(a, 7, **on),
    "isin": lambda a, **on: bp.operations.isin(a, [3, 5, 600], **on),
    "summary": lambda a, **on: [getattr(bp.stats, one)(a, **on) for one in ("min", "max", "mean", "std")],
    "unique": lambda a, **on: bp.stats.unique(a, **on),
    "label": lambda a, **on: bp.segmentation.label(a, threshold=300, **on),
    "multi_label": lambda a, **on: bp.segmentation.label(a // 300, connectivity=2, **on),
    "watershed": lambda a, **on: bp.segmentation.watershed(a, (a > 590).astype(a.dtype), halo=24 if on else None, **on),
    "relabel": lambda a, **on: bp.segmentation.relabel_consecutive(a, **on)[0],
    "size_filter": lambda a, **on: bp.segmentation.size_filter(a, min_size=2, **on),
    "variation_of_information": lambda a, **on: bp.evaluation.variation_of_information(a // 50, a // 70, **on),
}


@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "i4", "u8", "i8"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_byte_order_changes_nothing(name: str, dtype: str) -> None:
    array = np.random.default_rng(1).integers(0, 600, (20, 24)).astype(f"<{dtype}")
    expected, found = (OPERATIONS[name](one) for one in (array, array.astype(f">{dtype}")))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    in_blocks = OPERATIONS[name](array.astype(f">{dtype}"), block_shape=(8, 24), num_workers=2)
    np.testing.assert_array_equal(np.asarray(in_blocks), np.asarray(OPERATIONS[name](array, block_shape=(8, 24))))


@pytest.mark.parametrize("shape", [(9, 11), (5, 6, 7), (1, 1), (3, 2, 2, 4)])
@pytest.mark.parametrize("dtype", [*ALL, "?", "f2", "c8", "c16", ">u2", ">i8", ">f4"])
def test_nearest_voxels_are_copied_to_the_bit(dtype: str, shape: tuple[int, ...]) -> None:
    rng, kind = np.random.default_rng(0), np.dtype(dtype)
    bits = rng.integers(0, 256, (*shape, kind.itemsize), dtype=np.uint8)
    bits[rng.random(shape) < 0.2] = 255  # NaN that signal, NaN that do not, and the largest ids
    array = (bits[..., 0] & 1).astype(bool) if kind.kind == "b" else bits.view(kind)[..., 0]
    if kind == np.float64:
        array.reshape(-1)[0] = np.array(0x7FF0000000000001, np.uint64).view(np.float64)
    last = np.array(shape).reshape(-1, *[1] * len(shape)) - 1
    places = rng.random((len(shape), *shape)) * last
    for number, place in enumerate((0.5, 1.5, 0.49999999999)[: array.size]):
        places.reshape(len(shape), -1)[:, number] = np.minimum(place, last.reshape(-1))
    whole = np.floor(places).astype(np.int64)
    expected = array[tuple(whole + (places - whole >= 0.5))]
    assert nearest_values(array, places).tobytes() == expected.astype(kind.newbyteorder("=")).tobytes()
    assert nearest_values(array, places[..., :0]).size == 0


@pytest.mark.parametrize("shape", [(9, 11), (5, 6, 7)])
@pytest.mark.parametrize("dtype", [*ALL, "?", "f2", ">u2", ">f4"])
def test_linear_values_are_rounded_once_half_up(dtype: str, shape: tuple[int, ...]) -> None:
    rng, kind = np.random.default_rng(0), np.dtype(dtype)
    array = checkered(dtype, shape) if kind.kind in "iu" else (rng.random(shape) * 2).astype(kind)
    if kind.kind == "f":
        array.reshape(-1)[::5] = np.finfo(kind).max / 2 ** ndimage_terms(shape)
    places = rng.random((len(shape), 12, 13, 14)[: len(shape) + 1]) * (
        np.array(shape).reshape(-1, *[1] * len(shape)) - 1
    )
    places[..., 0] = np.floor(places[..., 0])
    places[..., 1] = np.floor(places[..., 1]) + 0.5 if min(shape) > 1 else 0
    np.minimum(places, (np.array(shape).reshape(-1, *[1] * len(shape)) - 1), out=places)
    exact = ndimage.map_coordinates(array.astype(np.float64), places, order=1, prefilter=False)
    found = rounded(spline_values(array, places, 1), kind)
    assert found.dtype == kind
    wide = spline_values(array.astype(np.float64), places, 1)
    np.testing.assert_allclose(wide, exact, rtol=1e-13, atol=1e-12 * float(np.abs(exact).max()))
    np.testing.assert_array_equal(found, rounded(wide, kind))


def ndimage_terms(shape: tuple[int, ...]) -> int:
    """So many halvings keep a sum of that many neighbours finite."""
    return len(shape) + 1


@pytest.mark.parametrize("dtype", INTEGERS)
def test_values_beyond_a_type_are_cut_to_its_ends(dtype: str) -> None:
    low, high = limits(dtype)
    values = np.array(
        [float(low) * 2 - 9, float(low), -0.5, 0.49, 0.5, 2.5, float(high), float(high) * 2, np.nan, np.inf]
    )
    found = rounded(values.copy(), np.dtype(dtype))
    assert found.tolist() == [low, low, 0, 0, 1, 3, high, high, 0, high]


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u4", "u8", "f2", "f4", "f8"])
def test_superpixels_of_any_type_are_those_of_floats(dtype: str) -> None:
    walls = np.zeros((24, 25, 26), bool)
    walls[8] = walls[:, 12] = walls[:, :, 9] = True
    largest = 1 if dtype[0] in "?f" else np.iinfo(dtype).max
    kernel = Fragments(0.5, (), (3.0,) * 3, (1.0,) * 3, 0.8, 10)
    found = kernel(np.where(walls, np.array(largest, dtype), np.zeros((), dtype)))
    np.testing.assert_array_equal(found, kernel(walls.astype(np.float32)))
    inside, n = ndimage.label(~walls)
    for box in range(1, n + 1):
        assert len(np.unique(found[inside == box])) == 1
    assert len(np.unique(found)) == n == 8


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8"])
def test_edges_of_the_largest_ids(dtype: str) -> None:
    ids = np.iinfo(dtype).max - np.arange(6, dtype=dtype)
    labels = np.repeat(ids.reshape(2, 3), 40, axis=1).repeat(30, axis=0)
    table = edges_of(labels, of_boundaries(np.full(labels.shape, LEVELS, np.uint32)), (slice(0, 60), slice(0, 120)))
    pairs = [(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5)]
    assert table.ids.tolist() == sorted(sorted(map(int, ids[list(pair)])) for pair in pairs)
    assert (table.total == table.count.astype(np.uint64) * LEVELS).all()
    assert (table.squares == table.count.astype(np.uint64) * LEVELS**2).all()
    nodes = nodes_of(labels, np.zeros(labels.shape, np.uint32), (2**40, 0))
    assert nodes.ids.tolist() == sorted(map(int, ids))
    assert set(nodes.size.tolist()) == {1200}
    assert nodes.places[-1].tolist() == [1200 * 2**40 + 40 * sum(range(30)), 30 * sum(range(40))]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_partitions_do_not_depend_on_the_scale_of_costs(scale: float) -> None:
    edges = np.array([(one, one + 1) for one in range(99)])
    signs = np.where(np.arange(99) % 10 == 9, -2.0, 1.0)
    ones = np.ones(99)
    given = Problem(np.zeros((100, 3)), np.ones(100, np.int64), edges, signs * scale, ones, ones > 0)
    for way in (*SOLVERS, "mean linkage"):
        assert solved(given, way).tolist() == (np.arange(100) // 10).tolist(), way
