"""The scores `centroid_matching` and `coordinate_matching`: objects that are found where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from ..arguments import number
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.stages import BlocksStage, run_stages
from ..errors import DtypeError, ParameterError, ShapeError
from ..sources import as_source
from ..sources.along import steps_of
from .assignment import most_pairs
from .geometry import GeometryBlock, merge_geometries
from .objects import background_of, scores_of
from .table import check_labels

Points = npt.NDArray[np.float64]


@operation(
    omit=("block_ids", "resume_from", "skip_empty", "casting"),
    declaration=Declaration("exact", "numpy.add.reduceat, scipy.spatial.cKDTree, scipy.sparse.csgraph", memory=4.0),
)
def centroid_matching(
    segmentation: Any,
    groundtruth: Any,
    *,
    distance_threshold: float,
    resolution: Sequence[float] | None = None,
    ignore_label: int | None = 0,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> dict[str, float]:
    """Share of the objects that are found, by the distance of their centroids.

    The result is exactly that of the whole arrays, whatever the blocks.

    Parameters
    ----------
    segmentation, groundtruth : source-like
        Label volumes of one shape, any integer types.
    distance_threshold : float
        Largest distance of two centroids that match, at least 0.
    resolution : sequence of float, optional
        Distance between neighbouring voxels along each axis of the arrays; 1 by default.
    ignore_label : int, optional
        Background of both; None if there is none.
    physical : bool, default False
        The threshold counts in the units of the axes of the ground truth, instead of with a `resolution`.

    Returns
    -------
    dict
        precision, recall, segmentation_accuracy, f1, as of `matching_scores`. A segment and an object match once at
        most, and as many as possible are matched.

    Raises
    ------
    ParameterError
        For a threshold or a resolution that makes no sense.
    DtypeError
        If the labels are not integers.

    Examples
    --------
    >>> import numpy as np, bioimage_py as bp
    >>> a, b = np.array([1, 1, 0, 0, 2]), np.array([0, 7, 7, 0, 0])
    >>> bp.evaluation.centroid_matching(a, b, distance_threshold=1, progress=False)["recall"]
    1.0
    """
    job, sources = Job.of(run), [as_source(segmentation), as_source(groundtruth)]
    for source, name in zip(sources, ("segmentation", "groundtruth"), strict=True):
        check_labels(source.dtype, name)
    _threshold(distance_threshold)
    background_of(ignore_label)
    resolution = steps_of(sources[1].axes, resolution, name="resolution", physical=physical)
    _scaled(np.empty((0, sources[0].ndim)), resolution)
    if job.whole(sources):
        job = job.as_one(sources[0].shape)
    stage = BlocksStage(
        "centroids", GeometryBlock(), sources, returns="fold", merge=merge_geometries, memory_factor=4.0
    )
    found = run_stages("centroid_matching", [stage], job).results["centroids"]
    if found is None:
        return scores_of(0, 0, 0)
    points = [one.without(ignore_label).centroids for one in found]
    return coordinate_matching(*points, distance_threshold=distance_threshold, resolution=resolution)


def coordinate_matching(
    coordinates_a: Any, coordinates_b: Any, *, distance_threshold: float, resolution: Sequence[float] | None = None
) -> dict[str, float]:
    """Share of the points that are found, by their distance.

    Parameters
    ----------
    coordinates_a, coordinates_b : array_like of float, shapes (n, axes) and (m, axes)
        Points that are scored, and true ones.
    distance_threshold : float
        Largest distance of two points that match, at least 0.
    resolution : sequence of float, optional
        Factor of each axis; 1 by default.

    Returns
    -------
    dict
        precision, recall, segmentation_accuracy, f1, as of `matching_scores`. Points match once at most, and as many as
        possible are matched. Memory: what lies within the threshold of each other, not all pairs.

    Raises
    ------
    ParameterError
        For a threshold or a resolution that makes no sense, or coordinates that are NaN or infinite.
    ShapeError
        If the points have different numbers of axes.
    DtypeError
        If they are no numbers.

    Examples
    --------
    >>> from bioimage_py.evaluation import coordinate_matching
    >>> coordinate_matching([[0, 0], [5, 5]], [[0, 1]], distance_threshold=1)["precision"]
    0.5
    """
    limit = _threshold(distance_threshold)
    a, b = (_points(one, name) for one, name in ((coordinates_a, "coordinates_a"), (coordinates_b, "coordinates_b")))
    if len(a) and len(b) and a.shape[1] != b.shape[1]:
        raise ShapeError(f"points of {a.shape[1]} and of {b.shape[1]} axes", remedy="arrays of shape (n, axes)")
    rows, columns = _near(_scaled(a, resolution), _scaled(b, resolution), limit)
    return scores_of(most_pairs(rows, columns), len(a), len(b))


def _near(a: Points, b: Points, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of points within a distance."""
    empty = np.empty(0, np.int64)
    if not len(a) or not len(b):
        return empty, empty
    from scipy.spatial import cKDTree

    # a little more than asked for, so that rounding within the tree cannot lose a pair at the very limit
    lists = cKDTree(b).query_ball_point(a, min(limit * (1 + 1e-9), np.finfo(float).max))
    rows = np.repeat(np.arange(len(a)), [len(one) for one in lists])
    columns = np.concatenate([empty, *(np.array(one, np.int64) for one in lists if one)])
    near = np.sqrt(np.square(a[rows] - b[columns]).sum(axis=1)) <= limit
    return rows[near], columns[near]


def _threshold(value: Any) -> float:
    return float(number("distance_threshold", value, least=0, example=5.0))


def _points(given: Any, name: str) -> Points:
    try:
        array = np.asarray(given)
    except ValueError:
        raise ShapeError(f"{name} have rows of several lengths", remedy=f"{name}=[[0, 0], [5, 5]]") from None
    if array.size and array.dtype.kind not in "biuf":
        raise DtypeError(f"{name} are no numbers but {array.dtype}", remedy=f"{name}=numpy.array([[0, 0], [5, 5]])")
    if array.ndim != 2 and array.size:
        raise ShapeError(f"{name} have the shape {array.shape}, not (n, axes)", remedy=f"{name}=[[0, 0], [5, 5]]")
    points = array.astype(np.float64).reshape(len(array), -1) if array.size else np.empty((0, 1))
    if not np.isfinite(points).all():
        wrong = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise ParameterError(f"{name}[{wrong}] is {points[wrong].tolist()}", remedy="leave such points out")
    return points


def _scaled(points: Points, resolution: Any) -> Points:
    if resolution is None:
        return points
    factors = np.asarray(resolution)
    right = factors.dtype.kind in "iuf" and factors.ndim == 1 and (len(factors) == points.shape[1] or not len(points))
    if not right or not (np.isfinite(factors) & (factors > 0)).all():
        raise ParameterError(
            f"resolution={resolution!r} is not a positive number for each of {points.shape[1]} axes",
            remedy=f"resolution={(1.0,) * points.shape[1]}",
        )
    return points * factors if len(points) else points
