"""A volume at lower and lower resolution, in one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from ..blocks import Block, Groups, to_roi
from ..errors import BlockShapeError, ParameterError
from ..runner.execute import execute
from ..runner.plan import Stage
from ..runner.prepare import blocks_stage, overlap, plan_groups
from ..sources import Source, as_source
from ..wrapper.downsample import DownsampleSource
from ..wrapper.reduced import ReducedOutput
from .downsampling import downsample, view_memory
from .engine import Job, RunKeywords, in_memory, operation, prepare_output


@operation(omit=("mask", "block_ids", "roi", "skip_empty"))
def pyramid(
    input: Any,
    scale_factors: Sequence[int | Sequence[int]],
    outputs: Sequence[Any] | None = None,
    *,
    method: Literal["mean", "mode", "mode_nonzero", "stride"] = "mean",
    **run: Unpack[RunKeywords],
) -> list[Any]:
    """Lower the resolution step by step, every level from the one above: `downsample` for all levels in one run.

    The result does not depend on the blocks, and is that of a call of `downsample` per level. A block writes all levels
    of which it has whole chunks (shards), while it is in memory: with blocks of two chunks along each axis, and factors
    of 2, two levels at a time.

    Parameters
    ----------
    input : source-like
        Data with any number of axes.
    scale_factors : sequence of (int or sequence of int)
        For every level, the factor of all axes or of each against the level above.
    outputs : sequence of source-like, optional
        Where to write each level, of shape ``ceil(shape of the level above / factor)``; by default numpy arrays.
    method : {"mean", "mode", "mode_nonzero", "stride"}, default "mean"
        "mean" for images, "mode" for labels, "mode_nonzero" for labels that are points or lines; see `downsample`.

    Returns
    -------
    list of source-like
        `outputs`, or numpy arrays of the dtype of the input.

    Raises
    ------
    ParameterError
        If there is not one output for each factor, for factors below 1 or not whole, or an unknown method.
    DtypeError
        If the method cannot use the data type ("mode" of floats).
    """
    job = Job.of(run)
    targets = [None] * len(scale_factors) if outputs is None else list(outputs)
    if len(targets) != len(scale_factors):
        raise ParameterError(
            f"There are {len(scale_factors)} scale factors and {len(targets)} outputs.", remedy="one output for each"
        )
    views: list[DownsampleSource] = []
    levels, returned = [as_source(input)], []
    for factor, target in zip(scale_factors, targets, strict=True):
        view = DownsampleSource(levels[-1], factor, method)
        level, result = prepare_output(target, view.shape, view.dtype, job, source=view)
        views.append(view)
        levels.append(level)
        returned.append(result)
    # what one process alone writes lies in a scratch array until its run is over
    direct = job.unblocked() and all(map(in_memory, levels[:-1]))
    if direct or any(level.concurrency == "single-writer" for level in levels[1:]):
        for view, level in zip(views, levels[1:], strict=True):
            downsample(view.source, view.factors, level, method=method, **run)
    elif views:
        execute("pyramid", _stages(views, levels[1:], job), job.execution)
    return returned


def write_levels(block: Block, inputs: Sequence[Source], outputs: Sequence[Source], mask: None) -> None:
    """Block function: a block of one level, written to it and, reduced, to those that follow."""
    values = inputs[0].view(to_roi(block))
    for output in outputs:
        output[to_roi(block)] = values


def _stages(views: Sequence[DownsampleSource], levels: Sequence[Source], job: Job) -> list[Stage]:
    """Levels that a block can complete share a stage."""
    stages, first = [], 0
    while first < len(views):
        view, level = views[first], levels[first]
        groups = plan_groups(view.shape, [view], [level], job.block_shape, None)
        outputs = [level, *_completed(views[first:], levels[first:], groups)]
        last = first + len(outputs)
        stages.append(
            blocks_stage(
                write_levels,
                [view],
                outputs,
                name=f"level {last}" if len(outputs) == 1 else f"levels {first + 1}-{last}",
                block_shape=groups.grid.block_shape,
                num_workers=job.execution.num_workers,
                reads_outputs=False,
                memory_factor=view_memory(view),
            )
        )
        first = last
    return stages


def _completed(views: Sequence[DownsampleSource], levels: Sequence[Source], groups: Groups) -> list[Source]:
    """The levels after the first that its blocks complete, in its voxels.

    A block has whole write units of them, and the values of each level are those that are stored of it.
    """
    found: list[Source] = []
    for number in range(1, len(levels)):
        above, level = levels[:number], levels[number]
        if not above[-1].lossless or {one.dtype for one in levels[: number + 1]} != {views[0].dtype}:
            break
        if any(overlap(level, other) for other in (*views[0].parts, *above)):
            break
        for view in views[number:0:-1]:
            level = ReducedOutput(level, view.factors, view.source.shape, view.method)
        try:
            shared = plan_groups(views[0].shape, [views[0]], [levels[0], *found, level], groups.grid.block_shape, None)
        except BlockShapeError:
            break
        if not shared.trivial or shared.n_groups < groups.n_groups:
            break
        found.append(level)
    return found
