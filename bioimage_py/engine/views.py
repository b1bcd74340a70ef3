"""Operations that are a view, computed when it is read, and copied to an output."""

from __future__ import annotations

from typing import Any

from ..wrapper.base import WrapperSource
from .block_functions import same
from .job import Job, in_memory
from .mapping import run_map
from .outputs import prepare_output


def run_view(view: WrapperSource, output: Any, job: Job, *, name: str, memory_factor: float = 2.0) -> Any:
    """Copy what a view shows to an output of its shape; blocks, mask and region are those of the view.

    Parameters
    ----------
    view : WrapperSource
    output : source-like, optional
        Allocated as numpy array by default.
    job : Job
    name : str
        For progress and messages.
    memory_factor : float
        Peak bytes of reading a block of the view and writing it, over twice the bytes of the block.

    Returns
    -------
    object
        What was passed as ``output``, or the numpy array allocated.
    """
    direct = all(map(in_memory, view.parts)) and job.unblocked()
    if direct and job.execution.plan:
        job = job.as_one(view.shape)
    elif direct:
        target, returned = prepare_output(output, view.shape, view.dtype, job, source=view)
        target.write(..., view.view(), casting=job.execution.casting)
        return returned
    return run_map(same, [view], output, job, name=name, dtype=view.dtype, memory_factor=memory_factor)
