"""How superpixels are found in blocks: number those of each block, count them, and write final ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...blocks import Halo
from ...blocks.shape import normalize_block_shape
from ...engine.job import Job
from ...engine.outputs import prepare_output
from ...engine.stages import BlocksStage, OnceStage, run_stages
from ...sources import Source
from ...sources.run_array import RunArray
from ..labelling_blocks import check_ids
from ..tables import check_output_dtype
from .fragment_blocks import CountFragments, FindFragments, TakenOf, WriteIds

_CHUNK = 64


def find_in_blocks(
    name: str,
    kernel: Callable[..., npt.NDArray[np.uint32]],
    sources: Sequence[Source],
    output: Any,
    job: Job,
    along: tuple[int, ...],
    halo: Halo,
) -> Any:
    """Superpixels of sources of one shape, with ids that are dense over all blocks.

    Parameters
    ----------
    name : str
        Of the operation.
    kernel : callable
        See `FindFragments`.
    sources : sequence of Source
    output : source-like, optional
    job : Job
    along : tuple of int
        Axes that the kernel works along.
    halo : int or sequence of int
        Voxels around a block that the kernel sees.

    Returns
    -------
    object
        The output.
    """
    shape = sources[0].shape
    target, returned = prepare_output(output, shape, np.uint64, job, source=sources[0])
    check_output_dtype(target.dtype, name)
    find = FindFragments(kernel, along)
    limit = target.dtype if job.execution.casting == "checked" else None
    direct = job.whole(sources)
    if direct and job.execution.plan:
        job = job.as_one(shape)
    elif direct:
        whole = tuple(slice(0, size) for size in shape)
        labels, n = find.of([source.view() for source in sources], None, whole)
        check_ids(n, limit)
        target.write(..., labels, casting=job.execution.casting)
        return returned
    between = RunArray("fragments", shape, np.uint32, _chunks(target, job))
    stages: list[BlocksStage | OnceStage] = [
        BlocksStage(
            "fragments", find, list(sources), [between], halo=halo, returns="each", memory_factor=10.0, holds_gil=True
        ),
        OnceStage("count", CountFragments("fragments", limit)),
        BlocksStage("ids", WriteIds(), [between], [target], setup=TakenOf("count")),
    ]
    run_stages(name, stages, job)
    return returned


def _chunks(target: Source, job: Job) -> tuple[int, ...]:
    """Chunks of the array between the passes: those of the output, else whole blocks."""
    if target.write_chunks is not None:
        return target.write_chunks
    return normalize_block_shape(_CHUNK if job.block_shape is None else job.block_shape, target.ndim)
