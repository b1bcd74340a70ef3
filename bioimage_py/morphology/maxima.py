"""The operation `find_local_maxima`."""

from __future__ import annotations

import math
import operator
from typing import Any, Unpack

import numpy as np

from ..arguments import number
from ..blocks import region_bounds
from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.stages import BlocksStage, OnceStage, run_stages
from ..errors import DtypeError, ParameterError
from ..runner.planning.build import plan_groups
from ..sources import Source, as_source
from ..sources.along import lengths
from .maxima_blocks import ChooseMaxima, FindCandidates


@operation(
    omit=("casting", "skip_empty"),
    axes="space",
    declaration=Declaration(
        "exact", "cv2.dilate; comparator network (numpy) for other types and far windows", "min_distance", 8.0
    ),
)
def find_local_maxima(
    input: Any,
    *,
    min_distance: float = 1,
    threshold_abs: float | None = None,
    threshold_rel: float | None = None,
    exclude_border: bool | int = True,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> np.ndarray:
    """Coordinates of the local maxima; the same for any blocks.

    A voxel is a maximum where none within `min_distance` voxels along every axis is higher. Maxima that touch, also by
    a corner, are one plateau, whatever its size, and counted once: by its first voxel in C order. Of maxima of equal
    height that are nearer than `min_distance`, the first is kept. Without plateaus it is the result of
    `skimage.feature.peak_local_max`.

    Parameters
    ----------
    input : source-like
        Real numbers. NaN is no maximum, and hides none.
    min_distance : int (float where `physical` is set)
        Least distance of maxima along any axis, in voxels; 1 or more.
    threshold_abs : float, optional
        Maxima are above it; by default above the lowest value of the whole volume (inside mask and region).
    threshold_rel : float, optional
        And above so many times the highest value of the whole volume.
    exclude_border : bool or int
        Leave out maxima within so many voxels of the volume's border; True stands for `min_distance`, False for 0.
    physical : bool, default False
        `min_distance` counts in the units of the input's axes, and need not be whole: along each axis it is rounded
        down to whole voxels, at least one.

    Returns
    -------
    ndarray of int64, shape (n, ndim)
        The highest first, of equal ones in C order.

    Raises
    ------
    DtypeError
        Complex input.
    ParameterError
        A distance below 1, a threshold that is no number, or ``block_ids=``: what is relative to the whole volume needs
        all blocks.

    Examples
    --------
    >>> find_local_maxima(np.array([0, 1, 0, 3, 3, 0, 2, 0]))
    array([[3],
           [6],
           [1]])
    """
    job, source = Job.of(run), as_source(input)
    if source.dtype.kind not in "biuf":
        raise DtypeError(f"find_local_maxima cannot order values of type {source.dtype}", remedy="np.abs(array)")
    if job.block_ids is not None:
        raise ParameterError(
            "find_local_maxima needs all blocks, block_ids= asks for some", remedy="roi=(slice(0, 64),)"
        )
    along, shape = job.along(source), tuple(source.shape)
    distance = _distances(min_distance, source, along, physical=physical)
    border = distance if exclude_border is True else (operator.index(exclude_border),) * len(along)
    region = tuple(region_bounds(job.roi, shape))
    above = None if threshold_abs is None else number("threshold_abs", threshold_abs, example=0.5)
    if above is not None and source.dtype.kind in "iu" and math.isfinite(above):
        above = math.floor(above)  # the same for integers, which numpy then compares exactly
    relative = None if threshold_rel is None else number("threshold_rel", threshold_rel, example=0.1)
    if not source.size:
        return np.empty((0, source.ndim), np.int64)
    if job.whole([source]):
        job = job.as_one(shape)
    lattice = plan_groups(shape, [source], [], job.block_shape, job.roi).grid.grid_shape
    halo = [0] * source.ndim
    for axis, one in zip(along, distance, strict=True):
        halo[axis] = one
    find = FindCandidates(along, distance, above, shape, region, border)
    choose = ChooseMaxima(lattice, along, distance, above, relative, shape)
    factor = 5.0 + 12 / source.dtype.itemsize
    stages: list[BlocksStage | OnceStage] = [
        BlocksStage("candidates", find, [source], halo=halo, returns="each", memory_factor=factor),
        OnceStage("maxima", choose),
    ]
    found: np.ndarray = run_stages("find_local_maxima", stages, job).results["maxima"]
    return found


def _distances(value: Any, source: Source, along: tuple[int, ...], *, physical: bool) -> tuple[int, ...]:
    """Voxels to each side along each axis, as many as the volume has at most."""
    if not physical:
        return tuple(min(_distance(value), max(1, source.shape[axis])) for axis in along)
    if not number("min_distance", value, example=1.5) > 0:
        raise ParameterError(f"min_distance={value!r} is not above 0", remedy="min_distance=1.5")
    found = lengths(value, source.axes, along, name="min_distance", physical=True)
    return tuple(max(1, int(min(found[axis] * (1 + 1e-9), source.shape[axis]))) for axis in along)


def _distance(value: Any) -> int:
    try:
        found = operator.index(value)
    except TypeError:
        found = 0
    if found < 1:
        raise ParameterError(f"min_distance={value!r} is not a whole number above 0", remedy="min_distance=1")
    return found
