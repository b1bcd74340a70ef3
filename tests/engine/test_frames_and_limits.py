"""Every operation that works along axes: frame by frame, and in blocks at the limits of data types, as on the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioimage_py import (
    copy,
    downsample,
    evaluation,
    filters,
    morphology,
    operations,
    segmentation,
    stats,
    transformation,
)
from bioimage_py.catalogue.operations import declared
from bioimage_py.errors import BioimageError
from bioimage_py.sources import Axis, as_source
from bioimage_py.sources.along import working_axes
from bioimage_py.wrapper import AxesSource

QUIET: dict[str, Any] = {"progress": False}
DTYPES = ("?", "u1", "i1", ">i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
SMOOTH: dict[str, Any] = {"sigma": 0.7}


def sheared(data: Any, **how: Any) -> Any:
    n = len(working_axes(as_source(data).axes))
    return transformation.affine(data, np.eye(n, n + 1) * 0.9 + 0.06, order=1, **how)


CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "downsample": (downsample, {"scale_factor": 2, "method": "mean"}),
    "downsample mode": (downsample, {"scale_factor": 2, "method": "mode"}),
    "filters.apply_filter": (filters.apply_filter, {"filter_name": "gaussian_gradient_magnitude", "sigma": 0.7}),
    "filters.black_tophat": (filters.black_tophat, {"size": 4}),
    "filters.white_tophat": (filters.white_tophat, {"size": 3}),
    "filters.difference_of_gaussians": (filters.difference_of_gaussians, {"low_sigma": 0.7}),
    "filters.gaussian_gradient_magnitude": (filters.gaussian_gradient_magnitude, SMOOTH),
    "filters.gaussian_smoothing": (filters.gaussian_smoothing, SMOOTH),
    "filters.hessian_of_gaussian_eigenvalues": (filters.hessian_of_gaussian_eigenvalues, SMOOTH),
    "filters.laplacian_of_gaussian": (filters.laplacian_of_gaussian, SMOOTH),
    "filters.structure_tensor_eigenvalues": (filters.structure_tensor_eigenvalues, {**SMOOTH, "outer_scale": 0.6}),
    "filters.normalize_local_contrast": (filters.normalize_local_contrast, SMOOTH),
    "filters.median": (filters.median, {"size": 3}),
    "filters.percentile": (filters.percentile, {"percentile": 30, "size": 3}),
    "filters.rank": (filters.rank, {"rank": -1, "size": 3}),
    "morphology.binary_closing": (morphology.binary_closing, {}),
    "morphology.binary_dilation": (morphology.binary_dilation, {}),
    "morphology.binary_erosion": (morphology.binary_erosion, {"border_value": 1}),
    "morphology.binary_opening": (morphology.binary_opening, {}),
    "morphology.distance_transform": (morphology.distance_transform, {}),
    "morphology.distance_transform near": (morphology.distance_transform, {"max_distance": 2.5}),
    "morphology.expand_labels": (morphology.expand_labels, {"distance": 1.5}),
    "morphology.fill_holes": (morphology.fill_holes, {}),
    "morphology.find_local_maxima": (morphology.find_local_maxima, {"exclude_border": False, "threshold_abs": 0}),
    "morphology.morphology": (morphology.morphology, {}),
    "morphology.regionprops": (morphology.regionprops, {"verbose": False}),
    "morphology.remove_small_holes": (morphology.remove_small_holes, {"max_size": 3}),
    "morphology.remove_small_objects": (morphology.remove_small_objects, {"max_size": 3}),
    "segmentation.contacts": (segmentation.contacts, {}),
    "segmentation.keep_largest": (segmentation.keep_largest, {"n": 2}),
    "segmentation.label": (segmentation.label, {"threshold": 0}),
    "segmentation.majority": (segmentation.majority, {"size": 3}),
    "segmentation.remove_border_objects": (segmentation.remove_border_objects, {}),
    "segmentation.split_disconnected": (segmentation.split_disconnected, {}),
    "transformation.affine": (sheared, {}),
    "transformation.pad": (transformation.pad, {"pad_width": 2, "mode": "reflect"}),
    "transformation.resample": (transformation.resample, {"scale": 0.5, "order": 1}),
    "transformation.resample ids": (transformation.resample, {"scale": 1.5, "order": 0}),
}


def beside(call: Callable[..., Any]) -> Callable[..., Any]:
    """A score of an array, by runs of three voxels as the truth."""

    def scored(data: Any, **how: Any) -> Any:
        return call(data, np.arange(data.size).reshape(data.shape) // 3, **how)

    return scored


def to_points(data: Any, **how: Any) -> Any:
    return morphology.map_points_to_objects(data, np.argwhere(np.ones((2,) * data.ndim)) * 3, **how)


def same_twice(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda data, **how: call(data, data, casting="unsafe", **how)


SCORES = (
    "average_precision", "contingency_table", "cremi_score", "dice_score", "hausdorff_distance", "matched_pairs",
    "matching", "mean_segmentation_accuracy", "object_vi", "rand_index", "symmetric_best_dice_score",
    "variation_of_information",
)  # fmt: skip
VOXELS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "copy": (copy, {}),
    **{f"evaluation.{name}": (beside(getattr(evaluation, name)), {}) for name in SCORES},
    "evaluation.centroid_matching": (beside(evaluation.centroid_matching), {"distance_threshold": 2}),
    "morphology.map_points_to_objects": (to_points, {}),
    **{
        f"operations.{name}": (same_twice(getattr(operations, name)), {})
        for name in ("add", "divide", "maximum", "minimum", "multiply", "subtract")
    },
    **{
        f"operations.{name}": (getattr(operations, name), {"y": 2})
        for name in ("greater", "greater_equal", "less", "less_equal")
    },
    "operations.apply_operation": (operations.apply_operation, {"y": 2, "operation": np.maximum}),
    "operations.isin": (operations.isin, {"test_values": [1, 3]}),
    "segmentation.intersect": (beside(segmentation.intersect), {}),
    "segmentation.merge_labels": (segmentation.merge_labels, {"table": [(1, 2)]}),
    "segmentation.relabel_consecutive": (segmentation.relabel_consecutive, {}),
    "segmentation.size_filter": (segmentation.size_filter, {"min_size": 3, "relabel": False}),
    **{
        f"stats.{name}": (getattr(stats, name), {})
        for name in ("max", "mean", "mean_and_std", "min", "min_and_max", "std", "summary", "unique")
    },
}
ELSEWHERE = {
    "inference.predict": "tests/inference",
    "mesh.surfaces": "tests/mesh",
    "morphology.skeletonize": "tests/morphology/test_binary.py; it has no blocks",
    "pyramid": "test_axes.py",
    "segmentation.distance_watershed": "tests/segmentation; blocks show",
    "segmentation.stitch_segmentation": "tests/segmentation; blocks show",
    "segmentation.stitch_tiled_segmentation": "tests/segmentation; blocks show",
    "segmentation.watershed": "test_axes.py",
    "skeleton.trace": "tests/skeleton",
    "transformation.warp": "tests/transformation; it takes a field",
}
IN_MEMORY: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    np.array,
    np.asfortranarray,
    lambda array: np.flip(np.flip(array).copy()),
    lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
)
VOXELS_ELSEWHERE = {
    **{f"graph.{name}": "tests/graph" for name in ("agglomerate", "correct", "lifted_multicut", "multicut")},
    "graph.region_graph": "tests/graph",
    "segmentation.mutex_watershed": "tests/segmentation; blocks show",
    "segmentation.relabel": "tests/segmentation; it takes a table of all ids",
    "segmentation.segmentation_filter": "tests/segmentation; blocks show",
    **{f"transformation.{name}": "tests/transformation; views" for name in ("crop", "flip", "rotate90", "transpose")},
}
ROUNDED = ("filters.apply_filter", "filters.diff", "filters.gauss", "filters.hess", "filters.lapl", "filters.struc")
TABLES = ("find_local_maxima", "morphology.morphology", "regionprops", "contacts")
PARTITIONS = ("segmentation.label", "segmentation.split_disconnected")


def test_every_operation_is_here() -> None:
    with_axes = {name.partition(" ")[0] for name in CALLS} | set(ELSEWHERE)
    assert with_axes == {one.full_name for one in declared() if "axes" in one.shared}
    assert {*VOXELS, *VOXELS_ELSEWHERE} == {one.full_name for one in declared() if "axes" not in one.shared}


def called(name: str, data: Any, **how: Any) -> Any:
    """The result, or None where the operation refuses the data: floats as labels, ids that leave no number free."""
    call, own = {**CALLS, **VOXELS}[name]
    try:
        return call(data, **own, **how, **({} if "verbose" in own else QUIET))
    except BioimageError:
        return None


@pytest.mark.parametrize("name", [*CALLS, *VOXELS])
def test_no_call_is_refused_as_it_is(name: str) -> None:
    assert called(name, np.ones((4, 5, 6), np.uint8), block_shape=3) is not None


@st.composite
def values(draw: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Few values, or the least and the greatest of a type, with NaN and infinity."""
    rng, kind = np.random.default_rng(draw(st.integers(0, 10**6))), np.dtype(dtype)
    if kind.kind == "f":
        pool: Any = [1, -2.5, 7, *(np.nan, np.inf, -np.inf) * draw(st.booleans())]
    elif kind.kind == "b" or draw(st.booleans()):
        pool = [1, 2, 3]
    else:
        ends = np.iinfo(kind)
        pool = [ends.min, 1, ends.max - 1, ends.max]
    found = np.array(pool, kind)[rng.integers(0, len(pool), shape)]
    return np.where(rng.random(shape) < draw(st.sampled_from([0.1, 0.5, 0.9])), np.zeros(1, kind), found).astype(kind)


def equal(name: str, one: Any, other: Any) -> bool:
    if hasattr(one, "columns"):
        return list(one.columns) == list(other.columns) and all(equal(name, one[key], other[key]) for key in one)
    if is_dataclass(one):
        one, other = vars(one), vars(other)
    if isinstance(one, dict):
        one, other = [*one, *one.values()], [*other, *other.values()]
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(equal(name, *pair) for pair in zip(one, other, strict=True))
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype.kind not in "buif":
        return one.tolist() == other.tolist()
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if name.startswith(
        (*ROUNDED, "filters.normalize", "morphology.regionprops", "stats.mean", "stats.std", "stats.summary")
    ):
        scale = np.max(np.abs(one), initial=1, where=np.isfinite(one))
        return np.allclose(one, other, rtol=1e-4, atol=1e-4 * scale, equal_nan=True)
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


@pytest.mark.parametrize("name", [*CALLS, *VOXELS])
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_blocks_regions_and_masks_at_the_limits_of_types(name: str, data: st.DataObject) -> None:
    ndim = data.draw(st.integers(1, 3))
    shape = data.draw(st.tuples(*[st.integers(1, 9)] * ndim))
    array = data.draw(values(shape, data.draw(st.sampled_from(DTYPES))))
    where: dict[str, Any] = {}
    if not name.startswith(("downsample", "transformation")):
        if data.draw(st.booleans()) and name != "morphology.map_points_to_objects":
            where["mask"] = np.random.default_rng(data.draw(st.integers(0, 99))).random(shape) < 0.7
        if data.draw(st.booleans()) and name != "morphology.map_points_to_objects":
            low = [data.draw(st.integers(0, size - 1)) for size in shape]
            where["roi"] = tuple(slice(a, data.draw(st.integers(a + 1, n))) for a, n in zip(low, shape, strict=True))
    whole = called(name, array, **where)
    turned = data.draw(st.sampled_from(IN_MEMORY))(array)
    blocks = data.draw(st.tuples(*[st.integers(1, 6)] * ndim))
    for how in ({}, {"block_shape": blocks, "num_workers": 2}):
        found = called(name, turned, **how, **where)
        assert (whole is None) == (found is None)
        assert whole is None or equal(name, whole, found)


@pytest.mark.parametrize("name", [name for name in CALLS if not name.endswith(TABLES)])
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_a_frame_is_as_if_there_were_no_others(name: str, data: st.DataObject) -> None:
    ndim = data.draw(st.integers(1, 3))
    shape = data.draw(st.tuples(*[st.integers(1, 7)] * ndim))
    array = data.draw(values((3, *shape), data.draw(st.sampled_from([one for one in DTYPES if one != ">i2"]))))
    axes = [Axis("t", "time"), *map(Axis, "zyx"[3 - ndim :])]
    last = data.draw(st.booleans())
    source = AxesSource(np.moveaxis(array, 0, -1), [*axes[1:], axes[0]]) if last else AxesSource(array, axes)
    blocks = {"block_shape": data.draw(st.tuples(*[st.integers(1, 5)] * (ndim + 1))), "num_workers": 2}
    expected = [called(name, frame) for frame in array]
    for how in ({}, blocks):
        found = called(name, source, **how)
        if any(one is None for one in expected) or found is None:
            # ids of all frames are one numbering, which may leave no number where that of a frame does
            assert found is None or name in PARTITIONS or all(one is None for one in expected)
            continue
        for number, frame in enumerate(expected):
            part = np.take(found, number, axis=-1 if last else np.ndim(frame) - ndim)
            if name in PARTITIONS:
                pairs = np.unique(np.stack([part.reshape(-1), frame.reshape(-1)]), axis=1)
                assert pairs.shape[1] == len(set(pairs[0])) == len(set(pairs[1])), "the same partition"
            else:
                assert equal(name, part, frame)
