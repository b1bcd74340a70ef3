"""Public names of the drop-in promise, and signatures and results as JSON values that can be recorded and compared."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

ARITHMETIC = ("add", "subtract", "multiply", "divide", "minimum", "maximum")
COMPARISONS = ("greater", "greater_equal", "less", "less_equal")
STATISTICS = ("min", "max", "mean", "std", "min_and_max", "mean_and_std")
SCORES = (
    "best_dice_scores",
    "centroid_matching",
    "coordinate_matching",
    "cremi_score",
    "cremi_scores",
    "dice_score",
    "matching",
    "matching_scores",
    "mean_segmentation_accuracy",
    "mean_segmentation_accuracy_scores",
    "object_vi",
    "object_vi_scores",
    "symmetric_best_dice_score",
)
STITCHING = (
    "compute_edge_costs",
    "multicut_decomposition",
    "multicut_gaec",
    "multicut_kernighan_lin",
    "stitch_segmentation",
    "stitch_tiled_segmentation",
    "transform_probabilities_to_costs",
)
RUN_KEYWORDS = ("block_shape", "job_type", "job_config", "num_workers", "mask", "block_ids", "resume_from")
WRAPPERS = (
    "AffineSource",
    "ExpandDimsSource",
    "MultiTransformationSource",
    "NormalizeSource",
    "PadSource",
    "ResizedSource",
    "SimpleTransformationSource",
    "SimpleTransformationWithHaloSource",
    "ThresholdSource",
    "TransformationSource",
    "WrapperSource",
    "register_wrapper",
    "wrapper_from_spec",
)
CLASSES = (
    "evaluation.ContingencyTable",
    "runner.Runner",
    "runner.RunnerError",
    "sources.ArraySource",
    "sources.FileSource",
    "sources.Source",
    "sources.SourceSpec",
    # the constant that NormalizeSource of the peer adds to the range of each block has no meaning here
    *(f"wrapper.{name}" for name in WRAPPERS if name[0].isupper() and name != "NormalizeSource"),
    "wrapper.RoiSource",
)
NAMES = (
    "as_source",
    "copy",
    "downsample",
    "get_runner",
    "open_source",
    "to_roi",
    "evaluation.ContingencyTable",
    "evaluation.ContingencyTable.as_dicts",
    "evaluation.ContingencyTable.drop_ignore",
    "evaluation.contingency_table",
    "evaluation.rand_index",
    "evaluation.rand_scores",
    "evaluation.variation_of_information",
    "evaluation.vi_scores",
    "filters.apply_filter",
    "filters.gaussian_gradient_magnitude",
    *(f"evaluation.{name}" for name in SCORES),
    "filters.gaussian_smoothing",
    "filters.laplacian_of_gaussian",
    "io.constructor_for_format",
    "io.format_for_extension",
    "io.infer_format",
    "io.is_writable_format",
    "io.open_file",
    "io.register_format",
    "io.supported_extensions",
    "io.supported_formats",
    "morphology.distance_transform",
    "morphology.find_local_maxima",
    "morphology.map_points_to_objects",
    "morphology.morphology",
    "morphology.regionprops",
    *(f"operations.{name}" for name in (*ARITHMETIC, *COMPARISONS)),
    "operations.apply_operation",
    "operations.isin",
    "runner.Runner",
    "runner.Runner.map",
    "runner.Runner.run",
    "runner.RunnerError",
    "runner.get_runner",
    "segmentation.label",
    "segmentation.relabel",
    "segmentation.relabel_consecutive",
    "segmentation.segmentation_filter",
    "segmentation.size_filter",
    "segmentation.watershed",
    *(f"segmentation.{name}" for name in STITCHING),
    "sources.ArraySource",
    "sources.ArraySource.reopen",
    "sources.FileSource",
    "sources.FileSource.reopen",
    "sources.Source.to_spec",
    "sources.SourceSpec",
    "sources.as_source",
    "sources.from_spec",
    "sources.open_source",
    "sources.register_source",
    *(f"stats.{name}" for name in (*STATISTICS, "unique")),
    "util.check_direct",
    "util.check_rerun_args",
    "util.derive_block_shape",
    "util.downscale_shape",
    "util.full_roi",
    "util.get_blocking",
    "util.group_blocks_by_shard",
    "util.is_direct",
    "util.maybe_warn_imbalance",
    "util.normalize_halo",
    "util.same_array",
    "util.sigma_to_halo",
    "util.take_mapping",
    "util.to_roi",
    *(
        f"transformation.{name}"
        for name in (
            "compute_affine_matrix",
            "transform_coordinate",
            "transform_roi_with_affine",
            "transform_subvolume_affine",
            "transform_subvolume_coordinates",
        )
    ),
    *(f"wrapper.{name}" for name in WRAPPERS),
    "wrapper.RoiSource",
)


def package_part(package: str) -> Callable[[str], Any]:
    """Function from "" or "stats", "util", ... to the module."""
    return lambda name: importlib.import_module(f"{package}.{name}" if name else package)


def describe(value: Any) -> Any:
    """A JSON value that is equal for equal results and small for large arrays."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return _describe_array(value)
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, Mapping):
        return {"dict": [[describe(key), describe(value[key])] for key in sorted(value)]}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if is_dataclass(value):
        return {field.name: describe(getattr(value, field.name)) for field in fields(value)}
    return {"type": type(value).__name__}


def _describe_array(array: np.ndarray) -> dict[str, Any]:
    shown: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.dtype.kind == "f":
        flat = array.ravel()
        shown["sample"] = [float(f"{value:.7g}") for value in flat[:: max(1, flat.size // 61)]]
        shown["mean"] = float(f"{np.mean(flat, dtype=np.float64):.9g}") if flat.size else 0.0
        return shown
    shown["digest"] = _digest(array)
    if array.dtype.kind == "u" and array.ndim > 1:
        shown["ranked"] = _digest(ranked(array))
    return shown


def ranked(labels: np.ndarray) -> np.ndarray:
    """Labels numbered 1.. by their first voxel in C order, 0 kept: equal for equal partitions."""
    ids, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(np.where(ids == 0, -1, first), kind="stable")
    rank = np.empty(len(ids), dtype=np.int64)
    rank[order] = np.arange(len(ids)) + (0 if 0 in ids else 1)
    return rank[inverse.reshape(labels.shape)]


def _digest(array: np.ndarray) -> str:
    whole = array.astype(np.uint8 if array.dtype == bool else np.int64 if array.dtype.kind == "i" else np.uint64)
    return hashlib.sha1(np.ascontiguousarray(whole).astype(whole.dtype.newbyteorder("<")).tobytes()).hexdigest()[:16]


def resolve(part: Callable[[str], Any], name: str) -> Any:
    """The object of a dotted name: "copy", "stats.max" or "runner.Runner.run"."""
    first, *rest = name.split(".")
    found = part(first) if rest else part("")
    for attribute in rest or [first]:
        found = getattr(found, attribute)
    return found


def describe_signature(function: Any) -> list[dict[str, Any]]:
    """Name, kind and default of every parameter; a default that JSON cannot hold as its repr."""
    described = []
    for parameter in inspect.signature(function).parameters.values():
        entry: dict[str, Any] = {"name": parameter.name, "kind": parameter.kind.name}
        if parameter.default is not inspect.Parameter.empty:
            simple = parameter.default is None or isinstance(parameter.default, bool | int | float | str)
            entry["default"] = parameter.default if simple else repr(parameter.default)
        described.append(entry)
    return described


def public_members(cls: type) -> list[str]:
    """Names of a class without those that start with an underscore, annotated and dataclass fields included."""
    declared = [field.name for field in fields(cls)] if is_dataclass(cls) else []
    return sorted({name for name in (*dir(cls), *declared) if not name.startswith("_")})
