"""Operations that fold a value over all voxels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..runner.execute import execute
from ..runner.planning.build import as_sources, blocks_stage
from .block_functions import ReduceBlock
from .job import Job
from .outputs import check_whole_shapes


def run_reduce(
    kernel: Callable[..., Any],
    merge: Callable[[Any, Any], Any],
    inputs: Any,
    job: Job,
    *,
    name: str,
    memory_factor: float = 1.0,
) -> Any:
    """Fold a value over all voxels.

    Parameters
    ----------
    kernel : callable
        ``kernel(*arrays, mask) -> partial``; ``mask`` is a bool array or None, the partial None for "nothing here".
    merge : callable
        ``merge(left, right) -> partial``, in a fixed tree by block order: always the same bits.
    inputs : sequence of source-like
    job : Job
    name : str
    memory_factor : float
        Peak bytes of the kernel over the bytes of its blocks.

    Returns
    -------
    object
        The folded partial; None where nothing is inside the mask.
    """
    sources = as_sources(inputs)
    direct = job.whole(sources)
    if direct and job.execution.plan:
        job = job.as_one(sources[0].shape)
    elif direct:
        check_whole_shapes(sources)
        return kernel(*(source.view() for source in sources), None)
    stage = blocks_stage(
        ReduceBlock(kernel),
        list(sources),
        where=job,
        name=name,
        returns="fold",
        merge=merge,
        num_workers=job.execution.num_workers,
        reads_outputs=False,
        memory_factor=memory_factor,
    )
    return execute(name, [stage], job.execution).results[name]
