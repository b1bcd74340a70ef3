"""Operations that map every voxel's neighbourhood to a voxel of the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..blocks import Halo, normalize_halo
from ..errors import MemoryBudgetError
from ..runner.execute import execute
from ..runner.planning.build import as_sources, blocks_stage
from ..sources import Source
from ..system.memory import available_bytes
from .apart import apart
from .block_functions import MapBlock
from .job import Job, fits_memory
from .outputs import check_whole_shapes, prepare_output


def run_map(
    kernel: Callable[..., Any],
    inputs: Any,
    output: Any,
    job: Job,
    *,
    name: str,
    dtype: Any,
    channels: int | None = None,
    **how: Any,
) -> Any:
    """Apply a kernel to every voxel's neighbourhood and write the result.

    Parameters
    ----------
    kernel : callable
        ``kernel(*arrays)``: one array an input, all of one shape; returns an array of that shape, or with leading
        channels. Pure, and picklable for workers elsewhere.
    inputs : sequence of source-like
    output : source-like, optional
        Allocated as numpy array by default; may be an input where there is no halo.
    job : Job
    name : str
        For progress and messages.
    dtype : dtype
        Of the result.
    channels : int, optional
        Length of a leading axis of the result.
    **how
        As for `map_to`.

    Returns
    -------
    object
        What was passed as ``output``, or the numpy array allocated.
    """
    sources = as_sources(inputs)
    shape = sources[0].shape
    full = shape if channels is None else (channels, *shape)
    target, returned = prepare_output(output, full, dtype, job, source=sources[0])
    map_to(kernel, sources, target, job, name=name, **how)
    return returned


def map_to(
    kernel: Callable[..., Any],
    sources: Sequence[Source],
    target: Source,
    job: Job,
    *,
    name: str,
    halo: Halo = None,
    memory_factor: float = 2.0,
    whole: bool = False,
    along: Sequence[int] | None = None,
    block: type[MapBlock] = MapBlock,
    holds_gil: bool = False,
) -> None:
    """As `run_map`, into the output that `prepare_output` has given.

    Parameters
    ----------
    kernel, sources, target, job, name
        See `run_map`.
    halo : int or sequence of int, optional
        Voxels that the kernel needs around a block.
    memory_factor : float
        Peak bytes of the kernel over the bytes of its input and output blocks.
    whole : bool
        The result depends on the blocks: run as a whole where that fits the memory budget.
    along : sequence of int, optional
        Axes that the kernel works along, by default all: it gets arrays of these axes only, one for every index of the
        others.
    block : type
        The block function, made of the kernel and the casting.
    holds_gil : bool
        Most of the kernel's time no other thread of its process can run.
    """
    shape = sources[0].shape
    if along is not None:
        kernel = apart(kernel, along, len(shape))
    margin = normalize_halo(halo, len(shape))
    direct = job.whole(sources) or (whole and job.unblocked())
    if direct and job.execution.plan:
        job = job.as_one(shape)
    elif direct:
        if whole:
            _check_whole(sources, target, job, memory_factor, name)
        check_whole_shapes(sources)
        target.write(..., kernel(*(source.view() for source in sources)), casting=job.execution.casting)
        return
    stage = blocks_stage(
        block(kernel, job.execution.casting),
        list(sources),
        [target],
        job,
        name=name,
        halo=margin if margin is not None and any(margin) else None,
        num_workers=job.execution.num_workers,
        reads_outputs=False,
        memory_factor=memory_factor,
        holds_gil=holds_gil,
    )
    execute(name, [stage], job.execution)


def _check_whole(sources: Sequence[Source], target: Source, job: Job, memory_factor: float, name: str) -> None:
    need = int(memory_factor * (sum(source.nbytes for source in sources) + target.nbytes))
    if not fits_memory(job, need):
        budget = job.execution.memory or available_bytes()
        raise MemoryBudgetError(
            f"{name} of the whole volume of shape {sources[0].shape} needs about {need / 2**30:.1f} GiB, the budget is"
            f" {budget / 2**30:.1f} GiB",
            remedy=f"block_shape={(128,) * sources[0].ndim}, halo={(32,) * sources[0].ndim}",
        )
