"""The operation `distance_transform`: exact at any size, one axis after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from ...arguments import number
from ...blocks import normalize_halo, region_bounds
from ...engine.declaration import Declaration
from ...engine.job import Job, RunKeywords
from ...engine.operation import operation
from ...engine.outputs import prepare_output
from ...engine.stages import BlocksStage, run_stages
from ...errors import DtypeError, ParameterError
from ...sources import Source, as_source
from ...sources.along import steps_of
from ...sources.run_array import RunArray
from .cut import Cut
from .distance_blocks import Distances, FirstAxes, LastAxis, NextAxis
from .distance_lines import Metric


@operation(
    omit=("mask", "skip_empty", "casting"),
    axes="space",
    declaration=Declaration(
        "exact",
        "edt.edtsq, and lower envelopes of whole lines in numpy",
        "none; max_distance with max_distance=",
        5.0,
        outputs=("distances", "indices"),
    ),
)
def distance_transform(
    input: Any,
    halo: Any = None,
    *,
    sampling: float | Sequence[float] | None = None,
    return_distances: bool = True,
    return_indices: bool = False,
    distances: Any = None,
    indices: Any = None,
    max_distance: float | None = None,
    physical: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Distance of every voxel to the nearest one that is 0; exact whatever the size of the volume.

    The same as `scipy.ndimage.distance_transform_edt` on the whole array (float32), also for voxels whose nearest
    background is at the other end of the volume. Blocks are whole planes and lines, so memory is that of a few blocks
    (about 200 MB for each worker, less with ``memory=``), whatever the volume. What one stage hands on to the next lies
    in the run's folder until the run ends: 4 bytes a voxel, compressed, once or twice. Where sizes of voxels are no
    multiples of the smallest one, distances agree with scipy's up to the rounding of float32.

    Parameters
    ----------
    input : source-like
        Voxels that are not 0 are foreground (NaN too). Any number of axes.
    halo : int or sequence of int, optional
        Not needed, and taken for scripts that give it: distances are exact beyond it too.
    sampling : float or sequence of float, optional
        Size of a voxel along each axis that is worked along, by default 1.
    return_distances, return_indices : bool
        What to return.
    distances, indices : source-like, optional
        Where to write; by default numpy arrays (float32, and int32 with a leading axis for the coordinates).
    max_distance : float, optional
        Larger distances are given as this one. Then one pass over the blocks is enough, with a halo of so much.
    physical : bool, default False
        Distances, also `max_distance`, are in the units of the input's axes, which say the sizes of voxels instead of
        `sampling`.

    Returns
    -------
    object or tuple
        Distances, indices, or both: what was passed, or the arrays allocated. Indices are those of the nearest
        background voxel: of several, always the same one, whatever the blocks are. Where there is no background at
        all the distance is infinite (at most `max_distance`) and the indices are -1, also beyond `max_distance`.

    Raises
    ------
    ParameterError
        Nothing to return, a sampling or distance that is none, or ``block_ids=`` without ``max_distance=``: a part of
        the blocks says nothing of the rest.
    DtypeError
        Complex input.

    Notes
    -----
    Separable transform: A. Meijster et al. 2000, P. Felzenszwalb and D. Huttenlocher 2012.
    """
    job, source = Job.of(run), as_source(input)
    along = job.along(source)
    steps = steps_of([source.axes[axis] for axis in along], sampling, name="sampling", physical=physical)
    kernel = Distances(
        Metric.of(steps, tuple(source.shape[axis] for axis in along)),
        along,
        return_indices,
        None if max_distance is None else number("max_distance", max_distance, example=10.0),
    )
    _check(source, halo, kernel, job, return_distances, return_indices)
    returned, targets = [], []
    for wanted, given, shape, dtype in (
        (return_distances, distances, source.shape, np.float32),
        (return_indices, indices, (len(along), *source.shape), np.int32),
    ):
        if wanted:
            target, result = prepare_output(given, tuple(shape), dtype, job, source=source)
            targets.append(target)
            returned.append(result)
    last = LastAxis(kernel, None, return_distances, return_indices)
    if job.whole([source]) or kernel.within is not None:
        job = job.as_one(source.shape) if job.whole([source]) else job
        reach = [0] * source.ndim
        for which, axis in enumerate(along):
            reach[axis] = kernel.metric.reach(which, kernel.within) or 0
        stages = [BlocksStage("distances", last, [source], targets, halo=reach, memory_factor=8.0)]
    else:
        stages = _stages(source, targets, last, job)
    run_stages("distance_transform", stages, job)
    return returned[0] if len(returned) == 1 else tuple(returned)


def _check(source: Source, halo: Any, kernel: Distances, job: Job, wants_distances: bool, wants_indices: bool) -> None:
    if source.dtype.kind == "c":
        raise DtypeError(f"distance_transform cannot tell the background of {source.dtype}", remedy="np.abs(array)")
    if not wants_distances and not wants_indices:
        raise ParameterError("there is nothing to return", remedy="return_distances=True")
    if kernel.within is not None and not kernel.within > 0:
        raise ParameterError(f"max_distance={kernel.within} is not above 0", remedy="max_distance=20")
    if halo is not None:
        normalize_halo(halo, source.ndim)
    if kernel.within is None and job.block_ids is not None:
        raise ParameterError(
            "block_ids= needs max_distance=: an exact distance depends on all blocks", remedy="max_distance=64"
        )


def _stages(source: Source, targets: Sequence[Source], last: LastAxis, job: Job) -> list[BlocksStage]:
    """Whole planes (or lines) first, then the lines of one axis a stage."""
    kernel, shape = last.kernel, tuple(source.shape)
    region = region_bounds(job.roi, shape)
    cut = Cut.of(shape, job, 1 + len(kernel.along) * kernel.trace)
    first = cut.together(kernel.along)
    if first == kernel.along:
        where, halo = cut.where(first, region, targets[0]), cut.halo(first, region)
        return [BlocksStage("distances", last, [source], targets, where, halo, memory_factor=8.0)]
    done, stages, inputs = first, list[BlocksStage](), [source]
    rest = [axis for axis in reversed(kernel.along) if axis not in first]
    for stage, axis in enumerate([None, *rest]):
        axes, before = first if axis is None else (axis,), done if kernel.trace else ()
        done = first if axis is None else (*done, axis)
        # what a later axis needs are whole lines along it; along all others the region is enough
        later = [one for one in kernel.along if one not in done]
        own = [(0, size) if one in later else box for one, (size, box) in enumerate(zip(shape, region, strict=True))]
        halo = cut.halo(axes, own)
        named = ", ".join(source.axes[one].name for one in axes)
        if not later:
            assert axis is not None
            function: Any = replace(last, stage=NextAxis(kernel, axis, before))
            outputs = list(targets)
            where = cut.where(axes, own, targets[0])
        else:
            function = FirstAxes(kernel, first) if axis is None else NextAxis(kernel, axis, before)
            where = cut.where(axes, own)
            # thin where whole planes are written: a block has few of them
            chunks = tuple(map(min, cut.chunks, where.block_shape))
            names = ["squares", *(f"index {one}" for one in sorted(done))] if kernel.trace else ["squares"]
            kinds = [kernel.metric.dtype, *[np.dtype(np.int32)] * (len(names) - 1)]
            outputs = [
                RunArray(f"{name} {stage}", shape, kind, chunks) for name, kind in zip(names, kinds, strict=True)
            ]
        stages.append(BlocksStage(f"along {named}", function, inputs, outputs, where, halo, memory_factor=5.0))
        inputs = outputs
    return stages
