"""The operation `label`: connected components of a volume of any size."""

from __future__ import annotations

import math
from typing import Any, Unpack

import numpy as np

from ..engine.declaration import Declaration
from ..engine.job import Job, RunKeywords
from ..engine.operation import operation
from ..engine.outputs import prepare_output
from ..engine.stages import BlocksStage, OnceStage, run_stages
from ..errors import ParameterError
from ..runner.planning.build import plan_groups
from ..sources import Source, as_source
from . import components, tables
from .labelling_blocks import FindComponents, Labelling, MergeComponents, WriteComponents, check_ids, merged_of

_KERNEL_BYTES = 14  # measured


@operation(
    omit=("block_ids", "resume_from", "skip_empty"),
    axes="space",
    declaration=Declaration("exact", "cc3d.connected_components", memory=_KERNEL_BYTES + 1.0),
)
def label(
    input: Any,
    output: Any = None,
    *,
    threshold: float | None = None,
    connectivity: int | None = None,
    multi_label: bool = False,
    **run: Unpack[RunKeywords],
) -> Any:
    """Label connected components.

    Components are numbered 1..n by their first voxel in C order; background is 0. The ids are the same for a direct
    call and for any block shape and backend. Voxels of two channels or times are never joined (see `axes`), and no id
    occurs in both.

    Parameters
    ----------
    input : source-like
        Any number of axes; bool, integers, or floats (floats not with ``multi_label``). Voxels that are not 0 are
        foreground.
    output : source-like, optional
        Integers of the shape of the input; allocated as uint64 numpy array by default. Every voxel is written: 0 where
        the mask is 0.
    threshold : float, optional
        Foreground are the voxels above it instead.
    connectivity : int, optional
        Number of axes along which neighbours may differ, 1 to as many as are worked along; 1 (default) joins voxels
        that share a face.
    multi_label : bool
        Join only voxels of equal values, so that touching objects of a label image stay apart.

    Returns
    -------
    object
        The output.

    Raises
    ------
    DtypeError
        Float labels with ``multi_label``, or an output that is not integer.
    ParameterError
        A connectivity out of range, or a threshold together with ``multi_label``.
    ValueRangeError
        More components than the output's type can number (as cause of a `RunnerError` when run in blocks); nothing
        has been written then.

    Notes
    -----
    Two passes over the input: each block is labelled, and only its faces are kept; after the merge each block is
    labelled again and written once, with final ids. Kernel: connected-components-3d.
    """
    job = Job.of(run)
    source = as_source(input)
    along = job.along(source)
    kernel = Labelling(
        components.check_connectivity(connectivity, len(along)),
        multi_label,
        _threshold(threshold, source, multi_label),
        along,
    )
    components.check_values(source.dtype, multi_label)
    target, returned = prepare_output(output, source.shape, np.uint64, job, source=source)
    tables.check_output_dtype(target.dtype, "label")
    limit = target.dtype if job.execution.casting == "checked" else None
    direct = job.whole([source])
    if direct and job.execution.plan:
        job = job.as_one(source.shape)
    elif direct:
        found = kernel(source.view())
        check_ids(found.n, limit)
        target.write(..., components.ranked(found), casting=job.execution.casting)
        return returned
    run_stages("label", _stages(kernel, source, target, limit, job), job)
    return returned


def _stages(
    kernel: Labelling, source: Source, target: Source, limit: np.dtype[Any] | None, job: Job
) -> list[BlocksStage | OnceStage]:
    """Find the components of each block, merge them to ids that a type can hold, write."""
    grid = plan_groups(source.shape, [source], [target], job.block_shape, job.roi).grid
    merge = MergeComponents(grid.grid_shape, kernel.connectivity, limit, job.along(source))
    find, write = FindComponents(kernel, grid.roi), WriteComponents(kernel)
    reading, writing = _memory_factor(source), _memory_factor(source, target)
    return [
        BlocksStage("components", find, [source], returns="each", memory_factor=reading, holds_gil=True),
        OnceStage("merge", merge),
        BlocksStage("write", write, [source], [target], setup=merged_of, memory_factor=writing, holds_gil=True),
    ]


def _memory_factor(*sources: Source) -> float:
    """Peak bytes over those of the blocks: the kernel takes a number of bytes a voxel, whatever the data types."""
    return 1 + _KERNEL_BYTES / sum(source.dtype.itemsize for source in sources)


def _threshold(threshold: Any, source: Source, multi_label: bool) -> float | None:
    if threshold is None:
        return None
    if multi_label:
        raise ParameterError(
            "threshold= makes a binary image, multi_label=True needs a label image", remedy="leave one of them out"
        )
    if (
        isinstance(threshold, str)
        or np.ndim(threshold)
        or not isinstance(threshold, float | int | np.number | np.bool_)
    ):
        raise ParameterError(f"threshold={threshold!r} is not a number", remedy="threshold=0.5, for example")
    if math.isnan(threshold):
        raise ParameterError("threshold is NaN, which no voxel is above", remedy="threshold=0.5, for example")
    # x > t and x > floor(t) are the same for integers, and numpy compares those exactly.
    whole = source.dtype.kind in "iu" and math.isfinite(threshold)
    return math.floor(threshold) if whole else float(threshold)
