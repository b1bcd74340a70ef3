"""A volume at lower and lower resolution, in one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from ..errors import ParameterError
from ..runner.execute import execute
from ..runner.plan import Stage
from ..runner.prepare import blocks_stage
from ..sources import Source, as_source
from ..wrapper.downsample import DownsampleSource
from .copying import same
from .downsampling import downsample, view_memory
from .engine import Job, RunKeywords, in_memory, operation, prepare_output
from .mapping import MapBlock


@operation(omit=("mask", "block_ids", "roi", "skip_empty"))
def pyramid(
    input: Any,
    scale_factors: Sequence[int | Sequence[int]],
    outputs: Sequence[Any] | None = None,
    *,
    method: Literal["mean", "mode", "stride"] = "mean",
    **run: Unpack[RunKeywords],
) -> list[Any]:
    """Lower the resolution step by step, every level from the one above: `downsample` for all levels in one run.

    The result does not depend on the blocks, and is that of a call of `downsample` per level.

    Parameters
    ----------
    input : source-like
        Data with any number of axes.
    scale_factors : sequence of (int or sequence of int)
        For every level, the factor of all axes or of each against the level above.
    outputs : sequence of source-like, optional
        Where to write each level, of shape ``ceil(shape of the level above / factor)``; by default numpy arrays.
    method : {"mean", "mode", "stride"}, default "mean"
        "mean" for images, "mode" for labels; see `downsample`.

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
    pairs = list(zip(views, levels[1:], strict=True))
    direct = job.unblocked() and all(map(in_memory, levels[:-1]))
    # what one process alone writes lies in a scratch array until its run is over
    if direct or any(level.concurrency == "single-writer" for level in levels[1:]):
        for view, level in pairs:
            downsample(view.source, view.factors, level, method=method, **run)
    elif pairs:
        execute("pyramid", [_stage(number, *pair, job) for number, pair in enumerate(pairs, 1)], job.execution)
    return returned


def _stage(number: int, view: DownsampleSource, level: Source, job: Job) -> Stage:
    return blocks_stage(
        MapBlock(same, job.execution.casting),
        [view],
        [level],
        name=f"level {number}",
        block_shape=job.block_shape,
        num_workers=job.execution.num_workers,
        reads_outputs=False,
        memory_factor=view_memory(view),
    )
