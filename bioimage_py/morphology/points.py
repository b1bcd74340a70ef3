"""The operation `map_points_to_objects`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from ..arguments import number
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.stages import BlocksStage, run_stages
from ..errors import ParameterError, ShapeError
from ..runner.ledger.stage_record import Results
from ..runner.planning.build import Where, plan_groups
from ..sources.along import steps_of
from .measures.measuring import as_labels
from .points_blocks import MapPoints, joined


@operation(
    positional=("block_shape",),
    omit=("casting", "mask", "skip_empty", "roi"),
    axes="voxels",
    declaration=Declaration("exact", "scipy.spatial.KDTree", "as far as the nearest object", 12.0),
)
def map_points_to_objects(
    segmentation: Any,
    points: Any,
    *,
    halo: Any = None,
    sampling: float | Sequence[float] | None = None,
    max_distance: float | None = None,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> tuple[np.ndarray, np.ndarray]:
    """The object nearest to each point, and how far it is; exact whatever the blocks.

    A block with points is read once; only where a point's nearest object may lie farther off, more of its surroundings
    are read, in parts.

    Parameters
    ----------
    segmentation : source-like
        Labels, any integer type or bool; 0 is background.
    points : array_like, shape (n, ndim)
        Voxels, in the order of the axes; fractions are cut off.
    halo : int or sequence of int, optional
        Not needed, and taken for scripts that give it: the nearest object is found wherever it is.
    sampling : float or sequence of float, optional
        Size of a voxel along each axis, by default 1.
    max_distance : float, optional
        Objects farther away do not count.
    physical : bool, default False
        Distances, also `max_distance`, are in the units of the axes, which say the sizes of voxels instead of
        `sampling`. Points are voxels all the same.

    Returns
    -------
    ids : ndarray, in the type of the labels
        Of several nearest objects the lowest id; 0 where there is none, and for points outside of the volume.
    distances : ndarray of float32
        0 for a point in an object, infinity where there is none.

    Raises
    ------
    DtypeError
        Labels that are not integers.
    ShapeError
        Points of another shape.
    ParameterError
        Points that are no finite numbers, a sampling or distance that is none.
    """
    job, source = Job.of(run), as_labels(segmentation, "map_points_to_objects")
    where = _voxels(points, source.ndim)
    sizes = steps_of(source.axes, sampling, name="sampling", physical=physical)
    within = np.inf if max_distance is None else number("max_distance", max_distance, example=10.0)
    kind = np.dtype(np.uint8) if source.dtype.kind == "b" else source.dtype.newbyteorder("=")
    ids, distances = np.zeros(len(where), kind), np.full(len(where), np.inf, np.float32)
    inside = np.flatnonzero(((where >= 0) & (where < source.shape)).all(axis=1))
    if job.whole([source]):
        job = job.as_one(source.shape)
    if not len(inside):
        return ids, distances
    grid = plan_groups(tuple(source.shape), [source], [], job.block_shape, None).grid
    of = np.ravel_multi_index(tuple((where[inside] // np.array(grid.block_shape)).T), tuple(grid.grid_shape))
    if job.block_ids is not None:
        chosen = np.isin(of, np.asarray(job.block_ids))
        inside, of = inside[chosen], of[chosen]
    order = np.argsort(of, kind="stable")
    inside, of = inside[order], of[order]
    blocks, begins = np.unique(of, return_index=True)
    if not len(blocks):
        return ids, distances
    kernel = MapPoints(where[inside], np.append(begins, len(inside)), blocks, sizes, float(within))
    stage = BlocksStage(
        "points",
        kernel,
        [source],
        where=Where(grid.block_shape, block_ids=blocks.tolist()),
        returns="fold",
        merge=joined,
        memory_factor=12.0,
    )
    found: Results = run_stages("map_points_to_objects", [stage], job).results
    ids[inside], distances[inside] = found["points"]
    return ids, distances


def _voxels(points: Any, ndim: int) -> np.ndarray:
    given = np.asarray(points)
    if given.size == 0:
        return np.empty((0, ndim), np.int64)
    if given.ndim != 2 or given.shape[1] != ndim:
        raise ShapeError(f"points have the shape {given.shape}", remedy=f"points of shape (n, {ndim})")
    if given.dtype.kind not in "iuf" or not np.isfinite(given).all():
        raise ParameterError("points are not all finite numbers", remedy="points[np.isfinite(points).all(axis=1)]")
    return np.asarray(np.clip(np.floor(given), -1, 2**62), np.int64)
